"""Bokeh: whether a region is sharp and its surroundings are blurred. Decides the instruction template in training.

In-focus detail is compared block by block: the fine gradient energy in excess of what an edge blurred by sigma 1 or
more would have (twice its coarse energy), with the noise subtracted. Soft edges count for nothing whatever their
contrast, so a busy blurred background is recognised as blurred; and a plain sky is no evidence, because surroundings
without large-scale structure are empty, not blurred.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from instructrestore.dataengine.photos import photo_file
from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.quality.sharpness import (
    BLOCK,
    COARSE_NOISE,
    FINE_NOISE,
    SMALLEST_SIDE,
    block_energy,
    block_mean,
    high_pass_energy,
    noise_variance,
)
from instructrestore.dataengine.running.stage import Drop

REVISION = "1"

# The highest ratio of fine to coarse energy that an edge out of focus reaches.
SOFT_RATIO = 2.0
# The noise is estimated from the flattest blocks, which show slightly less than there is; the margin keeps the rest
# from passing for detail in other blocks.
NOISE_MARGIN = 1.5
# The sharpest tenth of the region's blocks against the sharpest tenth of those around it.
QUANTILE = 0.9
# In-focus detail, in grey levels between neighbouring pixels: the least that a sharp region has, the most that blurred
# surroundings have, and what amounts to none.
SHARP_DETAIL = 5.0
BLURRED_DETAIL = 10.0
NO_DETAIL = 0.5
# Large-scale structure: grey levels between cells of 1/24 of the short side, reached by a tenth of the cells. Plain
# skies and snow have 4 to 6, the plainest of blurred backgrounds 12.
CELLS = 24
STRUCTURE = 8.0
# Surroundings with a smaller share of the photo are too little evidence.
SMALLEST_SHARE = 0.1
FEWEST_BLOCKS = 4


class BokehSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    ratio: float = Field(
        default=4.0,
        gt=1,
        description="a region is flagged if it is more than this many times as sharp as its surroundings",
    )


class BokehFlag:
    """Sets `bokeh` of each region: what the source says, otherwise what is measured."""

    def __init__(self, settings: BokehSettings) -> None:
        self.settings = settings

    def __call__(self, rows: Sequence[Row]) -> list[Row | Drop]:
        return [self._flag(row) for row in rows]

    def _flag(self, row: Row) -> Row:
        if row.origin.bokeh is not None:
            flags = [row.origin.bokeh] * len(row.regions)
        elif row.regions:
            focus = focus_map(photo_file.load(row))
            flags = [is_bokeh(focus, region.mask.array(), self.settings) for region in row.regions]
        else:
            flags = []
        regions = tuple(replace(region, bokeh=flag) for region, flag in zip(row.regions, flags, strict=True))
        return replace(row, regions=regions, counts={"bokeh": sum(flags)} if any(flags) else {})


@dataclass(frozen=True)
class FocusMap:
    """Where a photo is in focus and where it has structure: computed once and used for every region.

    height, width: of the photo in pixels.
    detail: float32 (height // 16, width // 16): root mean square in-focus gradient of each block, in grey levels.
    structure: float32 (rows, columns) of cells, 24 along the short side: difference from the next cells' mean colour.
    Both are empty for a photo with a side under 32 pixels.
    """

    height: int
    width: int
    detail: NDArray[np.float32]
    structure: NDArray[np.float32]


def focus_map(rgb: NDArray[np.uint8]) -> FocusMap:
    """rgb: (H, W, 3) uint8."""
    height, width = rgb.shape[:2]
    if min(height, width) < SMALLEST_SIDE:
        empty = np.zeros((0, 0), np.float32)
        return FocusMap(height, width, empty, empty)
    plane = rgb[..., 1].astype(np.float32)
    energy = block_energy(plane)
    variance = NOISE_MARGIN * noise_variance(
        high_pass_energy(plane).ravel(), energy.coarse.ravel(), block_mean(plane).ravel()
    )
    fine = np.maximum(energy.fine - FINE_NOISE * variance, 0)
    coarse = np.maximum(energy.coarse - COARSE_NOISE * variance, 0)
    detail = np.sqrt(np.maximum(fine - SOFT_RATIO * coarse, 0))

    side = min(height, width) / CELLS
    size = (round(width / side), round(height / side))
    cells = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.float32)
    steps = np.zeros(cells.shape[:2], np.float32)
    steps[:, :-1] = np.square(np.diff(cells, axis=1)).mean(2)
    steps[:-1] += np.square(np.diff(cells, axis=0)).mean(2)
    return FocusMap(height, width, detail.astype(np.float32), np.sqrt(steps))


def is_bokeh(focus: FocusMap, mask: NDArray[np.bool_], settings: BokehSettings) -> bool:
    """Whether the region is sharp and its surroundings are blurred. mask: (H, W) bool, of the photo's size."""
    return bokeh_score(focus, mask) > settings.ratio


def bokeh_score(focus: FocusMap, mask: NDArray[np.bool_]) -> float:
    """How many times as sharp the region is as its surroundings; 0 if either of them gives no evidence.

    mask: (H, W) bool, of the photo's size. The surroundings are the rest of the photo without the blocks next to the
    region, which share its outline.
    """
    assert mask.shape == (focus.height, focus.width) and mask.dtype == np.bool_, (mask.shape, mask.dtype)
    if focus.detail.size == 0:
        return 0.0
    rows, columns = focus.detail.shape
    covered = np.ascontiguousarray(mask).view(np.uint8) * np.uint8(255)
    inside_share = _shares(covered[: rows * BLOCK, : columns * BLOCK], (rows, columns))
    inside = inside_share > 0.95 * 255
    if np.count_nonzero(inside) < FEWEST_BLOCKS:
        inside = inside_share > 0.5 * 255
    outside = ~_grown(inside_share > 0)
    around = ~_grown(_shares(covered, focus.structure.shape) > 0)
    if (
        np.count_nonzero(inside) < FEWEST_BLOCKS
        or np.count_nonzero(outside) < max(FEWEST_BLOCKS, SMALLEST_SHARE * outside.size)
        or np.count_nonzero(around) < FEWEST_BLOCKS
    ):
        return 0.0
    sharp, soft = (float(np.quantile(focus.detail[part], QUANTILE)) for part in (inside, outside))
    structure = float(np.quantile(focus.structure[around], QUANTILE))
    if sharp < SHARP_DETAIL or soft > BLURRED_DETAIL or structure < STRUCTURE:
        return 0.0
    return (sharp + NO_DETAIL) / (soft + NO_DETAIL)


def _shares(covered: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The share of each block or cell that the mask covers, 0 to 255."""
    return np.asarray(cv2.resize(covered, (shape[1], shape[0]), interpolation=cv2.INTER_AREA), np.uint8)


def _grown(blocks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return cv2.dilate(blocks.view(np.uint8), np.ones((3, 3), np.uint8)).view(np.bool_)
