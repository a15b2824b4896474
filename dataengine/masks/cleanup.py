"""Cleans a photo's masks before they are described: holes, islands, areas, duplicates, parts.

The paper asks Semantic-SAM for coarse semantic granularity: whole things and stuff, not their parts. No segmenter
gives exactly that, so parts of a kept mask are removed here. Every removal is counted under one of these reasons:

    hole filled, island dropped     (within a mask: the number of holes and islands)
    empty, too small, too large, duplicate, part of another, beyond the most regions     (whole masks)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from instructrestore.shards.rle import BoolArray

HOLE_FILLED, ISLAND_DROPPED = "hole filled", "island dropped"


class CleanupSettings(BaseModel):
    """What counts as a hole, an island, a duplicate and a part. Areas are shares of the photo's area.

    The defaults are for a segmenter's masks; `CleanupSettings.gentle()` is for masks drawn by people.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    hole: float = Field(
        default=0.004, description="holes in a mask below this share of the photo are filled", ge=0, le=1
    )
    island: float = Field(
        default=0.004, description="islands of a mask below this share of the photo are dropped", ge=0, le=1
    )
    smallest: float = Field(default=0.01, description="regions below this share of the photo are dropped", ge=0, le=1)
    largest: float = Field(default=0.95, description="regions above this share of the photo are dropped", gt=0, le=1)
    duplicate_iou: float = Field(
        default=0.8, description="of two masks with an IoU above this, the smaller is dropped; 1 keeps both", gt=0, le=1
    )
    part: float = Field(
        default=0.9,
        description="a mask with more than this share inside a larger one is dropped; 1 keeps both",
        gt=0,
        le=1,
    )
    most: int = Field(default=15, description="the most regions in a photo; the largest are kept", ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> CleanupSettings:
        if max(self.hole, self.island) > self.smallest:
            raise ValueError("hole and island must not be larger than smallest, or whole regions would be islands")
        if self.smallest >= self.largest:
            raise ValueError("smallest must be below largest")
        return self

    @classmethod
    def gentle(cls) -> CleanupSettings:
        """For masks drawn by people: removes only specks and what is too small to restore, for the rest is intended.

        A person behind a post keeps both parts, a face within a person stays, and so do two captions of one mask.
        """
        return cls(hole=0.0002, island=0.0002, smallest=0.0025, largest=1.0, duplicate_iou=1, part=1, most=100)


@dataclass(frozen=True)
class CleanupResult:
    """The masks that were kept, and the counts of what was removed, by reason: `masks_removed` and the masks kept add
    up to the masks given."""

    shape: tuple[int, int]
    kept: list[_Candidate]
    counts: dict[str, int]

    @property
    def masks_removed(self) -> dict[str, int]:
        """The part of `counts` that is about whole masks."""
        return {reason: n for reason, n in self.counts.items() if reason not in (HOLE_FILLED, ISLAND_DROPPED)}

    @property
    def indices(self) -> list[int]:
        """For each mask kept, its index among the masks given."""
        return [candidate.index for candidate in self.kept]

    def each(self) -> Iterator[BoolArray]:
        """The masks kept, (H, W) bool each, the largest first, and one at a time: each is as large as the photo."""
        return (_full(candidate, self.shape) for candidate in self.kept)

    @property
    def masks(self) -> list[BoolArray]:
        """`each`, all at once."""
        return list(self.each())


@dataclass(frozen=True)
class _Candidate:
    """A mask cropped to its bounding box: array (h, w) bool, its top left pixel in the photo, its area in pixels."""

    index: int
    array: BoolArray
    top: int
    left: int
    area: int


def clean(masks: Iterable[BoolArray], settings: CleanupSettings) -> CleanupResult:
    """Cleans each mask on its own, then goes from the largest to the smallest (equal ones in the order given) and keeps
    each that is neither a duplicate nor a part of one already kept.

    masks: (H, W) bool each, all of one size. A thing in a real hole of a larger mask (a boat in the sea) shares no
    pixels with it and so is not a part of it; a hole small enough to be filled is smaller than any region kept.
    Cleaning the result again changes nothing.
    """
    counts: Counter[str] = Counter()
    candidates = []
    shape = (0, 0)
    for index, mask in enumerate(masks):
        assert mask.dtype == np.bool_ and shape in ((0, 0), mask.shape), (mask.shape, mask.dtype)
        shape = mask.shape
        candidate = _clean_one(index, mask, settings, counts)
        if candidate is not None:
            candidates.append(candidate)
    candidates.sort(key=lambda candidate: (-candidate.area, candidate.index))
    kept: list[_Candidate] = []
    for candidate in candidates:
        reason = _redundant(candidate, kept, settings)
        if not reason and len(kept) == settings.most:
            reason = "beyond the most regions"
        if reason:
            counts[reason] += 1
        else:
            kept.append(candidate)
    return CleanupResult((shape[0], shape[1]), kept, dict(sorted(counts.items())))


def _clean_one(index: int, mask: BoolArray, settings: CleanupSettings, counts: Counter[str]) -> _Candidate | None:
    columns = np.flatnonzero(mask.any(axis=0))
    if columns.size == 0:
        counts["empty"] += 1
        return None
    rows = np.flatnonzero(mask.any(axis=1))
    top, left = int(rows[0]), int(columns[0])
    array = np.ascontiguousarray(mask[top : rows[-1] + 1, left : columns[-1] + 1])
    array, holes = fill_holes(array, settings.hole * mask.size)
    array, islands = drop_islands(array, settings.island * mask.size)
    counts.update({name: n for name, n in ((HOLE_FILLED, holes), (ISLAND_DROPPED, islands)) if n})
    area = int(np.count_nonzero(array))
    if area < settings.smallest * mask.size or area == 0:
        counts["too small"] += 1
        return None
    if area > settings.largest * mask.size:
        counts["too large"] += 1
        return None
    return _Candidate(index, array, top, left, area)


def fill_holes(mask: BoolArray, below: float) -> tuple[BoolArray, int]:
    """Fills holes of fewer than `below` pixels: 4-connected background that does not touch the edge.

    mask: (H, W) bool. Returns the mask and how many holes were filled.
    """
    background = np.logical_not(mask)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(background.view(np.uint8), connectivity=4)
    x, y, w, h = (stats[:, column] for column in range(4))
    inside = (x > 0) & (y > 0) & (x + w < mask.shape[1]) & (y + h < mask.shape[0])
    hole = inside & (stats[:, cv2.CC_STAT_AREA] < below)
    hole[0] = False  # label 0 is the mask itself
    return (mask | hole[np.asarray(labels, np.int32)], int(hole.sum())) if hole.any() else (mask, 0)


def drop_islands(mask: BoolArray, below: float) -> tuple[BoolArray, int]:
    """Drops islands of fewer than `below` pixels: 8-connected parts of the mask.

    mask: (H, W) bool. Returns the mask and how many islands were dropped.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    island = stats[:, cv2.CC_STAT_AREA] < below
    island[0] = False  # label 0 is the background
    return (mask & ~island[np.asarray(labels, np.int32)], int(island.sum())) if island.any() else (mask, 0)


def _redundant(candidate: _Candidate, kept: Sequence[_Candidate], settings: CleanupSettings) -> str:
    """Why the candidate is redundant given those kept, all at least as large; empty if it is not."""
    if settings.duplicate_iou == 1 and settings.part == 1:
        return ""
    part = False
    for other in kept:
        common = _common_area(candidate, other)
        iou = common / (candidate.area + other.area - common)
        if iou > settings.duplicate_iou:
            return "duplicate"
        part = part or common > settings.part * candidate.area
    return "part of another" if part else ""


def _common_area(a: _Candidate, b: _Candidate) -> int:
    top, left = max(a.top, b.top), max(a.left, b.left)
    bottom = min(a.top + a.array.shape[0], b.top + b.array.shape[0])
    right = min(a.left + a.array.shape[1], b.left + b.array.shape[1])
    if bottom <= top or right <= left:
        return 0
    part_a = a.array[top - a.top : bottom - a.top, left - a.left : right - a.left]
    part_b = b.array[top - b.top : bottom - b.top, left - b.left : right - b.left]
    return int(np.count_nonzero(part_a & part_b))


def _full(candidate: _Candidate, shape: tuple[int, ...]) -> BoolArray:
    full = np.zeros(shape, np.bool_)
    height, width = candidate.array.shape
    full[candidate.top : candidate.top + height, candidate.left : candidate.left + width] = candidate.array
    return full
