"""JPEG's loss without its bit stream: chroma subsampling and quantised cosine coefficients, as BasicSR's DiffJPEG.

Pictures of different sizes share one pass: all their 16x16 px units lie in one tensor, and the quantisation of a unit
follows from its picture's quality.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

UNIT = 16  # px; a unit holds 2x2 blocks of luma and one block of each chroma
# ITU-T T.81, tables K.1 and K.2. BasicSR uses the luma table transposed; the chroma table is symmetric.
LUMA_TABLE = np.array([
    [16, 11, 10, 16, 24, 40, 51, 61],
    [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77],
    [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
], dtype=np.float64).T  # fmt: skip
CHROMA_TABLE = np.full((8, 8), 99.0)
CHROMA_TABLE[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
TO_RGB = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]])
LEAST_FACTOR = 1e-6


def factor_of(quality: float) -> float:
    """What the tables are multiplied by at a quality in (0, 100].

    Exactly 100 would give 0, and BasicSR a picture of NaN: the factor stays above 0, so that 100 is what qualities
    near it tend to: coefficients as they were, the chroma still subsampled.
    """
    assert 0 < quality <= 100, quality
    return 50 / quality if quality < 50 else max(2 - quality / 50, LEAST_FACTOR)


def jpeg(pictures: Sequence[Tensor], qualities: Sequence[float]) -> list[Tensor]:
    """Pictures of any sizes, each (3, h, w) float32 in [0, 1], after JPEG at a quality each; the same sizes again.

    A side that is no multiple of 16 is filled up with black and cut back. Tables and pixels are not rounded.
    """
    device = pictures[0].device
    packed = torch.cat([_units(picture) for picture in pictures], dim=1)  # (3, U, 4, 64)
    units = packed.shape[1]
    counts = [math.prod(_grid(*picture.shape[-2:])) for picture in pictures]
    factors = np.repeat([factor_of(quality) for quality in qualities], counts)
    factor = torch.from_numpy(factors).float().to(device, non_blocking=True)[:, None, None]  # (U, 1, 1)
    to_ycc, to_rgb, cosine, luma_table, chroma_table, pooled, repeated = (
        torch.from_numpy(array).float().to(device, non_blocking=True) for array in _CONSTANTS
    )

    ycc = (to_ycc @ packed.flatten(1)).view(3, units, 256)
    luma = ycc[0].sub_(128).view(-1, 64) @ cosine  # (4 U, 64): the coefficients of a block
    luma = _quantised(luma.view(units, 4, 64), luma_table * factor).view(-1, 64)
    chroma = ycc[1:].view(-1, 256) @ pooled  # (2 U, 64)
    chroma = _quantised(chroma.view(2, units, 64), chroma_table * factor[:, 0]).view(-1, 64)
    torch.mm(luma, cosine.T, out=ycc[0].view(-1, 64))
    torch.mm(chroma, repeated, out=ycc[1:].view(-1, 256))
    rgb = (to_rgb @ ycc.flatten(1)).add_(128 / 255).clamp_(0, 1).view(3, units, 4, 64)
    return [_picture(part, picture.shape) for part, picture in zip(rgb.split(counts, dim=1), pictures, strict=True)]


def _quantised(coefficients: Tensor, steps: Tensor) -> Tensor:
    return coefficients.div_(steps).round_().mul_(steps)


def _grid(height: int, width: int) -> tuple[int, int]:
    """How many units a picture has downwards and across."""
    return -(-height // UNIT), -(-width // UNIT)


def _units(picture: Tensor) -> Tensor:
    """(3, h, w) -> (3, units, 4 blocks, 64 pixels), filled up with zeros."""
    height, width = picture.shape[-2:]
    down, across = _grid(height, width)
    whole = picture
    if height % UNIT or width % UNIT:
        whole = F.pad(picture, (0, across * UNIT - width, 0, down * UNIT - height))
    blocks = whole.reshape(3, down, 2, 8, across, 2, 8).permute(0, 1, 4, 2, 5, 3, 6)
    return blocks.reshape(3, down * across, 4, 64)


def _picture(units: Tensor, shape: torch.Size) -> Tensor:
    """(3, units, 4 blocks, 64 pixels) -> (3, h, w), cut back to the shape."""
    height, width = shape[-2:]
    down, across = _grid(height, width)
    blocks = units.reshape(3, down, across, 2, 2, 8, 8).permute(0, 1, 3, 5, 2, 4, 6)
    return blocks.reshape(3, down * UNIT, across * UNIT)[:, :height, :width].contiguous()


def _cosine() -> NDArray[np.float64]:
    """The orthonormal cosine transform of an 8x8 block as a matrix (64 pixels, 64 coefficients)."""
    place, frequency = np.mgrid[:8, :8]
    row = np.cos((2 * place + 1) * frequency * math.pi / 16) / 2
    row[:, 0] /= math.sqrt(2)
    return np.kron(row, row)


def _repeated() -> NDArray[np.float64]:
    """Which of a unit's 64 chroma pixels lies at each of its 4 blocks of 64 pixels, (64, 256) of 0 and 1."""
    number = np.arange(64).reshape(8, 8).repeat(2, axis=0).repeat(2, axis=1)  # (16, 16)
    blocks = number.reshape(2, 8, 2, 8).transpose(0, 2, 1, 3).reshape(256)
    return (np.arange(64)[:, None] == blocks).astype(np.float64)


# As matrices, subsampling and the cosine transform are one product, and so are their inverses.
_CONSTANTS = (
    TO_YCC * 255,
    TO_RGB / 255,
    _cosine(),
    LUMA_TABLE.reshape(64),
    CHROMA_TABLE.reshape(64),
    _repeated().T / 4 @ _cosine(),
    _cosine().T @ _repeated(),
)
