"""The uncertainty of a mean over photos: bootstrap confidence intervals, and paired tests of two methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import wilcoxon

CONFIDENCE = 0.95
RESAMPLES = 2000
FEWEST_PAIRS = 6  # with fewer, the signed-rank test finds no difference significant: its least p is 2 / 2**5
_SEED = 20250331  # the same photos, the same intervals
_AT_ONCE = 2_000_000  # resampled values in memory


def resampled_means(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """The means of `RESAMPLES` bootstrap samples of the photos, each as many photos drawn with replacement.

    values: (P, ...), figures of P photos. Returns (RESAMPLES, ...); the same draws for every figure of P photos.
    """
    photos = len(values)
    rng = np.random.default_rng(_SEED)
    means, left, step = [], RESAMPLES, max(1, _AT_ONCE // values.size)
    while left > 0:
        drawn = rng.integers(0, photos, (min(step, left), photos))
        means.append(values[drawn].mean(1))
        left -= step
    return np.concatenate(means)


def mean_interval(values: NDArray[np.floating]) -> tuple[float, float] | None:
    """The confidence interval of the mean of `values` (P,): bias-corrected and accelerated bootstrap (BCa; Efron,
    Better bootstrap confidence intervals, 1987). None for a single photo, which has no spread."""
    if len(values) < 2:
        return None
    mean, apart = values.mean(), values - values.mean()
    if np.ptp(values) == 0 or not (apart**2).sum():
        return float(mean), float(mean)
    means = np.sort(resampled_means(values))
    below = (np.searchsorted(means, mean, "left") + np.searchsorted(means, mean, "right")) / (2 * RESAMPLES)
    bias = ndtri(below)
    acceleration = (apart**3).sum() / (6 * (apart**2).sum() ** 1.5)  # the jackknife's, which a mean has in closed form
    shift = bias + ndtri(np.array([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]))
    low, high = np.quantile(means, ndtr(bias + shift / (1 - acceleration * shift)))
    return float(low), float(high)


def percentile_interval(statistics: NDArray[np.floating]) -> tuple[float, float]:
    """The confidence interval of any other statistic, from its values in the bootstrap samples: (RESAMPLES,)."""
    low, high = np.quantile(statistics, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def signed_rank_p(differences: NDArray[np.floating]) -> float | None:
    """The two-sided p of Wilcoxon's signed-rank test that paired differences (P,) are centred on zero.

    Photos without a difference are ranked but count for neither side (Pratt, 1959). None for fewer than
    `FEWEST_PAIRS` photos.
    """
    if len(differences) < FEWEST_PAIRS:
        return None
    if not differences.any():
        return 1.0
    found: Any = wilcoxon(differences, zero_method="pratt")  # scipy has no types
    return float(found.pvalue)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """The p-values of one family of tests, raised so that the chance of any false finding among them stays the level
    (Holm, A simple sequentially rejective multiple test procedure, 1979). None: no test, and not counted."""
    tested = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    adjusted: list[float | None] = [None] * len(ps)
    least = 0.0
    for rank, (p, place) in enumerate(tested):
        least = max(least, min(1.0, p * (len(tested) - rank)))
        adjusted[place] = least
    return adjusted
