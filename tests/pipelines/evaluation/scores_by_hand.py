"""Evaluations made by hand: the scores that a test states, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from instructrestore.pipelines.evaluation.methods.method import OURS, SCORE_COLUMNS, Evaluation, Method

LQ = Method("LQ", "runner")
SEESR = Method("SeeSR", "results")

Scores = Mapping[tuple[Method, str, str], Sequence[float | None]]  # by method, scope, metric: a value a photo


def ours(s1: float, s2: float = 1.0) -> Method:
    return Method(OURS, "model", s1, s2)


def evaluated(
    scores: Scores,
    *,
    bokeh: bool = False,
    failed: dict[str, dict[str, int]] | None = None,
    configuration: dict[str, Any] | None = None,
) -> Evaluation:
    """None: a photo without that figure."""
    methods = tuple(dict.fromkeys(method for method, _, _ in scores))
    rows = [
        (method.title, method.s1, method.s2, f"k{place:04}", f"{place}.png", "a red bus", scope, metric, value)
        for (method, scope, metric), values in scores.items()
        for place, value in enumerate(values)
        if value is not None
    ]
    table = pd.DataFrame(rows, columns=list(SCORE_COLUMNS)).astype({"s1": float, "s2": float, "value": float})
    photos = max(len(values) for values in scores.values())
    return Evaluation("hand100", photos, bokeh, methods, table, failed or {}, configuration or {})
