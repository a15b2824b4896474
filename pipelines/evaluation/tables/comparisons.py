"""Paired tests between the methods of a table: is a difference more than chance?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from instructrestore.model.metrics.metric import Scope
from instructrestore.pipelines.evaluation.methods.method import Evaluation
from instructrestore.pipelines.evaluation.tables.layout import columns_of, methods_of
from instructrestore.pipelines.evaluation.tables.photo_scores import PhotoScores
from instructrestore.pipelines.evaluation.tables.statistics import holm, mean_interval, signed_rank_p

LEVEL = 0.05  # an adjusted p below it is called significant


@dataclass(frozen=True)
class Comparison:
    """A metric of two methods over the photos that both have.

    method, other: titles. difference: how much better `method` is in the mean, in the metric's unit: positive if it is
    better, whatever the metric's direction; low, high: its 95% bootstrap interval. p: of the two-sided signed-rank
    test; p_adjusted: by Holm over all tests of the table. None: too few photos.
    """

    table: int
    method: str
    other: str
    scope: Scope
    metric: str
    photos: int
    difference: float
    low: float | None
    high: float | None
    p: float | None
    p_adjusted: float | None = None

    @property
    def significant(self) -> bool:
        return self.p_adjusted is not None and self.p_adjusted < LEVEL


def by_pair(comparisons: Sequence[Comparison]) -> dict[tuple[str, str], dict[tuple[Scope, str], Comparison]]:
    """(method, other) -> (scope, metric) -> their comparison."""
    pairs: dict[tuple[str, str], dict[tuple[Scope, str], Comparison]] = {}
    for one in comparisons:
        pairs.setdefault((one.method, one.other), {})[one.scope, one.metric] = one
    return pairs


def compare_methods(evaluated: Evaluation, number: int) -> tuple[Comparison, ...]:
    """The comparisons of a table: in Table 2 of each s1 with the one before it; otherwise of the first row, which is
    the model's if there is one, with every other."""
    figures, titles = PhotoScores(evaluated), [method.title for method in methods_of(evaluated, number)]
    pairs = list(zip(titles[1:], titles, strict=False)) if number == 2 else [(titles[0], other) for other in titles[1:]]
    found = []
    for method, other in pairs:
        for column in columns_of(number):
            both = figures.common((method, column.scope, column.metric), (other, column.scope, column.metric))
            if not len(both):
                continue
            better = (both[:, 0] - both[:, 1]) * (1 if column.of.better == "higher" else -1)
            low, high = mean_interval(better) or (None, None)
            found.append(
                Comparison(
                    number, method, other, column.scope, column.metric,
                    len(better), float(np.mean(better)), low, high, signed_rank_p(better),
                )
            )  # fmt: skip
    adjusted = holm([comparison.p for comparison in found])
    return tuple(replace(comparison, p_adjusted=p) for comparison, p in zip(found, adjusted, strict=True))
