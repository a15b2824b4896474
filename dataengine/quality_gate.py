"""Keep | drop with a reason: the short side and a no-reference quality score (paper section 3: > 512 px, MUSIQ > 60).

Two metrics on one scale, 0 to 100: MUSIQ (Ke et al., ICCV 2021) through pyiqa, and the embedded one, which needs no
download and sees sharpness, noise and JPEG blocking only: nothing of composition, exposure or content.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from dataengine import photo_file
from dataengine.row import Drop, Row
from dataengine.sharpness import SMALLEST_SIDE, Measurement, measure

REVISION = "1"

# Fitted by `python benchmarks/quality.py --fit` on half of the photos and their degraded copies, which prints these.
SOFTNESS_WEIGHT = 0.698
NOISE_WEIGHT = 0.305
BLOCKING_WEIGHT = 0.715
OFFSET = 1.178
SOFT = 1.224
NOISY = 2.501
BLOCKY = 2.288


class QualityMetric(Protocol):
    """A no-reference score of a photo: (H, W, 3) uint8 -> 0 (worst) to 100."""

    def __call__(self, rgb: NDArray[np.uint8]) -> float: ...


class QualityGateSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    short_side: int = Field(default=512, ge=0, description="pixels; photos whose short side is greater are kept")
    score: float = Field(
        default=60.0, ge=0, le=100, description="photos with a quality score greater than this are kept"
    )
    metric: Literal["embedded", "musiq"] = Field(
        default="embedded", description='what scores: "embedded" (no download, CPU) or "musiq" (the extra iqa)'
    )


class QualityGate:
    """Drops photos that are too small or not good enough; sets `photo.quality` and `photo.quality_metric`."""

    def __init__(self, settings: QualityGateSettings) -> None:
        self.settings = settings
        self.metric: QualityMetric = Musiq() if settings.metric == "musiq" else EmbeddedQuality()

    def __call__(self, rows: Sequence[Row]) -> list[Row | Drop]:
        return [self._gate(row) for row in rows]

    def _gate(self, row: Row) -> Row | Drop:
        assert row.photo is not None
        short_side = min(row.photo.width, row.photo.height)
        if short_side <= self.settings.short_side:
            return Drop("short side", f"{short_side} px")
        # Rounded before it is compared: the record then says why the photo was kept.
        score = round(self.metric(photo_file.load(row)), 2)
        if score <= self.settings.score:
            return Drop("quality score", f"{score:g}")
        return replace(row, photo=replace(row.photo, quality=score, quality_metric=self.settings.metric), counts={})


class EmbeddedQuality:
    """Sharpness, less noise and JPEG blocking, on MUSIQ's scale: 60 is the border of good, the median good photo has
    72, and 76 is the most there is, for a photo without any fault that it sees."""

    def __call__(self, rgb: NDArray[np.uint8]) -> float:
        """rgb: (H, W, 3) uint8 of any size; under 32 pixels a side there is nothing to judge and the score is 0."""
        if min(rgb.shape[:2]) < SMALLEST_SIDE:
            return 0.0
        return 100 / (1 + math.exp(-OFFSET - evidence(measure(rgb))))


def evidence(seen: Measurement) -> float:
    """The measurement as one number, without the offset: 0 for a perfectly sharp, clean photo, lower for worse.

    Each fault counts by the logarithm of how far it exceeds what is tolerable, so that none is forgiven for another
    being absent: log(1 + SOFT / (sharpness - 1)), log(1 + (noise / NOISY)^2), log(1 + (blocking / BLOCKY)^3).
    """
    softness, noise, blocking = faults(seen, SOFT, NOISY, BLOCKY)
    return -(SOFTNESS_WEIGHT * softness + NOISE_WEIGHT * noise + BLOCKING_WEIGHT * blocking)


def faults(seen: Measurement, soft: float, noisy: float, blocky: float) -> tuple[float, float, float]:
    """Softness, noise and blocking on logarithmic scales, each at least 0."""
    return (
        math.log1p(soft / max(seen.sharpness - 0.99, 0.01)),
        math.log1p((seen.noise / noisy) ** 2),
        math.log1p((max(seen.blocking, 0.0) / blocky) ** 3),
    )


class Musiq:
    """MUSIQ, trained on KonIQ-10k, through pyiqa (the extra `iqa`); on the GPU where there is one.

    Raises ValueError where the extra is not installed or the weights cannot be had.
    """

    def __init__(self) -> None:
        try:
            import pyiqa  # noqa: PLC0415  # pyright: ignore[reportMissingImports]
            import torch  # noqa: PLC0415  (slow, and needed here alone)  # pyright: ignore[reportMissingImports]
        except (ImportError, RuntimeError) as error:  # torchvision built for another torch is a RuntimeError
            raise ValueError(
                'the quality metric "musiq" needs pyiqa: pip install "instructrestore[iqa]", or set the metric to '
                f'"embedded" ({type(error).__name__}: {error})'
            ) from None
        self._torch = torch
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self._model = pyiqa.create_metric("musiq", device=self._device)
        except OSError as error:
            raise ValueError(
                f"the weights of MUSIQ could not be fetched ({error}): run once with a network connection, or set the "
                'quality metric to "embedded"'
            ) from None

    def __call__(self, rgb: NDArray[np.uint8]) -> float:
        """rgb: (H, W, 3) uint8."""
        torch = self._torch
        pixels = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))).to(self._device)
        with torch.inference_mode():
            score = self._model(pixels[None].float() / 255)  # (1, 3, H, W) in [0, 1] -> (1, 1)
        return min(100.0, max(0.0, float(score.item())))
