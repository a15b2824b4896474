"""How far a photo's local contrast is from that of undistorted photos: the 36 features of BRISQUE.

Mittal, Moorthy and Bovik, No-reference image quality assessment in the spatial domain, IEEE TIP 2012. A photo's
brightness, less its local mean and divided by its local deviation ("mean subtracted, contrast normalised"), is
nearly Gaussian in an undistorted photo, and so are in a way products of neighbours; blur, noise and JPEG each bend
both in a way of their own. Each is summed up by a fitted (asymmetric) generalised Gaussian, at full and at half size.

As in the C++ code of the authors, with which the published model was made: 7x7 Gaussian of sigma 7/6, replicated
borders, brightness in [0, 1], halved by a bicubic filter that does not smooth first.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import gamma

FEATURES = 36
LEAST_SIDE = 32  # px; under it the halved photo has next to no pixels beside its borders
_KERNEL = (7, 7)
_SIGMA = 7 / 6
_STABLE = 1 / 255  # added to the local deviation
_SHAPES = np.arange(0.2, 10.0005, 0.001)  # of the generalised Gaussian, among which the authors look

Plane = NDArray[Any]  # float32: the annotations of OpenCV and of numpy's operators do not say so


def features(planes: Iterable[Plane]) -> NDArray[np.float64]:
    """(36,) float64 of one photo: of each size the shape and variance of the normalised brightness, then of its
    products with the right, lower, lower right and lower left neighbour the shape, mean, left and right variance.

    planes: the brightness of the photo, or of parts of it that stand for it together: (h, w) float32 in [0, 1], sides
    at least 32.
    """
    moments = np.zeros((2, 5, 6))
    for plane in planes:
        assert plane.ndim == 2 and min(plane.shape) >= LEAST_SIDE and plane.dtype == np.float32, plane.shape
        half = cv2.resize(plane, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_CUBIC)
        for number, size in enumerate((plane, half)):
            moments[number] += [_moments(values) for values in _products(normalised(size))]
    return np.concatenate([_summed_up(size) for size in moments])


def normalised(plane: Plane) -> Plane:
    """(h, w) float32, brightness in [0, 1] -> the same, less its local mean and divided by its local deviation."""
    mean = _smooth(plane)
    variance = _smooth(plane * plane) - mean * mean
    return (plane - mean) / (np.sqrt(np.abs(variance)) + np.float32(_STABLE))


def brightness(rgb: NDArray[np.uint8]) -> Plane:
    """(h, w, 3) uint8 -> (h, w) float32 in [0, 1], by the weights of ITU-R BT.601, in whole grey levels."""
    return cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY).astype(np.float32) / np.float32(255)


def _smooth(plane: Plane) -> Plane:
    return cv2.GaussianBlur(plane, _KERNEL, _SIGMA, borderType=cv2.BORDER_REPLICATE)


def _products(x: Plane) -> Iterable[Plane]:
    yield x
    yield x[:, :-1] * x[:, 1:]
    yield x[:-1] * x[1:]
    yield x[:-1, :-1] * x[1:, 1:]
    yield x[:-1, 1:] * x[1:, :-1]


def _moments(x: Plane) -> tuple[float, float, float, float, float, float]:
    """How many values there are, how many below 0 and above; of both the sum of their squares; and the sum of all
    magnitudes. Values of exactly 0, which even surfaces have, are on neither side."""
    flat = np.ascontiguousarray(x)
    negative = np.minimum(flat, 0)
    positive = np.maximum(flat, 0)
    left = float(np.vdot(negative, negative))
    right = float(np.vdot(positive, positive))
    below, above = int(np.count_nonzero(negative)), int(np.count_nonzero(positive))
    return flat.size, below, above, left, right, float(cv2.norm(flat, cv2.NORM_L1))


def _summed_up(size: NDArray[np.float64]) -> list[float]:
    """(5, 6): moments of the normalised brightness and of its four products -> 18 features."""
    shape, _, left, right = _fitted(*size[0])
    found = [shape, (left + right) / 2]
    for moments in size[1:]:
        found += _fitted(*moments)
    return found


def _fitted(
    number: float, below: float, above: float, left: float, right: float, magnitude: float
) -> tuple[float, float, float, float]:
    """The asymmetric generalised Gaussian with these moments: shape, mean, left and right variance.

    Lasmar, Stitou and Berthoumieu, Multiscale skewed heavy tailed model for texture analysis, ICIP 2009.
    """
    left_variance, right_variance = left / max(below, 1), right / max(above, 1)
    if left + right == 0:  # nothing to see, or nothing but brightness that never changes
        return float(_SHAPES[-1]), 0.0, 0.0, 0.0
    skew = np.sqrt(left_variance / right_variance) if right_variance else np.inf
    ratio = (magnitude / number) ** 2 / ((left + right) / number)
    skewed = (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2 if np.isfinite(skew) else 1.0
    shape = float(np.interp(ratio * skewed, _ratios(), _SHAPES))
    spread = np.sqrt(gamma(1 / shape) / gamma(3 / shape)) * gamma(2 / shape) / gamma(1 / shape)
    mean = (np.sqrt(right_variance) - np.sqrt(left_variance)) * spread
    return shape, float(mean), left_variance, right_variance


@cache
def _ratios() -> NDArray[np.float64]:
    """Squared mean magnitude over mean square, of a generalised Gaussian of each of the shapes; rising."""
    return gamma(2 / _SHAPES) ** 2 / (gamma(1 / _SHAPES) * gamma(3 / _SHAPES))
