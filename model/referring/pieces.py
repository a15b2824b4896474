"""What is measured of a piece, a thing's mask in a photo: where it is, how large, its colours, what it stands to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from instructrestore.model.referring.reference import COLOURS, Kind
from instructrestore.pretrained.colour_terms import BASIC, ColourTerms
from instructrestore.shards.rle import BoolArray

SIDE = 256  # px, the longer side of the photo as pieces are measured
_FAR = 0.1  # of the photo's diagonal: a gap that is no neighbourhood at all
_BESIDE = 0.2  # of the photo's side: so far aside, a thing is wholly on that side of another
_STEP = 0.03  # of the photo's longer side: the width of what lies under and around a thing
_TERMS = ColourTerms()
_OF_TERM = np.array([COLOURS.index(basic) for basic in BASIC])


@dataclass(frozen=True)
class MeasuredPiece:
    """mask: (h, w) bool, the longer side at most `SIDE`. x, y: its middle, 0..1 of the photo's sides. area: share of
    the photo. height, width: of its box, shares of the photo's sides. colours: (11,), its share of each of `COLOURS`.
    """

    mask: BoolArray
    x: float
    y: float
    area: float
    height: float
    width: float
    colours: NDArray[np.float64]


def measured(masks: Sequence[BoolArray], rgb: NDArray[np.uint8]) -> list[MeasuredPiece]:
    """masks: (H, W) bool each, none empty. rgb: (H, W, 3) uint8, of the same size."""
    size = _small(rgb.shape[:2])
    terms = _TERMS(np.asarray(cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_AREA), np.uint8))
    return [_piece(mask, terms) for mask in masks]


def shrunk(mask: BoolArray) -> BoolArray:
    """A mask at the size of pieces' masks, with every pixel that it touches."""
    size = _small(mask.shape)
    return cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA) > 0.25


def _small(size: Sequence[int]) -> tuple[int, int]:
    scale = min(1.0, SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _piece(mask: BoolArray, terms: NDArray[np.uint8]) -> MeasuredPiece:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert rows.size, "an empty mask"
    high, wide = mask.shape
    down, across = mask.sum(1), mask.sum(0)  # pixels of each row and column
    pixels = int(down.sum())
    small = shrunk(mask)
    seen = terms[small] if small.any() else np.zeros(0, np.uint8)
    colours = np.bincount(_OF_TERM[seen], minlength=len(COLOURS)) / max(1, seen.size)
    return MeasuredPiece(
        small,
        float(across @ (np.arange(wide) + 0.5)) / pixels / wide,
        float(down @ (np.arange(high) + 0.5)) / pixels / high,
        pixels / mask.size,
        int(rows[-1] - rows[0] + 1) / high,
        int(columns[-1] - columns[0] + 1) / wide,
        colours,
    )


def related(piece: MeasuredPiece, other: BoolArray, kind: Kind) -> float:
    """How much the piece stands so to another thing, (h, w) bool like its mask: 0 (not at all) to 1."""
    other = other & ~piece.mask
    if not other.any() or not piece.mask.any():
        return 0.0
    if kind == "beside":
        outside = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, 5)
        gap = float(outside[piece.mask].min()) - 1
        return float(np.clip(1 - gap / (_FAR * np.hypot(*other.shape)), 0, 1))
    if kind in ("on", "in front of"):
        width = max(2, round(_STEP * max(other.shape)))
        near = _under(piece.mask, width) if kind == "on" else _around(piece.mask, width)
        pixels = np.count_nonzero(near)
        return np.count_nonzero(near & other) / pixels if pixels else 0.0
    y, x = (float(places.mean() + 0.5) / side for places, side in zip(np.nonzero(other), other.shape, strict=True))
    aside = {"left of": x - piece.x, "right of": piece.x - x, "above": y - piece.y, "below": piece.y - y}[kind]
    return float(np.clip(aside / _BESIDE, 0, 1))


def _under(mask: BoolArray, width: int) -> BoolArray:
    below = np.zeros_like(mask)
    below[width:] = mask[:-width]
    return below & ~mask


def _around(mask: BoolArray, width: int) -> BoolArray:
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((2 * width + 1, 2 * width + 1), np.uint8)) > 0
    return grown & ~mask
