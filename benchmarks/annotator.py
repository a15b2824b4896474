"""The embedded annotator that ships: how right it is on good and on degraded photos, and what it costs.

python -m benchmarks.annotator right PANOPTIC.json     figures on annotated photos, as they are and degraded
python -m benchmarks.annotator speed PHOTO...          seconds and memory of masks and descriptions

"right": PANOPTIC.json is a source as `build` and `train-annotator` take it. Each photo is degraded by the release's
chain (quarter of the side, two rounds of blur, noise and JPEG, enlarged again), its seed the photo's place in the list.

"speed": every photo is scaled to a long side of 2048 px, goes ROUNDS times through what a worker of the masks stage and
then one of the descriptions stage does to it, decoded before. Medians over all rounds and photos, in brackets least to
most, of wall and of processor time; peak memory is of the process, Python, torch and weights in it.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from instructrestore.dataengine.annotator.annotator import load_annotator
from instructrestore.dataengine.annotator.evaluation import evaluate
from instructrestore.dataengine.annotator.panoptic import PanopticPhoto
from instructrestore.dataengine.annotator.views import ViewStore
from instructrestore.dataengine.descriptions.named import NamedDescriber
from instructrestore.dataengine.masks.cleanup import CleanupSettings, clean
from instructrestore.dataengine.masks.named import NamedSegmenter
from instructrestore.model.degradation.chain import SHRINK, Degradation
from instructrestore.pipelines.annotator.job import panoptic_photos

SIDE = 2048


@dataclass(frozen=True)
class DegradedPhoto(PanopticPhoto):
    seed: int = 0

    def rgb(self) -> NDArray[np.uint8]:
        photo = super().rgb()
        height, width = photo.shape[:2]
        padded = np.pad(photo, ((0, -height % SHRINK), (0, -width % SHRINK), (0, 0)), mode="edge")
        hq = torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 255
        lq = Degradation()(hq, [self.seed])[0, :, :height, :width]
        return (lq * 255).round().byte().permute(1, 2, 0).numpy()


def right(source: str) -> None:
    photos = panoptic_photos(source)
    degraded = [DegradedPhoto(**vars(photo), seed=seed) for seed, photo in enumerate(photos)]
    annotator, calibration = load_annotator()
    figures: list[dict[str, float]] = []
    for each in (photos, degraded):
        with tempfile.TemporaryDirectory() as folder:
            figures.append(evaluate(annotator, calibration, each, ViewStore(Path(folder), 0, annotator.sight)))
    print(f"{len(photos)} photos{'':20} as they are  degraded")
    for name, value in figures[0].items():
        print(f"{name:28} {value:12.3f} {figures[1][name]:9.3f}")


class Clock:
    def __init__(self) -> None:
        self.wall: defaultdict[str, list[float]] = defaultdict(list)
        self.cpu: defaultdict[str, list[float]] = defaultdict(list)

    @contextmanager
    def of(self, part: str) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall[part].append(time.perf_counter() - wall)
        self.cpu[part].append(time.process_time() - cpu)

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            with self.of(part):
                return function(*args)

        return call


def speed(photos: list[Path], rounds: int) -> None:
    clock = Clock()
    segmenter, describer = NamedSegmenter(), NamedDescriber()
    annotator = segmenter.annotator
    for path in photos:
        rgb = _large(path)
        segmenter(rgb)
        for _ in range(rounds):
            with clock.of("masks and descriptions"):
                with clock.of("  masks"):
                    masks = list(clean(clock.timed("    annotator", segmenter)(rgb)[0], CleanupSettings()).each())
                with clock.of("  descriptions"):
                    describer(rgb, masks)
            probabilities = clock.timed("of the annotator: network", annotator.probabilities)(rgb)
            clock.timed("of the annotator: edges, groups, full size", annotator.found)(rgb, probabilities)
    print(f"{len(photos)} photos of {SIDE} px, {rounds} rounds, {torch.get_num_threads()} threads of torch")
    for part in clock.wall:
        print(f"{part:44} {_spread(clock.wall[part])} s, processor {_spread(clock.cpu[part])} s")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20):.2f} GiB")


def _large(path: Path) -> NDArray[np.uint8]:
    rgb = np.asarray(Image.open(path).convert("RGB"))
    scale = SIDE / max(rgb.shape[:2])
    size = round(rgb.shape[1] * scale), round(rgb.shape[0] * scale)
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC), np.uint8)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("right", "speed"))
    parser.add_argument("where", nargs="+", help="a panoptic source, or photos")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.what == "right":
        right(given.where[0])
    else:
        speed([Path(each) for each in given.where], given.rounds)


if __name__ == "__main__":
    main()
