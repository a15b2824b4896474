"""Equations 2-3 of the paper: the masks and scales of an instruction, multiplied into the ControlNet's residuals.

With one region: M_l = s1 M + s2 (1 - M), resized to every residual and multiplied into it. With several, each has a
ControlNet pass of its own (features f_r) and

    w_r      = M_r / max(1, sum of M)
    features = sum of s_r w_r f_r + s2 (1 - sum of w) mean of f

which for one region is the same. The masks of a batch are rows: all regions of the first photo, of the second, ...
`counts` says how many rows each photo has, in Python, so that nothing is read back from the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

MaskResize = Literal["area", "nearest"]


def region_weights(masks: Tensor, counts: Sequence[int]) -> Tensor:
    """w_r: masks (rows, 1, h, w) in [0, 1] with their sum within a photo brought down to 1 where it is more."""
    if all(count == 1 for count in counts):
        return masks
    sums = torch.cat([part.sum(0, keepdim=True).expand_as(part) for part in masks.split(list(counts))])
    return masks / sums.clamp(min=1)


def scale_maps(
    weights: Tensor, scales: Tensor, others: Tensor, counts: Sequence[int], lift: Tensor | None = None
) -> Tensor:
    """What each row's features are multiplied by: s_r w_r + s2 (1 - sum of w) / R, (rows, 1, h, w).

    weights: w_r, (rows, 1, h, w). scales: s_r, (rows, 1, 1, 1). others: s2 of the row's photo, (rows, 1, 1, 1).
    lift: what s2 is raised by, (rows, 1, h, w): wholly where no region is, not at all where the regions' weights sum up
    to 0.5 or more.
    """
    share = shared_equally(others, counts)
    totals = torch.cat([part.sum(0, keepdim=True).expand_as(part) for part in weights.split(list(counts))])
    if lift is not None:
        share = share + shared_equally(lift, counts) * (1 - 2 * totals).clamp(min=0)
    # In this form equal scales of one region give exactly that scale, and 1 leaves the features as they are.
    return share + (scales * weights - share * totals)


def shared_equally(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """Each row divided by the number of rows of its photo."""
    return torch.cat([part / len(part) for part in rows.split(list(counts))])


def resize_map(maps: Tensor, size: tuple[int, int], resize: MaskResize) -> Tensor:
    """Maps (B, 1, h, w) at a residual's (height, width): mean over the area, or as the release the nearest value."""
    if tuple(maps.shape[-2:]) == size:
        return maps
    if resize == "area":
        return F.adaptive_avg_pool2d(maps, size)
    return F.interpolate(maps, size=size, mode="nearest")


def modulate(
    residual: Tensor, maps: Tensor | None, counts: Sequence[int], resize: MaskResize, empty: int = 0
) -> Tensor:
    """A ControlNet residual multiplied by the regions' maps and added up by photo: (empty + B, C, h, w).

    residual: (empty + rows, C, h, w); its first `empty` rows, none or one a photo, are of empty text (for guidance)
    and take the photo's maps summed up. maps: (rows, 1, h, w) of any size; None: the mean over a photo's regions.
    """
    of_regions = residual[empty:]
    if maps is None:
        if all(count == 1 for count in counts):
            return residual
        return torch.cat([residual[:empty], sum_by_photo(shared_equally(of_regions, counts), counts)])
    maps = resize_map(maps, (residual.shape[-2], residual.shape[-1]), resize).to(residual.dtype)
    summed = sum_by_photo(of_regions * maps, counts)
    return torch.cat([residual[:empty] * sum_by_photo(maps, counts), summed]) if empty else summed


def sum_by_photo(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """Sums of the rows of each photo: (rows, ...) -> (B, ...)."""
    if all(count == 1 for count in counts):
        return rows
    return torch.stack([part.sum(0) for part in rows.split(list(counts))])
