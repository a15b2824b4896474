"""Overlapping tiles: where they lie, how their results are blended, and how visible their borders are.

The weighted mean of overlapping windows is MultiDiffusion's (Bar-Tal et al. 2023) and, with weights that fall off
towards a window's edges, the aggregation sampling of StableSR (Wang et al. 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

RUN = (
    16  # pixels along a border that the seam metric averages: a seam goes one way for long, a photo's texture does not
)


@dataclass(frozen=True)
class Tile:
    """A rectangle of the map that is tiled, in its cells (pixels or latent cells)."""

    top: int
    left: int
    height: int
    width: int

    def crop(self, maps: Tensor) -> Tensor:
        """maps (..., H, W) -> a view (..., height, width)."""
        return maps[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def times(self, factor: int) -> Tile:
        """The same tile on a map that is finer by a whole factor."""
        return Tile(self.top * factor, self.left * factor, self.height * factor, self.width * factor)


def plan_tiles(height: int, width: int, tile: int, overlap: int, step: int = 1) -> list[Tile]:
    """The fewest tiles that cover a map of height x width, row by row, spread evenly.

    Every tile has the size min(tile, side); neighbours share at least `overlap` cells; one tile where the map fits.
    Starts are multiples of `step`, so that downsampling inside a tile falls on the same cells as on the whole map;
    then a side longer than a tile and the tile must be multiples of `step` too.
    """
    if min(height, width) < 1:
        raise ValueError(f"a map of {height} x {width} cells cannot be tiled: both sides must be at least 1")
    if overlap < 0 or tile - overlap < step:
        raise ValueError(
            f"tiles of {tile} with an overlap of {overlap} do not advance: use an overlap of 0 to {tile - step}"
        )
    return [
        Tile(top, left, min(tile, height), min(tile, width))
        for top in _starts(height, tile, overlap, step)
        for left in _starts(width, tile, overlap, step)
    ]


def feather(tile: Tile, height: int, width: int, overlap: int, device: torch.device | str | None = None) -> Tensor:
    """Blending weights of a tile of a map of height x width -> (tile.height, tile.width) float32, above 0, at most 1.

    1 but for ramps, `overlap` cells long, at the edges shared with neighbours: squared sines, whose flat start keeps
    out a tile's outermost cells, the ones that a convolution's zero padding has touched most.
    """
    rows = _ramp(tile.top, tile.height, height, overlap, device)
    columns = _ramp(tile.left, tile.width, width, overlap, device)
    return rows[:, None] * columns[None, :]


class Blend:
    """The weighted mean of overlapping tiles' results, in float32.

    One tile that covers the map comes back unchanged, bit for bit.
    """

    def __init__(self, shape: Sequence[int], overlap: int, device: torch.device | str | None = None) -> None:
        """shape (B, C, H, W) of the whole; `overlap` as in `plan_tiles`."""
        self.overlap = overlap
        self.total = torch.zeros(tuple(shape), dtype=torch.float32, device=device)
        self.weight = torch.zeros(tuple(shape[-2:]), dtype=torch.float32, device=device)

    def add(self, tile: Tile, values: Tensor) -> None:
        """values (B, C, tile.height, tile.width), any float dtype."""
        height, width = self.weight.shape
        weight = feather(tile, height, width, self.overlap, self.weight.device)
        tile.crop(self.total).add_(values.float() * weight)
        tile.crop(self.weight).add_(weight)

    def result(self) -> Tensor:
        """(B, C, H, W) float32; every cell must lie in some tile that was added."""
        return self.total / self.weight


def seam_strength(picture: Tensor, tiles: Sequence[Tile]) -> float:
    """How much more a picture (C, H, W) changes across the tiles' borders than beside them: about 0 without seams.

    For every border line: the difference of the two pixel lines that meet there, averaged over runs of 16 pixels along
    the line, its mean magnitude relative to the same between the lines 8 to 16 pixels away on either side; the mean of
    this ratio over all lines, less 1; 0 for one tile. A photo's own edges count as well: compare with the untiled
    picture at the same tiles. For tiles of 16 pixels or more.
    """
    height, width = picture.shape[-2:]
    rows = {edge for tile in tiles for edge in (tile.top, tile.top + tile.height)} - {0, height}
    columns = {edge for tile in tiles for edge in (tile.left, tile.left + tile.width)} - {0, width}
    ratios = _border_ratios(picture, rows) + _border_ratios(picture.transpose(-1, -2), columns)
    return sum(ratios) / len(ratios) - 1 if ratios else 0.0


def _starts(side: int, tile: int, overlap: int, step: int) -> list[int]:
    if side <= tile:
        return [0]
    assert side % step == 0 and tile % step == 0, f"side {side} and tile {tile} must be multiples of {step}"
    free = (side - tile) // step
    gaps = -(-free // ((tile - overlap) // step))
    return [i * free // gaps * step for i in range(gaps + 1)]


def _ramp(start: int, length: int, side: int, overlap: int, device: torch.device | str | None) -> Tensor:
    weights = torch.ones(length, dtype=torch.float32, device=device)
    position = (torch.arange(length, dtype=torch.float32, device=device) + 0.5) / max(overlap, 1)
    up = (position.clamp(max=1) * (torch.pi / 2)).sin().square()
    if start > 0:
        weights = weights * up
    if start + length < side:
        weights = weights * up.flip(0)
    return weights


def _border_ratios(picture: Tensor, rows: set[int]) -> list[float]:
    # (C, H - 1, W / 16), entry y: from row y to row y + 1
    runs = F.avg_pool2d(picture.double().diff(dim=-2), (1, min(RUN, picture.shape[-1])))
    change = runs.abs().mean(dim=(0, 2))  # (H - 1)
    ratios = []
    for row in sorted(rows):
        offsets = [*range(-16, -7), *range(8, 17)]
        beside = torch.stack([change[row - 1 + k] for k in offsets if 0 <= row - 1 + k < len(change)]).mean()
        ratios.append(float(change[row - 1] / beside.clamp(min=1e-12)))
    return ratios
