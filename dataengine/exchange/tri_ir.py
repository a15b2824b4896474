"""The released Tri-IR: {Normal,Bokeh}/SET/{GT,masks,annotated_jsons}, an item and a mask file a region.

A photo lies under Bokeh where one of its regions is: the layout knows no region that differs from its photo in that.
"""

from __future__ import annotations

from collections import Counter

from PIL import Image

from instructrestore.dataengine.exchange.json_lists import JsonLists
from instructrestore.dataengine.exchange.layout import BOKEH, CAPTIONS, SUBJECTS, Exported, photo_name, write_photo
from instructrestore.shards.sample import AnnotatedPhoto

NOT_ALL_BOKEH = "regions without bokeh on a photo with it"
SET = "exported"


class TriIrLayout:
    """Holds masks that overlap, exactly, as PNGs of 0 and 255."""

    holds = frozenset((CAPTIONS, SUBJECTS, BOKEH))

    def __init__(self, exported: Exported) -> None:
        self._folder = exported.folder
        self._items: dict[str, JsonLists] = {}

    def add(self, sample: AnnotatedPhoto, data: bytes) -> Counter[str]:
        photo, regions = sample.photo, sample.regions
        bokeh = any(region.bokeh for region in regions)
        part = "Bokeh" if bokeh else "Normal"
        folder = self._folder / part / SET
        if part not in self._items:
            for name in ("GT", "masks", "annotated_jsons"):
                (folder / name).mkdir(parents=True)
            self._items[part] = JsonLists(folder / "annotated_jsons" / "annotations.json", "items", only=True)
        write_photo(folder / "GT", photo, data)
        for number, region in enumerate(regions):
            mask = f"{photo.key}-{number:03d}.png"
            Image.fromarray(region.mask.array()).convert("L").save(folder / "masks" / mask)
            self._items[part].add(
                "items",
                {
                    "content_image_name": photo_name(photo),
                    "mask_image_name": mask,
                    "corrected_mask_description": [region.caption],
                    "subject": region.subject,
                },
            )
        return Counter({NOT_ALL_BOKEH: sum(not region.bokeh for region in regions)} if bokeh else {})

    def finish(self) -> None:
        for items in self._items.values():
            items.finish()
