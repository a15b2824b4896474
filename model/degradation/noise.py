"""Gaussian and Poisson noise as fields that are added to a picture."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

LUMA = (0.2989, 0.587, 0.114)


def gaussian(picture: Tensor, sigma: float, grey: bool, generator: Generator | None) -> Tensor:
    """A field for a picture (3, h, w): (3, h, w), or (1, h, w) where it is grey. sigma: of 255.

    A grey pattern is the picture's own; the release draws one for its whole batch. generator: None for torch's own.
    """
    shape = (1 if grey else 3, *picture.shape[-2:])
    field = torch.empty(shape, device=picture.device, dtype=picture.dtype)
    return field.normal_(0, sigma / 255, generator=generator)


def poisson(picture: Tensor, scale: float, grey: bool, generator: Generator | None) -> Tensor:
    """A field for a picture (3, h, w) in [0, 1]: (3, h, w), or (1, h, w) where it is grey.

    The picture (or its luma) is rounded to 8 bits; its pixels p become Poisson draws of p * vals, over vals, where
    vals is the number of the picture's distinct values, raised to a power of two. The deviation is thus
    scale * sqrt(p / vals). generator: None for torch's own.
    """
    if grey:
        red, green, blue = picture
        picture = (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)[None]
    levels = (picture * 255).round_().clamp_(0, 255)
    vals = _power_of_two(_distinct(levels))
    exact = levels.div_(255)
    drawn = torch.poisson(exact * vals, generator=generator)
    return drawn.div_(vals).sub_(exact).mul_(scale)


def add(picture: Tensor, field: Tensor) -> Tensor:
    """The picture (3, h, w) with a field (3 or 1, h, w) on it, clamped to [0, 1]."""
    return (picture + field).clamp_(0, 1)


def _distinct(levels: Tensor) -> Tensor:
    """How many of the whole numbers 0 .. 255 occur, as a float32 scalar, without waiting for the device."""
    seen = torch.zeros(256, device=levels.device)
    seen[levels.flatten().long()] = 1  # all write the same: the order does not matter
    return seen.sum()


def _power_of_two(count: Tensor) -> Tensor:
    # Exact for 1 .. 256: float32 holds their logarithms well enough that none slips over a whole number.
    return torch.exp2(torch.log2(count).ceil())
