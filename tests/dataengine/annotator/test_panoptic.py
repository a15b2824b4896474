"""Panoptic annotations: COCO's layout read, and what is not one said in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from instructrestore.dataengine.annotator.names import coco_names, membership
from instructrestore.dataengine.annotator.panoptic import UNLABELLED, read_panoptic
from instructrestore.dataengine.annotator.views import augmented
from tests.dataengine.annotator.panoptic_folder import panoptic_folder


def test_segments_and_labels(tmp_path: Path) -> None:
    first, _ = panoptic_folder(tmp_path / "set")
    segments = first.segments()
    assert set(np.unique(segments)) == {7, 256}
    labels = first.labels(segments)
    assert [coco_names()[label].word for label in (labels[0, 0], labels[-1, 0])] == ["sky", "grass"]
    assert first.labels(np.full((2, 2), 99, np.int32)).tolist() == [[UNLABELLED] * 2] * 2


def test_every_real_photo_is_read(data_folder: Path) -> None:
    folder = data_folder / "coco_panoptic"
    photos = read_panoptic(folder / "panoptic_validation.json", folder / "panoptic_validation", folder / "validation")
    assert len(photos) == 32
    first = photos[0]
    assert first.rgb().shape[:2] == first.segments().shape
    assert np.mean(first.labels(first.segments()) != UNLABELLED) > 0.5


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is not valid JSON"),
        ('{"images": []}', "not a panoptic JSON"),
        ('{"images": [], "annotations": [], "categories": []}', "none of the photos"),
    ],
)
def test_what_is_not_panoptic_is_said(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=says):
        read_panoptic(tmp_path / "a.json", tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"images": [{"id": 1, "file_name": "y.jpg"}]}, "images of one id, 1"),
        ({"images": [{"id": 2, "file_name": "x.png"}]}, "photos of one name apart from the ending, 'x'"),
        ({"categories": [{"id": 3, "name": "cow"}]}, "categories of one id, 3"),
        ({"annotations": [{"image_id": 1, "file_name": "z.png", "segments_info": []}]}, "annotations of one image, 1"),
        ({"segments": [{"id": 7, "category_id": 4}]}, "segments of one id in x.png, 7"),
    ],
)
def test_one_id_for_two_things_is_refused(tmp_path: Path, change: dict[str, list], says: str) -> None:
    segments = [{"id": 7, "category_id": 3}, *change.get("segments", [])]
    content = {
        "images": [{"id": 1, "file_name": "x.jpg"}, *change.get("images", [])],
        "categories": [{"id": 3, "name": "dog"}, {"id": 4, "name": "cat"}, *change.get("categories", [])],
        "annotations": [
            {"image_id": 1, "file_name": "x.png", "segments_info": segments},
            *change.get("annotations", []),
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"two different {says}"):
        read_panoptic(tmp_path / "a.json", tmp_path, tmp_path)


def test_a_path_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    text = '{"images": [{"id": 1, "file_name": "../x.jpg"}], "categories": [], "annotations": '
    text += '[{"image_id": 1, "file_name": "x.png", "segments_info": []}]}'
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match="outside"):
        read_panoptic(tmp_path / "a.json", tmp_path, tmp_path)


def test_names() -> None:
    names = coco_names()
    assert len({name.category for name in names}) == len(names) == 133
    words = {name.word for name in names}
    assert {"person", "sky", "tree", "brick wall"} <= words
    classes = membership()
    assert classes.shape == (1000, 133)
    dog = [name.word for name in names].index("dog")
    assert classes[:, dog].sum() == 118  # WordNet's dogs among ImageNet's classes


def test_a_view_is_drawn_from_its_seed_and_keeps_photo_and_labels_together(tmp_path: Path) -> None:
    photo = panoptic_folder(tmp_path / "set", side=256)[0]
    rgb, segments = photo.rgb(), photo.segments()
    for view in range(4):
        pixels, numbers = augmented(rgb, segments, (0, 1, view))
        again, _ = augmented(rgb, segments, (0, 1, view))
        assert np.array_equal(pixels, again)
        assert numbers.shape == (pixels.shape[0] // 8, pixels.shape[1] // 8)
        assert all(length % 64 == 0 for length in pixels.shape[:2])
        centres = pixels[4::8, 4::8].astype(int)
        sky = numbers == 7
        assert (centres[sky][:, 2] > centres[sky][:, 1]).mean() > 0.95, view  # sky is blue, grass green
        assert (centres[~sky][:, 2] < centres[~sky][:, 1]).mean() > 0.95, view
