"""Masks between the sizes of photo and latent, and what is to be said of predicted ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from instructrestore.model.instruction.instruction import Instruction
from instructrestore.model.restoring.photos import pad

FOUND = 0.5


def to_latent_size(maps: Tensor, photo_size: Sequence[int], latent_size: tuple[int, int], factor: int) -> Tensor:
    """Maps (R, 1, H, W) of a photo as it came, at the size of its padded latent: (R, 1, h, w).

    photo_size: of the restored photo. factor: pixels a latent cell.
    """
    maps = F.interpolate(maps, tuple(photo_size), mode="bilinear", antialias=True)
    maps = pad(maps, (latent_size[0] * factor, latent_size[1] * factor))
    return F.adaptive_avg_pool2d(maps, latent_size)


def to_photo_size(masks: Tensor, padded_size: Sequence[int], photo_size: Sequence[int]) -> Tensor:
    """Masks (R, 1, h, w) at latent size, at the size of the restored photo without its padding: (R, H, W)."""
    masks = F.interpolate(masks, tuple(padded_size), mode="bilinear", antialias=False)
    return masks[:, 0, : photo_size[0], : photo_size[1]]


def report_masks(masks: Tensor, instruction: Instruction) -> list[str]:
    """A sentence for every predicted mask (R, ...) that is empty or fills the photo: none or all of it above 0.5."""
    reports = []
    for mask, region in zip(masks, instruction.regions, strict=True):
        if not bool((mask > FOUND).any()):
            reports.append(f"no region found for {region.caption!r}")
        elif bool((mask > FOUND).all()):
            reports.append(f"the region found for {region.caption!r} fills the whole photo")
    return reports
