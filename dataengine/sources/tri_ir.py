"""The released Tri-IR: {Normal,Bokeh}/SET/{GT,masks,annotated_jsons}, a JSON item per triplet.

An item names its photo, its mask file, the captions that were merged into it, and their subject. As in the release, the
caption of an item with several captions is its subject.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from instructrestore.dataengine.photos.photo_file import UnusablePhoto
from instructrestore.dataengine.photos.row import UNUSABLE, Annotation, SegmentMask, SourcePhoto
from instructrestore.dataengine.sources import places
from instructrestore.dataengine.sources.finder import FileFinder
from instructrestore.dataengine.sources.places import readable
from instructrestore.dataengine.sources.settings import SourceSettings

_PARTS = (("Bokeh", True), ("Normal", False))


def list_tri_ir(source: SourceSettings) -> Iterator[SourcePhoto]:
    """The photos of every set, by name, each with all of its triplets as annotations."""
    root = places.absolute(source.path)
    for part, bokeh in _PARTS:
        for name in places.subfolders(places.join(root, part)):
            yield from _list_set(source, f"{part}/{name}", places.join(places.join(root, part), name), bokeh)


def _list_set(source: SourceSettings, title: str, root: str, bokeh: bool) -> Iterator[SourcePhoto]:
    photos, masks = places.join(root, "GT"), FileFinder([places.join(root, "masks")])
    items: dict[str, list[dict[str, Any]]] = {}
    for item in _items(places.join(root, "annotated_jsons")):
        items.setdefault(item["content_image_name"], []).append(item)
    # LSDIR's photos may be spread over folders of 1000; which folder holds which number depends on how it was unpacked.
    folders = [photos, *(places.join(photos, name) for name in places.subfolders(photos))]
    finder = FileFinder(folders, alike=folders)
    for name, found in sorted(items.items()):
        problem, uri, annotations = "", None, ()
        try:
            uri = finder.find(name)
            problem = "" if uri else places.MISSING_PHOTO
            annotations = tuple(_annotation(item, masks) for item in found)
        except UnusablePhoto as fault:
            problem, annotations = fault.reason, (UNUSABLE,) * len(found)
        yield SourcePhoto(
            uri=uri or readable(places.join(photos, name)),
            name=readable(f"{title}/{name}"),
            source=readable(source.name or f"Tri-IR {title}"),
            licence=source.licence,
            annotations=annotations,
            bokeh=bokeh,
            excluded=source.exclude,
            problem=problem,
        )


def _items(folder: str) -> Iterator[dict[str, Any]]:
    """The items of all the JSON files of a set. Raises ValueError for a file that is not a list of such items."""
    for file in _json_files(folder):
        content = places.read_json(file)
        if not isinstance(content, list):
            raise ValueError(f"{file} is not a list of Tri-IR items")
        for index, item in enumerate(content):
            if not isinstance(item, dict) or not isinstance(item.get("content_image_name"), str):
                raise ValueError(f"item {index} of {file} names no photo (content_image_name)")
            yield item


def _json_files(folder: str) -> list[str]:
    if places.is_local(folder):
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    else:
        names = list(places.remote_files(folder))
    return [places.join(folder, name) for name in names if name.lower().endswith(".json")]


def _annotation(item: dict[str, Any], masks: FileFinder) -> Annotation:
    mask = item.get("mask_image_name")
    uri = masks.uri(mask if isinstance(mask, str) else "")
    captions = item.get("corrected_mask_description")
    captions = [captions] if isinstance(captions, str) else captions if isinstance(captions, list) else []
    captions = list(dict.fromkeys(text.strip() for text in captions if isinstance(text, str) and text.strip()))
    subject = item.get("subject")
    subject = readable(subject.strip()) if isinstance(subject, str) else ""
    label = readable(captions[0]) if len(captions) == 1 else subject
    return Annotation(SegmentMask(uri, None), label, is_caption=True, subject=subject)
