"""What shows nothing has no name: a black frame, a blank page with or without text, a ramp, a few pixels.

The network was trained on photos alone and calls an even grey "sky" and a black frame "wall". Where nearly no pixel
of a segment differs from its neighbours, not even by a camera's noise, or all lie on one even ramp, its probabilities
are not to be trusted.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

LEAST_SIDE = 96  # in pixels: a photo that is smaller shows nothing
FLAT_STEP = 0.2  # in grey levels from pixel to pixel, below which nothing changes
FLAT_SHARE = 0.65  # of a segment's pixels; 0.48 was the most seen in a photo (a wall), 0.76 the least in a page of text
RAMP_ERROR = 0.6  # root mean square in grey levels, from a plane; 0.3 is that of rounding


class Featureless:
    """Called with a segment, (H, W) bool, not empty, it says whether the segment shows nothing.

    rgb: (H, W, 3) uint8, the photo or a smaller copy. small: whether the photo itself has too few pixels.
    """

    def __init__(self, rgb: NDArray[np.uint8], small: bool) -> None:
        self._small = small
        self._grey = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
        across, down = (cv2.Sobel(self._grey, cv2.CV_32F, *axis, ksize=3, scale=1 / 8) for axis in ((1, 0), (0, 1)))
        self._flat = np.less(np.hypot(across, down), FLAT_STEP)

    def __call__(self, mask: NDArray[np.bool_]) -> bool:
        return self._small or float(self._flat[mask].mean()) > FLAT_SHARE or self._ramp(mask)

    def _ramp(self, mask: NDArray[np.bool_]) -> bool:
        rows, columns = np.nonzero(mask)
        some = slice(None, None, max(1, rows.size // 4000))
        places = np.stack([np.ones(rows[some].size), rows[some], columns[some]], 1)
        values = self._grey[rows[some], columns[some]].astype(np.float64)
        plane = np.linalg.lstsq(places, values, rcond=None)[0]
        return float(np.sqrt(np.mean((places @ plane - values) ** 2))) < RAMP_ERROR
