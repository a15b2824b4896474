"""Exports of Label Studio as a source: its own files, what was drawn in each way, and what cannot be made out."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instructrestore.dataengine.photos.row import NO_MASK, Annotation, PolygonMask, RunMask, SourcePhoto
from instructrestore.dataengine.sources import list_photos, parse_source
from instructrestore.dataengine.sources.brush_rle import encode
from instructrestore.dataengine.sources.label_studio import IS_BOKEH, SUPERSEDED
from instructrestore.dataengine.sources.settings import detect_kind
from instructrestore.shards.rle import Mask
from tests import real_photos
from tests.dataengine.masks.all_masks import masks_of
from tests.dataengine.photos.test_photo_file import saved, scene

HEIGHT, WIDTH = 48, 80
PHOTO = saved(scene()[:HEIGHT, :WIDTH], "PNG")


def result(value: dict[str, Any], name: str = "a", kind: str = "brushlabels", **other: Any) -> dict[str, Any]:
    told = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0, "to_name": "image"}
    return {**told, "id": name, "type": kind, "value": value, **other}


def task(*results: dict[str, Any], image: str = "/data/local-files/?d=images/a.png", **data: Any) -> dict[str, Any]:
    return {"id": 1, "data": {"image": image, **data}, "annotations": [{"id": 1, "result": list(results)}]}


def listed(folder: Path, *tasks: Any, left_out: Counter[str] | None = None) -> list[SourcePhoto]:
    (folder / "images").mkdir(exist_ok=True)
    (folder / "images" / "a.png").write_bytes(PHOTO)
    (folder / "export.json").write_text(json.dumps(tasks))
    return list(list_photos(parse_source(f"label-studio:{folder / 'export.json'}"), left_out))


def mask_of(folder: Path, value: dict[str, Any]) -> np.ndarray:
    (photo,) = listed(folder, task(result(value)))
    ((mask, _),), lost = masks_of(photo.annotations or (), HEIGHT, WIDTH)
    assert lost == {}
    return mask


def test_its_own_files_are_recognised_and_read(data_folder: Path) -> None:
    names = ["label_studio/boxes.json", "label_studio/polygons.json"]
    boxes, polygons = real_photos.present(data_folder, names)
    assert detect_kind(str(boxes)) == detect_kind(str(polygons)) == "label-studio"
    left_out = Counter[str]()
    photos = list(list_photos(parse_source(str(boxes)), left_out))
    assert [photo.problem for photo in photos] == ["missing photo"] * 2
    stored = json.loads(boxes.read_bytes())
    drawn = [len(each["result"]) for one in stored for each in one["annotations"]]
    assert sum(len(photo.annotations or ()) for photo in photos) + left_out[SUPERSEDED] == sum(drawn)
    first = stored[0]["annotations"][-1]["result"][0]
    annotation = (photos[0].annotations or ())[0]
    assert annotation.label == first["value"]["rectanglelabels"][0] and isinstance(annotation.mask, PolygonMask)
    left, top = annotation.mask.rings[0][:2]
    assert (left, top) == pytest.approx((first["value"]["x"] * 28, first["value"]["y"] * 28))
    (photo,) = list_photos(parse_source(str(polygons)), left_out)
    assert photo.annotated_size == (426, 640) and len((photo.annotations or ())[0].mask.rings[0]) > 60


def test_a_brush_mask_with_caption_label_and_bokeh(tmp_path: Path) -> None:
    drawn = np.random.default_rng(0).random((HEIGHT, WIDTH)) > 0.7
    results = [
        result({"format": "rle", "rle": encode(drawn), "brushlabels": ["dog", "cat"]}),
        result({"text": ["  the red dog "]}, kind="textarea"),
        result({"choices": [IS_BOKEH]}, kind="choices"),
        result({"format": "rle", "rle": encode(~drawn), "brushlabels": ["wall"]}, "b"),
    ]
    photos = listed(tmp_path, task(*results, licence="CC0", url="https://example.org/a"))
    dog = RunMask(HEIGHT, WIDTH, Mask.from_array(drawn).counts)
    wall = RunMask(HEIGHT, WIDTH, Mask.from_array(~drawn).counts)
    assert [photo.annotations for photo in photos] == [
        (Annotation(dog, "the red dog", is_caption=True, subject="dog"), Annotation(wall, "wall"))
    ]
    assert (photos[0].licence, photos[0].url, photos[0].bokeh) == ("CC0", "https://example.org/a", None)
    assert photos[0].uri == str(tmp_path / "images" / "a.png") and photos[0].name == "a.png"
    assert listed(tmp_path, task(*results[:3]))[0].bokeh is True
    assert listed(tmp_path, task(results[0]))[0].bokeh is None  # nobody was asked
    assert listed(tmp_path, task(results[0], key="0"))[0].bokeh is False  # a task that `export` wrote


def test_boxes_outlines_and_ellipses(tmp_path: Path) -> None:
    box = mask_of(tmp_path, {"x": 25, "y": 50, "width": 50, "height": 25, "rotation": 0, "rectanglelabels": ["a"]})
    assert box[24:36, 20:60].all() and box.sum() == 12 * 40
    # Turned by a right angle about its first corner, 16 px across become 16 px down, and 12 px down go to the left.
    turned = mask_of(tmp_path, {"x": 50, "y": 25, "width": 20, "height": 25, "rotation": 90, "rectanglelabels": ["a"]})
    assert turned[12:28, 28:40].all() and turned.sum() == pytest.approx(16 * 12, abs=30)
    outline = mask_of(tmp_path, {"points": [[0, 0], [50, 0], [50, 100], [0, 100]], "polygonlabels": ["a"]})
    assert outline[:, :40].all() and not outline[:, 40:].any()
    ellipse = mask_of(tmp_path, {"x": 50, "y": 50, "radiusX": 25, "radiusY": 25, "rotation": 0, "ellipselabels": ["a"]})
    assert ellipse.sum() == pytest.approx(np.pi * 20 * 12, rel=0.03) and ellipse[24, 40]


def test_the_last_annotation_that_was_not_cancelled_counts(tmp_path: Path) -> None:
    box = {"x": 0, "y": 0, "width": 50, "height": 50, "rotation": 0}
    said = [{"result": [result({**box, "rectanglelabels": [name]}, name)]} for name in ("first", "second", "third")]
    said[2]["was_cancelled"] = True
    one = {"data": {"image": "images/a.png"}, "annotations": said}
    left_out = Counter[str]()
    (photo,) = listed(tmp_path, one, left_out=left_out)
    assert [each.label for each in photo.annotations or ()] == ["second"] and left_out == {SUPERSEDED: 2}
    guessed = {"data": {"image": "images/a.png"}, "annotations": [], "predictions": said}
    assert [each.label for each in listed(tmp_path, guessed)[0].annotations or ()] == ["third"]
    assert listed(tmp_path, {"data": {"image": "images/a.png"}})[0].annotations is None  # nobody has looked
    assert listed(tmp_path, task())[0].annotations == ()  # somebody has, and found nothing


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("/data/local-files/?d=images/a.png", ""),
        ("/data/local-files/?d=elsewhere/images/a.png", ""),
        ("/data/upload/7/0123abcd-a.png", ""),
        ("https://example.org/files/a.png?signature=x", ""),
        ("s3://bucket/a.png", ""),
        ("/data/local-files/?d=../../etc/passwd", "path outside its folder"),
        ("https://[example/a.png", "path outside its folder"),  # no address, and no name either
        ("b.png", "missing photo"),
        ("", "photo without a name"),
        ("/data/upload/\0.png", "path outside its folder"),
    ],
)
def test_photos_are_found_by_name_and_never_outside(tmp_path: Path, address: str, problem: str) -> None:
    (photo,) = listed(tmp_path, task(image=address))
    assert photo.problem == problem


WRONG: dict[str, Any] = {
    "no code": {"rle": "abc"},
    "a code that ends early": {"rle": [0, 0, 0]},
    "the code of another size": {"rle": encode(np.zeros((3, 3), np.bool_))},
    "numbers that are none": {"x": "0", "y": None, "width": True, "height": []},
    "numbers far away": {"x": 1e300, "y": 0, "width": 1, "height": 1},
    "points that are none": {"points": [[0, 0], [1], "x"]},
    "no points": {"points": []},
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_made_out_keeps_its_place(tmp_path: Path, name: str) -> None:
    (photo,) = listed(tmp_path, task(result({**WRONG[name], "brushlabels": ["dog"]})))
    assert photo.annotations == (Annotation(NO_MASK, "dog"),)


@pytest.mark.parametrize("told", [{"image_rotation": 90}, {"original_width": 0}, {"original_height": 10**9}])
def test_a_mask_on_a_turned_photo_or_of_no_size_is_none(tmp_path: Path, told: dict[str, Any]) -> None:
    drawn = encode(np.ones((HEIGHT, WIDTH), np.bool_))
    (photo,) = listed(tmp_path, task(result({"rle": drawn, "brushlabels": ["dog"]}, **told)))
    assert photo.annotations == (Annotation(NO_MASK, "dog"),)


@pytest.mark.parametrize(
    "tasks",
    [[{"data": 7, "annotations": 7}], [{"data": {"image": 7}, "annotations": [7, {"result": [7, {"value": 7}]}]}]],
)
def test_tasks_of_other_shapes_are_no_photos(tmp_path: Path, tasks: list[Any]) -> None:
    assert [photo.problem for photo in listed(tmp_path, *tasks)] == ["photo without a name"]


NAMES = (
    "data image annotations predictions result value rle points x y width height radiusX radiusY rotation text choices "
    "brushlabels id type original_width original_height image_rotation was_cancelled"
)
names = st.sampled_from(NAMES.split())
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["a.png", "textarea"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5),
    max_leaves=30,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=anything, drawn=anything, around=anything)
def test_no_export_is_a_defect(tmp_path: Path, value: Any, drawn: Any, around: Any) -> None:
    listed(
        tmp_path, task(result({"rle": value, "x": value}), result({"points": value}, "b"), result({"x": drawn}, "c"))
    )
    listed(
        tmp_path, {"data": around, "annotations": [{"result": [{"value": drawn}, drawn]}, around], "predictions": value}
    )


def test_a_file_that_is_no_list_of_tasks_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not an export of Label Studio: it is no list of tasks"):
        listed(tmp_path, 7)
