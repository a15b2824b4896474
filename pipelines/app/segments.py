"""What is in a photo, as a picture in which a click is looked up, and names: the embedded annotator's segments, the
masks of SAM 2.1, or the things of an instance segmenter.

All segments, also those whose names are not sure: a person sees what they point at.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from instructrestore.dataengine.annotator.names import coco_names
from instructrestore.dataengine.annotator.naming import name_segments
from instructrestore.model.restoring.locating import Box, Point, check_places, fitting
from instructrestore.pipelines.app.pictures import as_png
from instructrestore.pipelines.app.records import SegmentRecord, Segments
from instructrestore.pipelines.app.shelf import Missing
from instructrestore.pipelines.inference.photo_parts import PhotoParts
from instructrestore.pipelines.inference.sam2_segments import PhotoPart
from instructrestore.pipelines.inference.segment_models import EMBEDDED
from instructrestore.pipelines.inference.segment_settings import SegmentModel, shown_name
from instructrestore.pipelines.pictures.source_photo import read_photo
from instructrestore.shards.files import commit

SIDE = 1024  # px, the longer side of the picture of segments


class Segmenter:
    """What cuts photos up, loaded when it is first needed; one photo at a time."""

    def __init__(self, model: SegmentModel | None = None) -> None:
        self._finder = PhotoParts(model)
        self._one = threading.Lock()

    @property
    def name(self) -> str:
        return shown_name(self._finder.model) if self._finder.model else EMBEDDED

    def warm(self) -> None:
        """Loads the networks, so that the first photo does not wait for them.

        Raises ValueError, in one sentence, if the model's weights cannot be used.
        """
        with self._one, self._processors():
            _ = self._finder.annotator, self._finder.segmenter

    def of_photo(self, file: Path, folder: Path) -> Segments:
        """A photo's segments. folder: where they are kept once they were found."""
        known = folder / "segments.json"
        with self._one:
            with suppress(OSError, ValidationError):  # not yet found, or damaged
                return Segments.model_validate_json(known.read_bytes())
            with self._processors():
                found, ids = self._found(np.asarray(read_photo(file).image))
            commit(folder / "segments.png", as_png(Image.fromarray(_as_colours(ids))))
            commit(known, found.model_dump_json().encode())
        return found

    @contextmanager
    def _processors(self) -> Iterator[None]:
        """While it lasts the annotator uses one processor: with more this thread would have OpenMP threads of its own
        beside those of the thread that restores, and both would be slower from then on. Other models are too large.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(threads if self._finder.model else 1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def _found(self, rgb: NDArray[np.uint8]) -> tuple[Segments, NDArray[np.int32]]:
        """The segments and (h, w) int32 their ids, 0 for none, at most SIDE pixels on the longer side."""
        scale = min(1.0, SIDE / max(rgb.shape[:2]))
        height, width = max(1, round(rgb.shape[0] * scale)), max(1, round(rgb.shape[1] * scale))
        small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA) if scale < 1 else rgb
        ids = np.zeros((height, width), np.int32)
        segments, sure_names = [], dict[str, None]()
        for number, part in enumerate(self._finder.parts(np.asarray(small, np.uint8)), 1):
            ids[part.mask] = number
            word, sure = self._named(part)
            if sure:
                sure_names[f"the {word}"] = None
            area = float(part.mask.mean())
            segments.append(SegmentRecord(id=number, name=word, sure=sure, area=area, box=_box(part.mask, 1 / scale)))
        vocabulary = sorted({name.word for name in coco_names()})
        found = Segments(width=width, height=height, segments=segments, names=list(sure_names), vocabulary=vocabulary)
        return found, ids

    def _named(self, part: PhotoPart) -> tuple[str, bool]:
        """What it is called, "" if nothing is known, and whether that is sure."""
        if not part.seen:
            return "", False
        sure, _ = name_segments([part.seen], self._finder.annotator[1])
        return (sure[0].word, True) if sure else (coco_names()[part.seen.label].word, False)


def chosen_mask(folder: Path, chosen: tuple[int, ...], size: tuple[int, int], feather: int) -> NDArray[np.uint8]:
    """The union of segments as a mask of the photo's (height, width), (H, W) uint8; feather: pixels of its ramp.

    Raises Missing where the photo has not been looked at, and ValueError for a segment that is not there.
    """
    if not chosen:
        raise ValueError("name at least one segment, point or box")
    ids = _ids(folder)
    if unknown := set(chosen) - set(np.unique(ids).tolist()) or set(chosen) & {0}:
        raise ValueError(f"there is no segment {min(unknown)} in this photo")
    inside = np.isin(ids, chosen).astype(np.uint8) * 255
    large = cv2.resize(inside, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    mask = np.where(large > 127, 255, 0).astype(np.uint8)
    if feather:
        outside = cv2.distanceTransform(255 - mask, cv2.DIST_L2, 5)
        mask = np.clip(255 * (1 - outside / (feather + 1)), 0, 255).astype(np.uint8)
    return mask


def segments_at(folder: Path, points: Sequence[Point], boxes: Sequence[Box], size: tuple[int, int]) -> tuple[int, ...]:
    """The numbers of the segments that hold the points and fit the boxes, of a photo of this (height, width).

    Raises Missing where the photo has not been looked at, and ValueError for places outside it or without a segment.
    """
    check_places(points, boxes, size, regions=1)
    if not points and not boxes:
        return ()
    ids = _ids(folder)
    down, across = ids.shape[0] / size[0], ids.shape[1] / size[1]
    numbers = []
    for x, y in points:
        numbers.append(int(ids[int(y * down), int(x * across)]))
        if not numbers[-1]:
            raise ValueError(f"there is no segment at the point {x:g},{y:g}")
    pieces = {int(number): ids == number for number in np.unique(ids) if number} if boxes else {}
    for x, y, wide, high in boxes:
        fits = fitting(list(pieces.values()), (x * across, y * down, wide * across, high * down))
        if fits is None:
            raise ValueError(f"no segment fits the box {x:g},{y:g},{wide:g},{high:g}")
        numbers.append(next(number for number, piece in pieces.items() if piece is fits))
    return tuple(numbers)


def _ids(folder: Path) -> NDArray[np.int32]:
    """(h, w), 0 for no segment."""
    path = folder / "segments.png"
    if not path.is_file():
        raise Missing
    with Image.open(path) as image:
        return _from_colours(np.asarray(image.convert("RGB")))


def _box(mask: NDArray[np.bool_], scale: float) -> tuple[int, int, int, int]:
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return round(x * scale), round(y * scale), round(width * scale), round(height * scale)


def _as_colours(ids: NDArray[np.int32]) -> NDArray[np.uint8]:
    return np.stack([ids % 256, ids // 256 % 256, np.zeros_like(ids)], -1).astype(np.uint8)


def _from_colours(rgb: NDArray[np.uint8]) -> NDArray[np.int32]:
    return rgb[..., 0].astype(np.int32) + 256 * rgb[..., 1].astype(np.int32)
