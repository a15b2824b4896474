"""LQ photos for the compared methods, small ones, and how results are compared."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


def small_photo(height: int, width: int, seed: int = 0) -> Tensor:
    """(1, 3, height, width) in [0, 1], of whole levels: something smooth with noise on it."""
    coarse = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    noise = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(seed + 1))
    smooth = F.interpolate(coarse, (height, width), mode="bicubic")
    return ((0.2 + 0.6 * smooth + 0.05 * noise).clamp(0, 1) * 255).round() / 255


def as_photo(pixels: Tensor) -> NDArray[np.uint8]:
    return (pixels[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def enlarged(small: Tensor, factor: int = 4) -> NDArray[np.uint8]:
    """As a test set's LQ photo is made of the degraded small one."""
    return as_photo(F.interpolate(small, scale_factor=factor, mode="bicubic"))


def levels_apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())
