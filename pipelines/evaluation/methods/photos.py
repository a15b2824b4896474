"""LQ photos on their way into a super-resolution network, and its results on their way back.

A test set's LQ photo has been enlarged to the HQ photo's size, usually bicubically by 4. A network that enlarges x4 is
made for the small photo, so `small_again` recovers that.
"""

from __future__ import annotations

from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from instructrestore.model.restoring.photos import resize, to_uint8

PhotoArray = NDArray[np.uint8]  # (H, W, 3)

# Above this, a network's activations fill the memory. The paper's test sets have 512x512.
MAX_PIXELS = 2048 * 2048


def checked(photo: PhotoArray) -> PhotoArray:
    """The photo. Raises ValueError, in one sentence, if it is no photo or too large for a network without tiles."""
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
        raise ValueError(f"a photo is an array (H, W, 3) of uint8, not {photo.shape} {photo.dtype}")
    height, width = photo.shape[:2]
    if height * width > MAX_PIXELS:
        raise ValueError(
            f"a photo of {width}x{height} is over the {MAX_PIXELS} pixels that compared methods can take: make a "
            "test set of smaller crops"
        )
    return photo


def shrunk(photo: PhotoArray, factor: int, multiple: int = 1) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, h, w) float32 in [0, 1]: the photo at 1 / `factor` of its size, padded with its edge on
    the right and below until both sides are multiples of `multiple`.

    Raises ValueError, in one sentence, if the photo's sides are not multiples of `factor`.
    """
    height, width = checked(photo).shape[:2]
    if height % factor or width % factor:
        raise ValueError(
            f"a photo of {width}x{height} cannot be shrunk by {factor} to whole pixels, which this method needs: "
            f"make a test set whose size is a multiple of {factor}"
        )
    small = small_again(torch.from_numpy(photo.copy()).permute(2, 0, 1)[None] / 255, factor)
    below, right = (ceil(side / multiple) * multiple - side for side in small.shape[-2:])
    return F.pad(small, (0, right, 0, below), mode="replicate") if below or right else small


def small_again(enlarged: Tensor, factor: int) -> Tensor:
    """A photo (1, 3, H, W) in [0, 1] at 1 / factor of its size, made in the one of two ways that comes closer to the
    photo when enlarged bicubically again.

    If the photo was enlarged, bicubic interpolation at the positions of the small photo's pixels recovers them almost
    exactly, and antialiasing would blur them. If it was taken at full size, plain interpolation would alias its fine
    detail, and it is antialiased.
    """
    if factor == 1:
        return enlarged
    height, width = enlarged.shape[-2:]
    size = height // factor, width // factor
    ways = (_resampled(enlarged, size), resize(enlarged, size))
    return min(ways, key=lambda small: float((_resampled(small, (height, width)) - enlarged).square().mean()))


def _resampled(photo: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(photo, size, mode="bicubic", align_corners=False).clamp(0, 1)


def restored(pixels: Tensor, like: PhotoArray) -> PhotoArray:
    """(1, 3, >= H, >= W) in [0, 1] -> (H, W, 3) uint8, of the size of `like`.

    Raises ValueError if values are not finite, as with damaged weights.
    """
    height, width = like.shape[:2]
    assert pixels.shape[-2] >= height and pixels.shape[-1] >= width
    if not pixels.isfinite().all():
        raise ValueError("the network gives values that are not finite: its weights are damaged, fetch them again")
    return to_uint8(pixels[..., :height, :width].float())[0]
