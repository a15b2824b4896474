"""Resizing as the release does it: PyTorch's interpolation without antialiasing."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

ResizeMode = Literal["area", "bilinear", "bicubic"]
MODES: tuple[ResizeMode, ...] = ("area", "bilinear", "bicubic")


def resize_by(picture: Tensor, factor: float, mode: ResizeMode) -> Tensor:
    """(C, h, w) -> (C, floor(h * factor), floor(w * factor)); bicubic may overshoot the picture's range.

    Bilinear and bicubic sample at the steps that the factor says, not at those of the ratio of the sizes.
    """
    if factor == 1:
        return picture
    return F.interpolate(picture[None], scale_factor=factor, mode=mode)[0]


def resize_to(picture: Tensor, size: tuple[int, int], mode: ResizeMode) -> Tensor:
    """(C, h, w) -> (C, *size); bicubic may overshoot the picture's range."""
    if tuple(picture.shape[-2:]) == size:
        return picture
    return F.interpolate(picture[None], size=size, mode=mode)[0]
