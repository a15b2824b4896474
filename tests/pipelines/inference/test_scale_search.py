"""The search for scales is a property: bounded, deterministic, and never worse than what it begins with."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from instructrestore.pipelines.inference.scale_search import (
    GREATEST,
    GRID,
    LEAST,
    MOST_TRIALS,
    Scales,
    TrialScore,
    best_of,
    search,
)

LENGTHS = st.integers(1, 6)


class Landscape:
    """A judge of smooth and rugged scores with an arbitrary bound; counts how often each point is judged."""

    def __init__(self, peak: list[float], rugged: float, bound: float) -> None:
        self.peak, self.rugged, self.bound = peak, rugged, bound
        self.judged: list[Scales] = []

    def __call__(self, scales: Scales) -> TrialScore:
        self.judged.append(scales)
        score = -sum((scale - peak) ** 2 for scale, peak in zip(scales, self.peak, strict=False))
        return TrialScore(score + self.rugged * (hash(scales) % 97) / 97, sum(scales) <= self.bound * len(scales))


@given(LENGTHS, st.lists(st.floats(0, 2), min_size=6, max_size=6), st.floats(0, 2), st.floats(0.3, 1.5))
def test_never_worse_within_the_bound_and_bounded(count: int, peak: list[float], rugged: float, bound: float) -> None:
    first = (1.0,) * count
    judge = Landscape(peak, rugged, bound)
    judged = search(first, judge)
    assert judge.judged == list(judged)  # in this order, none twice
    assert judge.judged[0] == first
    assert len(judged) <= MOST_TRIALS
    assert all(LEAST <= scale <= GREATEST and round(scale, 2) == scale for point in judged for scale in point)
    best = best_of(judged)
    assert best == first or (judged[best].admitted and judged[best].score > judged[first].score)
    admitted = [verdict.score for verdict in judged.values() if verdict.admitted]
    assert judged[best].score >= max(admitted, default=judged[first].score)
    assert search(first, Landscape(peak, rugged, bound)) == judged


@given(st.floats(LEAST, GREATEST), st.floats(LEAST, GREATEST))
def test_finds_a_peak_to_its_last_step(one: float, other: float) -> None:
    """Of a smooth score of two scales, the region's and the rest's."""
    judged = search((1.0, 1.0), Landscape([one, other], 0, 9))
    found = best_of(judged)
    assert len(judged) == MOST_TRIALS or all(abs(a - b) <= 0.05 for a, b in zip(found, (one, other), strict=True))
    assert all(abs(a - b) <= 0.15 for a, b in zip(found, (one, other), strict=True))


def test_nothing_admitted_leaves_the_first() -> None:
    judged = search((1.0, 1.0), lambda scales: TrialScore(sum(scales), scales == (1.0, 1.0)))
    assert best_of(judged) == (1.0, 1.0)
    assert set(judged) >= {(one, other) for one in GRID for other in GRID}


def test_of_equals_the_first_is_kept() -> None:
    assert best_of(search((1.0,), lambda _: TrialScore(0.0, True))) == (1.0,)
