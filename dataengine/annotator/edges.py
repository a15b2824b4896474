"""Coarse maps brought to the photo's own edges: the guided filter (He et al., PAMI 2013) in its fast form.

In every small window a map is taken for a linear function of the photo's three channels, fitted at a small size; the
coefficients, enlarged, are applied to the photo at a larger one. So a step in the map goes to the step in the photo.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

RADIUS = 8  # of a window, in pixels of the small size
SMOOTHING = 5e-4  # regularisation, in squared units of a channel in 0..1

FloatArray = NDArray[Any]  # float32: the annotations of OpenCV and of numpy's operators do not say so


def guided(maps: FloatArray, small: NDArray[np.uint8], large: NDArray[np.uint8]) -> FloatArray:
    """maps: (h, w, K) float32 at the small size. small, large: the photo at both, uint8 RGB. -> (H, W, K) float32."""
    height, width, number = maps.shape
    assert small.shape == (height, width, 3), (small.shape, maps.shape)
    guide = small.astype(np.float32) / 255
    mean = _box(guide)
    covariance = np.empty((height, width, 3, 3), np.float32)
    for i in range(3):
        for j in range(i, 3):
            covariance[..., i, j] = covariance[..., j, i] = (
                _box(guide[..., i] * guide[..., j]) - mean[..., i] * mean[..., j]
            )
    covariance += SMOOTHING * np.eye(3, dtype=np.float32)
    inverse = np.linalg.inv(covariance)  # (h, w, 3, 3)
    fine = large.astype(np.float32) / 255
    size = (large.shape[1], large.shape[0])
    result = np.empty((*large.shape[:2], number), np.float32)
    for index in range(number):
        plane = np.ascontiguousarray(maps[..., index])
        average = _box(plane)
        shared = _box(guide * plane[..., None]) - mean * average[..., None]
        slope = np.einsum("hwij,hwj->hwi", inverse, shared)  # (h, w, 3)
        offset = average - np.einsum("hwi,hwi->hw", slope, mean)
        both = cv2.resize(_box(np.dstack([slope, offset])), size, interpolation=cv2.INTER_LINEAR)
        result[..., index] = np.einsum("hwi,hwi->hw", both[..., :3], fine) + both[..., 3]
    return result


def _box(planes: FloatArray) -> FloatArray:
    side = 2 * RADIUS + 1
    return cv2.boxFilter(np.ascontiguousarray(planes), cv2.CV_32F, (side, side))
