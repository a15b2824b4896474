"""The bokeh flag: real photos with mattes, ordinary annotated photos, and made ones with known focus."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from instructrestore.dataengine.photos.photo_file import decode
from instructrestore.dataengine.photos.row import Row, SourcePhoto
from instructrestore.dataengine.quality.bokeh import BokehFlag, BokehSettings, bokeh_score, focus_map, is_bokeh
from instructrestore.shards import rle
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import Photo, Region, key_of
from tests import real_photos
from tests.dataengine.textures import texture

SETTINGS = BokehSettings()
NEAR_NEGATIVES = ("sample13", "p_bd6af989")


def blurred(rgb: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), sigma), np.uint8)


def square(height: int, width: int) -> NDArray[np.bool_]:
    mask = np.zeros((height, width), bool)
    mask[height // 4 : 3 * height // 4, width // 3 : 2 * width // 3] = True
    return mask


def composed(inside: NDArray[np.uint8], outside: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A photo with one texture in the square and another around it, and the square's mask."""
    mask = square(*inside.shape[:2])
    return np.where(mask[..., None], inside, outside), mask


def flagged(rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> bool:
    return is_bokeh(focus_map(rgb), mask, SETTINGS)


def matte_photos(data: Path) -> list[tuple[str, Path, Path]]:
    """(name, photo, matte)"""
    paths = real_photos.present(data, real_photos.ANIMALS + real_photos.PORTRAITS)
    return [(path.stem, path, real_photos.matte_of(path)) for path in paths]


def test_subjects_before_a_blurred_background_are_flagged(data_folder: Path) -> None:
    found = {}
    for name, photo, matte in matte_photos(data_folder):
        alpha = cv2.imread(str(matte), cv2.IMREAD_GRAYSCALE)
        assert alpha is not None
        found[name] = flagged(decode(photo.read_bytes()).rgb, alpha >= 128)
    positives = [flag for name, flag in found.items() if name not in NEAR_NEGATIVES]
    assert sum(positives) >= 0.9 * len(positives), found
    assert not any(found.get(name, False) for name in NEAR_NEGATIVES), found


def test_regions_of_ordinary_photos_are_not_flagged(data_folder: Path) -> None:
    """Few of them are flagged, for a few photos of COCO truly have a blurred background."""
    found = {}
    photos = {path.name: path for path in real_photos.present(data_folder, real_photos.COCO)}
    for split in ("train2017", "val2017"):
        listed = json.loads((data_folder / f"coco_tiny/annotations/instances_{split}.json").read_text())
        names = {category["id"]: category["name"] for category in listed["categories"]}
        for image in listed["images"]:
            photo = photos.get(image["file_name"])
            merged: dict[str, list[Mask]] = {}
            for annotation in listed["annotations"]:
                shape = annotation["segmentation"]
                if photo and annotation["image_id"] == image["id"] and isinstance(shape, list):
                    mask = rle.polygons(shape, image["height"], image["width"])
                    merged.setdefault(names[annotation["category_id"]], []).append(mask)
            if not photo or not merged:
                continue
            focus = focus_map(decode(photo.read_bytes()).rgb)
            for name, masks in merged.items():
                mask = rle.union(masks).array()
                if mask.mean() > 0.02:
                    found[photo.stem, name] = is_bokeh(focus, mask, SETTINGS)
    assert len(found) >= 20
    assert np.mean(list(found.values())) <= 0.08, [key for key, flag in found.items() if flag]


def test_panoptic_segments_are_not_flagged(data_folder: Path) -> None:
    found = {}
    for photo in real_photos.present(data_folder, real_photos.PANOPTIC):
        rgb = decode(photo.read_bytes()).rgb
        segments = decode((photo.parents[1] / "panoptic_examples" / f"{photo.stem}.png").read_bytes()).rgb
        ids = segments.astype(np.int64) @ np.array([1, 256, 65536])
        focus = focus_map(rgb)
        for segment in np.unique(ids):
            if (ids == segment).mean() > 0.02:
                found[photo.stem, int(segment)] = is_bokeh(focus, ids == segment, SETTINGS)
    assert np.mean(list(found.values())) <= 0.1, found


@pytest.mark.parametrize("sigma", [3, 6, 12])
def test_a_sharp_square_on_a_blurred_texture_is_bokeh(sigma: float) -> None:
    scene = texture(720, 960)
    assert flagged(*composed(scene, blurred(texture(720, 960, seed=1), sigma)))


def test_the_same_without_blur_is_not() -> None:
    assert not flagged(*composed(texture(720, 960), texture(720, 960, seed=1)))


def test_a_blurred_square_on_a_sharp_texture_is_not() -> None:
    assert not flagged(*composed(blurred(texture(720, 960), 6), texture(720, 960, seed=1)))


def test_blur_everywhere_is_not() -> None:
    assert not flagged(*composed(blurred(texture(720, 960), 6), blurred(texture(720, 960, seed=1), 6)))


@pytest.mark.parametrize("grain", [0.0, 2.0])
def test_a_sharp_square_before_a_plain_sky_is_not(grain: float) -> None:
    """Smooth is not blurred: flat, and with a gradient from horizon to zenith."""
    random = np.random.default_rng(0)
    noise = grain * random.standard_normal((720, 960, 3))
    gradient = np.linspace(90, 190, 720)[:, None, None] + np.array([-30.0, 0.0, 40.0]) + noise
    for sky in (np.full((720, 960, 3), 170.0) + noise, gradient):
        assert not flagged(
            *composed(texture(720, 960), np.clip(np.broadcast_to(sky, (720, 960, 3)), 0, 255).astype(np.uint8))
        )


def test_a_smooth_subject_is_not_sharp() -> None:
    plain = np.full((720, 960, 3), 140, np.uint8)
    assert not flagged(*composed(plain, blurred(texture(720, 960, seed=1), 6)))


def test_sensor_noise_changes_no_decision() -> None:
    noise = 4 * np.random.default_rng(2).standard_normal((720, 960, 3))
    for around, expected in ((blurred(texture(720, 960, seed=1), 6), True), (texture(720, 960, seed=1), False)):
        rgb, mask = composed(texture(720, 960), around)
        assert flagged(np.clip(rgb + noise, 0, 255).astype(np.uint8), mask) is expected


def test_other_sharp_things_around_are_no_bokeh() -> None:
    scene = texture(720, 960)
    around = blurred(texture(720, 960, seed=1), 6)
    around[:, :240] = scene[:, :240]
    assert not flagged(*composed(scene, around))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 200), st.integers(1, 200), st.sampled_from(["none", "all", "half", "pixel"]))
def test_any_size_and_any_mask_has_a_score(height: int, width: int, kind: str) -> None:
    mask = np.full((height, width), kind == "all")
    if kind == "half":
        mask[:, : width // 2] = True
    elif kind == "pixel":
        mask[height // 2, width // 2] = True
    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    score = bokeh_score(focus_map(rgb), mask)
    assert np.isfinite(score)
    assert score >= 0
    if kind in ("none", "all"):
        assert score == 0


def row_of(folder: Path, rgb: NDArray[np.uint8], masks: list[NDArray[np.bool_]], bokeh: bool | None) -> Row:
    _, png = cv2.imencode(".png", rgb[..., ::-1])
    sha256 = hashlib.sha256(png.tobytes()).hexdigest()
    path = folder / f"{sha256[:8]}.png"
    path.write_bytes(png.tobytes())
    height, width = rgb.shape[:2]
    photo = Photo(
        key=key_of(sha256), sha256=sha256, name=path.name, source="test", licence="", url="", width=width,
        height=height, bytes=png.size, perceptual_hash="0" * 16,
        format="png",
    )  # fmt: skip
    regions = tuple(Region("the thing", "thing", Mask.from_array(mask), False, ()) for mask in masks)
    return Row(SourcePhoto(str(path), path.name, "test", bokeh=bokeh), photo, regions=regions)


def flags(row: object) -> list[bool]:
    assert isinstance(row, Row)
    return [region.bokeh for region in row.regions]


def test_the_stage_measures_each_region_and_reads_the_photo_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from instructrestore.dataengine.photos import photo_file

    rgb, mask = composed(texture(720, 960), blurred(texture(720, 960, seed=1), 6))
    row = row_of(tmp_path, rgb, [mask, ~mask], None)
    reads = []
    load = photo_file.load
    monkeypatch.setattr(photo_file, "load", lambda row: reads.append(row) or load(row))
    (result,) = BokehFlag(SETTINGS)([row])
    assert flags(result) == [True, False]
    assert isinstance(result, Row)
    assert result.counts == {"bokeh": 1}
    assert replace(result, regions=row.regions, counts={}) == row
    assert len(reads) == 1


@pytest.mark.parametrize("said", [True, False])
def test_what_the_source_says_decides_and_the_photo_is_not_read(tmp_path: Path, said: bool) -> None:
    rgb, mask = composed(texture(720, 960), blurred(texture(720, 960, seed=1), 6))
    row = row_of(tmp_path, rgb, [mask, ~mask], said)
    Path(row.origin.uri).unlink()
    (result,) = BokehFlag(SETTINGS)([row])
    assert flags(result) == [said, said]


def test_a_photo_without_regions_is_not_read(tmp_path: Path) -> None:
    row = row_of(tmp_path, texture(64, 64), [], None)
    Path(row.origin.uri).unlink()
    assert BokehFlag(SETTINGS)([row]) == [row]


def test_a_higher_ratio_flags_less() -> None:
    rgb, mask = composed(texture(720, 960), blurred(texture(720, 960, seed=1), 3))
    focus = focus_map(rgb)
    score = bokeh_score(focus, mask)
    assert is_bokeh(focus, mask, BokehSettings(ratio=score - 0.1))
    assert not is_bokeh(focus, mask, BokehSettings(ratio=score))
