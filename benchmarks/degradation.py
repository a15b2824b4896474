"""LQ images per second: the release's way and this project's, interleaved in one run.

python -m benchmarks.degradation                                  512x512, batch 8, this machine's CPU
python -m benchmarks.degradation --device cuda --batch 64         on a GPU, with milliseconds per batch

The release's way, written anew here: USM by a dense 51x51 filter, dense 21x21 blurs, kind, scale and mode of resizing,
kind of noise, second blur and order drawn once for the whole batch, and two LQ images from every sharpened photo. Its
kernels are drawn before the clock starts, and drawn within it here. Here every LQ image has choices of its own, and
is counted twice: with a sharpening of its own (what training does), and two to a sharpening like the release.
Per round: the median over rounds and, in brackets, least to most; the ratio is taken within each round.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from instructrestore.model.degradation import kernels
from instructrestore.model.degradation.chain import Degradation
from instructrestore.model.degradation.filtering import sharpen
from instructrestore.model.degradation.jpeg import CHROMA_TABLE, LUMA_TABLE, TO_RGB, TO_YCC
from instructrestore.model.degradation.kernels import Kernel
from instructrestore.model.degradation.noise import LUMA
from instructrestore.model.degradation.recipe import draw_recipe
from instructrestore.model.degradation.settings import RELEASE, StageSettings


@dataclass(frozen=True)
class DenseKernels:
    """(B, 21, 21) each: the filters of one LQ image of every photo."""

    first: Tensor
    second: Tensor
    last: Tensor


def dense_kernels(seeds: range, device: str) -> DenseKernels:
    recipes = [draw_recipe(RELEASE, seed) for seed in seeds]
    pulse = Kernel("iso", 7, sigma_x=0.01)
    first, second, last = (
        torch.from_numpy(kernels.draw([kernel or pulse for kernel in wanted])).float().to(device)
        for wanted in (
            [r.first.blur for r in recipes],
            [r.second.blur for r in recipes],
            [r.last_filter for r in recipes],
        )
    )
    return DenseKernels(first, second, last)


def dense_filter(photos: Tensor, kernel: Tensor) -> Tensor:
    """Photos (B, C, H, W) by one kernel (1, k, k) or one each (B, k, k), every tap of it."""
    batch, channels, height, width = photos.shape
    size = kernel.shape[-1]
    bordered = F.pad(photos, (size // 2,) * 4, mode="reflect")
    if len(kernel) == 1:
        flat = bordered.view(batch * channels, 1, *bordered.shape[-2:])
        return F.conv2d(flat, kernel[None]).view(batch, channels, height, width)
    weights = kernel[:, None].repeat(1, channels, 1, 1).view(batch * channels, 1, size, size)
    flat = bordered.reshape(1, batch * channels, *bordered.shape[-2:])
    return F.conv2d(flat, weights, groups=batch * channels).view(batch, channels, height, width)


def dense_sharpen(photos: Tensor) -> Tensor:
    row = kernels.gaussian_row(51, 8.0)
    kernel = torch.from_numpy(np.outer(row, row)).float().to(photos.device)[None]
    residual = photos - dense_filter(photos, kernel)
    mask = dense_filter((residual.abs() * 255 > 10).float(), kernel)
    return mask * (photos + 0.5 * residual).clip(0, 1) + (1 - mask) * photos


class BatchJpeg:
    """All photos of one size at once: a cosine transform as a product over an 8x8x8x8 array, then back."""

    def __init__(self, device: str) -> None:
        place, frequency = np.mgrid[:8, :8]
        row = np.cos((2 * place + 1) * frequency * math.pi / 16) / 2
        row[:, 0] /= math.sqrt(2)
        self.cosine = self._on(np.einsum("xu,yv->xyuv", row, row), device)
        self.inverse = self.cosine.permute(2, 3, 0, 1).contiguous()
        self.tables = [self._on(table, device) for table in (LUMA_TABLE, CHROMA_TABLE, CHROMA_TABLE)]
        self.to_ycc, self.to_rgb = self._on(TO_YCC.T, device), self._on(TO_RGB.T, device)
        self.offset = torch.tensor([0.0, 128.0, 128.0], device=device)

    @staticmethod
    def _on(array: np.ndarray, device: str) -> Tensor:
        return torch.from_numpy(array.copy()).float().to(device)

    def __call__(self, photos: Tensor, quality: Tensor) -> Tensor:
        factor = torch.where(quality < 50, 50 / quality, 2 - quality / 50)
        height, width = photos.shape[-2:]
        photos = F.pad(photos, (0, -width % 16, 0, -height % 16)) * 255
        ycc = torch.tensordot(photos.permute(0, 2, 3, 1), self.to_ycc, dims=1) + self.offset
        planes = [ycc[..., 0], *(F.avg_pool2d(ycc[..., i][:, None], 2)[:, 0] for i in (1, 2))]
        restored = []
        for plane, table in zip(planes, self.tables, strict=True):
            batch, h, w = plane.shape
            blocks = plane.view(batch, h // 8, 8, w // 8, 8).permute(0, 1, 3, 2, 4).reshape(batch, -1, 8, 8)
            steps = table * factor.view(-1, 1, 1, 1)
            quantised = torch.round(torch.tensordot(blocks - 128, self.cosine, dims=2) / steps) * steps
            blocks = torch.tensordot(quantised, self.inverse, dims=2) + 128
            restored.append(blocks.view(batch, h // 8, w // 8, 8, 8).permute(0, 1, 3, 2, 4).reshape(batch, h, w))
        chroma = [plane.repeat_interleave(2, 1).repeat_interleave(2, 2) for plane in restored[1:]]
        ycc = torch.stack([restored[0], *chroma], dim=-1) - self.offset
        rgb = torch.tensordot(ycc, self.to_rgb, dims=1).clamp(0, 255) / 255
        return rgb.permute(0, 3, 1, 2)[..., :height, :width].contiguous()


def batch_noise(photos: Tensor, stage: StageSettings, rng: random.Random) -> Tensor:
    """One kind for all photos; strength and greyness each."""
    batch = len(photos)
    grey = (torch.rand(batch, device=photos.device) < stage.grey_probability).float().view(-1, 1, 1, 1)
    if rng.random() < stage.gaussian_probability:
        sigma = torch.rand(batch, device=photos.device) * (stage.gaussian_sigma[1] - stage.gaussian_sigma[0])
        sigma = (sigma + stage.gaussian_sigma[0]).view(-1, 1, 1, 1) / 255
        noise = torch.randn_like(photos) * sigma * (1 - grey) + torch.randn_like(photos[:1, :1]) * sigma * grey
    else:
        scale = torch.rand(batch, device=photos.device) * (stage.poisson_scale[1] - stage.poisson_scale[0])
        noise = counted_photons(photos)
        if grey.any():
            luma = photos.new_tensor(LUMA).view(1, 3, 1, 1)
            noise = noise * (1 - grey) + counted_photons((photos * luma).sum(1, keepdim=True)) * grey
        noise = noise * (scale + stage.poisson_scale[0]).view(-1, 1, 1, 1)
    return (photos + noise).clamp(0, 1)


def counted_photons(photos: Tensor) -> Tensor:
    photos = (photos * 255).round().clamp(0, 255) / 255
    vals = [2 ** math.ceil(math.log2(len(torch.unique(photo)))) for photo in photos]
    exposure = photos.new_tensor(vals).view(-1, 1, 1, 1)
    return torch.poisson(photos * exposure) / exposure - photos


def batch_chain(sharp: Tensor, dense: DenseKernels, jpeg: BatchJpeg, rng: random.Random) -> Tensor:
    """One LQ image of every sharpened photo, enlarged again."""
    height, width = sharp.shape[-2:]
    modes = ("area", "bilinear", "bicubic")

    def scale(stage: StageSettings) -> float:
        kind = rng.choices(("up", "down", "keep"), stage.resize_probabilities)[0]
        low, high = stage.resize_range
        return {"up": rng.uniform(1, high), "down": rng.uniform(low, 1), "keep": 1.0}[kind]

    def compressed(photos: Tensor, stage: StageSettings) -> Tensor:
        low, high = stage.jpeg_quality
        return jpeg(photos.clamp(0, 1), torch.rand(len(photos), device=photos.device) * (high - low) + low)

    def finished(photos: Tensor) -> Tensor:
        return dense_filter(F.interpolate(photos, size=(height // 4, width // 4), mode=rng.choice(modes)), dense.last)

    lq = dense_filter(sharp, dense.first)
    lq = F.interpolate(lq, scale_factor=scale(RELEASE.first), mode=rng.choice(modes))
    lq = compressed(batch_noise(lq, RELEASE.first, rng), RELEASE.first)
    if rng.random() < RELEASE.second.blur_probability:
        lq = dense_filter(lq, dense.second)
    factor = scale(RELEASE.second)
    lq = F.interpolate(lq, size=(int(height / 4 * factor), int(width / 4 * factor)), mode=rng.choice(modes))
    lq = batch_noise(lq, RELEASE.second, rng)
    jpeg_last = rng.random() < RELEASE.jpeg_last_probability
    lq = compressed(finished(lq), RELEASE.second) if jpeg_last else finished(compressed(lq, RELEASE.second))
    return F.interpolate(lq.clamp(0, 1), size=(height, width), mode="bicubic")


def timed(work: Callable[[], object], device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    begin = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def span(values: list[float], digits: int = 1) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of a CPU; unset: torch's choice")
    arguments = parser.parse_args()
    device, batch, side = arguments.device, arguments.batch, arguments.side
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    rng = random.Random(0)
    coarse = torch.rand(batch, 3, side // 8, side // 8)
    photos = F.interpolate(coarse, size=(side, side), mode="bicubic").add(0.03 * torch.randn(batch, 3, side, side))
    photos = photos.clamp(0, 1).to(device)
    degradation = Degradation(RELEASE)

    def release(photos: Tensor, seeds: range) -> tuple[float, float]:
        """Seconds of a sharpening and of two chains, the objects made anew in every call."""
        dense = [dense_kernels(seeds, device) for _ in range(2)]
        sharp = [photos]

        def sharpening() -> None:
            sharp[0] = dense_sharpen(photos)

        def chains() -> None:
            jpeg = BatchJpeg(device)
            for wanted in dense:
                batch_chain(sharp[0], wanted, jpeg, rng)

        return timed(sharpening, device), timed(chains, device)

    def ours(seeds: range) -> tuple[float, float]:
        sharp = [photos]

        def sharpening() -> None:
            sharp[0] = sharpen(photos)

        return timed(sharpening, device), timed(lambda: degradation(sharp[0], seeds), device)

    release(photos[:1], range(1))  # to warm up
    ours(range(batch))
    theirs, one, two, ratios, strict, shares, milliseconds = [], [], [], [], [], [], []
    for number in range(arguments.rounds):
        seeds = range(number * batch, (number + 1) * batch)
        usm, chains = release(photos, seeds)
        # Several batches of ours take less than one of theirs; their mean is steadier.
        runs = [
            ours(range(start, start + batch)) for start in range(seeds.start * 4, seeds.start * 4 + 4 * batch, batch)
        ]
        our_usm = statistics.fmean(run[0] for run in runs)
        our_chain = statistics.fmean(run[1] for run in runs)
        theirs.append(2 * batch / (usm + chains))
        one.append(batch / (our_usm + our_chain))
        two.append(2 * batch / (our_usm + 2 * our_chain))
        strict.append(one[-1] / theirs[-1])
        ratios.append(two[-1] / theirs[-1])
        shares.append((usm + chains) / batch)
        milliseconds.append(1000 * (our_usm + our_chain))
        print(f"round {number + 1}: {theirs[-1]:.2f} and {one[-1]:.1f} LQ images a second", file=sys.stderr, flush=True)
    place = torch.cuda.get_device_name() if device.startswith("cuda") else f"{torch.get_num_threads()} threads"
    print(f"{side}x{side}, batch {batch}, {arguments.rounds} rounds, {device} ({place}), torch {torch.__version__}\n")
    print("| way | LQ images a second | times the release's way |\n|---|---|---|")
    print(f"| the release's, two LQ to a sharpening | {span(theirs, 2)} | 1 |")
    print(f"| ours, a sharpening to every LQ | {span(one)} | {span(strict)} |")
    print(f"| ours, two LQ to a sharpening | {span(two)} | {span(ratios)} |")
    print(
        f"\nThe release's way: {span(shares, 2)} s a photo of two LQ. Ours: {span(milliseconds)} ms a batch of one LQ."
    )


if __name__ == "__main__":
    main()
