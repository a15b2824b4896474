"""LQ photos on their way into a super-resolution network, and its results on their way back.

A test set's LQ photo has been enlarged to HQ's size, as a rule bicubically from a quarter of it. A network that
enlarges x4 is made for the small photo, so it gets that back: `small_again`.
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

# More than a network's activations of one photo leave room for. The paper's test sets have 512x512.
MAX_PIXELS = 2048 * 2048


def checked(photo: PhotoArray) -> PhotoArray:
    """The photo. Raises ValueError, in one sentence, where it is none or too large to go through a network whole."""
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
        raise ValueError(f"a photo is an array (H, W, 3) of uint8, not {photo.shape} {photo.dtype}")
    height, width = photo.shape[:2]
    if height * width > MAX_PIXELS:
        raise ValueError(
            f"a photo of {width}x{height} is over the {MAX_PIXELS} pixels that the compared methods are run on: make "
            "the test set of smaller crops"
        )
    return photo


def shrunk(photo: PhotoArray, factor: int, multiple: int = 1) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, h, w) float32 in [0, 1], h x w the photo divided by `factor`, then continued by its
    edge to the right and below until both are multiples of `multiple`.

    Raises ValueError, in one sentence, where the photo's sides are not multiples of `factor`.
    """
    height, width = checked(photo).shape[:2]
    if height % factor or width % factor:
        raise ValueError(
            f"a photo of {width}x{height} cannot be shrunk by {factor} to whole pixels, which this method needs: make "
            f"the test set of a size that is a multiple of {factor}"
        )
    small = small_again(torch.from_numpy(photo.copy()).permute(2, 0, 1)[None] / 255, factor)
    below, right = (ceil(side / multiple) * multiple - side for side in small.shape[-2:])
    return F.pad(small, (0, right, 0, below), mode="replicate") if below or right else small


def small_again(enlarged: Tensor, factor: int) -> Tensor:
    """A photo (1, 3, H, W) in [0, 1] at 1 / factor of its size: of two ways the one that, enlarged bicubically, comes
    nearer to the photo.

    Where it was enlarged before, that is bicubic interpolation at the places where the small photo's pixels were, which
    gives these back almost exactly; antialiasing would blur them. Where it was not, for it was taken at full size, that
    would fold its finer detail into noise, and it is antialiased.
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

    Raises ValueError where there are no finite values, as damaged weights give.
    """
    height, width = like.shape[:2]
    assert pixels.shape[-2] >= height and pixels.shape[-1] >= width
    if not pixels.isfinite().all():
        raise ValueError("the network gives no finite values: its weights are damaged, fetch them again")
    return to_uint8(pixels[..., :height, :width].float())[0]
