"""YOLO segmentation: FOLDER/data.yaml, images/train/KEY.jpg and labels/train/KEY.txt, a line a region.

A line is the number of the subject and one outline, in shares of the photo's sides. Parts of a region, and its holes,
become one outline by lines there and back between their nearest points, as ultralytics converts COCO. What the
outline, filled, has more or less than the mask is counted.
"""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from instructrestore.dataengine.exchange.layout import SUBJECTS, Exported, write_photo
from instructrestore.shards.plain_text import yaml_text
from instructrestore.shards.rle import BoolArray
from instructrestore.shards.sample import AnnotatedPhoto

CHANGED = "pixels that an outline has more or less than its mask"


class YoloSegLayout:
    """Holds one outline a region and its subject."""

    holds = frozenset((SUBJECTS,))

    def __init__(self, exported: Exported) -> None:
        self._exported = exported
        self._numbers = {subject: number for number, subject in enumerate(exported.subjects)}
        self._labels = exported.folder / "labels" / "train"
        self._labels.mkdir(parents=True)

    def add(self, sample: AnnotatedPhoto, data: bytes) -> Counter[str]:
        photo = sample.photo
        write_photo(self._exported.folder / "images" / "train", photo, data)
        lines, changed = [], 0
        for region in sample.regions:
            mask = region.mask.array()
            ring = outline(mask)
            changed += int((filled(ring, *mask.shape) != mask).sum())
            # The middle of a pixel: rounded down, as it is drawn, it gives the pixel again.
            shares = (ring + 0.5) / (mask.shape[1], mask.shape[0])
            numbers = " ".join(f"{share:.6f}" for share in shares.ravel())
            lines.append(f"{self._numbers[region.subject]} {numbers}\n")
        (self._labels / f"{photo.key}.txt").write_text("".join(lines), "ascii")
        return +Counter({CHANGED: changed})

    def finish(self) -> None:
        names = "".join(f"  {number}: {yaml_text(subject)}\n" for number, subject in enumerate(self._exported.subjects))
        head = "# val: photos of your own belong here.\ntrain: images/train\nval: images/train\n"
        (self._exported.folder / "data.yaml").write_text(f"{head}names:\n{names or '  {}'}", "ascii")


def outline(mask: BoolArray) -> NDArray[np.int32]:
    """mask: (H, W) bool, not empty. Returns one closed outline through the mask's own pixels, (N, 2) as x, y; N > 2."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = sorted((ring[:, 0, :] for ring in found), key=len, reverse=True)
    joined = rings[0]
    for ring in rings[1:]:
        distances, nearest = KDTree(ring).query(joined)
        here = int(np.argmin(distances))
        there = int(np.asarray(nearest)[here])
        joined = np.concatenate([joined[: here + 1], ring[there:], ring[: there + 1], joined[here:]])
    return np.concatenate([joined] * (3 if len(joined) == 1 else 2 if len(joined) == 2 else 1)).astype(np.int32)


def filled(ring: NDArray[np.int32], height: int, width: int) -> BoolArray:
    """What an outline encloses, with its own pixels, (height, width) bool, as ultralytics draws it."""
    canvas = np.zeros((height, width), np.uint8)
    cv2.fillPoly(canvas, [ring], 1)
    return canvas.astype(np.bool_)
