"""What made the results that are scored: one row of a table; and what all scores together are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

OURS = "InstructRestore"
LQ = "LQ"  # the unrestored photos, which every method has to be better than

# The columns of `Evaluation.scores` and of scores.parquet: a row for each figure of each result.
SCORE_COLUMNS = ("method", "s1", "s2", "key", "photo", "caption", "scope", "metric", "value")


@dataclass(frozen=True)
class Method:
    """One way to restore every photo of a test set.

    kind: "model": the model under test, with the scales s1 of the region and s2 of the rest. "runner": another method
    that this program runs. "results": a folder of results that somebody else made.
    """

    name: str
    kind: Literal["model", "runner", "results"]
    s1: float | None = None
    s2: float | None = None

    @property
    def title(self) -> str:
        """Unique among the methods of an evaluation: "InstructRestore s1=0.8 s2=1", "SeeSR"."""
        return self.name if self.s1 is None else f"{self.name} s1={self.s1:g} s2={self.s2:g}"


@dataclass(frozen=True)
class Evaluation:
    """All that an evaluation found.

    testset: its name. photos: how many it has. bokeh: a bokeh set, of which Table 4 is made, not Tables 2 and 3.
    methods: in the order in which they were asked for; their titles differ.
    scores: a row a figure (SCORE_COLUMNS): method (its title), s1, s2 (NaN but for the model), key, photo (its original
        name), caption, scope, metric, value (never NaN; a figure that could not be had has no row). An infinite PSNR
        counts as 100 dB.
    failed: by method, the photos without a result and why: title -> reason -> how many.
    configuration: what the results follow from, as plain JSON.
    """

    testset: str
    photos: int
    bokeh: bool
    methods: tuple[Method, ...]
    scores: pd.DataFrame
    failed: dict[str, dict[str, int]]
    configuration: dict[str, Any]
