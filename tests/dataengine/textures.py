"""Made-up textures with the statistics of photos."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def texture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Dead leaves: discs of random size and colour that hide each other, as things in a scene do: sharp edges at all
    scales. (H, W, 3) uint8."""
    random = np.random.default_rng(seed)
    rgb = np.full((height, width, 3), 128, np.uint8)
    for radius in 3 / np.sqrt(random.uniform(0.0005, 1, height * width // 60)):
        centre = (int(random.integers(width)), int(random.integers(height)))
        cv2.circle(rgb, centre, int(radius), random.integers(20, 236, 3).tolist(), -1, cv2.LINE_AA)
    return rgb
