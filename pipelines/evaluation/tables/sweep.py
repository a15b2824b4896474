"""What Table 2's sweep shows as a whole: how local the control is, and how steadily the target follows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from instructrestore.model.metrics.metric import FOLLOWING, LOCALITY, Metric, Scope
from instructrestore.model.metrics.sweep import following, locality
from instructrestore.pipelines.evaluation.methods.method import OURS, Evaluation, Method
from instructrestore.pipelines.evaluation.tables.photo_scores import PhotoScores
from instructrestore.pipelines.evaluation.tables.published import PUBLISHED, SCALES, SWEEP
from instructrestore.pipelines.evaluation.tables.statistics import mean_interval, percentile_interval, resampled_means
from instructrestore.pipelines.evaluation.tables.table import Cell

METRIC = "psnr"


@dataclass(frozen=True)
class Sweep:
    """Locality and instruction following, over the photos with a PSNR inside and outside at every scale.

    scales: s1, rising. locality: the spread of the mean PSNR outside divided by that inside, lower is better; None if
    nothing changes inside. following: mean Kendall's tau of s1 and the target's PSNR, higher is better.
    published_locality, published_following: from the paper's means, at its scales.
    """

    scales: tuple[float, ...]
    locality: Cell | None
    following: Cell
    published_locality: float
    published_following: float

    @property
    def title(self) -> str:
        return sweep_title(self.scales)

    def figures(self) -> list[tuple[Metric, Cell]]:
        """Those of the two that exist."""
        return [(of, cell) for of, cell in ((LOCALITY, self.locality), (FOLLOWING, self.following)) if cell]


def sweep_title(scales: Sequence[float]) -> str:
    """ "InstructRestore s1=0.5,0.7 s2=1": a sweep over other scales has another title."""
    return f"{OURS} s1={','.join(f'{s1:g}' for s1 in scales)} s2=1"


def swept(evaluated: Evaluation) -> tuple[Method, ...]:
    """The rows of Table 2: see `sweep_of`."""
    return sweep_of(evaluated.methods, evaluated.bokeh)


def sweep_of(methods: Sequence[Method], bokeh: bool) -> tuple[Method, ...]:
    """The model with the rest at s2 = 1, by s1. Table 3's scale is not part of the sweep unless nothing else would be
    left to compare. Empty for a bokeh set and for fewer than two scales."""
    if bokeh:
        return ()
    rest_as_it_is = [method for method in methods if method.kind == "model" and method.s2 == 1]
    sweep = [method for method in rest_as_it_is if (method.s1, method.s2) != SCALES[3]]
    rows = sorted(sweep if len(sweep) > 1 else rest_as_it_is, key=lambda method: method.s1 or 0.0)
    return tuple(rows) if len(rows) > 1 else ()


def measure_sweep(evaluated: Evaluation, figures: PhotoScores) -> Sweep | None:
    """None if there is no sweep, or no photo has the PSNR of its target and its rest at every scale."""
    methods = swept(evaluated)
    inside = [(method.title, "target", METRIC) for method in methods]
    outside = [(method.title, "remaining", METRIC) for method in methods]
    values = figures.common(*inside, *outside)  # (P, 2 S)
    if not values.size:
        return None
    scales = np.array([method.s1 for method in methods], np.float64)
    target, rest = values[:, : len(scales)], values[:, len(scales) :]
    taus = np.array([following(scales, photo[None]) for photo in target])
    low, high = mean_interval(taus) or (None, None)
    published = _published("target")
    return Sweep(
        scales=tuple(scales.tolist()),
        locality=_locality(target, rest),
        following=Cell(float(taus.mean()), low, high, len(taus)),
        published_locality=locality(published, _published("remaining")),
        published_following=following(np.array(SWEEP), published),
    )


def _locality(target: NDArray[np.float64], rest: NDArray[np.float64]) -> Cell | None:
    """target, rest: (P, S). The interval leaves out bootstrap samples in which nothing changes inside."""
    if not np.ptp(target.mean(0)):
        return None
    low = high = None
    if len(target) > 1:
        inside, outside = np.ptp(resampled_means(target), axis=1), np.ptp(resampled_means(rest), axis=1)  # same draws
        low, high = percentile_interval(outside[inside > 0] / inside[inside > 0])
    return Cell(locality(target, rest), low, high, len(target))


def _published(scope: Scope) -> NDArray[np.float64]:
    """The paper's means over its scales, as if of one photo: (1, S)."""
    of = PUBLISHED[2]
    column = [(column.scope, column.metric) for column in of.columns].index((scope, METRIC))
    return np.array([[row[column] for row in of.rows.values()]])
