"""What a sweep of s1 over the same photos says of the control: does the target follow, and does the rest stay?

Both are this project's own; the paper shows them as Table 2 without a number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def locality(inside: NDArray[np.floating], outside: NDArray[np.floating]) -> float:
    """How much the rest of the photo moves for what the target moves, in [0, inf); lower is better, 0 is not at all.

    The spread (largest less smallest) over the scales of the photos' mean outside the region, over the same inside.
    The paper's Table 2: 0.34 dB of PSNR outside to 1.02 inside, 0.33.

    inside, outside: (P, S), a metric in the target and in the rest, of P photos at S scales.
    Raises ValueError where there are fewer than two scales, or nothing moves inside.
    """
    _check(inside)
    _check(outside)
    moved = np.ptp(inside.mean(0))
    if moved == 0:
        raise ValueError("the target is the same at every scale, so how much the rest moves with it has no meaning")
    return float(np.ptp(outside.mean(0)) / moved)


def following(scales: NDArray[np.floating], inside: NDArray[np.floating]) -> float:
    """How steadily the target's fidelity rises with its scale, in [-1, 1]; higher is better, 1 is always.

    Kendall's tau of scale and fidelity, the mean over photos: of the pairs of scales, the share at which the higher one
    is closer to the HQ photo, less the share at which it is farther. The paper's Table 2, by its means: 1.

    scales: (S,), all different. inside: (P, S), the target's PSNR (or another metric of which more is better) of P
    photos. Raises ValueError where there are fewer than two scales.
    """
    _check(inside)
    assert scales.shape == inside.shape[1:], (scales.shape, inside.shape)
    first, second = np.triu_indices(len(scales), 1)
    rise = np.sign(scales[second] - scales[first])
    return float((rise * np.sign(inside[:, second] - inside[:, first])).mean())


def _check(values: NDArray[np.floating]) -> None:
    assert values.ndim == 2 and len(values), values.shape
    if values.shape[1] < 2:
        raise ValueError("a sweep has two scales or more")
