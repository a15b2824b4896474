"""Sharpness, noise and JPEG blocking of a photo, measured without a reference: for the quality gate and the bokeh flag.

All three are measured on one colour plane, green: it contributes most of the brightness, it has the most samples on a
camera's sensor, and noise is not averaged out in it as it is in a weighted grey.

An edge in focus has most of its gradient between neighbouring pixels; a blurred one keeps the same gradient after a
small box average. So the ratio of gradient energies at a fine and a coarse scale tells how sharp an edge is, whatever
its contrast: 1 for a smooth ramp, about 1.2 after a Gaussian blur of sigma 2, 2 to 15 in focus, 64 for
white noise. (Smoothing again and comparing: Crete et al., The blur effect, SPIE 2007; here on energies, by blocks.)
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

BLOCK = 16
SMALLEST_SIDE = 32
SMOOTHING = 4
# What white noise of variance 1 adds to each energy. Fine: two differences of two pixels. Coarse: after a 4x4 box
# average, neighbouring boxes differ by two runs of 4 pixels of weight 1/16, in each of two directions.
FINE_NOISE = 4.0
COARSE_NOISE = 1 / 16
# The energy, in squared grey levels, that rounding alone can cause: it keeps the ratio of flat blocks at 1.
ROUNDING = 1.0

# A photo larger than 24 windows of 128x128 pixels is judged by that many, evenly spread and at full resolution (scaling
# down would hide blur and noise), so that the cost is bounded.
WINDOW = 128
WINDOWS = 24
DETAILED_SHARE = 0.1
FLAT_SHARE = 0.05
# How much of a block's coarse energy counts against its high-pass energy being noise.
TEXTURE = 0.1
# Blocks whose mean lies closer to black or white than this may have lost half of their noise to clipping.
CLIPPED = 12
UNCLIPPED_BLOCKS = 8
JPEG_BLOCK = 8
STEP_LIMIT = 16.0
HIGH_PASS = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


@dataclass(frozen=True)
class BlockEnergy:
    """Mean gradient energy of each block of 16x16 pixels, in squared grey levels: fine and coarse, float32 (h, w).

    Block (i, j) begins at pixel (16 i, 16 j); incomplete blocks at the right and the bottom are left out.
    """

    fine: NDArray[np.float32]
    coarse: NDArray[np.float32]


@dataclass(frozen=True)
class Measurement:
    """What is measured of a photo's quality.

    sharpness: fine over coarse gradient energy of its most detailed blocks, without noise; 1 (smooth) to about 20.
    noise: standard deviation in its flattest blocks, in grey levels of 255.
    blocking: how much larger steps are at the borders of JPEG's 8x8 blocks than next to them, in grey levels, both
        directions added, and discounted in busy photos; above about 2 it is plainly visible.
    """

    sharpness: float
    noise: float
    blocking: float


def measure(rgb: NDArray[np.uint8]) -> Measurement:
    """rgb: (H, W, 3) uint8, both sides at least 32."""
    assert rgb.ndim == 3 and min(rgb.shape[:2]) >= SMALLEST_SIDE, rgb.shape
    fine, coarse, high_pass, brightness = [], [], [], []
    steps = np.zeros((2, JPEG_BLOCK))
    places = windows(*rgb.shape[:2])
    for rows, columns in places:
        plane = rgb[rows, columns, 1].astype(np.float32)
        energy = block_energy(plane)
        fine.append(energy.fine.ravel())
        coarse.append(energy.coarse.ravel())
        high_pass.append(high_pass_energy(plane).ravel())
        brightness.append(block_mean(plane).ravel())
        steps += steps_by_place(plane) / len(places)
    energy = BlockEnergy(np.concatenate(fine), np.concatenate(coarse))
    variance = noise_variance(np.concatenate(high_pass), energy.coarse, np.concatenate(brightness))
    return Measurement(
        sharpness=sharpness_ratio(energy, variance),
        noise=float(np.sqrt(variance)),
        # One of the 8 places is the border of the blocks, wherever the photo was cropped; the median is typical of the
        # others. Busy texture hides steps and also produces them by chance.
        blocking=float((steps.max(1) - np.median(steps, 1)).sum() / (1 + np.sqrt(energy.fine).mean()) ** 0.25),
    )


def windows(height: int, width: int) -> list[tuple[slice, slice]]:
    """The rows and columns to look at: the whole of a photo up to 768x512, else evenly spread windows."""
    if height * width <= WINDOWS * WINDOW**2:
        return [(slice(0, height), slice(0, width))]
    down = max(1, min(round((WINDOWS * height / width) ** 0.5), height // WINDOW, WINDOWS))
    across = max(1, min(WINDOWS // down, width // WINDOW))
    # Multiples of 8, so that JPEG's grid is at the same place in all windows.
    tops = np.linspace(0, max(0, height - WINDOW), down).astype(int) // JPEG_BLOCK * JPEG_BLOCK
    lefts = np.linspace(0, max(0, width - WINDOW), across).astype(int) // JPEG_BLOCK * JPEG_BLOCK
    return [(slice(top, top + WINDOW), slice(left, left + WINDOW)) for top in tops for left in lefts]


def block_energy(plane: NDArray[np.float32]) -> BlockEnergy:
    """plane: float32 (H, W) in [0, 255], both sides at least 16."""
    smooth = np.asarray(cv2.blur(plane, (SMOOTHING, SMOOTHING), borderType=cv2.BORDER_REPLICATE), np.float32)
    return BlockEnergy(block_mean(gradient_energy(plane)), block_mean(gradient_energy(smooth)))


def gradient_energy(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Squared differences to the next pixel, right plus down: float32 (H, W), 0 beyond the last column and row."""
    energy = np.zeros_like(plane)
    across = cv2.subtract(plane[:, 1:], plane[:, :-1])
    down = cv2.subtract(plane[1:], plane[:-1])
    energy[:, :-1] = cv2.multiply(across, across)
    energy[:-1] += cv2.multiply(down, down)
    return energy


def block_mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of each block of 16x16: float32 (H // 16, W // 16)."""
    rows, columns = values.shape[0] // BLOCK, values.shape[1] // BLOCK
    whole = values[: rows * BLOCK, : columns * BLOCK]
    return np.asarray(cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA), np.float32)


def high_pass_energy(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """What each block's variance would be if it were pure white noise: float32 (H // 16, W // 16).

    From a filter that ignores brightness, ramps and straight edges along the axes (Immerkaer, Fast noise variance
    estimation, 1996), divided by its gain on white noise.
    """
    response = cv2.filter2D(plane, -1, HIGH_PASS, borderType=cv2.BORDER_REFLECT_101)
    power = cv2.multiply(response, response, scale=1 / float((HIGH_PASS**2).sum()))
    return block_mean(np.asarray(power, np.float32))


def noise_variance(
    high_pass: NDArray[np.float32], coarse: NDArray[np.float32], brightness: NDArray[np.float32]
) -> float:
    """The variance of the noise, in squared grey levels, as the flattest blocks show it; (N,) each.

    White noise has next to no coarse energy and texture has a lot, which is used to discount texture.
    """
    unclipped = (brightness > CLIPPED) & (brightness < 255 - CLIPPED)
    variance = high_pass**2 / (high_pass + TEXTURE * coarse + 1e-9)
    if np.count_nonzero(unclipped) >= UNCLIPPED_BLOCKS:
        variance = variance[unclipped]
    return float(np.quantile(variance, FLAT_SHARE))


def sharpness_ratio(energy: BlockEnergy, variance: float) -> float:
    """Fine over coarse energy of the most detailed blocks: a photo with a blurred background is as sharp as its
    sharp parts. Blocks are chosen by their coarse energy, which noise and blur hardly change."""
    count = max(4, int(DETAILED_SHARE * energy.coarse.size))
    detailed = np.argsort(-energy.coarse, kind="stable")[:count]
    fine = max(float(energy.fine[detailed].mean()) - FINE_NOISE * variance, 0.0)
    coarse = max(float(energy.coarse[detailed].mean()) - COARSE_NOISE * variance, 0.0)
    return (fine + ROUNDING) / (coarse + ROUNDING)


def steps_by_place(plane: NDArray[np.float32]) -> NDArray[np.float64]:
    """How much larger the step to the next pixel is than its two neighbours' mean, at each of the 8 places modulo 8:
    (2, 8), along the rows and along the columns; limited, so that a few strong edges do not decide.

    Wang, Sheikh and Bovik, No-reference perceptual quality assessment of JPEG compressed images, 2002.
    """
    means = np.zeros((2, JPEG_BLOCK))
    for axis in (0, 1):
        lines = plane if axis == 0 else np.ascontiguousarray(plane.T)
        step = cv2.absdiff(lines[:, 1:], lines[:, :-1])
        excess = step[:, 1:-1] - 0.5 * (step[:, :-2] + step[:, 2:])
        np.clip(excess, -STEP_LIMIT, STEP_LIMIT, out=excess)
        column = cv2.reduce(excess, 0, cv2.REDUCE_AVG)[0]
        # Column k of `excess` is the step from pixel k + 1 to pixel k + 2.
        place = (np.arange(column.size) + 2) % JPEG_BLOCK
        means[axis] = np.bincount(place, column, JPEG_BLOCK) / np.bincount(place, minlength=JPEG_BLOCK)
    return means
