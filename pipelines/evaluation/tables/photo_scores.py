"""From the scores of single photos to the means of a method."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from instructrestore.pipelines.evaluation.methods.method import Evaluation
from instructrestore.pipelines.evaluation.tables.statistics import mean_interval
from instructrestore.pipelines.evaluation.tables.table import Cell

Figure = tuple[str, str, str]  # method's title, scope, metric's name


class PhotoScores:
    """The scores of an evaluation: a row per photo, ordered by key, whatever the order of scoring was."""

    def __init__(self, evaluated: Evaluation) -> None:
        assert not evaluated.scores.duplicated(["method", "scope", "metric", "key"]).any(), "two scores of one result"
        wide = evaluated.scores.pivot(index="key", columns=["method", "scope", "metric"], values="value")
        self._values = wide.to_numpy(np.float64)  # (photos, figures), NaN where a photo lacks a figure
        self._column: dict[Figure, int] = {tuple(figure): place for place, figure in enumerate(wide.columns.tolist())}

    def known(self) -> list[Figure]:
        """Everything that was scored, in no particular order."""
        return list(self._column)

    def photos(self, figure: Figure) -> tuple[bool, ...]:
        """For each photo with any score, whether it has this figure."""
        place = self._column.get(figure)
        if place is None:
            return (False,) * len(self._values)
        return tuple(np.isfinite(self._values[:, place]).tolist())

    def cell(self, method: str, scope: str, metric: str) -> Cell | None:
        """The mean over the method's own photos, with its interval; None if the method has no such figure."""
        values = self.common((method, scope, metric))[:, 0]
        if not len(values):
            return None
        low, high = mean_interval(values) or (None, None)
        return Cell(float(values.mean()), low, high, len(values))

    def common(self, *figures: Figure) -> NDArray[np.float64]:
        """Several figures of the photos that have all of them, (P, len(figures)); of none if one is unknown."""
        if not all(figure in self._column for figure in figures):
            return np.empty((0, len(figures)))
        values = self._values[:, [self._column[figure] for figure in figures]]
        return values[np.isfinite(values).all(1)]
