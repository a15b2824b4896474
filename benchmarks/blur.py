"""How well blur is found without weights: `python benchmarks/blur.py`, with the data folder in INSTRUCTRESTORE_DATA.

Photos with a matte, whose background is out of focus, are scaled to a short side of 512 pixels and cropped around the
subject, as a test set's are; the truth is the background. It is a rough one: a pyramid, a wall or a road may be as
sharp as the subject, and a subject may have parts out of focus. Made photos have an exact one: a sharp photo's subject
before another photo blurred by a disc of 2 to 10 pixels' radius. The embedded detector's constants were chosen on the
photos with a matte, on their noisy and their JPEG copies, and on photos made of the first, third, ... sharp one. Those
"held out" are made of the others; of these 26 seven were looked at before, as photos that are sharp all over.

Compared are two published measures in the same place, each spread to regions by the same filter, and each with the
limit that is best for it on the photos with a matte:
- LBP: share of the local binary patterns 6 to 8 (rotation-invariant uniform) in a window, Yi and Eramian, LBP-based
  segmentation of defocus blur, 2016, with their window of 21 pixels and threshold of 0.016;
- reblur: how much a Gaussian of sigma 1 lowers the gradients of edges, Zhuo and Sim, Defocus map estimation from a
  single image, 2011, averaged over a window of 11 pixels.
Both were published with another way of spreading, matting, that is left out here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from instructrestore.model.metrics.blur import LIMIT, LocalSharpness, gradient_energy, sharpness, spread

Photo = NDArray[np.uint8]
Plane = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Case = tuple[str, Photo, BoolArray]  # name, (512, 512, 3), where it is blurred
Measure = Callable[[Photo], Plane]  # how sharp each pixel is, 0 to 1

ROOT = Path(__file__).resolve().parent.parent
SIDE = 512
NEAR_NEGATIVES = ("sample13", "p_bd6af989")  # their background is in focus
RADII = (2, 3, 4, 6, 10)
RING = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))
REPEATS = 3
WHERE: dict[str, Callable[[BoolArray], BoolArray]] = {
    "all": np.ones_like,
    "subject": np.logical_not,
    "background": np.array,
}


def embedded(rgb: Photo) -> Plane:
    return sharpness(unit(rgb))


def local_binary_patterns(rgb: Photo) -> Plane:
    luma = grey(rgb)
    around = cv2.copyMakeBorder(luma, 1, 1, 1, 1, cv2.BORDER_REFLECT_101)
    height, width = luma.shape
    bits = []
    for down, across in RING:
        reach = 0.5**0.5 if down and across else 1.0  # neighbours on a circle, by bilinear interpolation
        rows, columns = (around[1 : 1 + height], around[1 + down : 1 + down + height])
        mixed = [
            (1 - reach) * line[:, 1 : 1 + width] + reach * line[:, 1 + across : 1 + across + width]
            if across
            else line[:, 1 : 1 + width]
            for line in (rows, columns)
        ]
        neighbour = (1 - reach) * mixed[0] + reach * mixed[1] if down else mixed[0]
        bits.append(neighbour - luma >= 0.016 * 255)
    ring = np.stack(bits)
    changes = (ring != np.roll(ring, 1, 0)).sum(0)
    ones = ring.sum(0)
    share = window(((changes <= 2) & (ones >= 6)).astype(np.float32), 21)
    # As published, a plain place counts as blurred.
    return spread((share / 0.1).clip(0, 1), np.ones_like(luma), unit(rgb))


def reblurred(rgb: Photo) -> Plane:
    luma = grey(rgb)
    steep = gradient_energy(luma)
    soft = gradient_energy(np.asarray(cv2.GaussianBlur(luma, (0, 0), 1), np.float32))
    ratio = window(np.sqrt(steep) * steep, 11) / (window(np.sqrt(soft) * steep, 11) + 1e-3)
    coarse = window(gradient_energy(window(luma, 4)), 11)
    return spread((ratio - 1).clip(0, 1), np.asarray(coarse / (coarse + 2), np.float32), unit(rgb))


def unit(rgb: Photo) -> Plane:
    return np.asarray(rgb / np.float32(255), np.float32)


def grey(rgb: Photo) -> Plane:
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.float32)


def window(plane: Plane, side: int) -> Plane:
    return np.asarray(cv2.blur(plane, (side, side), borderType=cv2.BORDER_REFLECT_101), np.float32)


def matte_cases(data: Path) -> list[Case]:
    paths = [(path, path.with_suffix(".png")) for path in data.glob("gfm_am2k_alpha/*.jpg")]
    portraits = data / "p3m_portrait_alpha"
    paths += [(path, portraits / "alpha" / f"{path.stem}.png") for path in portraits.glob("original/*.jpg")]
    cases = []
    for path, matte_path in sorted(paths):
        photo, matte = read(path), np.asarray(cv2.imread(str(matte_path), cv2.IMREAD_GRAYSCALE))
        scale = SIDE / min(matte.shape)
        size = (max(SIDE, round(matte.shape[1] * scale)), max(SIDE, round(matte.shape[0] * scale)))
        photo, matte = (cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in (photo, matte))
        middle = [int(np.median(places)) for places in np.nonzero(matte > 127)]
        top, left = (min(max(at - SIDE // 2, 0), long - SIDE) for at, long in zip(middle, matte.shape, strict=True))
        crop = np.s_[top : top + SIDE, left : left + SIDE]
        cases.append((path.stem, np.ascontiguousarray(photo[crop]), matte[crop] < 128))
    return cases


def made_cases(data: Path, subjects: list[Case], half: int) -> list[Case]:
    """A sharp photo in the shape of a subject before another one, blurred; of every other sharp photo."""
    paths = [path for folder in ("cid22", "clic2025", "kodak") for path in sorted(data.glob(f"{folder}/*"))]
    paths = [path for path in paths if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")][half::2]
    sharp = []
    for path in paths:
        photo = read(path)
        scale = max(1, min(photo.shape[:2]) // SIDE)
        photo = cv2.resize(photo, (photo.shape[1] // scale, photo.shape[0] // scale), interpolation=cv2.INTER_AREA)
        top, left = ((long - SIDE) // 2 for long in photo.shape[:2])
        sharp.append(photo[top : top + SIDE, left : left + SIDE])
    cases = []
    for index, (path, front) in enumerate(zip(paths, sharp, strict=True)):
        behind, radius = sharp[(index + 7) % len(sharp)], RADII[index % len(RADII)]
        blurred = subjects[index % len(subjects)][2]
        share = cv2.GaussianBlur((~blurred).astype(np.float32), (0, 0), 0.7)[..., None]
        mixed = share * front + (1 - share) * cv2.filter2D(behind, -1, disc(radius))
        cases.append((path.stem, np.round(mixed).astype(np.uint8), blurred))
    return cases


def disc(radius: int) -> Plane:
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    kernel = np.clip(radius + 0.5 - np.hypot(rows, columns), 0, 1)
    return (kernel / kernel.sum()).astype(np.float32)


def read(path: Path) -> Photo:
    photo = cv2.imread(str(path))
    assert photo is not None, path
    return np.asarray(photo[..., ::-1], np.uint8, order="C")


def noisy(photo: Photo, sigma: float) -> Photo:
    noise = np.random.default_rng(0).normal(0, sigma, photo.shape)
    return np.clip(np.round(photo + noise), 0, 255).astype(np.uint8)


def jpeg(photo: Photo, quality: int) -> Photo:
    data = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def soft(photo: Photo, sigma: float) -> Photo:
    return np.asarray(cv2.GaussianBlur(photo, (0, 0), sigma), np.uint8)


def changes() -> dict[str, Callable[[Photo], Photo]]:
    grain = 10 * np.random.default_rng(1).normal(size=(SIDE, SIDE, 1))
    return {
        "all, nothing changed": lambda photo: photo,
        "all, noise 2": lambda photo: noisy(photo, 2),
        "all, noise 5": lambda photo: noisy(photo, 5),
        "all, JPEG 60": lambda photo: jpeg(photo, 60),
        "all, softened by sigma 0.5": lambda photo: soft(photo, 0.5),
        "subject, softened by sigma 1": lambda photo: soft(photo, 1),
        "subject, softened by sigma 2": lambda photo: soft(photo, 2),
        "background, softened by sigma 2": lambda photo: soft(photo, 2),
        "background, grain 10": lambda photo: np.clip(np.round(photo + grain), 0, 255).astype(np.uint8),
        "background, sharpened": lambda photo: cv2.addWeighted(photo, 4, soft(photo, 3), -3, 0).astype(np.uint8),
    }


def iou(one: BoolArray, other: BoolArray) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def mean_iou(maps: list[Plane], limit: float, cases: list[Case]) -> float:
    return float(np.mean([iou(each < limit, truth) for each, (_, _, truth) in zip(maps, cases, strict=True)]))


def main() -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    data = Path(os.environ.get("INSTRUCTRESTORE_DATA", ROOT / "../shared/data")).resolve()
    subjects = matte_cases(data)
    real = [case for case in subjects if case[0] not in NEAR_NEGATIVES]
    made = {name: made_cases(data, subjects, half) for half, name in enumerate(("made", "made, held out"))}
    measures: dict[str, Measure] = {"embedded": embedded, "LBP": local_binary_patterns, "reblur": reblurred}
    limits = {}
    print("mean IoU of what is blurred with the truth")
    print(f"  all blurred: mattes {np.mean([truth.mean() for _, _, truth in real]):.3f}")
    for name, measure in measures.items():
        maps = [measure(photo) for _, photo, _ in real]
        candidates = [LIMIT] if name == "embedded" else [step / 20 for step in range(1, 20)]
        limits[name] = max(candidates, key=lambda limit: mean_iou(maps, limit, real))
        line = [f"mattes {mean_iou(maps, limits[name], real):.3f}"]
        for label, spoil in (("noise 5", lambda photo: noisy(photo, 5)), ("JPEG 60", lambda photo: jpeg(photo, 60))):
            spoilt = [measure(spoil(photo)) for _, photo, _ in real]
            line.append(f"mattes, {label} {mean_iou(spoilt, limits[name], real):.3f}")
        for label, cases in made.items():
            found = mean_iou([measure(photo) for _, photo, _ in cases], limits[name], cases)
            line.append(f"{len(cases)} {label} {found:.3f}")
        print(f"  {name} (limit {limits[name]:.2f}): {', '.join(line)}")
    print("each photo with a matte: share of background, IoU by " + ", ".join(measures))
    for name, photo, truth in subjects:
        found = [f"{iou(measure(photo) < limits[key], truth):.2f}" for key, measure in measures.items()]
        remark = " (its background is in focus)" if name in NEAR_NEGATIVES else ""
        print(f"  {name}: {truth.mean():.2f}, {', '.join(found)}{remark}")

    print("bokeh IoU, embedded, of the photos with a matte and their own copies: mean, least")
    for label, change in changes().items():
        found = [
            iou(embedded(np.where(where(truth)[..., None], change(photo), photo)) < LIMIT, embedded(photo) < LIMIT)
            for where in (WHERE[label.split(",")[0]],)
            for _, photo, truth in real
        ]
        print(f"  {label}: {np.mean(found):.3f}, {np.min(found):.3f}")

    photos = torch.from_numpy(np.stack([photo for _, photo, _ in subjects])).permute(0, 3, 1, 2).float() / 255
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        LocalSharpness()(photos)
        times.append((time.perf_counter() - start) / len(photos))
    print(f"one core: {1000 * min(times):.1f} ms a photo of {SIDE}x{SIDE}")


if __name__ == "__main__":
    main()
