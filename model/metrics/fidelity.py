"""PSNR and SSIM on Y, over a whole photo or over a region's pixels alone (paper, section 4).

Y is the luma of ITU-R BT.601 in studio range, 16..235 of 255, as image restoration measures it; the peak is 1 (of 255),
which is what both metrics of the whole photo agree on with scikit-image.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

WINDOW = 11  # px, SSIM's Gaussian window of sigma 1.5
_TAPS = np.exp(-((np.arange(WINDOW) - WINDOW // 2) ** 2) / (2 * 1.5**2))
_TAPS /= _TAPS.sum()
_STABLE_MEAN, _STABLE_VARIANCE = 0.01**2, 0.03**2
_RED, _GREEN, _BLUE, _BLACK = 65.481, 128.553, 24.966, 16.0


def luma(photos: Tensor) -> Tensor:
    """Y of (B, 3, H, W) RGB in [0, 1]: (B, H, W) float64 in [16/255, 235/255]."""
    red, green, blue = photos.double().unbind(1)
    return (_RED * red + _GREEN * green + _BLUE * blue + _BLACK) / 255


def psnr(results: Tensor, hq: Tensor, region: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio in dB, (B,) float64; higher is better, infinite where nothing differs.

    results, hq: (B, 3, H, W) float32 in [0, 1]. region: (B, H, W) bool, the pixels that count; None: all.
    Raises ValueError, in one sentence, where sizes differ or a region has no pixel.
    """
    check(results, hq, region)
    return psnr_of_luma(luma(results), luma(hq), region)


def psnr_of_luma(results: Tensor, hq: Tensor, region: Tensor | None = None) -> Tensor:
    """`psnr` of (B, H, W) float64 luma, already checked."""
    error = (results - hq).square()
    counted = torch.ones_like(error, dtype=torch.bool) if region is None else region
    return -10 * ((error * counted).sum((1, 2)) / counted.sum((1, 2))).log10()


def ssim(results: Tensor, hq: Tensor, region: Tensor | None = None) -> Tensor:
    """Structural similarity, (B,) float64 in [-1, 1]; higher is better, 1 where nothing differs.

    Wang et al. 2004: a Gaussian window of 11x11 pixels, sigma 1.5, K 0.01 and 0.03, the mean over all windows that lie
    in the photo; of a region, over those whose middle is one of its pixels.
    results, hq, region: as for `psnr`. Raises ValueError, in one sentence, also for a photo smaller than the window and
    for a region so near the photo's edge that no window has its middle in it.
    """
    check(results, hq, region)
    if min(hq.shape[-2:]) < WINDOW:
        raise ValueError(
            f"a photo of {hq.shape[-1]}x{hq.shape[-2]} is smaller than SSIM's window of {WINDOW}x{WINDOW} pixels"
        )
    if region is not None and not region_of_windows(region).flatten(1).any(1).all():
        raise ValueError(
            f"the region lies within {WINDOW // 2} pixels of the photo's edge, where no window of SSIM has its middle"
        )
    return ssim_of(ssim_map(luma(results), luma(hq)), region)


def ssim_of(similarity: Tensor, region: Tensor | None = None) -> Tensor:
    """`ssim` of its map (see `ssim_map`) and a region of the whole photo's size, already checked."""
    if region is None:
        return similarity.mean((1, 2))
    inner = region_of_windows(region)
    return (similarity * inner).sum((1, 2)) / inner.sum((1, 2))


def region_of_windows(region: Tensor) -> Tensor:
    """(B, H, W) -> (B, H - 10, W - 10): the pixels on which SSIM's window can have its middle."""
    edge = WINDOW // 2
    return region[:, edge : region.shape[1] - edge, edge : region.shape[2] - edge]


def ssim_map(results: Tensor, hq: Tensor) -> Tensor:
    """SSIM of every window of (B, H, W) float64 luma: (B, H - 10, W - 10) float64, by the window's middle."""
    return torch.stack(
        [torch.from_numpy(_similarity(a, b)) for a, b in zip(results.cpu().numpy(), hq.cpu().numpy(), strict=True)]
    )


def _similarity(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    mean_x, mean_y = _smooth(x), _smooth(y)
    variance_x = _smooth(x * x) - mean_x * mean_x
    variance_y = _smooth(y * y) - mean_y * mean_y
    covariance = _smooth(x * y) - mean_x * mean_y
    return ((2 * mean_x * mean_y + _STABLE_MEAN) * (2 * covariance + _STABLE_VARIANCE)) / (
        (mean_x * mean_x + mean_y * mean_y + _STABLE_MEAN) * (variance_x + variance_y + _STABLE_VARIANCE)
    )


def _smooth(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian means of all windows that lie in the plane."""
    edge = WINDOW // 2
    smoothed = cv2.sepFilter2D(plane, cv2.CV_64F, _TAPS, _TAPS, borderType=cv2.BORDER_REFLECT)
    return np.asarray(smoothed, np.float64)[edge:-edge, edge:-edge]


def check(results: Tensor, hq: Tensor, region: Tensor | None) -> None:
    """Raises ValueError, in one sentence, for photos or regions that cannot be compared."""
    for photos, what in ((results, "results"), (hq, "HQ photos")):
        if photos.ndim != 4 or photos.shape[1] != 3 or not photos.is_floating_point():
            raise ValueError(f"{what} are (B, 3, H, W) in [0, 1], not {_layout(photos)}")
    if results.shape != hq.shape:
        raise ValueError(f"the results are {_sizes(results.shape)} and the HQ photos {_sizes(hq.shape)}")
    if region is None:
        return
    if region.dtype != torch.bool or region.ndim != 3:
        raise ValueError(f"regions are (B, H, W) bool, not {_layout(region)}")
    if region.shape != (hq.shape[0], *hq.shape[2:]):
        raise ValueError(f"the regions are {_sizes(region.shape)} and the photos {_sizes(hq.shape)}")
    if not region.flatten(1).any(1).all():
        raise ValueError("the region has no pixels, so there is nothing to measure in it")


def _layout(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _sizes(shape: Sequence[int]) -> str:
    return f"{shape[0]} of {shape[-1]}x{shape[-2]}"
