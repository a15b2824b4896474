"""A photo as a source gives it, before a sample is cut out of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from instructrestore.dataengine.photos.row import SourcePhoto
from instructrestore.shards.sample import Region

# Reasons shared by both sources and the crop.
SMALL = "photo smaller than the crop"
NO_BOKEH = "no bokeh region"


class UnfitPhoto(ValueError):
    """A photo that gives no sample. reason: a few words, by which it is counted. detail: the particulars."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Material:
    """A photo with its regions and, if the source has one, its LQ photo.

    origin: its name, source, licence and URL. group: key of the first photo of its near-duplicate group.
    hq: (H, W, 3) uint8, upright sRGB. regions: with masks of its size.
    lq: (H / n, W / n, 3) uint8 with n = 1, 2, 3 or 4; None: it has to be made.
    """

    origin: SourcePhoto
    group: str
    hq: NDArray[np.uint8]
    regions: tuple[Region, ...]
    lq: NDArray[np.uint8] | None = None
