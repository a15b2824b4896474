"""COCO instances JSON and panoptic PNG + JSON (the layout that EntitySeg uses too).

Both list photos, categories, licences and annotations in the same way; they differ in what an annotation is. Crowds
("iscrowd") are left out: one mask over many things is not a region with a name. They are counted, as is what belongs to
no photo. An invalid annotation keeps its place, with a mask that fits no photo, so that the masks stage counts it. A
file that gives one id to two different things is refused.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from instructrestore.dataengine.photos.photo_file import UnusablePhoto
from instructrestore.dataengine.photos.row import (
    NO_MASK,
    UNUSABLE,
    Annotation,
    PolygonMask,
    RunMask,
    SegmentMask,
    SourcePhoto,
)
from instructrestore.dataengine.sources import places
from instructrestore.dataengine.sources.finder import FileFinder
from instructrestore.dataengine.sources.identities import by_id
from instructrestore.dataengine.sources.places import readable
from instructrestore.dataengine.sources.settings import SourceSettings
from instructrestore.shards.addresses import masked

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
# Why annotations are part of no photo.
CROWD = "crowd"
NO_PHOTO = "annotation of no photo"
NO_ANNOTATION = "not an annotation"
TWO_SEGMENTS = "segments of one id with different categories"
_BAD_RUNS = [-1]
_NO_RUNS = RunMask(0, 0, _BAD_RUNS)
NO_SIZE = (1, 10**9)  # of no photo, nor of the shape of any
_MAX_RUN = 2**32
_NO_SEGMENT = -1


def list_coco(source: SourceSettings, left_out: Counter[str]) -> Iterator[SourcePhoto]:
    """The photos of a COCO instances JSON in its order, with their masks; label: the category's name, "" if unknown.

    left_out: gets the annotations that are part of no photo, by reason.
    """
    content = _read(source.path)
    categories, images = _categories(source.path, content), _images(source.path, content)
    annotations: dict[Any, list[Annotation]] = defaultdict(list)
    flags: dict[Any, set[Any]] = defaultdict(set)
    crowds = Counter[Any]()
    for entry in _counted(content, "annotations", left_out):
        photo_id = _key(entry.get("image_id"))
        if photo_id not in images:
            left_out[NO_PHOTO] += 1
        elif _is_crowd(entry):
            crowds[photo_id] += 1
        else:
            said = _said(entry, categories)
            annotations[photo_id].append(Annotation(_mask(entry.get("segmentation")), *said))
            flags[photo_id].add(_flag(entry))
    for record, photo in _photos(source, content, excluded_folder=""):
        if "annotations" not in content:  # only a list of photos, which says nothing about masks
            yield photo
            continue
        photo_id = _key(record.get("id"))
        left_out[CROWD] += crowds.pop(photo_id, 0)
        found = tuple(annotations.get(photo_id, ()))
        drawn = any(isinstance(annotation.mask, PolygonMask) for annotation in found)
        size = _stated_size(record) if drawn else None
        yield replace(photo, annotations=found, bokeh=_bokeh(flags[photo_id]), annotated_size=size)


def list_panoptic(source: SourceSettings, left_out: Counter[str]) -> Iterator[SourcePhoto]:
    """The photos of a panoptic JSON in its order; their masks are segments of the PNG that the JSON names.

    left_out: gets the segments that are part of no photo, by reason.
    """
    content = _read(source.path)
    categories, images = _categories(source.path, content), _images(source.path, content)
    masks = _mask_folder(source)
    pictures = FileFinder([masks])
    entries = [(_key(entry.get("image_id")), entry) for entry in _counted(content, "annotations", left_out)]
    left_out[NO_PHOTO] += sum(_segments(entry) for photo_id, entry in entries if photo_id not in images)
    by_photo = by_id(source.path, "annotations of one image", ((key, entry) for key, entry in entries if key in images))
    named = ((entry["file_name"], key) for key, entry in by_photo.items() if isinstance(entry.get("file_name"), str))
    by_id(source.path, "images with one PNG", named)
    for record, photo in _photos(source, content, excluded_folder=places.base_name(masks)):
        entry = by_photo.get(_key(record.get("id")), {})
        picture = entry.get("file_name")
        if not isinstance(picture, str):
            picture = str(record.get("file_name")).rsplit(".", 1)[0] + ".png"
        try:
            uri = pictures.uri(picture)
        except UnusablePhoto as fault:
            yield replace(photo, annotations=(UNUSABLE,) * _segments(entry), problem=photo.problem or fault.reason)
            continue
        segments = list(_counted(entry, "segments_info", left_out))
        things = [segment for segment in segments if not _is_crowd(segment)]
        left_out[CROWD] += len(segments) - len(things)
        said = [(_segment_id(segment), _said(segment, categories)) for segment in things]
        distinct = Counter(number for number, _ in set(said) if number != _NO_SEGMENT)
        annotations = [Annotation(SegmentMask(uri, number), *text) for number, text in said if distinct[number] < 2]
        left_out[TWO_SEGMENTS] += len(said) - len(annotations)
        yield replace(photo, annotations=tuple(annotations), bokeh=_bokeh({_flag(each) for each in things}))


def _said(entry: dict[str, Any], categories: dict[Any, str]) -> tuple[str, bool, str]:
    """`label`, `is_caption`, `subject` of an `Annotation`. Of one with a caption, as `export` writes it, the category
    is the subject."""
    category, caption = categories.get(_key(entry.get("category_id")), ""), entry.get("caption")
    if isinstance(caption, str) and caption.strip():
        return readable(caption.strip()), True, category
    return category, False, ""


def _flag(entry: dict[str, Any]) -> bool | None:
    return entry["bokeh"] if isinstance(entry.get("bokeh"), bool) else None


def _bokeh(flags: set[bool | None]) -> bool | None:
    """What all annotations of a photo say of it, as `export` writes it; None where they differ or say nothing."""
    return flags.pop() if len(flags) == 1 else None


def _segments(entry: dict[str, Any]) -> int:
    found = entry.get("segments_info")
    return len(found) if isinstance(found, list) else 0


def _segment_id(segment: dict[str, Any]) -> int:
    found = _integer(segment.get("id"))
    return _NO_SEGMENT if found is None else found


def _is_crowd(entry: dict[str, Any]) -> bool:
    return entry.get("iscrowd") in (1, "1")


def _read(path: str) -> dict[str, Any]:
    content = places.read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise ValueError(f"{path} is not a COCO or panoptic annotation file: it has no list of images")
    return content


def _entries(content: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """The objects of a list in the JSON; anything else in it is ignored."""
    found = content.get(name)
    return (entry for entry in (found if isinstance(found, list) else ()) if isinstance(entry, dict))


def _counted(content: dict[str, Any], name: str, left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    """`_entries`, with what is ignored counted."""
    found = content.get(name)
    left_out[NO_ANNOTATION] += sum(not isinstance(entry, dict) for entry in found) if isinstance(found, list) else 0
    return _entries(content, name)


def _key(value: Any) -> Any:
    """An id that can be looked up, whatever the JSON has in its place; an invalid id is equal to nothing."""
    return value if isinstance(value, int | float | str) and not isinstance(value, bool) else object()


def _categories(path: str, content: dict[str, Any]) -> dict[Any, str]:
    named = (entry for entry in _entries(content, "categories") if isinstance(entry.get("name"), str))
    return by_id(path, "categories of one id", ((_key(entry.get("id")), readable(entry["name"])) for entry in named))


def _images(path: str, content: dict[str, Any]) -> dict[Any, str]:
    """Which photo each id stands for."""
    named = (
        (_key(entry.get("id")), str(entry.get("file_name") or entry.get("coco_url")))
        for entry in _entries(content, "images")
    )
    return by_id(path, "images of one id", named)


def _photos(
    source: SourceSettings, content: dict[str, Any], excluded_folder: str
) -> Iterator[tuple[dict[str, Any], SourcePhoto]]:
    """Each record of "images" and its photo, without annotations yet."""
    stated = (
        (_key(entry.get("id")), _licence(entry.get("name"), entry.get("url")))
        for entry in _entries(content, "licenses")
    )
    licences = by_id(source.path, "licences of one id", stated)
    finder = FileFinder(*_photo_folders(source, excluded_folder))
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
                url=masked(readable(str(record.get("flickr_url") or web))),
                excluded=source.exclude,
                problem=problem,
            ),
        )


def _licence(name: Any, url: Any) -> str:
    """A licence's short form if its address is one of Creative Commons: the names in COCO lack the version."""
    parts = str(url or "").split("creativecommons.org/")[-1].strip("/").split("/")
    if "creativecommons.org/" in str(url) and len(parts) >= 3:
        return "CC0 1.0" if parts[1] == "zero" else readable(f"CC {parts[1].upper()} {parts[2]}")
    return masked(readable(str(name or url or "")))


def _photo_folders(source: SourceSettings, excluded: str) -> tuple[list[str], list[str]]:
    """Where the photos may be: in the given folder; otherwise in the JSON's folder, in a folder next to the JSON, or in
    one next to the JSON's folder whose name is "images" or a part of the JSON's name
    (annotations/instances_train2017.json: train2017/ or images/train2017/). And those whose names tell nothing."""
    beside = places.parent(places.absolute(source.path))
    if source.images:
        return [places.given_folder(source.images, beside, "photos")], []
    above = places.parent(beside)
    images = places.join(above, "images")
    parts = {"images", *places.base_name(source.path).rsplit(".", 1)[0].split("_")}
    # The best name first; sorting is stable, and False comes before True.
    near = sorted((name for name in places.subfolders(beside) if name != excluded), key=lambda name: name not in parts)
    folders = [places.join(beside, name) for name in near]
    unnamed = [place for place, name in zip(folders, near, strict=True) if name not in parts]
    for root in (above, images):
        folders += [places.join(root, name) for name in places.subfolders(root) if name in parts]
    # Names with folders ("train2017/000000000001.jpg") are relative to the JSON's folder or to the one above it.
    return [*folders, beside, *([above] if places.base_name(beside) == "annotations" else [])], unnamed


def _mask_folder(source: SourceSettings) -> str:
    """The folder of the panoptic PNGs: as given, or next to the JSON under its name."""
    beside = places.parent(places.absolute(source.path))
    if source.masks:
        return places.given_folder(source.masks, beside, "panoptic PNGs")
    folder = places.join(beside, places.base_name(source.path).rsplit(".", 1)[0])
    if not places.is_folder(folder):
        raise ValueError(f"the panoptic PNGs of {source.path} are not in {folder}: name their folder with ?masks=")
    return folder


def _stated_size(record: dict[str, Any]) -> tuple[int, int] | None:
    """(height, width) of the photo that the annotations of a record were drawn on; None where it states none, and
    `NO_SIZE` where what it states is no size."""
    said = (record.get("height"), record.get("width"))
    if all(each in (None, 0, "") and each is not False for each in said):
        return None
    height, width = map(_side, said)
    return NO_SIZE if height is None or width is None else (height, width)


def _side(value: Any) -> int | None:
    """A side in pixels, of a number or of one written as text."""
    try:
        number = 0.0 if isinstance(value, bool | list | dict | None) else float(value)
    except (ValueError, OverflowError):
        return None
    return max(round(min(number, _FAR)), 1) if number > 0 else None


def _integer(value: Any) -> int | None:
    """A whole number as JSON may have it: 300, or 300.0, which some programs write of every number."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _mask(segmentation: Any) -> PolygonMask | RunMask:
    if isinstance(segmentation, list):
        rings = [[float(value) for value in ring] for ring in segmentation if _is_ring(ring)]
        return PolygonMask(rings) if rings and len(rings) == len(segmentation) else NO_MASK
    if isinstance(segmentation, dict):
        size, counts = segmentation.get("size"), segmentation.get("counts")
        height, width = map(_integer, size) if isinstance(size, list) and len(size) == 2 else (None, None)
        if height is None or width is None:
            return _NO_RUNS
        if isinstance(counts, list):
            runs = [run for value in counts if (run := _integer(value)) is not None and 0 <= run < _MAX_RUN]
            return RunMask(height, width, runs if len(runs) == len(counts) else _BAD_RUNS)
        return RunMask(height, width, readable(counts) if isinstance(counts, str) else _BAD_RUNS)
    return NO_MASK


_FAR = 1e9  # beyond any coordinate; an integer much larger could not become a float


def _is_ring(ring: Any) -> bool:
    return isinstance(ring, list) and all(isinstance(value, int | float) and -_FAR < value < _FAR for value in ring)
