"""Colour fixes: the restored photo keeps its details and takes its colours from the LQ photo."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WAVELET_DILATIONS = (1, 2, 4, 8, 16)


def wavelet_fix(photo: Tensor, reference: Tensor) -> Tensor:
    """High frequencies of `photo`, low frequencies of `reference` (colour correction of StableSR, Wang et al. 2023).

    Both (B, 3, H, W) float in [0, 1] and of one size (else ValueError) -> (B, 3, H, W) float32, not clamped.
    """
    _check_sizes(photo, reference)
    high = torch.zeros_like(photo, dtype=torch.float32)
    low = photo.float()
    reference_low = reference.float()
    # high is photo - low in the end; summed level by level it rounds as the release does, which truncation would show.
    for dilation in WAVELET_DILATIONS:
        blurred = _blur(low, dilation)
        high += low - blurred
        low = blurred
        reference_low = _blur(reference_low, dilation)
    return high.add_(reference_low)


def adain_fix(photo: Tensor, reference: Tensor) -> Tensor:
    """`photo` with each channel's mean and deviation those of `reference` (Huang and Belongie 2017, eq. 8).

    Both (B, 3, H, W) float in [0, 1] and of one size (else ValueError) -> (B, 3, H, W) float32, not clamped. The
    variances are raised by 1e-5, as in the release, so a flat channel gives no NaN.
    """
    _check_sizes(photo, reference)
    mean, deviation = _moments(photo.float())
    reference_mean, reference_deviation = _moments(reference.float())
    return (photo.float() - mean) / deviation * reference_deviation + reference_mean


def _moments(photo: Tensor) -> tuple[Tensor, Tensor]:
    pixels = photo.flatten(2)
    deviation = (pixels.var(dim=2) + 1e-5).sqrt()
    return pixels.mean(dim=2)[..., None, None], deviation[..., None, None]


def _blur(maps: Tensor, dilation: int) -> Tensor:
    """(1 2 1, 2 4 2, 1 2 1) / 16 with its outer taps `dilation` pixels away, borders replicated.

    A sum of nine slices: a dilated grouped convolution gives the same bits on a CPU, but takes many times as
    long and several times the memory.
    """
    height, width = maps.shape[-2:]
    padded = F.pad(maps, (dilation,) * 4, mode="replicate")
    blurred = torch.zeros_like(maps)
    for row, row_weight in enumerate((0.25, 0.5, 0.25)):
        for column, column_weight in enumerate((0.25, 0.5, 0.25)):
            top, left = row * dilation, column * dilation
            blurred.add_(padded[..., top : top + height, left : left + width], alpha=row_weight * column_weight)
    return blurred


def _check_sizes(photo: Tensor, reference: Tensor) -> None:
    if photo.shape != reference.shape:
        raise ValueError(
            f"the colour fix needs two photos of one size, not {tuple(photo.shape)} and {tuple(reference.shape)}: "
            "resize the reference first"
        )
