"""Blur by a kernel of one's own per picture, and sharpening, both as products of spectra.

The border is reflected without repeating the edge pixel, and a kernel is not flipped (correlation).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from instructrestore.model.degradation.kernels import gaussian_row
from instructrestore.model.degradation.threads import photo_by_photo

# Spectra come in sizes of multiples of so many px: on a GPU pictures of many sizes then share few transforms, whose
# planning costs more than their work.
STEP_ON_CPU, STEP_ON_GPU = 32, 128
USM_SIZE, USM_SIGMA = 51, 8.0


def blur(pictures: Sequence[Tensor], kernels: Tensor) -> list[Tensor]:
    """Pictures of any sizes, each (C, h, w) float32, blurred by kernels (N, k, k), k odd: one kernel each.

    Pictures whose spectra have the same size go through one batched transform.
    """
    assert len(pictures) == len(kernels), "one kernel each"
    reach = kernels.shape[-1] // 2
    alike: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for number, picture in enumerate(pictures):
        height, width = picture.shape[-2:]
        alike[_spectrum_side(height, width, reach, kernels.device)].append(number)
    blurred: dict[int, Tensor] = {}
    for side, numbers in alike.items():
        bordered = pictures[0].new_zeros(len(numbers), pictures[0].shape[0], *side)
        for place, number in enumerate(numbers):
            height, width = pictures[number].shape[-2:]
            bordered[place, :, : height + 2 * reach, : width + 2 * reach] = reflected(pictures[number], reach)
        whole = len(numbers) == len(kernels)
        own = kernels if whole else kernels[torch.tensor(numbers).to(kernels.device, non_blocking=True)]
        rows = max(pictures[number].shape[-2] for number in numbers)
        result = _correlated(bordered, torch.fft.rfft2(own, s=side).unsqueeze(1), side, rows)
        for place, number in enumerate(numbers):
            height, width = pictures[number].shape[-2:]
            blurred[number] = result[place, :, :height, :width]
    return [blurred[number] for number in range(len(pictures))]


@torch.no_grad()
def sharpen(hq: Tensor, weight: float = 0.5, threshold: float = 10) -> Tensor:
    """Unsharp masking where the photo differs from its 51x51 Gaussian blur by more than `threshold` of 255.

    hq: (B, 3, H, W) float32 in [0, 1]; the result likewise. H, W above 25. On a CPU each photo goes through one
    thread of its own, so that its result does not depend on the batch.
    """
    if hq.device.type == "cpu":
        return photo_by_photo(lambda number: _sharpened(hq[number : number + 1], weight, threshold), len(hq))
    return _sharpened(hq, weight, threshold)


def _sharpened(hq: Tensor, weight: float, threshold: float) -> Tensor:
    height, width = hq.shape[-2:]
    reach = USM_SIZE // 2
    side = _spectrum_side(height, width, reach, hq.device)
    row = torch.from_numpy(gaussian_row(USM_SIZE, USM_SIGMA)).float().to(hq.device, non_blocking=True)
    # The 51x51 kernel is an outer product, and so is its spectrum.
    spectrum = torch.fft.fft(row, n=side[0])[:, None] * torch.fft.rfft(row, n=side[1])

    def soft(pictures: Tensor) -> Tensor:
        bordered = F.pad(pictures, (reach, reach, reach, reach), mode="reflect")
        return _correlated(bordered, spectrum, side, height)[..., :width]

    residual = hq - soft(hq)
    mask = soft((residual.abs() * 255 > threshold).to(hq.dtype))
    sharp = residual.mul_(weight).add_(hq).clamp_(0, 1)
    return torch.lerp(hq, sharp, mask)


def reflected(picture: Tensor, reach: int) -> Tensor:
    """The picture (C, h, w) with `reach` px more on every side: its own, mirrored, as often as it takes."""
    height, width = picture.shape[-2:]
    if min(height, width) > reach:
        return F.pad(picture, (reach, reach, reach, reach), mode="reflect")
    rows, columns = (_mirror(side, reach).to(picture.device, non_blocking=True) for side in (height, width))
    return picture.index_select(-2, rows).index_select(-1, columns)


def _mirror(side: int, reach: int) -> Tensor:
    """Where positions -reach .. side + reach - 1 lie between two mirrors, (side + 2 reach,) int64."""
    period = max(1, 2 * (side - 1))
    place = torch.arange(-reach, side + reach) % period
    return torch.minimum(place, period - place) if side > 1 else torch.zeros_like(place)


def _spectrum_side(height: int, width: int, reach: int, device: torch.device) -> tuple[int, int]:
    """The size of the transform of a picture with its border."""
    step = STEP_ON_CPU if device.type == "cpu" else STEP_ON_GPU
    return -(-(height + 2 * reach) // step) * step, -(-(width + 2 * reach) // step) * step


def _correlated(bordered: Tensor, kernel_spectrum: Tensor, side: tuple[int, int], rows: int) -> Tensor:
    """(N, C, y, x) and a kernel's spectrum -> (N, C, rows, side[1]), whose left part without border is the blur.

    What wraps around falls into the border, so a circular correlation serves.
    """
    spectrum = torch.fft.rfft2(bordered, s=side)
    spectrum *= kernel_spectrum.conj()
    # In two steps the way back leaves out rows that nobody reads, and a copy that irfft2 makes.
    return torch.fft.irfft(torch.fft.ifft(spectrum, dim=-2)[..., :rows, :], n=side[1])
