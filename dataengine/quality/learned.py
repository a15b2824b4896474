"""The quality score that was fitted to people's judgement: BRISQUE of a photo's most detailed parts, on MUSIQ's scale.

Of the whole photo BRISQUE takes a blurred background, or a large even sky, for a blurred photo. So it is shown the
windows with the most detail: what is in focus. They are chosen by their coarse gradient energy, which blur and noise
hardly change (sharpness.py), so that a photo and its degraded copy are judged by about the same windows.

The scale: two numbers of MUSIQ's are known without its weights, and the curve goes through both. 60 is the paper's
threshold; here it is where good photos and spoilt copies part best. And 69.73 is the mean MUSIQ of the photos of
RefCOCO (the paper's Table 1): here the mean of COCO photos. It is no estimate of a photo's MUSIQ (docs/annotators.md).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instructrestore.dataengine.quality.sharpness import block_energy
from instructrestore.pretrained.brisque import LEAST_SIDE, brisque_of
from instructrestore.pretrained.natural_scenes import brightness

REVISION = "2"  # raised when the same photo gets another score, here or in pretrained/brisque.py

WINDOW = 160  # px
SHARE = 0.25  # of the windows, those with the most detail
LEAST, MOST = 3, 24  # windows
THRESHOLD = 39.0  # of BRISQUE, where the score is 60
SLOPE = 0.0209  # of the score's logit, a unit of BRISQUE


class LearnedQuality:
    """Raises ValueError, in one sentence, where the model's file is missing or damaged."""

    name = f"brisque {REVISION}"

    def __call__(self, rgb: NDArray[np.uint8]) -> float:
        """rgb: (H, W, 3) uint8 sRGB of any size -> 0..100, higher is better; a side under 32 pixels is too little to
        judge, and the score is 0."""
        if min(rgb.shape[:2]) < LEAST_SIDE:
            return 0.0
        return score(brisque_of(detailed(brightness(rgb))))


def score(value: float) -> float:
    """BRISQUE, lower is better -> 0..100, higher is better, 60 at its threshold."""
    return 100 / (1 + math.exp(-math.log(60 / 40) - SLOPE * (THRESHOLD - value)))


def detailed(plane: NDArray[Any]) -> list[NDArray[Any]]:
    """The windows with the most detail of a photo's brightness, (H, W) float32 in [0, 1]; a photo that has no room for
    more than a few is its own window."""
    height, width = plane.shape
    places = [
        (top, left) for top in range(0, height - WINDOW + 1, WINDOW) for left in range(0, width - WINDOW + 1, WINDOW)
    ]
    if len(places) <= LEAST:
        return [plane]
    windows = [plane[top : top + WINDOW, left : left + WINDOW] for top, left in places]
    detail = np.array([float(block_energy(window * np.float32(255)).coarse.mean()) for window in windows])
    count = min(MOST, max(LEAST, round(SHARE * len(windows))))
    return [np.ascontiguousarray(windows[number]) for number in np.argsort(-detail, kind="stable")[:count]]
