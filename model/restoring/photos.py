"""Photos, masks and scale maps as callers have them, to tensors and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from instructrestore.model.instruction.instruction import MAX_SCALE

MIN_SIDE = 64

# A PIL image, an array (H, W, 3) uint8, or a tensor (3, H, W) of floats in [0, 1].
PhotoInput = Image.Image | NDArray[np.uint8] | Tensor
# A PIL image of mode 1 or L, or an array or tensor (H, W): bool, uint8 in [0, 255] or float in [0, 1].
MaskInput = Image.Image | NDArray[Any] | Tensor


def photo_tensor(photo: PhotoInput) -> Tensor:
    """A photo as (3, H, W) float32 in [0, 1] on the CPU. Raises ValueError for what is not a photo of 64 px and up."""
    if isinstance(photo, Image.Image):
        _check_depth(photo)
        photo = np.asarray(photo.convert("RGB"))
    if isinstance(photo, np.ndarray):
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
            raise ValueError(f"a photo as an array is (H, W, 3) uint8, not {photo.shape} {photo.dtype}")
        photo = torch.from_numpy(photo.copy()).permute(2, 0, 1) / 255
    elif not isinstance(photo, Tensor):
        raise ValueError(f"a photo is a PIL image, an array or a tensor, not {type(photo).__name__}")
    if photo.ndim != 3 or photo.shape[0] != 3 or not photo.is_floating_point():
        raise ValueError(f"a photo as a tensor is (3, H, W) of floats, not {tuple(photo.shape)} {photo.dtype}")
    height, width = photo.shape[-2:]
    if min(height, width) < MIN_SIDE:
        raise ValueError(
            f"a photo of {width}x{height} is too small: the shorter side must be at least {MIN_SIDE} pixels"
        )
    photo = photo.float().cpu()
    if not (photo.min() >= 0 and photo.max() <= 1):  # false for NaN too
        raise ValueError("a photo's values lie between 0 and 1; these do not")
    return photo


def mask_tensor(mask: MaskInput, size: Sequence[int]) -> Tensor:
    """A mask as (1, H, W) float32 in [0, 1]. Raises ValueError unless it has the photo's (height, width)."""
    return _map_tensor(mask, size, "mask", 1.0)


def scale_map_tensor(scale_map: MaskInput, size: Sequence[int]) -> Tensor:
    """A map of scales as (1, H, W) float32. As an image, or of uint8, grey 100 is scale 1. Raises ValueError."""
    return _map_tensor(scale_map, size, "scale map", MAX_SCALE, grey_of_one=100)


def _map_tensor(values: Any, size: Sequence[int], what: str, greatest: float, grey_of_one: int = 255) -> Tensor:
    if isinstance(values, Image.Image):
        _check_depth(values)
        values = np.asarray(values.convert("L"))
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        values = torch.from_numpy(values.copy())
    if not isinstance(values, Tensor) or values.is_complex():
        raise ValueError(f"a {what} is a grey image, or an array or tensor of real numbers")
    if values.ndim != 2:
        raise ValueError(f"a {what} has one value a pixel, (H, W), not {tuple(values.shape)}")
    if tuple(values.shape) != tuple(size):
        height, width = values.shape
        raise ValueError(f"the {what} is {width}x{height} but its photo {size[1]}x{size[0]}: they must have one size")
    values = values.cpu() / grey_of_one if values.dtype == torch.uint8 else values.float().cpu()
    if not (values.min() >= 0 and values.max() <= greatest):  # false for NaN too
        raise ValueError(f"a {what}'s values lie between 0 and {greatest:g}; these do not")
    return values[None]


def _check_depth(image: Image.Image) -> None:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        raise ValueError(f"a picture of mode {image.mode} has more than 8 bits a channel: convert it to 8 first")


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


def to_uint8(photos: Tensor, truncate: bool = False) -> NDArray[np.uint8]:
    """Photos (B, 3, H, W) as (B, H, W, 3) uint8, rounded, or truncated as the release's colour fixes do."""
    levels = photos.clamp(0, 1) * 255
    levels = levels.floor() if truncate else levels.round()
    return levels.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
