"""The quality gate: the embedded score on real photos and their degraded copies, and the stage's decisions."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.quality import COPIES, MUST_DROP, ORIGINAL, THRESHOLD, degrade, is_good_photo, scores
from instructrestore.dataengine.photos.row import Row, SourcePhoto
from instructrestore.dataengine.quality.quality_gate import EmbeddedQuality, QualityGate, QualityGateSettings
from instructrestore.dataengine.running.stage import Drop
from instructrestore.shards.sample import Photo, key_of
from tests import real_photos
from tests.dataengine.textures import texture

# The photos that the threshold was fitted and judged on. What more photos say is in docs/annotators.md.
PHOTOS = (
    *real_photos.CLIC,
    *real_photos.ANIMALS,
    *real_photos.PORTRAITS,
    *real_photos.BOKEH,
    *real_photos.KODAK,
    *real_photos.CID22,
    *real_photos.COCO,
    *real_photos.PANOPTIC,
)


def row_of(folder: Path, rgb: NDArray[np.uint8]) -> Row:
    """The photo written as PNG, and its row as intake leaves it."""
    _, png = cv2.imencode(".png", rgb[..., ::-1])
    data = png.tobytes()
    sha256 = hashlib.sha256(data).hexdigest()
    path = folder / f"{sha256[:8]}.png"
    path.write_bytes(data)
    photo = Photo(
        key=key_of(sha256),
        sha256=sha256,
        name=path.name,
        source="test",
        licence="",
        url="",
        width=rgb.shape[1],
        height=rgb.shape[0],
        bytes=len(data),
        perceptual_hash="0" * 16,
        format="png",
    )
    return Row(SourcePhoto(uri=str(path), name=path.name, source="test"), photo)


@pytest.fixture(scope="module")
def unused_half(data_folder: Path) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Of the photos that the constants were not fitted on: which the gate must keep, and their and copies' scores."""
    half = real_photos.present(data_folder, PHOTOS)[1::2]
    return np.array([is_good_photo(path) for path in half]), scores(half)


def test_photos_score_higher_than_their_degraded_copies(
    unused_half: tuple[NDArray[np.bool_], NDArray[np.float64]],
) -> None:
    _, score = unused_half
    ordered = score[:, :1] > score[:, 1:]
    assert ordered.mean() >= 0.98
    assert dict(zip(COPIES, ordered.mean(0), strict=True)) == {how: pytest.approx(1, abs=0.02) for how in COPIES}, (
        "each degradation by itself"
    )


def test_the_threshold_separates_good_photos_from_bad_copies(
    unused_half: tuple[NDArray[np.bool_], NDArray[np.float64]],
) -> None:
    good, score = unused_half
    assert (score[good, 0] > THRESHOLD).mean() >= 0.9
    for how in MUST_DROP:
        dropped = score[:, 1 + COPIES.index(how)] <= THRESHOLD
        assert dropped.mean() >= 0.9, how
        assert dropped[good].mean() >= 0.9, how


def test_a_copy_is_degraded_as_its_name_says() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    assert degrade(grey, "noise 10", 1).std() == pytest.approx(10, rel=0.05)
    assert np.array_equal(degrade(grey, ORIGINAL, 1), grey)
    assert not np.array_equal(degrade(grey, "noise 10", 1), degrade(grey, "noise 10", 2))
    point = np.zeros((33, 33, 3), np.uint8)
    point[16, 16] = 255
    assert degrade(point, "blur 1", 0)[16, 16, 0] == pytest.approx(255 / (2 * np.pi), rel=0.05)


def test_score_falls_with_blur_and_with_noise() -> None:
    sharp, metric = texture(384, 512), EmbeddedQuality()
    blurred = [metric(np.asarray(cv2.GaussianBlur(sharp, (0, 0), sigma), np.uint8)) for sigma in (0.5, 1, 1.5, 2, 4, 8)]
    noisy = [metric(degrade(sharp, f"noise {sigma}", 3)) for sigma in (5, 10, 25, 50)]
    for series in (blurred, noisy):
        assert all(better > worse for better, worse in zip([metric(sharp), *series], series, strict=False))


def test_jpeg_blocks_are_seen_wherever_the_photo_was_cropped() -> None:
    metric = EmbeddedQuality()
    photo = degrade(texture(400, 528), "JPEG 10", 0)
    whole = metric(photo)
    assert whole < metric(texture(400, 528))
    for top, left in ((1, 0), (3, 5), (7, 7)):
        assert metric(photo[top:, left:]) == pytest.approx(whole, abs=3)


def test_a_sharp_subject_before_a_blurred_background_is_as_good_as_a_sharp_photo() -> None:
    sharp = texture(640, 960)
    bokeh = np.asarray(cv2.GaussianBlur(sharp, (0, 0), 8), np.uint8)
    bokeh[160:480, 320:640] = sharp[160:480, 320:640]
    assert EmbeddedQuality()(bokeh) == pytest.approx(EmbeddedQuality()(sharp), abs=8)
    assert EmbeddedQuality()(bokeh) > 60


@pytest.mark.parametrize("grey", [0, 90, 255])
def test_a_constant_photo_scores_low(grey: int) -> None:
    assert EmbeddedQuality()(np.full((600, 800, 3), grey, np.uint8)) < 30


def test_scores_are_deterministic_and_need_no_contiguous_array() -> None:
    photo = texture(600, 700, seed=5)
    metric = EmbeddedQuality()
    assert metric(photo) == metric(photo.copy()) == EmbeddedQuality()(np.asfortranarray(photo))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from(["black", "noise", "texture"]))
def test_any_size_has_a_score(height: int, width: int, kind: str) -> None:
    rgb = {
        "black": np.zeros((height, width, 3), np.uint8),
        "noise": np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8),
        "texture": texture(height, width),
    }[kind]
    assert 0 <= EmbeddedQuality()(rgb) <= 100


@pytest.mark.parametrize("size", [(1, 30000), (30000, 1), (32, 40000), (40000, 33), (100, 9000), (3000, 2000)])
def test_extreme_sizes_have_a_score(size: tuple[int, int]) -> None:
    assert 0 <= EmbeddedQuality()(np.full((*size, 3), 7, np.uint8)) <= 100


def test_short_side_is_strict_and_needs_no_pixels() -> None:
    gate = QualityGate(QualityGateSettings(score=0))
    sha256 = "a" * 64
    common = {"key": key_of(sha256), "sha256": sha256, "source": "test", "licence": "", "url": "", "bytes": 1}
    photo = Photo(name="x", width=4000, height=512, perceptual_hash="0" * 16, format="png", **common)
    row = Row(SourcePhoto(uri="no such file.jpg", name="x", source="test"), photo)
    assert gate([row]) == [Drop("short side", "512 px")]


def test_the_stage_keeps_with_a_score_and_drops_with_a_reason(tmp_path: Path) -> None:
    sharp = texture(513, 700)
    blurred = np.asarray(cv2.GaussianBlur(sharp, (0, 0), 3), np.uint8)
    rows = [row_of(tmp_path, rgb) for rgb in (sharp, blurred, texture(512, 700))]
    kept, soft, small = QualityGate(QualityGateSettings())(rows)
    assert isinstance(kept, Row)
    assert kept.photo is not None
    assert kept.photo.quality == round(EmbeddedQuality()(sharp), 2)
    assert kept.photo.quality_metric == "embedded"
    assert kept.origin == rows[0].origin
    assert isinstance(soft, Drop)
    assert soft.reason == "quality score"
    assert float(soft.detail) == round(EmbeddedQuality()(blurred), 2)
    assert isinstance(small, Drop)
    assert small.reason == "short side"


def test_the_score_threshold_is_strict(tmp_path: Path) -> None:
    row = row_of(tmp_path, texture(120, 160))
    (kept,) = QualityGate(QualityGateSettings(short_side=0, score=0))([row])
    assert isinstance(kept, Row)
    assert kept.photo is not None
    assert kept.photo.quality is not None
    score = kept.photo.quality
    (dropped,) = QualityGate(QualityGateSettings(short_side=0, score=score))([row])
    assert dropped == Drop("quality score", f"{score:g}")
    (kept,) = QualityGate(QualityGateSettings(short_side=0, score=score - 0.01))([row])
    assert isinstance(kept, Row)


def test_a_photo_changed_since_intake_is_an_error_and_no_drop(tmp_path: Path) -> None:
    row = row_of(tmp_path, texture(120, 160))
    Path(row.origin.uri).write_bytes(b"something else")
    with pytest.raises(OSError, match="changed since intake"):
        QualityGate(QualityGateSettings(short_side=0))([row])


def test_musiq_without_pyiqa_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(ValueError, match=r'pip install "instructrestore\[iqa\]"'):
        QualityGate(QualityGateSettings(metric="musiq"))
