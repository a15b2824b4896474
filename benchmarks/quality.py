"""How well the embedded quality score orders and separates photos and their degraded copies.

    python benchmarks/quality.py [DATA]          the table
    python benchmarks/quality.py [DATA] --fit    fits the constants of quality/quality_gate.py and prints them

Photos: every photo under DATA's folders named in `PHOTOS`, the sorted list of their paths split in two: the first,
third, ... for tuning, the second, fourth, ... unused. Copies: Gaussian blur of sigma 1, 2 and 4, Gaussian noise of
sigma 5, 10 and 25 of 255 (per channel, seeded by the photo's place in the list), and JPEG of quality 10.

The fit sees the tuning half alone. It minimises, by Nelder-Mead over the three weights, the offset and the three
scales, squared hinges for
    each pair: the photo at least 0.5 above its copy (weight 20),
    each photo (COCO's and charts aside): at least 1 above the threshold,
    each copy of blur 2, noise 25 and JPEG 10: at least 1 below it,
with a small penalty on the weights and on scales far from where they start. All are then multiplied by one gain,
which changes no order and no decision: it puts the median photo at 71.87, the mean MUSIQ of the paper's data set, and
the threshold stays at 60.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from instructrestore.dataengine.photos.photo_file import decode
from instructrestore.dataengine.quality.quality_gate import EmbeddedQuality, faults
from instructrestore.dataengine.quality.sharpness import Measurement, measure

PHOTOS = (
    "clic2025/*.png",
    "gfm_am2k_alpha/*.jpg",
    "p3m_portrait_alpha/original/*.jpg",
    "gfm_samples/*.jpg",
    "kodak/*.png",
    "cid22/*.png",
    "coco_tiny/train2017/*.jpg",
    "coco_tiny/val2017/*.jpg",
    "panoptic_sample/input_images/*.jpg",
)
COCO = ("coco_tiny", "panoptic_sample")
CHARTS = ("AgilityCourseElements", "Boxplot", "Verkehrstote")
ORIGINAL = "photo"
COPIES = ("blur 1", "blur 2", "blur 4", "noise 5", "noise 10", "noise 25", "JPEG 10")
MUST_DROP = ("blur 2", "noise 25", "JPEG 10")
THRESHOLD = 60.0
MEDIAN_SCORE = 71.87


def photos(data: Path) -> list[Path]:
    return sorted((path for pattern in PHOTOS for path in data.glob(pattern)), key=lambda path: path.as_posix())


def is_good_photo(path: Path) -> bool:
    """Whether the gate must keep it: COCO's small, often compressed photos and the charts are not asked for."""
    return not any(part in COCO for part in path.parts) and not any(chart in path.name for chart in CHARTS)


def degrade(rgb: NDArray[np.uint8], how: str, seed: int) -> NDArray[np.uint8]:
    """A copy of (H, W, 3) uint8, degraded as one of `COPIES` says, or the photo itself."""
    if how == ORIGINAL:
        return rgb
    kind, strength = how.split()
    if kind == "blur":
        return np.asarray(cv2.GaussianBlur(rgb, (0, 0), float(strength)), np.uint8)
    if kind == "noise":
        noise = np.random.default_rng(seed).standard_normal(rgb.shape, dtype=np.float32)
        return np.clip(np.rint(rgb + float(strength) * noise), 0, 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(strength)])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])


def load(path: Path) -> NDArray[np.uint8]:
    return decode(path.read_bytes()).rgb


def fit(paths: list[Path]) -> None:
    """Prints the constants of quality_gate.py from the tuning half."""
    seen = []
    for seed, path in list(enumerate(paths))[::2]:
        rgb = load(path)
        seen.append([measure(degrade(rgb, how, seed)) for how in (ORIGINAL, *COPIES)])
    good = np.array([is_good_photo(path) for path in paths[::2]])
    drop = [1 + COPIES.index(how) for how in MUST_DROP]

    def above_threshold(values: NDArray[np.float64]) -> NDArray[np.float64]:
        scales = np.exp(values[4:])
        return values[3] - all_faults(seen, scales) @ np.exp(values[:3])

    def loss(values: NDArray[np.float64]) -> float:
        z = above_threshold(values)
        pairs, kept, dropped = 0.5 - (z[:, :1] - z[:, 1:]), 1 - z[good, 0], 1 + z[:, drop]
        hinges = (np.square(np.maximum(0, part)).mean() for part in (pairs, kept, dropped))
        size = np.square(np.exp(values[:3])).sum() + np.square(values[4:] - start[4:]).sum()
        return float(np.dot((20, 1, 1), list(hinges)) + 0.001 * size)

    start = np.array([0.6, 0.0, 0.9, 3.0, 1.0, 1.0, 1.0])
    steps = {"maxiter": 4000, "maxfev": 4000, "adaptive": True}
    best = minimize(loss, start, method="Nelder-Mead", options=steps).x
    border = math.log(THRESHOLD / (100 - THRESHOLD))
    gain = (math.log(MEDIAN_SCORE / (100 - MEDIAN_SCORE)) - border) / float(np.median(above_threshold(best)[good, 0]))
    constants = (*gain * np.exp(best[:3]), gain * best[3] + border, *np.exp(best[4:]))
    names = ("SOFTNESS_WEIGHT", "NOISE_WEIGHT", "BLOCKING_WEIGHT", "OFFSET", "SOFT", "NOISY", "BLOCKY")
    print(f"loss {loss(best):.4f}")
    for name, value in zip(names, constants, strict=True):
        print(f"{name} = {value:.3f}")


def all_faults(seen: list[list[Measurement]], scales: NDArray[np.float64]) -> NDArray[np.float64]:
    """(photos, 1 + copies, 3)"""
    return np.array([[faults(copy, *scales) for copy in copies] for copies in seen])


def scores(paths: list[Path]) -> NDArray[np.float64]:
    """(photos, 1 + copies): the photo's score and its copies'."""
    metric = EmbeddedQuality()
    rows = []
    for seed, path in enumerate(paths):
        rgb = load(path)
        rows.append([metric(degrade(rgb, how, seed)) for how in (ORIGINAL, *COPIES)])
    return np.array(rows)


def table(paths: list[Path]) -> None:
    score = scores(paths)
    good = np.array([is_good_photo(path) for path in paths])
    tuning = np.arange(len(paths)) % 2 == 0
    for name, half in (("tuning half", tuning), ("unused half", ~tuning)):
        ordered = score[half, :1] > score[half, 1:]
        print(f"\n{name}: {half.sum()} photos; pairs ordered right {ordered.mean():.1%}")
        print(f"{'':10}{'ordered':>9}{'dropped at 60':>15}{'COCO and charts aside':>23}")
        for column, how in enumerate(COPIES):
            dropped = score[:, 1 + column] <= THRESHOLD
            shares = f"{dropped[half].mean():15.1%}{dropped[half & good].mean():23.1%}"
            print(f"{how:10}{ordered[:, column].mean():9.1%}{shares}")
        kept = score[:, 0] > THRESHOLD
        print(f"{'kept':10}{'':9}{kept[half].mean():15.1%}{kept[half & good].mean():23.1%}")
    print(f"\nmedian score of the photos {np.median(score[good, 0]):.1f}")
    print(
        "dropped photos:",
        *(f"{p.parent.name}/{p.name} {s:.1f}" for p, s in zip(paths, score[:, 0], strict=True) if s <= THRESHOLD),
    )
    print(
        "charts:",
        *(f"{p.name} {s:.1f}" for p, s in zip(paths, score[:, 0], strict=True) if any(c in p.name for c in CHARTS)),
    )
    wrong = np.argwhere(score[:, :1] <= score[:, 1:])
    print("pairs ordered wrong:", *(f"{paths[i].parent.name}/{paths[i].name} {COPIES[j]}" for i, j in wrong))


def speed() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (512, 768, 3), np.uint8)
    metric = EmbeddedQuality()
    for shape in ((512, 768), (1536, 2048), (2244, 4464)):
        photo = cv2.resize(rgb, shape[::-1], interpolation=cv2.INTER_LINEAR)
        times = []
        for _ in range(30):
            begin = time.process_time()
            metric(np.asarray(photo, np.uint8))
            times.append(time.process_time() - begin)
        print(f"{shape[1]}x{shape[0]}: {1000 * float(np.median(times)):.1f} ms a photo on one core")


def asked(documentation: str | None, fitted: str) -> tuple[Path, list[Path], bool]:
    """The command line of a quality benchmark: the data's folder, its photos, and whether to fit what `fitted` says."""
    parser = argparse.ArgumentParser(description=(documentation or "").split("\n")[0])
    default = os.environ.get("INSTRUCTRESTORE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("data", nargs="?", type=Path, default=Path(default))
    parser.add_argument("--fit", action="store_true", help=fitted)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    paths = photos(arguments.data)
    if not paths:
        raise SystemExit(f"no photos under {arguments.data}: give the folder of the shared data")
    return arguments.data, paths, arguments.fit


def main() -> None:
    _, paths, fits = asked(__doc__, "fit the constants on the tuning half and print them")
    if fits:
        fit(paths)
        return
    table(paths)
    speed()


if __name__ == "__main__":
    main()
