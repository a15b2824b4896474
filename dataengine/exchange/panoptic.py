"""COCO panoptic: FOLDER/panoptic.json, FOLDER/panoptic/KEY.png and FOLDER/images/.

A pixel belongs to one segment, so where regions overlap the smaller one has it: a thing on a table, and not the table.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from PIL import Image

from instructrestore.dataengine.exchange.coco import Licences, categories, image_entry
from instructrestore.dataengine.exchange.json_lists import JsonLists
from instructrestore.dataengine.exchange.layout import (
    BOKEH,
    CAPTIONS,
    LICENCES,
    SUBJECTS,
    URLS,
    Exported,
    write_photo,
)
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import AnnotatedPhoto

COVERED = "pixels that another region has too"
HIDDEN = "regions of which nothing is left"


class PanopticLayout:
    """Caption and bokeh flag are fields of their own in the segment, which `build` reads."""

    holds = frozenset((CAPTIONS, SUBJECTS, BOKEH, LICENCES, URLS))

    def __init__(self, exported: Exported) -> None:
        self._exported = exported
        self._numbers = {subject: number for number, subject in enumerate(exported.subjects, 1)}
        self._licences = Licences()
        self._json = JsonLists(exported.folder / "panoptic.json", "images", "annotations")
        self._photos = 0
        (exported.folder / "panoptic").mkdir()

    def add(self, sample: AnnotatedPhoto, data: bytes) -> Counter[str]:
        photo, regions = sample.photo, sample.regions
        write_photo(self._exported.folder / "images", photo, data)
        self._photos += 1
        segments = np.zeros((photo.height, photo.width), np.uint32)  # 0: no segment
        by_size = sorted(enumerate(regions, 1), key=lambda each: -each[1].mask.area())
        for number, region in by_size:
            segments[region.mask.array()] = number
        # The id of a segment is R + 256 G + 65536 B.
        rgb = np.stack([(segments >> shift) & 255 for shift in (0, 8, 16)], -1).astype(np.uint8)
        Image.fromarray(rgb).save(self._exported.folder / "panoptic" / f"{photo.key}.png")
        self._json.add("images", image_entry(self._photos, photo, self._licences))
        lost, listed = Counter[str](), []
        for number, region in enumerate(regions, 1):
            seen = Mask.from_array(segments == number)
            area = seen.area()
            lost[COVERED] += region.mask.area() - area
            if not area:
                lost[HIDDEN] += 1
                continue
            listed.append(
                {
                    "id": number,
                    "category_id": self._numbers[region.subject],
                    "area": area,
                    "bbox": list(seen.box()),
                    "iscrowd": 0,
                    "caption": region.caption,
                    "bokeh": region.bokeh,
                }
            )
        entry = {"image_id": self._photos, "file_name": f"{photo.key}.png", "segments_info": listed}
        self._json.add("annotations", entry)
        return +lost

    def finish(self) -> None:
        self._json.finish(
            info={"description": self._exported.name},
            licenses=self._licences.listed(),
            categories=categories(self._exported, supercategory="", isthing=1),
        )
