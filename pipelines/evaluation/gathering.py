"""From committed parts to the scores of an evaluation, and the count that nothing was lost on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from instructrestore.dataengine.running.outcomes import why_failed
from instructrestore.dataengine.running.part_files import PartFile
from instructrestore.model.metrics.metric import figure_order
from instructrestore.pipelines.evaluation.folder import outcomes_of
from instructrestore.pipelines.evaluation.methods.method import SCORE_COLUMNS, Evaluation, Method
from instructrestore.pipelines.evaluation.row import EvaluationRow

Measured = dict[Method, list[EvaluationRow]]


def gather(
    restored: Mapping[Method, Sequence[PartFile]], scored: Mapping[Method, Sequence[PartFile]], photos: int
) -> tuple[Measured, dict[str, dict[str, int]]]:
    """Each method's measured rows in the test set's order; and by its title, why others failed: reason -> how many.

    photos: how many each method was asked for.
    """
    measured: Measured = {}
    failed: dict[str, dict[str, int]] = {}
    for method, files in scored.items():
        outcomes = [outcome for file in files for outcome in outcomes_of(file)]
        rows = [outcome.row for outcome in outcomes if outcome.kind == "ok" and outcome.row]
        measured[method] = sorted(rows, key=lambda row: row.place)
        outcomes += [outcome for file in restored[method] for outcome in outcomes_of(file) if outcome.kind == "failed"]
        reasons = Counter(why_failed(outcome) for outcome in outcomes if outcome.kind == "failed")
        assert len(rows) + sum(reasons.values()) == photos, (method, len(rows), reasons, photos)
        if reasons:
            failed[method.title] = dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
    return measured, failed


def scores_of(measured: Measured) -> pd.DataFrame:
    """A row a figure (`SCORE_COLUMNS`), in the order of methods, photos, scopes and metrics."""
    records: list[tuple[Any, ...]] = []
    for method, rows in measured.items():
        for row in rows:
            about = (method.title, method.s1, method.s2, row.key, row.photo, row.caption)
            records += [(*about, *figure) for figure in sorted(row.figures, key=figure_order)]
    scores = pd.DataFrame.from_records(records, columns=list(SCORE_COLUMNS))
    return scores.astype({"s1": "float64", "s2": "float64", "value": "float64"})


def print_summary(evaluated: Evaluation, out: Path, console: Console) -> None:
    """That nothing was lost on the way, and what failed why."""
    asked = evaluated.photos * len(evaluated.methods)
    lost = sum(sum(reasons.values()) for reasons in evaluated.failed.values())
    lines = [f"input {asked:,} = scored {asked - lost:,} + failed {lost:,}; {out}"]
    for title, reasons in evaluated.failed.items():
        lines += [f"failed, {title}: {reason}: {count:,}" for reason, count in reasons.items()]
    if lost:
        lines.append(f"details: {out / 'parts'}; --retry-failed tries them again")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
