"""Lines of text in a photo: the detector of PP-OCRv6 (PaddleOCR, Baidu), whose published network OpenCV runs.

What it gives for every pixel is the probability of the core of a line (Liao et al., "Real-time Scene Text Detection
with Differentiable Binarization", AAAI 2020); each core is a rectangle, grown by area * GROWTH / perimeter to the line.
The numbers are those of RapidOCR 3.10, from whose package the weights are.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from instructrestore.pretrained import installed

CORE = 0.3  # the probability above which a pixel belongs to a core
LEAST_SCORE = 0.5  # the mean probability of a core that counts
GROWTH = 1.6
LEAST_SIDE = 3  # pixels of a core
SHORT_SIDE, LONG_SIDE = 736, 1280  # pixels, of the photo as it is seen: made larger to the one, at most to the other
STRIDE = 32


class LetteringFinder:
    """Raises ValueError, in one sentence, where the package with the weights is not installed, or they are damaged."""

    def __init__(self) -> None:
        self._network = cv2.dnn.readNetFromONNX(str(installed.lettering().checked()))

    def __call__(self, rgb: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """(H, W, 3) uint8 -> of each line its rectangle, from the top down: corners (4, 2) as x, y in pixels."""
        cores = self._cores(rgb)
        to_photo = np.array([rgb.shape[1] / cores.shape[1], rgb.shape[0] / cores.shape[0]], np.float32)
        count, labels = cv2.connectedComponents((cores > CORE).astype(np.uint8))
        lines = []
        for label in range(1, count):
            inside = labels == label
            if cores[inside].mean() < LEAST_SCORE:
                continue
            points = np.argwhere(inside)[:, ::-1].astype(np.float32)
            centre, (width, height), angle = cv2.minAreaRect(points)
            if min(width, height) < LEAST_SIDE:
                continue
            margin = GROWTH * width * height / (2 * (width + height))
            corners = cv2.boxPoints((centre, (width + 2 * margin, height + 2 * margin), angle))
            lines.append((corners + np.float32(0.5)) * to_photo)
        return sorted(lines, key=lambda corners: tuple(corners.min(0)[::-1]))

    def _cores(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(h, w) probabilities, of the photo at the size in which it is seen."""
        height, width = rgb.shape[:2]
        scale = min(max(1.0, SHORT_SIDE / min(height, width)), LONG_SIDE / max(height, width))
        size = [max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in (width, height)]
        seen = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), size, interpolation=cv2.INTER_LINEAR)
        # (levels / 255 - 0.5) / 0.5
        self._network.setInput(cv2.dnn.blobFromImage(seen, 1 / 127.5, mean=(127.5, 127.5, 127.5)))
        return self._network.forward()[0, 0]
