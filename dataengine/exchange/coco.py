"""COCO instances: FOLDER/annotations.json, whose masks are run-length codes, beside FOLDER/images/.

A region is an annotation, its subject the category. Caption and bokeh flag are fields of their own in the annotation,
which pycocotools and CVAT leave alone and `build` reads.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from instructrestore.dataengine.exchange.json_lists import JsonLists
from instructrestore.dataengine.exchange.layout import (
    BOKEH,
    CAPTIONS,
    LICENCES,
    SUBJECTS,
    URLS,
    Exported,
    photo_name,
    write_photo,
)
from instructrestore.shards.sample import AnnotatedPhoto, Photo


class Licences:
    """The licences of COCO's list, numbered as photos bring them."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, photo: Photo) -> int | None:
        """The id of a photo's licence; None where none is known."""
        return self._numbers.setdefault(photo.licence, len(self._numbers) + 1) if photo.licence else None

    def listed(self) -> list[dict[str, Any]]:
        return [{"id": number, "name": licence, "url": ""} for licence, number in self._numbers.items()]


def image_entry(number: int, photo: Photo, licences: Licences) -> dict[str, Any]:
    """A photo as COCO's JSON and the panoptic one list it."""
    known = {"license": licences.number(photo), "coco_url": photo.url}
    return {
        "id": number,
        "file_name": photo_name(photo),
        "width": photo.width,
        "height": photo.height,
        **{name: value for name, value in known.items() if value},
    }


def categories(exported: Exported, **fields: Any) -> list[dict[str, Any]]:
    """The subjects as categories, numbered from 1."""
    return [{"id": number, "name": subject, **fields} for number, subject in enumerate(exported.subjects, 1)]


class CocoLayout:
    """Holds masks that overlap, of any shape, exactly."""

    holds = frozenset((CAPTIONS, SUBJECTS, BOKEH, LICENCES, URLS))

    def __init__(self, exported: Exported) -> None:
        self._exported = exported
        self._numbers = {subject: number for number, subject in enumerate(exported.subjects, 1)}
        self._licences = Licences()
        self._json = JsonLists(exported.folder / "annotations.json", "images", "annotations")
        self._photos = self._regions = 0

    def add(self, sample: AnnotatedPhoto, data: bytes) -> Counter[str]:
        write_photo(self._exported.folder / "images", sample.photo, data)
        self._photos += 1
        self._json.add("images", image_entry(self._photos, sample.photo, self._licences))
        for region in sample.regions:
            self._regions += 1
            self._json.add(
                "annotations",
                {
                    "id": self._regions,
                    "image_id": self._photos,
                    "category_id": self._numbers[region.subject],
                    "segmentation": {"size": [region.mask.height, region.mask.width], "counts": region.mask.counts},
                    "area": region.mask.area(),
                    "bbox": list(region.mask.box()),
                    "iscrowd": 0,
                    "caption": region.caption,
                    "bokeh": region.bokeh,
                },
            )
        return Counter()

    def finish(self) -> None:
        self._json.finish(
            info={"description": self._exported.name},
            licenses=self._licences.listed(),
            categories=categories(self._exported, supercategory=""),
        )
