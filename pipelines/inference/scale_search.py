"""A search for the best scales that knows nothing of photos: a small grid, then ever smaller steps around its best.

Deterministic, and at most `MOST_TRIALS` points are judged, whatever the number of scales. The scales of a paper's
instruction, 1 everywhere, are the first point and remain the answer unless an admitted point is better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

Scales = tuple[float, ...]

LEAST, GREATEST = 0.5, 1.2  # the useful range (docs/instructions.md)
GRID = (0.5, 0.8, 1.2)
STEPS = (0.1, 0.05)  # of the refinement
MOST_TRIALS = 24


@dataclass(frozen=True)
class TrialScore:
    """score: how well a point serves the aim, higher is better. admitted: it keeps what must be kept."""

    score: float
    admitted: bool


def search(first: Scales, judge: Callable[[Scales], TrialScore], most: int = MOST_TRIALS) -> dict[Scales, TrialScore]:
    """Every point that was judged, in their order, `first` before all others; `best_of` chooses among them.

    The last of several scales has a line of the grid to itself, all others share one: in an instruction they are the
    regions' scales and that of the rest. Points are hundredths, within LEAST and GREATEST but for `first`.
    """
    assert first and most >= 1
    judged = {first: judge(first)}
    for point in _grid(len(first)):
        if len(judged) < most and point not in judged:
            judged[point] = judge(point)
    for step in STEPS:
        centre = None
        while centre != (centre := best_of(judged)):  # until no neighbour is better
            for point in _neighbours(centre, step):
                if point not in judged:
                    if len(judged) == most:
                        return judged
                    judged[point] = judge(point)
    return judged


def best_of(judged: dict[Scales, TrialScore]) -> Scales:
    """The admitted point with the highest score; of equal ones the earliest, and the first point where none is better.

    What the first point scores counts in any case: it is the answer where nothing admitted is better.
    """
    points = iter(judged)
    best = next(points)
    for point in points:
        if judged[point].admitted and judged[point].score > judged[best].score:
            best = point
    return best


def _grid(scales: int) -> Iterator[Scales]:
    if scales == 1:
        yield from ((value,) for value in GRID)
    else:
        yield from (((own,) * (scales - 1)) + (last,) for own, last in product(GRID, GRID))


def _neighbours(centre: Scales, step: float) -> Iterator[Scales]:
    for place, value in enumerate(centre):
        for moved in (value - step, value + step):
            kept = round(min(GREATEST, max(LEAST, moved)), 2)
            yield (*centre[:place], kept, *centre[place + 1 :])
