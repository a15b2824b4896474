"""What shows nothing has no name: a black frame, a blank page with or without text, a thumbnail of a few pixels.

The network was trained on photos alone and calls an even grey "sky" and a black frame "wall". Where nearly no pixel
of a segment differs from its neighbours, not even by a camera's noise, its probabilities are not to be trusted.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

LEAST_SIDE = 96  # in pixels: a photo that is smaller shows nothing
FLAT_STEP = 0.2  # in grey levels from pixel to pixel, below which nothing changes
FLAT_SHARE = 0.65  # of a segment's pixels; 0.48 was the most seen in a photo (a wall), 0.76 the least in a page of text


def flat_pixels(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """rgb: (H, W, 3) uint8. (H, W) bool: where nothing changes."""
    grey = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
    across, down = (cv2.Sobel(grey, cv2.CV_32F, *axis, ksize=3, scale=1 / 8) for axis in ((1, 0), (0, 1)))
    return np.less(np.hypot(across, down), FLAT_STEP)


def featureless(mask: NDArray[np.bool_], flat: NDArray[np.bool_]) -> bool:
    """Of a segment, (H, W) bool, not empty."""
    return float(flat[mask].mean()) > FLAT_SHARE
