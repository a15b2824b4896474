"""Keeps or drops photos by their short side and a no-reference quality score (paper, section 3: > 512 px, MUSIQ > 60).

There are three metrics on one scale, 0 to 100: MUSIQ (musiq.py), and two that need no download and see sharpness, noise
and compression but not composition, exposure or content: BRISQUE (learned.py), which was fitted to people's judgement,
and the embedded one, fitted by this project to degraded copies of its photos.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from instructrestore.dataengine.photos import photo_file
from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.quality import learned, musiq_settings
from instructrestore.dataengine.quality.musiq_settings import MusiqSettings
from instructrestore.dataengine.quality.sharpness import SMALLEST_SIDE, Measurement, measure
from instructrestore.dataengine.running.stage import Drop

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
    """A no-reference score of a photo: (H, W, 3) uint8 -> 0 (worst) to 100. name: for the record."""

    name: str

    def __call__(self, rgb: NDArray[np.uint8]) -> float: ...


class QualityGateSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    short_side: int = Field(default=512, ge=0, description="pixels; photos whose short side is longer are kept")
    score: float = Field(default=60.0, ge=0, le=100, description="photos with a quality score above this are kept")
    metric: Literal["embedded", "brisque", "musiq"] = Field(
        default="embedded",
        description='the metric: "brisque" (fitted to people\'s judgement) or "embedded" (fitted to degraded copies), '
        'both without download and on the CPU, or "musiq" (the extra iqa)',
    )
    musiq: MusiqSettings = Field(default=MusiqSettings(), description='for the metric "musiq"')

    @model_serializer(mode="wrap")
    def _without_what_is_not_used(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out MUSIQ's settings where they are the defaults and MUSIQ is not used."""
        values = handler(self)
        if self.metric != "musiq" and self.musiq == MusiqSettings():
            values.pop("musiq", None)
        return values


def identity(settings: QualityGateSettings) -> tuple[Any, ...]:
    """What the gate's results depend on besides the rows, to be hashed: revisions and settings."""
    if settings.metric == "musiq":
        return REVISION, musiq_settings.REVISION, settings
    if settings.metric == "brisque":
        return REVISION, learned.REVISION, settings
    return REVISION, settings


class QualityGate:
    """Drops photos that are too small or not good enough; sets `photo.quality` and `photo.quality_metric`."""

    def __init__(self, settings: QualityGateSettings) -> None:
        self.settings = settings
        self.metric: QualityMetric = EmbeddedQuality()
        if settings.metric == "brisque":
            self.metric = learned.LearnedQuality()
        elif settings.metric == "musiq":
            from instructrestore.dataengine.quality.musiq import Musiq  # noqa: PLC0415  (imports torch, which is slow)

            self.metric = Musiq(settings.musiq)

    def __call__(self, rows: Sequence[Row]) -> list[Row | Drop]:
        return [self._gate(row) for row in rows]

    def _gate(self, row: Row) -> Row | Drop:
        assert row.photo is not None
        short_side = min(row.photo.width, row.photo.height)
        if short_side <= self.settings.short_side:
            return Drop("short side", f"{short_side} px")
        # Rounded before the comparison, so that the record shows why the photo was kept.
        score = round(self.metric(photo_file.load(row)), 2)
        if score <= self.settings.score:
            return Drop("quality score", f"{score:g}")
        return replace(row, photo=replace(row.photo, quality=score, quality_metric=self.metric.name), counts={})


class EmbeddedQuality:
    """Sharpness minus noise and JPEG blocking, on MUSIQ's scale: 60 is the threshold of a good photo, 72 the median of
    good photos, and 76 the maximum, for a photo in which it finds no fault."""

    name = "embedded"

    def __call__(self, rgb: NDArray[np.uint8]) -> float:
        """rgb: (H, W, 3) uint8 of any size; a side under 32 pixels is too little to judge, and the score is 0."""
        if min(rgb.shape[:2]) < SMALLEST_SIDE:
            return 0.0
        return 100 / (1 + math.exp(-OFFSET - evidence(measure(rgb))))


def evidence(seen: Measurement) -> float:
    """The measurement as one number, without the offset: 0 for a perfectly sharp, clean photo, lower for worse.

    Each fault counts by the logarithm of how far it exceeds what is tolerable, so that the absence of one does not make
    up for another: log(1 + SOFT / (sharpness - 1)), log(1 + (noise / NOISY)^2), log(1 + (blocking / BLOCKY)^3).
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
