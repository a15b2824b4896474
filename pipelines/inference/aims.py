"""What the best scales may be best for: of each aim a score, and a bound on what may be given up for it.

Everything is measured on the 8-bit pixels that are written, of the whole photo, and compared with two pictures: the LQ
photo (at the size of the result), and what the default scales, 1 everywhere, give.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from instructrestore.dataengine.quality.quality_gate import EmbeddedQuality
from instructrestore.pretrained.brisque import brisque

FARTHER = 1.0  # dB
GAIN_KEPT = 0.5
MOST_PSNR = 100.0  # dB, of a picture that is the LQ photo itself
_quality = EmbeddedQuality()


@dataclass(frozen=True)
class Measures:
    """Of one picture.

    brisque: 0 to about 100, lower is better (pretrained/brisque.py). clean: 0 to 76, sharp and without noise and JPEG
    blocks, the quality gate's embedded score. psnr: against the LQ photo, dB, RGB, at most 100. detail: the mean square
    of what a 3x3 box blur takes from the brightness, in grey levels.
    """

    brisque: float
    clean: float
    psnr: float
    detail: float


def measure(rgb: NDArray[np.uint8], lq: NDArray[np.uint8]) -> Measures:
    """rgb, lq: (H, W, 3) uint8 of one size, sides at least 32."""
    error = float(np.square(rgb.astype(np.float32) - lq).mean())
    psnr = MOST_PSNR if error == 0 else min(MOST_PSNR, 10 * math.log10(255**2 / error))
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return Measures(brisque(rgb), _quality(rgb), psnr, float(np.square(grey - cv2.blur(grey, (3, 3))).mean()))


@dataclass(frozen=True)
class Aim:
    """figure: what counts. lower: whether less of it is better. admits: whether a picture keeps the bound, of (picture,
    what the default gives, LQ photo). figure_is, bound_is: both in words."""

    figure: Callable[[Measures], float]
    lower: bool
    admits: Callable[[Measures, Measures, Measures], bool]
    figure_is: str
    bound_is: str

    def score(self, picture: Measures) -> float:
        """Of a picture; higher is better."""
        return -self.figure(picture) if self.lower else self.figure(picture)


def _near(picture: Measures, default: Measures, lq: Measures) -> bool:
    return picture.psnr >= default.psnr - FARTHER


def _still_clean(picture: Measures, default: Measures, lq: Measures) -> bool:
    return picture.clean >= lq.clean + GAIN_KEPT * max(0.0, default.clean - lq.clean)


_NEAR = f"PSNR against the LQ photo at most {FARTHER:g} dB below the default's"
AIMS = {
    "natural": Aim(lambda picture: picture.brisque, True, _near, "BRISQUE", _NEAR),
    "faithful": Aim(
        lambda picture: picture.psnr,
        False,
        _still_clean,
        "PSNR against the LQ photo",
        f"at least {GAIN_KEPT:g} of what the default gains over the LQ photo in the embedded score of sharpness, noise "
        "and blocks",
    ),
    "detail": Aim(lambda picture: picture.detail, False, _near, "high-frequency energy", _NEAR),
}


def checked_aim(aim: str, option: str) -> str:
    """The aim. Raises ValueError, in one sentence, where there is none of that name. option: how it was asked for."""
    if aim not in AIMS:
        raise ValueError(f"{option} must be one of {', '.join(AIMS)}, not {aim!r}")
    return aim
