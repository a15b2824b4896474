"""Photos with panoptic annotations in COCO's layout: a JSON, and per photo a PNG whose colours are segment numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from instructrestore.dataengine.annotator.names import coco_names

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
        bgr = cv2.imread(str(self.photo), cv2.IMREAD_COLOR)
        if bgr is None:
            raise ValueError(f"{self.photo} cannot be read as a photo")
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)

    def segments(self) -> NDArray[np.int32]:
        """(H, W) int32: each pixel's segment number, 0 where nothing is annotated."""
        bgr = cv2.imread(str(self.annotation), cv2.IMREAD_COLOR)
        if bgr is None:
            raise ValueError(f"{self.annotation} cannot be read as a panoptic PNG")
        blue, green, red = (channel.astype(np.int32) for channel in cv2.split(bgr))
        return red + 256 * green + 65536 * blue

    def labels(self, segments: NDArray[np.int32]) -> NDArray[np.uint8]:
        """(H, W) uint8: each pixel's label, `UNLABELLED` where it has none."""
        numbers, inverse = np.unique(segments, return_inverse=True)
        table = np.array([self.categories.get(int(number), UNLABELLED) for number in numbers], np.uint8)
        return table[inverse].reshape(segments.shape)


def read_panoptic(annotations: Path, pngs: Path, photos: Path) -> list[PanopticPhoto]:
    """The photos of a panoptic JSON that lie in `photos`, by name. Raises ValueError where it is not one."""
    try:
        content = json.loads(annotations.read_text(encoding="utf-8"))
        names = {category["id"]: category["name"] for category in content["categories"]}
        files = {image["id"]: image["file_name"] for image in content["images"]}
        entries = [
            (files[entry["image_id"]], entry["file_name"], entry["segments_info"]) for entry in content["annotations"]
        ]
    except OSError as error:
        raise ValueError(f"{annotations} cannot be read: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{annotations} is not a panoptic JSON in COCO's layout") from error
    labels = {name.category: index for index, name in enumerate(coco_names())}
    result = []
    for photo, png, segments in sorted(entries, key=lambda entry: entry[0]):
        if Path(photo).name != photo or Path(png).name != png:
            raise ValueError(f"{annotations} names a file outside its folder: {photo!r}, {png!r}")
        categories = {
            int(segment["id"]): labels[names[segment["category_id"]]]
            for segment in segments
            if names.get(segment["category_id"]) in labels and not segment.get("iscrowd")
        }
        if (photos / photo).is_file() and (pngs / png).is_file():
            result.append(PanopticPhoto(Path(photo).stem, photos / photo, pngs / png, categories))
    if not result:
        raise ValueError(f"none of the photos of {annotations} lies in {photos} with its PNG in {pngs}")
    return result
