"""The learned quality score on named photos: it follows the release's degradation, and its threshold parts good photos
from spoilt copies."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.learned_quality import STRENGTHS, by_strength, correlations, of_strength
from benchmarks.quality import COPIES, MUST_DROP, ORIGINAL, THRESHOLD, degrade, is_good_photo, load
from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.quality.learned import THRESHOLD as THRESHOLD_OF_BRISQUE
from instructrestore.dataengine.quality.learned import WINDOW, LearnedQuality, detailed, score
from instructrestore.dataengine.quality.quality_gate import QualityGate, QualityGateSettings
from instructrestore.dataengine.running.stage import Drop
from instructrestore.pretrained.brisque import brisque
from tests import real_photos
from tests.dataengine.quality.test_quality_gate import row_of
from tests.dataengine.textures import texture

# Three pages of a web browser and two rendered scenes are among CLIC's photos; none of them is here.
PHOTOS = (
    *real_photos.CLIC,
    *real_photos.ANIMALS,
    *real_photos.PORTRAITS,
    *real_photos.BOKEH,
    *real_photos.KODAK,
    *real_photos.CID22,
)


@pytest.mark.slow
def test_it_follows_the_strength_of_the_release_s_degradation(data_folder: Path) -> None:
    """Spearman's correlation of 0.9 or more, the mean over photos; it was 0.93 over 95 of them."""
    paths = real_photos.present(data_folder, (*real_photos.KODAK, *real_photos.ANIMALS, *real_photos.CLIC))
    metric = LearnedQuality()
    [gate, whole] = by_strength(paths, [lambda rgb: -metric(rgb), brisque])
    assert correlations(gate)[0] >= 0.9
    assert correlations(whole)[0] >= 0.9


def test_the_threshold_parts_good_photos_from_spoilt_copies(data_folder: Path) -> None:
    paths = real_photos.present(data_folder, PHOTOS)
    metric = LearnedQuality()
    good = [(seed, path) for seed, path in enumerate(paths) if is_good_photo(path)][::2]
    rows = []
    for seed, path in good:
        rgb = load(path)
        rows.append([metric(degrade(rgb, how, seed)) for how in (ORIGINAL, *MUST_DROP)])
    values = np.array(rows)
    assert (values[:, 0] > THRESHOLD).mean() >= 0.9
    for column, how in enumerate(MUST_DROP, 1):
        assert how in COPIES
        assert (values[:, column] <= THRESHOLD).mean() >= 0.9, how


def test_charts_are_no_good_photos(data_folder: Path) -> None:
    charts = [path for path in real_photos.present(data_folder, real_photos.CID22) if not is_good_photo(path)]
    assert len(charts) == 3
    assert all(LearnedQuality()(load(path)) < THRESHOLD for path in charts)


def test_the_scale_has_60_at_its_threshold_and_falls() -> None:
    values = np.array([score(float(value)) for value in range(-50, 200, 10)])
    assert score(THRESHOLD_OF_BRISQUE) == pytest.approx(60)
    assert (np.diff(values) < 0).all() and values.min() >= 0 and values.max() <= 100


def test_a_sharp_subject_before_a_blurred_background_is_as_good_as_a_sharp_photo() -> None:
    sharp = texture(640, 960)
    bokeh = np.asarray(cv2.GaussianBlur(sharp, (0, 0), 8), np.uint8)
    bokeh[160:480, 320:640] = sharp[160:480, 320:640]
    metric = LearnedQuality()
    assert metric(bokeh) == pytest.approx(metric(sharp), abs=8)
    assert metric(bokeh) > metric(np.asarray(cv2.GaussianBlur(sharp, (0, 0), 3), np.uint8)) + 5


def test_the_windows_are_the_detailed_ones_and_the_same_of_a_blurred_copy() -> None:
    plane = np.zeros((4 * WINDOW, 4 * WINDOW), np.float32)
    random = np.random.default_rng(0)
    for row, column in ((0, 0), (1, 2), (3, 3), (2, 1)):
        spot = random.random((WINDOW // 8, WINDOW // 8), np.float32)
        part = np.s_[row * WINDOW : (row + 1) * WINDOW, column * WINDOW : (column + 1) * WINDOW]
        plane[part] = cv2.resize(spot, (WINDOW, WINDOW), interpolation=cv2.INTER_NEAREST)
    chosen = detailed(plane)
    assert len(chosen) == 4 and min(window.std() for window in chosen) > 0.2
    blurred = detailed(np.asarray(cv2.GaussianBlur(plane, (0, 0), 1.0), np.float32))
    assert len(blurred) == 4 and min(window.std() for window in blurred) > 0.2


@pytest.mark.parametrize("size", [(1, 1), (31, 400), (32, 32), (100, 9000), (159, 161), (480, 481), (3000, 2000)])
def test_any_size_has_a_score(size: tuple[int, int]) -> None:
    assert 0 <= LearnedQuality()(np.full((*size, 3), 7, np.uint8)) < THRESHOLD


def test_without_strength_a_smooth_photo_stays_itself() -> None:
    """Smooth, since even then it is brought to another size and back."""
    rgb = np.asarray(cv2.GaussianBlur(texture(128, 192), (0, 0), 4), np.uint8)
    weak, strong = of_strength(rgb, 0.001, 3), of_strength(rgb, STRENGTHS[-1], 3)
    error = [float(np.abs(copy.astype(float) - rgb).mean()) for copy in (weak, strong)]
    assert error[0] < 2 < 3 < error[1]


def test_the_gate_uses_it_and_says_so(tmp_path: Path) -> None:
    sharp = texture(513, 700)
    rows = [row_of(tmp_path, rgb) for rgb in (sharp, np.asarray(cv2.GaussianBlur(sharp, (0, 0), 3), np.uint8))]
    own = LearnedQuality()(sharp)
    settings = QualityGateSettings(metric="brisque", score=round(own, 2) - 0.01)
    kept, soft = QualityGate(settings)(rows)
    assert isinstance(kept, Row) and kept.photo
    assert (kept.photo.quality, kept.photo.quality_metric) == (round(own, 2), "brisque 2")
    assert isinstance(soft, Drop) and soft.reason == "quality score"
