"""Locality and instruction following: the paper's own table, sweeps by hand, and properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrestore.model.metrics.sweep import following, locality

SCALES = np.array([0.5, 0.7, 0.9, 1.1])
TARGET, REMAINING = np.array([[29.71, 30.37, 30.64, 30.73]]), np.array([[31.27, 31.55, 31.61, 31.56]])


def test_the_papers_table() -> None:
    assert locality(TARGET, REMAINING) == pytest.approx(0.34 / 1.02)
    assert following(SCALES, TARGET) == 1


def test_by_hand() -> None:
    inside = np.array([[20.0, 22, 24], [30, 28, 32]])
    assert locality(inside, np.array([[25.0, 25, 25], [10, 10, 10]])) == 0
    # Means inside 25, 25, 28 and outside 20, 20.5, 19: 1.5 to 3.
    assert locality(inside, np.array([[20.0, 21, 20], [20, 20, 18]])) == pytest.approx(0.5)
    # First photo: all 3 pairs rise. Second: 28 < 30 falls, the other two rise: 1/3.
    assert following(np.array([0.5, 0.7, 0.9]), inside) == pytest.approx((1 + 1 / 3) / 2)
    assert following(np.array([0.9, 0.7, 0.5]), inside[:1]) == -1
    assert following(np.array([0.5, 0.7, 0.9]), np.full((1, 3), 7.0)) == 0


@given(
    values=st.lists(st.lists(st.floats(10, 40), min_size=4, max_size=4), min_size=1, max_size=5),
    shift=st.floats(-5, 5),
)
@settings(max_examples=50, deadline=None)
def test_properties(values: list[list[float]], shift: float) -> None:
    inside = np.array(values)
    tau = following(SCALES, inside)
    assert -1 <= tau <= 1
    assert following(SCALES[::-1], inside[:, ::-1]) == pytest.approx(tau)
    assert following(SCALES, -inside) == pytest.approx(-tau)
    if np.ptp(inside.mean(0)) > 1e-3:
        assert locality(inside, inside) == pytest.approx(1)
        assert locality(inside, 2 * inside + shift) == pytest.approx(2)


def test_what_is_no_sweep() -> None:
    with pytest.raises(ValueError, match="the target is the same at every scale"):
        locality(np.ones((3, 4)), TARGET)
    with pytest.raises(ValueError, match="two scales or more"):
        following(SCALES[:1], TARGET[:, :1])
