"""Two different things of one id or one name in a source: refused in a sentence or told apart, never made one."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from instructrestore.dataengine.photos.row import SegmentMask, SourcePhoto
from instructrestore.dataengine.sources import list_photos, parse_source
from instructrestore.dataengine.sources.identities import by_id
from tests.dataengine.masks.all_masks import masks_of
from tests.dataengine.photos.test_photo_file import saved, scene

JPEG, PNG = saved(scene(), "JPEG"), saved(scene(), "PNG")
SQUARES = [[[at, at, at + 9, at, at + 9, at + 9, at, at + 9]] for at in (10, 20, 30)]


def written(folder: Path, photos: dict[str, bytes], **lists: list[Any]) -> Path:
    """A JSON of images 1 and 2, a.jpg and b.jpg, and two categories, with further entries in its lists."""
    for name, data in photos.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    content: dict[str, list[Any]] = {
        "images": [{"id": 1, "file_name": "a.jpg", "license": 1}, {"id": 2, "file_name": "b.jpg"}],
        "categories": [{"id": 3, "name": "dog"}, {"id": 4, "name": "cat"}],
        "licenses": [{"id": 1, "name": "CC0"}],
        "annotations": [],
    }
    for name, entries in lists.items():
        content[name] = [*content[name], *entries]
    path = folder / "list.json"
    path.write_text(json.dumps(content))
    return path


def listed(path: Path, kind: str = "coco", options: str = "?images=photos") -> tuple[list[SourcePhoto], Counter[str]]:
    left_out = Counter[str]()
    return list(list_photos(parse_source(f"{kind}:{path}{options}"), left_out)), +left_out


BOTH = {"photos/a.jpg": JPEG, "photos/b.jpg": JPEG}


@pytest.mark.parametrize(
    ("lists", "complaint"),
    [
        ({"images": [{"id": 1, "file_name": "b.jpg"}]}, r"two different images of one id, 1 \('a.jpg' and 'b.jpg'\)"),
        ({"images": [{"id": 1.0, "file_name": "b.jpg"}]}, "two different images of one id, 1.0 "),
        ({"categories": [{"id": 3, "name": "horse"}]}, r"two different categories of one id, 3 \('dog' and 'horse'\)"),
        ({"licenses": [{"id": 1, "name": "CC BY 4.0"}]}, "two different licences of one id, 1 "),
    ],
)
@pytest.mark.parametrize("kind", ["coco", "panoptic"])
def test_an_id_of_two_things_is_refused(tmp_path: Path, kind: str, lists: dict[str, Any], complaint: str) -> None:
    (tmp_path / "list").mkdir()
    path = written(tmp_path, BOTH, **lists)
    with pytest.raises(ValueError, match=complaint) as caught:
        listed(path, kind)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_the_same_thing_said_twice_is_one_thing(tmp_path: Path) -> None:
    lists = {
        "images": [{"id": 1, "file_name": "a.jpg", "license": 1}],
        "categories": [{"id": 3, "name": "dog"}, {"id": 9, "name": "dog"}],
        "licenses": [{"id": 1, "name": "CC0"}],
        "annotations": [{"image_id": 1, "category_id": 3, "segmentation": SQUARES[0]}],
    }
    photos, left_out = listed(written(tmp_path, BOTH, **lists))
    assert [photo.name for photo in photos] == ["a.jpg", "b.jpg", "a.jpg"] and not left_out
    assert photos[0] == photos[2]  # which the manifest takes for one


def test_annotations_of_one_id_are_all_kept(tmp_path: Path) -> None:
    annotations = [
        {"id": 5, "image_id": image, "category_id": category, "segmentation": square}
        for image, category, square in zip((1, 1, 2), (3, 4, 3), SQUARES, strict=True)
    ]
    (first, second), left_out = listed(written(tmp_path, BOTH, annotations=annotations))
    assert not left_out
    for photo, expected in ((first, [("dog", 10), ("cat", 20)]), (second, [("dog", 30)])):
        assert photo.annotations is not None
        usable, counts = masks_of(photo.annotations, 48, 80)
        found = [(annotation.label, int(np.flatnonzero(mask.any(axis=0))[0])) for mask, annotation in usable]
        assert found == expected and not counts


def test_ids_of_another_type_are_no_ids(tmp_path: Path) -> None:
    annotations = [
        {"image_id": image, "category_id": 3, "segmentation": SQUARES[0]} for image in (1, 1.0, True, "1", None, [1])
    ]
    (first, _), left_out = listed(written(tmp_path, BOTH, annotations=annotations))
    assert first.annotations is not None and len(first.annotations) == 2
    assert left_out == {"annotation of no photo": 4}


def panoptic(tmp_path: Path, *annotations: dict[str, Any]) -> tuple[list[SourcePhoto], Counter[str]]:
    path = written(tmp_path, {**BOTH, "list/a.png": PNG}, annotations=list(annotations))
    return listed(path, "panoptic")


def entry(image: int, picture: str, *segments: dict[str, Any]) -> dict[str, Any]:
    return {"image_id": image, "file_name": picture, "segments_info": list(segments)}


def test_two_annotations_of_one_image_are_refused(tmp_path: Path) -> None:
    one, other = entry(1, "a.png", {"id": 7, "category_id": 3}), entry(1, "a.png", {"id": 8, "category_id": 3})
    with pytest.raises(ValueError, match="two different annotations of one image, 1 "):
        panoptic(tmp_path, one, other)
    assert len(panoptic(tmp_path, one, one)[0]) == 2


def test_one_picture_for_two_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"two different images with one PNG, 'a\.png'"):
        panoptic(tmp_path, entry(1, "a.png"), entry(2, "a.png"))


def test_segments_of_one_id_with_two_names_are_lost_and_counted(tmp_path: Path) -> None:
    segments = [{"id": 7, "category_id": 3}, {"id": 7, "category_id": 4}, {"id": 8, "category_id": 4}]
    segments += [{"id": 9, "category_id": 3}, {"id": 9, "category_id": 3}, {"id": 1, "iscrowd": 1}, {"id": True}]
    (first, _), left_out = panoptic(tmp_path, entry(1, "a.png", *segments), entry(99, "z.png", {"id": 7}, {"id": 8}))
    assert first.annotations is not None
    found = [(each.mask.id, each.label) for each in first.annotations if isinstance(each.mask, SegmentMask)]
    assert found == [(8, "cat"), (9, "dog"), (9, "dog"), (-1, "")]
    expected = {"segments of one id with different categories": 2, "crowd": 1, "annotation of no photo": 2}
    assert left_out == expected


def test_annotations_of_photos_that_cannot_be_used_stay_in_their_place(tmp_path: Path) -> None:
    segments = [{"id": 7, "category_id": 3}, {"id": 8, "category_id": 4}]
    (first, _), _ = panoptic(tmp_path, entry(1, "../a.png", *segments))
    assert first.problem == "path outside its folder" and len(first.annotations or ()) == 2
    (tmp_path / "list.csv").write_text("uri,mask\n../x.jpg,a.png\n,a.png\n../x.jpg,\n")
    found = list(list_photos(parse_source(f"{tmp_path}/list.csv")))
    assert [len(photo.annotations or ()) for photo in found] == [1, 1, 0] and all(photo.problem for photo in found)
    (tmp_path / "mattes").mkdir()
    (tmp_path / "mattes/lonely.png").write_bytes(PNG)
    [matte] = list_photos(parse_source(f"matte:{tmp_path}/mattes"))
    assert matte.problem == "missing photo" and len(matte.annotations or ()) == 1


def test_a_name_that_fits_different_files_fits_none(tmp_path: Path) -> None:
    other = saved(Image.effect_noise((80, 48), 50).convert("RGB"), "JPEG")
    path = written(tmp_path, {"one/a.jpg": JPEG, "two/a.jpg": other, "one/b.jpg": JPEG, "two/b.jpg": JPEG})
    (first, second), _ = listed(path, options="")
    assert first.problem == "name that fits several files"
    assert not second.problem and second.uri == str(tmp_path / "one/b.jpg")  # the same bytes in both
    (first, _), _ = listed(path, options="?images=two")
    assert not first.problem and first.uri == str(tmp_path / "two/a.jpg")
    written(tmp_path, {"images/a.jpg": JPEG})  # a folder whose name says what it is comes before all others
    (first, _), _ = listed(path, options="")
    assert not first.problem and first.uri == str(tmp_path / "images/a.jpg")


def test_long_and_odd_ids_are_shown_in_one_line() -> None:
    with pytest.raises(ValueError, match="two different images of one id") as caught:
        by_id("list.json", "images of one id", [("\ud800\n" * 100, "a" * 1000), ("\ud800\n" * 100, "b")])
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)
    str(caught.value).encode()
