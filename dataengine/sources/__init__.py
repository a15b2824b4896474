"""Whatever people keep their photos in (folders, COCO, Label Studio, mattes, Tri-IR, manifests, shards), one file a
layout.

A path with options enters (`parse_source`); a stream of `SourcePhoto` leaves (`list_photos`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from instructrestore.dataengine.photos.row import SourcePhoto
from instructrestore.dataengine.sources.coco import list_coco, list_panoptic
from instructrestore.dataengine.sources.dataset import list_dataset
from instructrestore.dataengine.sources.folder import list_folder
from instructrestore.dataengine.sources.label_studio import list_label_studio
from instructrestore.dataengine.sources.manifest import list_manifest
from instructrestore.dataengine.sources.matte import list_matte
from instructrestore.dataengine.sources.settings import SourceSettings, parse_source
from instructrestore.dataengine.sources.tri_ir import list_tri_ir

__all__ = ["SourceSettings", "list_photos", "parse_source"]

_LAYOUTS = {
    "folder": list_folder,
    "matte": list_matte,
    "tri-ir": list_tri_ir,
    "dataset": list_dataset,
    "manifest": list_manifest,
}
_WITH_ANNOTATIONS_APART = {"coco": list_coco, "panoptic": list_panoptic, "label-studio": list_label_studio}


def list_photos(source: SourceSettings, left_out: Counter[str] | None = None) -> Iterator[SourcePhoto]:
    """The photos of a source, one by one, in an order that depends on its content alone.

    left_out: gets the annotations that are part of no photo (crowds, those of photos that are not listed), by reason.
    A photo that the source lists but does not have carries a `problem`. Raises ValueError, in one sentence, for a
    source that cannot be read or holds no photos, and OSError if storage fails.
    """
    empty = True
    if source.kind in _WITH_ANNOTATIONS_APART:
        photos = _WITH_ANNOTATIONS_APART[source.kind](source, Counter() if left_out is None else left_out)
    else:
        photos = _LAYOUTS[source.kind](source)
    for photo in photos:
        empty = False
        yield photo
    if empty:
        raise ValueError(f"the source {source.path} holds no photos")
