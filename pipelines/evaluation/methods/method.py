"""A method, which is one row of a table, and what an evaluation knows of all its methods together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # pandas takes a while to import, and the command line needs but the names
    import pandas as pd

OURS = "InstructRestore"
LQ = "LQ"  # the unrestored photos, which every method has to beat

# The columns of `Evaluation.scores` and scores.parquet, which have a row for each figure of each result.
SCORE_COLUMNS = ("method", "s1", "s2", "key", "photo", "caption", "scope", "metric", "value")


@dataclass(frozen=True)
class Method:
    """One way to restore every photo of a test set.

    kind: "model": the model under test, with scale s1 for the region and s2 for the rest. "runner": another method that
    this program runs. "results": a folder of results from elsewhere.
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
    """Everything that an evaluation measured.

    testset: its name. photos: how many it has. bokeh: it is a bokeh set, which gives Table 4, not Tables 2 and 3.
    methods: in the order in which they were asked for; no two have the same title.
    scores: a row per figure (SCORE_COLUMNS): method (its title), s1, s2 (NaN except for the model), key, photo (its
        original name), caption, scope, metric, value (never NaN: a figure that could not be computed has no row). An
        infinite PSNR counts as 100 dB.
    failed: by method, how many photos have no result and why: title -> reason -> count.
    configuration: what determines the results, as plain JSON.
    """

    testset: str
    photos: int
    bokeh: bool
    methods: tuple[Method, ...]
    scores: pd.DataFrame
    failed: dict[str, dict[str, int]]
    configuration: dict[str, Any]


@dataclass(frozen=True)
class EvaluationPlan:
    """What is known of an evaluation before anything is measured; the fields are those of `Evaluation`."""

    testset: str
    photos: int
    bokeh: bool
    methods: tuple[Method, ...]
    configuration: dict[str, Any]
