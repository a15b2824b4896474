"""A table of the paper with this evaluation's rows beside the published ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from instructrestore.model.metrics.metric import BY_NAME, Metric, Scope


@dataclass(frozen=True)
class Column:
    """A metric of a scope. group: the heading over it, the paper's name of the scope ("Background")."""

    scope: Scope
    metric: str
    group: str

    @property
    def of(self) -> Metric:
        return BY_NAME[self.metric]


@dataclass(frozen=True)
class Cell:
    """A mean over photos with its 95% bootstrap confidence interval; a published mean has no interval or count."""

    mean: float
    low: float | None = None
    high: float | None = None
    photos: int | None = None


@dataclass(frozen=True)
class MethodRow:
    """label: "s1 = 0.5", "SeeSR". origin: measured here, or quoted from the paper. method: the title of the measured
    method; "" for a quoted row. cells: one per column; None if there is no figure."""

    label: str
    origin: Literal["computed", "quoted"]
    method: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Table:
    """number: 2, 3 or 4, as in the paper. notes: sentences shown under it."""

    number: int
    title: str
    columns: tuple[Column, ...]
    rows: tuple[MethodRow, ...]
    notes: tuple[str, ...] = ()
