"""Photos and masks brought from one size to another: as they came, restored, padded, and at latent resolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

MIN_SIDE = 64  # pixels, of every photo that is restored


def resize(photos: Tensor, size: Sequence[int]) -> Tensor:
    """Photos (B, C, H, W) in [0, 1] at a (height, width): bicubic, antialiased."""
    if tuple(photos.shape[-2:]) == tuple(size):
        return photos
    resized = F.interpolate(photos, tuple(size), mode="bicubic", antialias=True, align_corners=False)
    return resized.clamp(0, 1)


def shrink(photos: Tensor, longest: int, multiple: int) -> Tensor:
    """Photos (B, C, H, W) with sides of at most `longest` pixels, each a multiple and 64 or more; unchanged if so."""
    height, width = photos.shape[-2:]
    factor = min(1.0, longest / max(height, width))
    least = max(MIN_SIDE, multiple)
    size = [max(least, round(side * factor / multiple) * multiple) for side in (height, width)]
    return resize(photos, size) if factor < 1 else photos


def pad(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps (B, C, H, W) continued to the right and below, by reflection, to a (height, width)."""
    below, right = size[0] - maps.shape[-2], size[1] - maps.shape[-1]
    return F.pad(maps, (0, right, 0, below), mode="reflect") if right or below else maps


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
