"""How well the colour segmenter's regions match masks that people drew: `python benchmarks/masks.py [DATA]`.

For each annotated region of COCO above 2% of its photo (crowds aside) the best IoU over the photo's regions, averaged
over all annotated regions; the same for a 3x4 grid and a plain felzenszwalb; and for each photo with a matte the best
IoU of its subject. Photos are halved by their place in the sorted list of names. The weights by which regions are
merged were chosen on the first, third, ... of them ("tuning"). The other half tells how much of the figure comes from
that choice; it is not wholly unseen, for what makes a figure stand out was chosen with all photos in view.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.segmentation import felzenszwalb

from instructrestore.dataengine.masks.cleanup import CleanupSettings, clean
from instructrestore.dataengine.masks.colour import ColourSegmenter
from instructrestore.shards import rle

Photo = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]
LEAST_SHARE = 0.02
HALVES = ("tuning", "other")
COLOURS = np.array(
    [[230, 25, 75], [60, 180, 75], [255, 225, 25], [0, 130, 200], [245, 130, 48], [145, 30, 180], [70, 240, 240]]
)


@dataclass
class Score:
    """One way to segment over one set of photos: best IoU of each annotated region, regions a photo."""

    ious: list[float] = field(default_factory=list)
    regions: list[int] = field(default_factory=list)

    def add(self, regions: Sequence[BoolArray], truth: Sequence[BoolArray]) -> None:
        self.ious += best_ious(regions, truth)
        self.regions.append(len(regions))

    def __str__(self) -> str:
        least, median, most = min(self.regions), int(np.median(self.regions)), max(self.regions)
        return f"mean best IoU {np.mean(self.ious):.3f}   regions {least}/{median}/{most} (min/median/max)"


def best_ious(regions: Sequence[BoolArray], truth: Sequence[BoolArray]) -> list[float]:
    """For each true region the best IoU over the regions found."""
    return [max((float((t & r).sum() / (t | r).sum()) for r in regions), default=0.0) for t in truth]


def coco_photos(data: Path) -> list[tuple[str, Photo, list[BoolArray]]]:
    """(name, photo, annotated regions above 2% of it) of every COCO photo that is there, by name."""
    photos = []
    for split in ("train2017", "val2017"):
        instances = json.loads((data / "coco_tiny" / "annotations" / f"instances_{split}.json").read_text())
        for image in instances["images"]:
            path = data / "coco_tiny" / split / image["file_name"]
            if not path.is_file():
                continue
            masks = [
                rle.polygons(annotation["segmentation"], image["height"], image["width"]).array()
                for annotation in instances["annotations"]
                if annotation["image_id"] == image["id"] and not annotation["iscrowd"]
            ]
            photos.append((path.name, read(path), [mask for mask in masks if mask.mean() > LEAST_SHARE]))
    return sorted(photos, key=lambda photo: photo[0])


def matte_photos(data: Path) -> Iterator[tuple[str, Photo, BoolArray]]:
    """(name, photo, subject) of every photo with a matte."""
    pairs = [(path, path.with_suffix(".png")) for path in sorted((data / "gfm_am2k_alpha").glob("*.jpg"))]
    portraits = data / "p3m_portrait_alpha"
    pairs += [(path, portraits / "alpha" / f"{path.stem}.png") for path in sorted(portraits.glob("original/*.jpg"))]
    for path, matte in pairs:
        yield path.stem, read(path), np.asarray(Image.open(matte).convert("L")) >= 128


def read(path: Path) -> Photo:
    return np.asarray(Image.open(path).convert("RGB"))


def grid(rgb: Photo) -> list[BoolArray]:
    """3 rows of 4 rectangles."""
    rows = np.arange(rgb.shape[0]) * 3 // rgb.shape[0]
    columns = np.arange(rgb.shape[1]) * 4 // rgb.shape[1]
    cells = 4 * rows[:, None] + columns
    return [cells == cell for cell in range(12)]


def plain_felzenszwalb(rgb: Photo) -> list[BoolArray]:
    """The 18 largest regions of felzenszwalb alone on a copy of 320 pixels, with the best of five settings tried."""
    height, width = rgb.shape[:2]
    scale = 320 / max(height, width)
    small = cv2.resize(rgb, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    labels = felzenszwalb(small, scale=100, sigma=0.8, min_size=500)
    labels = cv2.resize(labels.astype(np.int32), (width, height), interpolation=cv2.INTER_NEAREST)
    largest = np.argsort(-np.bincount(labels.ravel()), kind="stable")[:18]
    return [labels == label for label in largest]


def draw(rgb: Photo, regions: Sequence[BoolArray], path: Path) -> None:
    """The photo, and beside it each region in a colour of its own, the larger below the smaller; 480 pixels high."""
    tinted = rgb.astype(np.float32)
    for number, region in enumerate(sorted(regions, key=lambda region: -int(region.sum()))):
        tinted[region] = 0.45 * rgb[region] + 0.55 * COLOURS[number % len(COLOURS)]
        outline = cv2.morphologyEx(region.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
        tinted[outline > 0] = 255
    both = np.hstack([rgb, tinted.astype(np.uint8)])
    Image.fromarray(both).resize((round(480 * both.shape[1] / both.shape[0]), 480)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).resolve().parent.parent
    default = os.environ.get("INSTRUCTRESTORE_DATA", str(root / "../shared/data"))
    parser.add_argument("data", nargs="?", type=Path, default=Path(default), help="the folder of test photos")
    parser.add_argument("--pictures", type=Path, help="write each photo with its coloured regions to this folder")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)

    segmenter, settings = ColourSegmenter(), CleanupSettings()
    others: dict[str, Callable[[Photo], list[BoolArray]]] = {"3x4 grid": grid, "felzenszwalb": plain_felzenszwalb}
    scores: dict[tuple[str, str], Score] = {}
    seconds = megapixels = cleaning = 0.0

    def measure(name: str, rgb: Photo) -> dict[str, list[BoolArray]]:
        nonlocal seconds, megapixels, cleaning
        start = time.perf_counter()
        regions = segmenter(rgb)
        between = time.perf_counter()
        cleaned = clean(regions, settings).masks
        seconds += between - start
        cleaning += time.perf_counter() - between
        megapixels += rgb.shape[0] * rgb.shape[1] / 1e6
        if arguments.pictures:
            draw(rgb, cleaned, arguments.pictures / f"{name}.png")
        return {"colour": regions, "colour, cleaned": cleaned}

    photos = coco_photos(arguments.data)
    for number, (name, rgb, truth) in enumerate(photos):
        found = measure(Path(name).stem, rgb)
        found.update((other, segment(rgb)) for other, segment in others.items())
        for way, regions in found.items():
            for half in (HALVES[number % 2], "all"):
                scores.setdefault((way, half), Score()).add(regions, truth)
    print(f"{len(photos)} COCO photos, {len(scores['colour', 'all'].ious)} annotated regions")
    for way in ("colour", "colour, cleaned", *others):
        for half in (*HALVES, "all"):
            print(f"  {way:18} {half:7} {scores[way, half]}")
    segmenting, cleaning = 1000 * seconds / len(photos), 1000 * cleaning / len(photos)
    print(f"  {segmenting:.0f} ms to segment and {cleaning:.0f} ms to clean a photo")

    seconds = megapixels = cleaning = 0.0
    mattes = []
    print("photos with a matte: best IoU of the subject, segmented / cleaned")
    for name, rgb, subject in matte_photos(arguments.data):
        found = [best_ious(regions, [subject])[0] for regions in measure(name, rgb).values()]
        print(f"  {name:18} {found[0]:.3f} / {found[1]:.3f}")
        mattes.append(found)
    raw, cleaned = np.mean(mattes, axis=0)
    print(f"  {'mean of ' + str(len(mattes)):18} {raw:.3f} / {cleaned:.3f}")
    print(f"  {seconds / megapixels * 2:.3f} s to segment and {cleaning / megapixels * 2:.3f} s to clean 2 megapixels")


if __name__ == "__main__":
    main()
