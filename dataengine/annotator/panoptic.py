"""Photos with panoptic annotations in COCO's layout: a JSON, and per photo a PNG whose colours are segment numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from instructrestore.dataengine.annotator.names import coco_names
from instructrestore.dataengine.sources.identities import by_id
from instructrestore.shards.errors import first_three
from instructrestore.shards.parsing import parse_json
from instructrestore.shards.rle import MAX_PIXELS

UNLABELLED = 255  # of a label map: no category, or a crowd's edge


@dataclass(frozen=True)
class PanopticPhoto:
    """photo, annotation: files. categories: the label of each segment number (an index into `coco_names`)."""

    key: str
    photo: Path
    annotation: Path
    categories: dict[int, int]

    def rgb(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB."""
        bgr = _read(self.photo, "a photo")
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)

    def segments(self) -> NDArray[np.int32]:
        """(H, W) int32: each pixel's segment number, 0 where nothing is annotated."""
        bgr = _read(self.annotation, "a panoptic PNG")
        blue, green, red = (channel.astype(np.int32) for channel in cv2.split(bgr))
        return red + 256 * green + 65536 * blue

    def labels(self, segments: NDArray[np.int32]) -> NDArray[np.uint8]:
        """(H, W) uint8: each pixel's label, `UNLABELLED` where it has none."""
        numbers, inverse = np.unique(segments, return_inverse=True)
        table = np.array([self.categories.get(int(number), UNLABELLED) for number in numbers], np.uint8)
        return table[inverse].reshape(segments.shape)


def _read(path: Path, what: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 BGR."""
    try:
        # The header alone: pixels are bounded before any is decoded.
        with Image.open(path, formats=("JPEG", "PNG", "WEBP", "BMP", "TIFF")) as header:
            if header.width * header.height > MAX_PIXELS:
                raise ValueError(f"{path} is {header.width}x{header.height}, over {MAX_PIXELS} pixels")
    except (OSError, SyntaxError, Image.DecompressionBombError):
        raise ValueError(f"{path} cannot be read as {what}") from None
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError(f"{path} cannot be read as {what}")
    return np.asarray(bgr, np.uint8)


def read_panoptic(annotations: Path, pngs: Path, photos: Path) -> list[PanopticPhoto]:
    """The photos of a panoptic JSON that lie in `photos`, by name. Raises ValueError where it is not one."""
    where = str(annotations)
    try:
        data = annotations.read_bytes()
    except OSError as error:
        raise ValueError(f"{annotations} cannot be read: {error.strerror}") from error
    content = parse_json(data, where, any_number=True)
    try:
        categories = [(each["id"], each["name"]) for each in content["categories"]]
        images = [(each["id"], each["file_name"]) for each in content["images"]]
        stems = [(Path(name).stem, name) for _, name in images]
        annotated = [
            (each["image_id"], (each["file_name"], [_segment(segment) for segment in each["segments_info"]]))
            for each in content["annotations"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{annotations} is not a panoptic JSON in COCO's layout") from error
    names = by_id(where, "categories of one id", categories)
    files = by_id(where, "images of one id", images)
    by_id(where, "photos of one name apart from the ending", stems)
    found = by_id(where, "annotations of one image", annotated)
    if strays := found.keys() - files.keys():
        raise ValueError(f"{annotations} annotates images that it does not list: {first_three(map(str, strays))}")
    entries = [(files[photo], *entry) for photo, entry in found.items()]
    labels = {name.category: index for index, name in enumerate(coco_names())}
    result = []
    for photo, png, segments in sorted(entries, key=lambda entry: entry[0]):
        if Path(photo).name != photo or Path(png).name != png:
            raise ValueError(f"{annotations} names a file outside its folder: {photo!r}, {png!r}")
        named = by_id(where, f"segments of one id in {png}", segments)
        labelled = {
            segment: labels[names[category]]
            for segment, (category, is_crowd) in named.items()
            if names.get(category) in labels and not is_crowd
        }
        if (photos / photo).is_file() and (pngs / png).is_file():
            result.append(PanopticPhoto(Path(photo).stem, photos / photo, pngs / png, labelled))
    if not result:
        raise ValueError(f"none of the photos of {annotations} lies in {photos} with its PNG in {pngs}")
    return result


def _segment(segment: Any) -> tuple[int, tuple[Any, bool]]:
    """Its id, and what is said of it: its category, and whether it is a crowd."""
    return int(segment["id"]), (segment["category_id"], bool(segment.get("iscrowd")))
