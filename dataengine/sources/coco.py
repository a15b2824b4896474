"""COCO instances JSON and panoptic PNG + JSON (the layout that EntitySeg uses too).

Both list photos, categories, licences and annotations in the same way; they differ in what an annotation is. Crowds
("iscrowd") are left out: one mask over many things is not a region with a name. An invalid annotation keeps its place,
with a mask that fits no photo, so that the masks stage counts it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from instructrestore.dataengine.photos.photo_file import UnusablePhoto
from instructrestore.dataengine.photos.row import Annotation, PolygonMask, RunMask, SegmentMask, SourcePhoto
from instructrestore.dataengine.sources import places
from instructrestore.dataengine.sources.places import readable
from instructrestore.dataengine.sources.settings import SourceSettings

# COCO's own licence ids (the "licenses" of instances_train2017.json), for extracts that lack the list.
_COCO_LICENCES = {
    1: "CC BY-NC-SA 2.0",
    2: "CC BY-NC 2.0",
    3: "CC BY-NC-ND 2.0",
    4: "CC BY 2.0",
    5: "CC BY-SA 2.0",
    6: "CC BY-ND 2.0",
    7: "No known copyright restrictions",
    8: "United States Government Work",
}
_NO_MASK = PolygonMask([])
_BAD_RUNS = [-1]
_MAX_RUN = 2**32
_NO_SEGMENT = -1


def list_coco(source: SourceSettings) -> Iterator[SourcePhoto]:
    """The photos of a COCO instances JSON in its order, with their masks; label: the category's name, "" if unknown."""
    content = _read(source.path)
    categories = _categories(content)
    annotations: dict[Any, list[Annotation]] = defaultdict(list)
    for entry in _entries(content, "annotations"):
        if not _is_crowd(entry):
            label = categories.get(_key(entry.get("category_id")), "")
            annotations[_key(entry.get("image_id"))].append(Annotation(_mask(entry.get("segmentation")), label))
    for record, photo in _photos(source, content, excluded_folder=""):
        if "annotations" not in content:  # only a list of photos, which says nothing about masks
            yield photo
            continue
        yield replace(photo, annotations=tuple(annotations.pop(_key(record.get("id")), ())))


def list_panoptic(source: SourceSettings) -> Iterator[SourcePhoto]:
    """The photos of a panoptic JSON in its order; their masks are segments of the PNG that the JSON names."""
    content = _read(source.path)
    categories = _categories(content)
    masks = _mask_folder(source)
    by_photo = {_key(entry.get("image_id")): entry for entry in _entries(content, "annotations")}
    for record, photo in _photos(source, content, excluded_folder=places.base_name(masks)):
        entry = by_photo.get(_key(record.get("id")), {})
        picture = entry.get("file_name")
        if not isinstance(picture, str):
            picture = str(record.get("file_name")).rsplit(".", 1)[0] + ".png"
        try:
            uri = readable(places.inside(masks, picture))
        except UnusablePhoto as fault:
            yield replace(photo, annotations=(), problem=photo.problem or fault.reason)
            continue
        annotations = tuple(
            Annotation(SegmentMask(uri, _segment_id(segment)), categories.get(_key(segment.get("category_id")), ""))
            for segment in _entries(entry, "segments_info")
            if not _is_crowd(segment)
        )
        yield replace(photo, annotations=annotations)


def _segment_id(segment: dict[str, Any]) -> int:
    found = segment.get("id")
    return found if isinstance(found, int) else _NO_SEGMENT


def _is_crowd(entry: dict[str, Any]) -> bool:
    return entry.get("iscrowd") in (1, True)


def _read(path: str) -> dict[str, Any]:
    content = places.read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise ValueError(f"{path} is not a COCO or panoptic annotation file: it has no list of images")
    return content


def _entries(content: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """The objects of a list in the JSON; anything else in it is ignored."""
    found = content.get(name)
    return (entry for entry in (found if isinstance(found, list) else ()) if isinstance(entry, dict))


def _key(value: Any) -> Any:
    """An id that can be looked up, whatever the JSON has in its place; an invalid id is equal to nothing."""
    return value if isinstance(value, int | float | str) else object()


def _categories(content: dict[str, Any]) -> dict[Any, str]:
    return {
        _key(entry.get("id")): readable(entry["name"])
        for entry in _entries(content, "categories")
        if isinstance(entry.get("name"), str)
    }


def _photos(
    source: SourceSettings, content: dict[str, Any], excluded_folder: str
) -> Iterator[tuple[dict[str, Any], SourcePhoto]]:
    """Each record of "images" and its photo, without annotations yet."""
    licences = {
        _key(entry.get("id")): _licence(entry.get("name"), entry.get("url")) for entry in _entries(content, "licenses")
    }
    finder = places.PhotoFinder(_photo_folders(source, excluded_folder))
    for index, record in enumerate(content["images"]):
        record = record if isinstance(record, dict) else {}
        web = str(record.get("coco_url") or "")
        name = record.get("file_name")
        if not isinstance(name, str) and web:  # LVIS gives only the addresses of its photos
            name = "/".join(web.rsplit("/", 2)[-2:])
        problem, uri = "", None
        if not isinstance(name, str) or not name:
            problem, name = "photo without a name", f"images[{index}]"
        else:
            try:
                uri = finder.find(name)
                problem = "" if uri else places.MISSING_PHOTO
            except UnusablePhoto as fault:
                problem = fault.reason
        licence = licences.get(_key(record.get("license")), "")
        if not licences and "cocodataset.org" in web:
            licence = _COCO_LICENCES.get(_key(record.get("license")), "")
        yield (
            record,
            SourcePhoto(
                # A missing photo has no path of its own: the position of its record identifies it.
                uri=uri or f"{readable(places.absolute(source.path))}#images[{index}]",
                name=readable(name),
                source=source.title,
                licence=licence or source.licence,
                url=readable(str(record.get("flickr_url") or web)),
                excluded=source.exclude,
                problem=problem,
            ),
        )


def _licence(name: Any, url: Any) -> str:
    """A licence's short form if its address is one of Creative Commons: the names in COCO lack the version."""
    parts = str(url or "").split("creativecommons.org/")[-1].strip("/").split("/")
    if "creativecommons.org/" in str(url) and len(parts) >= 3:
        return "CC0 1.0" if parts[1] == "zero" else readable(f"CC {parts[1].upper()} {parts[2]}")
    return readable(str(name or url or ""))


def _photo_folders(source: SourceSettings, excluded: str) -> list[str]:
    """Where the photos may be: in the given folder; otherwise in the JSON's folder, in a folder next to the JSON, or in
    one next to the JSON's folder whose name is "images" or a part of the JSON's name
    (annotations/instances_train2017.json: train2017/ or images/train2017/)."""
    beside = places.parent(places.absolute(source.path))
    if source.images:
        return [places.given_folder(source.images, beside, "photos")]
    above = places.parent(beside)
    images = places.join(above, "images")
    parts = {"images", *places.base_name(source.path).rsplit(".", 1)[0].split("_")}
    # The best name first; sorting is stable, and False comes before True.
    near = sorted((name for name in places.subfolders(beside) if name != excluded), key=lambda name: name not in parts)
    folders = [places.join(beside, name) for name in near]
    for root in (above, images):
        folders += [places.join(root, name) for name in places.subfolders(root) if name in parts]
    # Names with folders ("train2017/000000000001.jpg") are relative to the JSON's folder or to the one above it.
    return [*folders, beside, *([above] if places.base_name(beside) == "annotations" else [])]


def _mask_folder(source: SourceSettings) -> str:
    """The folder of the panoptic PNGs: as given, or next to the JSON under its name."""
    beside = places.parent(places.absolute(source.path))
    if source.masks:
        return places.given_folder(source.masks, beside, "panoptic PNGs")
    folder = places.join(beside, places.base_name(source.path).rsplit(".", 1)[0])
    if not places.is_folder(folder):
        raise ValueError(f"the panoptic PNGs of {source.path} are not in {folder}: name their folder with ?masks=")
    return folder


def _mask(segmentation: Any) -> PolygonMask | RunMask:
    if isinstance(segmentation, list):
        rings = [[float(value) for value in ring] for ring in segmentation if _is_ring(ring)]
        return PolygonMask(rings) if rings and len(rings) == len(segmentation) else _NO_MASK
    if isinstance(segmentation, dict):
        size, counts = segmentation.get("size"), segmentation.get("counts")
        if not (isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) for side in size)):
            return _NO_MASK
        if isinstance(counts, list):
            good = all(isinstance(run, int) and 0 <= run < _MAX_RUN for run in counts)
            return RunMask(size[0], size[1], counts if good else _BAD_RUNS)
        return RunMask(size[0], size[1], readable(counts) if isinstance(counts, str) else _BAD_RUNS)
    return _NO_MASK


_FAR = 1e9  # beyond any coordinate; an integer much larger could not become a float


def _is_ring(ring: Any) -> bool:
    return isinstance(ring, list) and all(isinstance(value, int | float) and -_FAR < value < _FAR for value in ring)
