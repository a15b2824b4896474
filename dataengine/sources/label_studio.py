"""Exports of Label Studio ("JSON"): a list of tasks, each a photo with what people, or before them a model, drew on it.

Brush masks, polygons, boxes and ellipses are annotations; the label is the subject, and a text beside the region
(`perRegion`) its caption. Of several people's annotations of a task the last that was not cancelled counts; where
there is none, the last prediction.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from instructrestore.dataengine.photos.photo_file import UnusablePhoto
from instructrestore.dataengine.photos.row import NO_MASK, Annotation, PolygonMask, RunMask, SourcePhoto
from instructrestore.dataengine.sources import places
from instructrestore.dataengine.sources.brush_rle import decode
from instructrestore.dataengine.sources.finder import FileFinder
from instructrestore.dataengine.sources.places import readable
from instructrestore.dataengine.sources.settings import SourceSettings
from instructrestore.shards.addresses import masked
from instructrestore.shards.rle import MAX_PIXELS, MAX_SIDE, Mask

# What an exported project's interface calls these; a project of one's own may call them otherwise.
IMAGE, IS_BOKEH = "image", "sharp inside, blurred outside"
LOCAL_FILES = "/data/local-files/?d="
# Why annotations are part of no photo.
SUPERSEDED = "not the last annotation of its task"
_UPLOADED = re.compile(r"[0-9a-f]{8}-")  # what Label Studio puts before the names of files that are uploaded
_ELLIPSE_POINTS = 72


def list_label_studio(
    source: SourceSettings, left_out: Counter[str], *, by_people: bool = False
) -> Iterator[SourcePhoto]:
    """The photos of an export in its order.

    by_people: predictions say nothing. left_out: gets the annotations that are part of no photo, by reason. Raises
    ValueError, in one sentence, for a file that is no list of tasks.
    """
    content = places.read_json(source.path)
    if not isinstance(content, list) or not all(isinstance(task, dict) for task in content):
        raise ValueError(f"{source.path} is not an export of Label Studio: it is no list of tasks")
    finder = FileFinder(_photo_folders(source))
    for index, task in enumerate(content):
        data = task.get("data")
        data = data if isinstance(data, dict) else {}
        address = _address(data)
        problem, uri = "", None
        try:
            uri = _find(finder, address)
            problem = "" if uri else places.MISSING_PHOTO if address else "photo without a name"
        except UnusablePhoto as fault:
            problem = fault.reason
        results = results_of(task, left_out, by_people)
        shapes = {} if results is None else shapes_of(results)
        sizes = {size for shape in shapes.values() if (size := shape.drawn_on)}
        flags = {shape.bokeh for shape in shapes.values()}
        said = "key" in data or flags == {True}  # a project with no such question says nothing by silence
        yield SourcePhoto(
            uri=uri or f"{readable(places.absolute(source.path))}#task {index}",
            name=readable(places.base_name(address) or f"task {index}"),
            source=source.title,
            licence=masked(readable(_text(data.get("licence")))) or source.licence,
            url=masked(readable(_text(data.get("url")))),
            annotations=None if results is None else tuple(shape.annotation for shape in shapes.values()),
            bokeh=flags.pop() if said and len(flags) == 1 else None,
            excluded=source.exclude,
            problem=problem,
            annotated_size=sizes.pop() if len(sizes) == 1 else None,
        )


def results_of(task: dict[str, Any], left_out: Counter[str], by_people: bool) -> list[dict[str, Any]] | None:
    """The results of a task that count; None where nobody and nothing has said anything of its photo."""
    of_people = _objects(task.get("annotations"))
    kept = [each for each in of_people if each.get("was_cancelled") is not True]
    for each in of_people:
        if not kept or each is not kept[-1]:
            left_out[SUPERSEDED] += len(shapes_of(_objects(each.get("result"))))
    found = kept or ([] if by_people else _objects(task.get("predictions")))
    return _objects(found[-1].get("result")) if found else None


class Shape:
    """One region: the results of one id."""

    def __init__(self, results: list[dict[str, Any]], drawn: dict[str, Any]) -> None:
        self._results = results
        self._size = _size(drawn)
        self._turned = drawn.get("image_rotation") not in (0, 0.0, None)
        self._value = drawn["value"]

    @property
    def subject(self) -> str:
        """The first label, "" where it has none."""
        labels = [
            value
            for result in self._results
            for name, found in result["value"].items()
            if name.endswith("labels") and isinstance(found, list)
            for value in found
        ]
        return readable(_text(labels[0]) if labels else "")

    @property
    def caption(self) -> str:
        """The text beside it, "" where it has none."""
        texts = [result["value"].get("text") for result in self._results if result.get("type") == "textarea"]
        first = [text[0] if isinstance(text, list) and text else text for text in texts]
        return readable(next((text.strip() for text in first if isinstance(text, str) and text.strip()), ""))

    @property
    def bokeh(self) -> bool:
        chosen = [result["value"].get("choices") for result in self._results if result.get("type") == "choices"]
        return any(isinstance(names, list) and IS_BOKEH in names for names in chosen)

    @property
    def drawn_on(self) -> tuple[int, int] | None:
        """(height, width) of the photo that an outline was drawn on; None for a brush mask, which has it itself."""
        return self._size if isinstance(self.mask, PolygonMask) and self.mask is not NO_MASK else None

    @cached_property
    def mask(self) -> PolygonMask | RunMask:
        """`NO_MASK` where it cannot be made out: what was drawn on a turned photo too."""
        if self._size is None or self._turned:
            return NO_MASK
        height, width = self._size
        if "rle" in self._value:
            try:
                return RunMask(height, width, Mask.from_array(decode(self._value["rle"], height, width)).counts)
            except ValueError:
                return NO_MASK
        ring = _ring(self._value, height, width)
        return NO_MASK if ring is None else PolygonMask([[part for point in ring for part in point]])

    @property
    def annotation(self) -> Annotation:
        caption, subject = self.caption, self.subject
        if caption:
            return Annotation(self.mask, caption, is_caption=True, subject=subject)
        return Annotation(self.mask, subject)


def shapes_of(results: list[dict[str, Any]]) -> dict[str, Shape]:
    """The regions among results, by id, in their order."""
    by_id: dict[str, list[dict[str, Any]]] = {}
    for place, result in enumerate(results):
        if isinstance(result.get("value"), dict):
            name = result.get("id")
            by_id.setdefault(name if isinstance(name, str) else f"#{place}", []).append(result)
    found = {}
    for name, each in by_id.items():
        drawn = next((result for result in each if _is_shape(result["value"])), None)
        if drawn:
            found[name] = Shape(each, drawn)
    return found


def _is_shape(value: dict[str, Any]) -> bool:
    return "rle" in value or "points" in value or "radiusX" in value or {"x", "y", "width", "height"} <= value.keys()


def _ring(value: dict[str, Any], height: int, width: int) -> list[tuple[float, float]] | None:
    """An outline in pixels of what was drawn in percent of the photo's sides."""
    if "points" in value:
        points = value["points"]
        numbers = [_numbers(point) for point in points] if isinstance(points, list) else []
        found = [(each[0] * width / 100, each[1] * height / 100) for each in numbers if each]
        return found if found and all(numbers) else None
    oval = "radiusX" in value
    names = ("x", "y", *(("radiusX", "radiusY") if oval else ("width", "height")))
    said = _numbers([value.get(name) for name in names] + [value.get("rotation") or 0])
    if said is None:
        return None
    x, across = said[0] * width / 100, said[2] * width / 100
    y, down = said[1] * height / 100, said[3] * height / 100
    corners = [(0.0, 0.0), (across, 0.0), (across, down), (0.0, down)]
    if oval:
        turns = [2 * math.pi * step / _ELLIPSE_POINTS for step in range(_ELLIPSE_POINTS)]
        corners = [(across * math.cos(turn), down * math.sin(turn)) for turn in turns]
    # Turned clockwise, a box about its first corner and an ellipse about its middle.
    sine, cosine = math.sin(math.radians(said[4])), math.cos(math.radians(said[4]))
    return [(x + right * cosine - below * sine, y + right * sine + below * cosine) for right, below in corners]


def _numbers(values: Any) -> list[float] | None:
    """Numbers that can be places; None where one is not."""
    if not isinstance(values, list) or len(values) < 2:
        return None
    usable = all(isinstance(each, int | float) and not isinstance(each, bool) and -1e6 < each < 1e6 for each in values)
    return [float(each) for each in values] if usable else None


def _size(drawn: dict[str, Any]) -> tuple[int, int] | None:
    """(height, width) in pixels."""
    height, width = drawn.get("original_height"), drawn.get("original_width")
    if type(height) is not int or type(width) is not int:
        return None
    return (
        (height, width) if 0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE and height * width <= MAX_PIXELS else None
    )


def _objects(found: Any) -> list[dict[str, Any]]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _address(data: dict[str, Any]) -> str:
    """Where Label Studio has the photo of a task."""
    texts = [value for name, value in sorted(data.items(), key=lambda item: item[0] != IMAGE) if isinstance(value, str)]
    if texts and isinstance(data.get(IMAGE), str):
        return texts[0]
    return next((text for text in texts if text.lower().endswith(places.PHOTO_ENDINGS)), "")


def _find(finder: FileFinder, address: str) -> str | None:
    """The photo's URI: by its path below the folder that Label Studio served, by its name, or by the name that it had
    before it was uploaded. Raises UnusablePhoto as `FileFinder.find` does."""
    if not address:
        return None
    try:
        parts = urlsplit(address)
        served = parse_qs(parts.query).get("d", [""])[0]
        name = served or unquote(parts.path)
    except ValueError:
        name = address
    last = places.base_name(name)
    tried = [name.lstrip("/"), last, *([last[9:]] if _UPLOADED.match(last) else [])]
    return next((uri for each in dict.fromkeys(tried) if each and (uri := finder.find(each))), None)


def _photo_folders(source: SourceSettings) -> list[str]:
    beside = places.parent(places.absolute(source.path))
    if source.images:
        return [places.given_folder(source.images, beside, "photos")]
    return [beside, places.join(beside, "images")]
