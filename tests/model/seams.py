"""How visible the borders of tiles are in a picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from instructrestore.model.networks.tiling import Tile

# Pixels along a border that are averaged: a seam keeps its direction for long, the texture of a photo does not.
RUN = 16


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
