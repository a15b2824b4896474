"""Faces in a photo: YuNet (Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence
Research 20, 2023), whose published network OpenCV runs."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from instructrestore.pretrained import installed

LEAST_SCORE = 0.6
OVERLAP = 0.3  # IoU from which on two answers are one face
LONG_SIDE = 1024  # pixels, to which larger photos are made smaller


class FaceFinder:
    """Raises ValueError, in one sentence, where the package with the weights is not installed, or they are damaged."""

    def __init__(self) -> None:
        weights = str(installed.faces().checked())
        self._network = cv2.FaceDetectorYN.create(weights, "", (320, 320), LEAST_SCORE, OVERLAP)

    def __call__(self, rgb: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """(H, W, 3) uint8 -> of each face its box, the most certain first: four corners (4, 2) as x, y in pixels."""
        scale = min(1.0, LONG_SIDE / max(rgb.shape))
        seen = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        if scale < 1:
            seen = cv2.resize(seen, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        self._network.setInputSize((seen.shape[1], seen.shape[0]))
        _, found = self._network.detect(seen)
        if found is None:
            return []
        found = sorted(found, key=lambda face: -face[14])
        return [_corners(face[:4] / np.float32(scale)) for face in found]


def _corners(box: NDArray[np.float32]) -> NDArray[np.float32]:
    """box: x, y, width, height."""
    x, y, width, height = box
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], np.float32)
