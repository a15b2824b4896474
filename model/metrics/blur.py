"""Where a photo is blurred, by local sharpness alone, and the bokeh IoU: how far two photos agree on that.

An edge in focus has most of its gradient between neighbouring pixels; a blurred one keeps the same gradient after a
small box average. So the ratio of the gradient energy before to that after such an average tells how sharp a place is
whatever its contrast (smoothing again and comparing: Crete et al., The blur effect, SPIE 2007; here on energies and
locally). What it says counts the more the more structure there is, for a plain wall looks alike in focus and out of
focus: plain places go with their neighbourhood. The guided filter (He, Sun and Tang, Guided image filtering, 2010)
carries both to the borders that the photo shows.
"""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from instructrestore.model.metrics.d_dffnet import DDFFNet
from instructrestore.model.metrics.settings import MetricSettings

Plane = NDArray[np.float32]

WINDOW = 19  # pixels a side over which energies are averaged
SMOOTHING = 8  # pixels a side of the box average that a sharp edge does not survive
# Energy in squared grey levels that is no structure but rounding: keeps flat places at the ratio 1.
ROUNDING = 0.3
NOISE_MARGIN = 1.25  # noise is known from the flattest places, which show a little less than there is
# The ratio from which a place starts to be sharp, and from which it is wholly sharp.
SOFT, SHARP = 1.2, 6.2
LIMIT = 0.63  # what is less sharp than this, between 0 and 1, is blurred: the ratio of an edge blurred by sigma 0.6
EVIDENCE = 0.1  # smoothed gradient energy, in squared grey levels, at which a place has half a say
LEAST_SAY = 0.01  # what a place without evidence says, at which the photo as a whole speaks for it
STEP = 8  # regions are found on a grid of every so many pixels
GUIDED_RADIUS = 5  # of the guided filter, in steps
GUIDED_EPSILON = 1e-4  # its regularisation, for colours in [0, 1]
HIGH_PASS = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
NOISE_BLOCK = 16
FLAT_SHARE = 0.2
TEXTURE = 0.1  # how much of a block's coarse energy counts against its high-pass energy being noise
# Blocks whose mean lies closer to black or white than this may have lost half of their noise to clipping.
CLIPPED = 20
UNCLIPPED_BLOCKS = 8
SMALLEST_SIDE = 32


class BlurDetector(Protocol):
    """Photos (B, 3, H, W) float32 in [0, 1] -> (B, H, W) bool on the same device: True where they are blurred."""

    def __call__(self, photos: Tensor) -> Tensor: ...


def blur_detector(settings: MetricSettings) -> BlurDetector:
    """What `settings.blur_detector` names. Raises ValueError, in one sentence, where D-DFFNet cannot be had."""
    return DDFFNet(settings) if settings.blur_detector == "d-dffnet" else LocalSharpness()


def bokeh_iou(result: Tensor, hq: Tensor) -> Tensor:
    """Overlap of what is blurred in the result and in the HQ photo: intersection over union, 1 where both are empty.

    (B, H, W) bool each -> (B,) float64 in [0, 1]. Symmetric. InstructRestore paper, section 4.
    """
    if result.shape != hq.shape:
        raise ValueError(
            f"the blurred masks of the results are {tuple(result.shape)} and those of the HQ photos "
            f"{tuple(hq.shape)}: compare photos of one size"
        )
    assert result.dtype == hq.dtype == torch.bool and result.ndim == 3, (result.dtype, hq.dtype, result.shape)
    common = (result & hq).sum((1, 2)).double()
    either = (result | hq).sum((1, 2)).double()
    return torch.where(either == 0, torch.ones_like(either), common / either.clamp(min=1))


class LocalSharpness:
    """The embedded detector: no weights, one photo at a time on the CPU, the same answer for the same photo."""

    def __call__(self, photos: Tensor) -> Tensor:
        """(B, 3, H, W) float32 in [0, 1], both sides at least 32 -> (B, H, W) bool, True where blurred."""
        assert photos.ndim == 4 and photos.shape[1] == 3 and photos.dtype == torch.float32, (photos.shape, photos.dtype)
        if min(photos.shape[2:]) < SMALLEST_SIDE:
            raise ValueError(
                f"photos of {photos.shape[3]}x{photos.shape[2]} pixels are too small to tell where they are blurred: "
                f"take some of at least {SMALLEST_SIDE} pixels a side"
            )
        rgb = photos.permute(0, 2, 3, 1).clamp(0, 1).cpu().numpy()
        blurred = [sharpness(np.ascontiguousarray(photo)) < LIMIT for photo in rgb]
        found = np.stack(blurred) if blurred else np.zeros((0, *photos.shape[2:]), bool)
        return torch.from_numpy(found).to(photos.device)


def sharpness(rgb: Plane) -> Plane:
    """How sharp each pixel's surroundings are: (H, W, 3) in [0, 1] -> (H, W), 0 blurred to 1 in focus."""
    ratio, coarse = energy_ratio(np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.float32) * np.float32(255))
    sharp = ((ratio - SOFT) / (SHARP - SOFT)).clip(0, 1)
    return spread(sharp, (coarse / (coarse + EVIDENCE)).astype(np.float32), rgb)


def energy_ratio(luma: Plane) -> tuple[Plane, Plane]:
    """Fine over coarse gradient energy around each pixel, freed from noise, and the coarse one in squared grey levels.

    luma: (H, W) in [0, 255]. Ratio: 1 for a ramp; 1.6, 2.6 and 5.4 for an edge blurred by sigma 2, 1 and 0.5; 8 for a
    step, more for texture.
    """
    fine = gradient_energy(luma)
    coarse = gradient_energy(_box(luma, SMOOTHING))
    variance = NOISE_MARGIN * noise_variance(luma, coarse)
    # White noise of variance v has the gradient energy 4 v, and after a box average of n x n pixels 4 v / n^3.
    fine = (_box(fine, WINDOW) - 4 * variance).clip(0)
    coarse = (_box(coarse, WINDOW) - 4 * variance / SMOOTHING**3).clip(0)
    return np.asarray((fine + ROUNDING) / (coarse + ROUNDING), np.float32), np.asarray(coarse, np.float32)


def gradient_energy(plane: Plane) -> Plane:
    """Squared differences to the next pixel, right plus down: (H, W), 0 beyond the last column and row."""
    energy = np.zeros_like(plane)
    energy[:, :-1] = np.square(plane[:, 1:] - plane[:, :-1])
    energy[:-1] += np.square(plane[1:] - plane[:-1])
    return energy


def noise_variance(luma: Plane, coarse: Plane) -> float:
    """The variance of the noise in squared grey levels, as the flattest blocks of 16x16 show it.

    From a mask blind to ramps and straight edges (Immerkaer, Fast noise variance estimation, 1996), divided by its gain
    on white noise, which has next to no coarse energy; texture has much, and that discounts it.
    """
    response = np.asarray(cv2.filter2D(luma, -1, HIGH_PASS, borderType=cv2.BORDER_REFLECT_101), np.float32)
    places = np.s_[NOISE_BLOCK // 2 :: NOISE_BLOCK, NOISE_BLOCK // 2 :: NOISE_BLOCK]
    high, low, brightness = (_box(each, NOISE_BLOCK)[places] for each in (np.square(response), coarse, luma))
    high = high / np.square(HIGH_PASS).sum()
    variance = np.square(high) / (high + TEXTURE * low + 1e-9)
    unclipped = (brightness > CLIPPED) & (brightness < 255 - CLIPPED)
    if np.count_nonzero(unclipped) >= UNCLIPPED_BLOCKS:
        variance = variance[unclipped]
    return float(np.quantile(variance, FLAT_SHARE))


def spread(values: Plane, evidence: Plane, rgb: Plane) -> Plane:
    """Regions of the values: at each pixel what the places around say that the guided filter takes for the same thing.

    values: (H, W). evidence: (H, W) in [0, 1], how much each of them counts. rgb: (H, W, 3) in [0, 1], the guide.
    """
    height, width = values.shape
    size = (max(1, width // STEP), max(1, height // STEP))
    said, say = _small(evidence * values, size), _small(evidence, size)
    everywhere = said.sum() / max(float(say.sum()), 1e-9)
    smooth, total = _guided(_small(rgb, size), (said + LEAST_SAY * everywhere, say + LEAST_SAY))
    # The filter overshoots: a weight may come out at zero or below.
    return np.asarray(cv2.resize(smooth / total.clip(LEAST_SAY / 10), (width, height)), np.float32)


def _guided(guide: Plane, planes: tuple[Plane, ...]) -> list[Plane]:
    """The guided filter with a colour guide (h, w, 3) in [0, 1], on planes (h, w)."""
    mean = _average(guide)
    covariance = _average(guide[..., :, None] * guide[..., None, :]) - mean[..., :, None] * mean[..., None, :]
    inverse = np.linalg.inv(covariance + np.float32(GUIDED_EPSILON) * np.eye(3, dtype=np.float32))
    smooth = []
    for plane in planes:
        plane_mean = _average(plane)
        along = _average(guide * plane[..., None]) - mean * plane_mean[..., None]
        slope = (inverse @ along[..., None])[..., 0]
        offset = plane_mean - (slope * mean).sum(-1)
        smooth.append((_average(slope) * guide).sum(-1) + _average(offset))
    return smooth


def _average(planes: Plane) -> Plane:
    """The mean over the guided filter's window; (h, w, ...)."""
    return _box(planes.reshape(*planes.shape[:2], -1), 2 * GUIDED_RADIUS + 1).reshape(planes.shape)


def _box(plane: Plane, side: int) -> Plane:
    return np.asarray(cv2.blur(plane, (side, side), borderType=cv2.BORDER_REFLECT_101), np.float32)


def _small(planes: Plane, size: tuple[int, int]) -> Plane:
    return np.asarray(cv2.resize(planes, size, interpolation=cv2.INTER_AREA), np.float32)
