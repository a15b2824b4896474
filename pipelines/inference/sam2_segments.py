"""SAM 2.1 for pointing at things: its outlines are finer than the embedded annotator's, which tells their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from instructrestore.dataengine.annotator.grouping import PanopticSegment
from instructrestore.dataengine.masks.cleanup import CleanupSettings
from instructrestore.dataengine.masks.sam2 import Sam2Segmenter
from instructrestore.dataengine.masks.sam2_settings import Sam2Settings
from instructrestore.shards.rle import BoolArray

LEAST_AREA = 0.0005  # of the photo: what is smaller is hard to point at
CLEANUP = CleanupSettings(hole=LEAST_AREA, island=LEAST_AREA, smallest=LEAST_AREA, largest=1.0, most=500)


@dataclass(frozen=True)
class PhotoPart:
    """mask: (H, W) bool, of pixels that no other part has. seen: the annotator's segment that it mostly is."""

    mask: BoolArray
    seen: PanopticSegment | None


def load_sam2(settings: Sam2Settings) -> Sam2Segmenter:
    """Raises ValueError, in one sentence, if the weights cannot be found or are incomplete."""
    return Sam2Segmenter(settings, CLEANUP)


def parts_of(
    found: Iterable[tuple[BoolArray, PanopticSegment | None]], seen: Sequence[PanopticSegment]
) -> list[PhotoPart]:
    """The photo in parts: the masks found, a smaller one out of a larger, then what the annotator saw besides.

    found: masks, each with what it is, where that is known; else it is what the annotator saw in most of it. All of
    one size.
    """
    order = sorted(found, key=lambda each: -int(each[0].sum()))
    left = [each.mask for each in seen]
    parts: list[PhotoPart] = []
    for number, (mask, known) in enumerate(order):
        visible = mask.copy()
        for smaller, _ in order[number + 1 :]:
            visible &= ~smaller
        left = [each & ~mask for each in left]
        if visible.any():
            parts.append(PhotoPart(visible, known or _mostly(visible, seen)))
    least = LEAST_AREA * (seen[0].mask.size if seen else 0)
    return parts + [PhotoPart(mask, each) for mask, each in zip(left, seen, strict=True) if mask.sum() >= max(1, least)]


def _mostly(mask: BoolArray, seen: Sequence[PanopticSegment]) -> PanopticSegment | None:
    """The segment that has more than half of the mask."""
    return next((each for each in seen if 2 * np.count_nonzero(each.mask & mask) > np.count_nonzero(mask)), None)
