"""What the learned quality score (BRISQUE, quality/learned.py) says of photos and their degraded copies.

    python -m benchmarks.learned_quality [DATA]         the tables
    python -m benchmarks.learned_quality [DATA] --fit   prints the slope of its scale, from COCO photos

1. How it follows the strength of the release's degradation. Each photo's middle (768x512 at most) goes through the
   release's chain with the choices of its seed, at a sixth, two sixths, ... all of their strength (`weakened`), and
   Spearman's rank correlation of -score and strength is taken over the photo and its six copies; the mean over photos,
   and once over all at once, where photos of different content are compared too.
2. The copies of benchmarks/quality.py: how many the threshold of 60 drops, beside the embedded score.
3. Speed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import rankdata

from benchmarks.quality import COPIES, MUST_DROP, ORIGINAL, THRESHOLD, asked, is_good_photo, load
from benchmarks.quality import degrade as copy_of
from instructrestore.dataengine.quality import learned
from instructrestore.dataengine.quality.learned import LearnedQuality
from instructrestore.dataengine.quality.quality_gate import EmbeddedQuality
from instructrestore.model.degradation.chain import SHRINK, degrade, drawn_noise
from instructrestore.model.degradation.kernels import Kernel
from instructrestore.model.degradation.recipe import DegradationStage, Recipe, draw_recipe
from instructrestore.model.degradation.settings import RELEASE
from instructrestore.pretrained.brisque import brisque, brisque_of
from instructrestore.pretrained.natural_scenes import brightness

STRENGTHS = tuple(step / 6 for step in range(1, 7))
MIDDLE = (512, 768)  # rows and columns
COCO = ("coco_panoptic/train/*.jpg", "coco_tiny/train2017/*.jpg")
COCO_MUSIQ = 69.73  # mean MUSIQ of the photos of RefCOCO: Table 1 of the paper

Metric = Callable[[NDArray[np.uint8]], float]


def weakened(recipe: Recipe, strength: float) -> Recipe:
    """The same choices at a part of their strength, 0 (nothing happens) < strength <= 1 (the recipe itself)."""

    def kernel(full: Kernel | None) -> Kernel | None:
        if full is None:
            return None
        if full.family == "sinc":
            return replace(full, omega=math.pi - strength * (math.pi - full.omega))
        return replace(full, sigma_x=strength * full.sigma_x, sigma_y=strength * full.sigma_y)

    def stage(full: DegradationStage) -> DegradationStage:
        return replace(
            full,
            blur=kernel(full.blur),
            resize=replace(full.resize, factor=full.resize.factor**strength),
            noise=replace(full.noise, strength=strength * full.noise.strength),
            quality=100 - strength * (100 - full.quality),
        )

    return replace(
        recipe, first=stage(recipe.first), second=stage(recipe.second), last_filter=kernel(recipe.last_filter)
    )


def of_strength(rgb: NDArray[np.uint8], strength: float, seed: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8, through the release's chain at that strength; sides multiples of 4."""
    recipe = weakened(draw_recipe(RELEASE, seed), strength)
    photo = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() / 255
    small = degrade(photo, [recipe], drawn_noise([recipe], photo.device), SHRINK**strength)
    back = F.interpolate(small, size=rgb.shape[:2], mode="bicubic").clamp_(0, 1)
    return (255 * back[0]).round().byte().permute(1, 2, 0).numpy()


def middle(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """At most 768x512 of it, sides multiples of 4."""
    tall, wide = (min(side, most) // 4 * 4 for side, most in zip(rgb.shape[:2], MIDDLE, strict=True))
    top, left = (rgb.shape[0] - tall) // 2, (rgb.shape[1] - wide) // 2
    return rgb[top : top + tall, left : left + wide]


def by_strength(paths: Sequence[Path], metrics: Sequence[Metric]) -> NDArray[np.float64]:
    """(metrics, photos, 7): values of each photo's middle and of its copies by rising strength."""
    found = []
    for seed, path in enumerate(paths):
        rgb = middle(load(path))
        copies = [rgb, *(of_strength(rgb, strength, seed) for strength in STRENGTHS)]
        found.append([[metric(copy) for copy in copies] for metric in metrics])
    return np.array(found).transpose(1, 0, 2)


def correlations(values: NDArray[np.float64]) -> tuple[float, float]:
    """(photos, 7), higher for stronger -> Spearman's correlation with the strength: photos' mean, and all at once."""
    steps = np.arange(values.shape[1])
    each = [_rank_correlation(row, steps) for row in values]
    return float(np.mean(each)), _rank_correlation(values.ravel(), np.tile(steps, len(values)))


def _rank_correlation(one: NDArray[np.float64], other: NDArray[np.int_]) -> float:
    """Spearman's."""
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def strengths(paths: Sequence[Path]) -> None:
    gate, embedded = LearnedQuality(), EmbeddedQuality()
    metrics = {
        "learned score": lambda rgb: -gate(rgb),
        "BRISQUE of the whole photo": brisque,
        "embedded score": lambda rgb: -embedded(rgb),
    }
    good = [path for path in paths if is_good_photo(path)]
    values = by_strength(good, list(metrics.values()))
    print(f"{len(good)} photos, {len(STRENGTHS)} strengths of the release's degradation: Spearman's rank correlation")
    for name, own in zip(metrics, values, strict=True):
        each, together = correlations(own)
        print(f"{name:28} mean over photos {each:.3f}, all at once {together:.3f}; medians", np.median(own, 0).round(1))


def copies(paths: Sequence[Path]) -> None:
    good = np.array([is_good_photo(path) for path in paths])
    unused = np.arange(len(paths)) % 2 == 1
    for name, metric in (("learned", LearnedQuality()), ("embedded", EmbeddedQuality())):
        rows = []
        for seed, path in enumerate(paths):
            rgb = load(path)
            rows.append([metric(copy_of(rgb, how, seed)) for how in (ORIGINAL, *COPIES)])
        score = np.array(rows)
        print(f"\n{name}: {unused.sum()} photos of the unused half, without COCO and charts {np.sum(unused & good)}")
        print(f"kept {np.mean(score[unused, 0] > THRESHOLD):.3f} {np.mean(score[unused & good, 0] > THRESHOLD):.3f}")
        for column, how in enumerate(COPIES, 1):
            dropped, ordered = score[:, column] <= THRESHOLD, score[:, 0] > score[:, column]
            mark = "*" if how in MUST_DROP else " "
            shares = f"{dropped[unused].mean():.3f} {dropped[unused & good].mean():.3f}"
            print(f"{how:9}{mark} dropped {shares}, below its photo {ordered[unused].mean():.3f}")
        print(f"median of good photos {np.median(score[good, 0]):.1f}; dropped photos:")
        print(*(f"  {p.parent.name}/{p.name} {s:.1f}" for p, s in zip(paths, score[:, 0], strict=True) if s <= 60))


def fit(data: Path) -> None:
    paths = sorted(path for pattern in COCO for path in data.glob(pattern))
    values = np.array([brisque_of(learned.detailed(brightness(load(path)))) for path in paths])

    def excess(slope: float) -> float:
        logits = math.log(1.5) + slope * (learned.THRESHOLD - values)
        return float((100 / (1 + np.exp(-logits))).mean()) - COCO_MUSIQ

    print(f"{len(paths)} photos, mean BRISQUE {values.mean():.1f}: SLOPE = {brentq(excess, 0.001, 0.1):.4f}")


def speed() -> None:
    metric, noise = LearnedQuality(), np.random.default_rng(0).integers(0, 256, (512, 768, 3), np.uint8)
    for shape in ((512, 768), (1216, 2048), (2244, 4464)):
        photo = np.asarray(cv2.resize(noise, shape[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
        times = {"learned score": list[float](), "BRISQUE of the whole photo": list[float]()}
        for name, judge in zip(times, (metric, brisque), strict=True):
            for _ in range(7):
                begin = time.process_time()
                judge(photo)
                times[name].append(time.process_time() - begin)
        print(
            f"{shape[1]}x{shape[0]}:", {name: f"{1000 * float(np.median(each)):.0f} ms" for name, each in times.items()}
        )


def main() -> None:
    data, paths, fits = asked(__doc__, "the slope of the scale")
    if fits:
        fit(data)
        return
    strengths(paths)
    copies(paths)
    speed()


if __name__ == "__main__":
    main()
