"""BRISQUE of our own: against the package that has the published model, on samples of known shape, and by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import gennorm, spearmanr

from benchmarks.quality import degrade
from instructrestore.pretrained import brisque as module
from instructrestore.pretrained import natural_scenes
from instructrestore.pretrained.brisque import MODEL, brisque, brisque_of, read_model
from instructrestore.pretrained.natural_scenes import brightness, features, normalised

# What the package `brisque` 0.2.0 says with libsvm-official 3.37, once its one line that fails on numpy 2.4 is mended.
# It pads with black, keeps fractions of grey levels and counts zeros as positive: here that makes up to 6.9.
PUBLISHED = {
    ("astronaut", "photo"): 10.8,
    ("astronaut", "blur 2"): 64.3,
    ("astronaut", "JPEG 10"): 56.2,
    ("astronaut", "noise 25"): 51.5,
    ("coffee", "photo"): 3.0,
    ("coffee", "blur 2"): 74.7,
    ("coffee", "JPEG 10"): 70.4,
    ("coffee", "noise 25"): 46.3,
    ("chelsea", "photo"): 2.9,
    ("chelsea", "blur 2"): 67.0,
    ("chelsea", "JPEG 10"): 60.7,
    ("chelsea", "noise 25"): 56.7,
    ("rocket", "photo"): 4.2,
    ("rocket", "blur 2"): 78.0,
    ("rocket", "JPEG 10"): 82.6,
    ("rocket", "noise 25"): 64.9,
}


def photo(name: str) -> NDArray[np.uint8]:
    return np.asarray(getattr(skimage.data, name)(), np.uint8)


def test_it_says_what_the_published_package_says() -> None:
    ours = {key: brisque(degrade(photo(key[0]), key[1], 0)) for key in PUBLISHED}
    assert ours == {key: pytest.approx(value, abs=7) for key, value in PUBLISHED.items()}
    assert spearmanr(list(ours.values()), list(PUBLISHED.values())).statistic > 0.95


@pytest.mark.parametrize("shape", [0.6, 1.0, 2.0, 4.0])
def test_the_shape_of_known_samples_is_found(shape: float) -> None:
    samples = gennorm.rvs(shape, size=(500, 600), random_state=1).astype(np.float32)
    found, mean, left, right = natural_scenes._fitted(*natural_scenes._moments(samples))
    assert found == pytest.approx(shape, rel=0.03)
    assert mean == pytest.approx(0, abs=0.01)
    assert left == pytest.approx(samples.var(), rel=0.02) == right


def test_a_skewed_sample_has_two_variances() -> None:
    samples = np.random.default_rng(0).standard_normal((400, 500)).astype(np.float32)
    samples[samples > 0] *= 2
    # As many on either side, which an asymmetric Gaussian with these variances has not: so only these are compared.
    _, mean, left, right = natural_scenes._fitted(*natural_scenes._moments(samples))
    assert (left, right) == (pytest.approx(1, rel=0.03), pytest.approx(4, rel=0.03))
    assert mean > 0


def test_values_of_exactly_0_are_on_neither_side() -> None:
    """As the authors count: both variances stay what they were, and only the mean magnitude and square are less."""
    samples = np.random.default_rng(0).standard_normal((400, 500)).astype(np.float32)
    half_zero = samples.copy()
    half_zero[::2] = 0
    found, mean, left, right = natural_scenes._fitted(*natural_scenes._moments(half_zero))
    assert (left, right) == (pytest.approx(1, rel=0.03), pytest.approx(1, rel=0.03))
    assert mean == pytest.approx(0, abs=0.02)
    assert found < natural_scenes._fitted(*natural_scenes._moments(samples))[0] / 2  # a peak at 0
    mirrored = natural_scenes._fitted(*natural_scenes._moments(-half_zero))
    assert mirrored == pytest.approx((found, -mean, right, left))


def test_normalised_brightness_has_no_mean_and_unit_deviation_whatever_the_contrast() -> None:
    plane = brightness(photo("coffee"))
    usual, faint = normalised(plane), normalised(0.5 + (plane - 0.5) * np.float32(0.9))
    assert abs(usual.mean()) < 0.02
    assert np.corrcoef(usual.ravel(), faint.ravel())[0, 1] > 0.99


def test_parts_stand_together_for_the_photo() -> None:
    plane = brightness(photo("astronaut"))
    halves = [np.ascontiguousarray(plane[:, :256]), np.ascontiguousarray(plane[:, 256:])]
    np.testing.assert_allclose(features(halves), features([plane]), atol=0.03)
    assert brisque_of([plane, plane]) == pytest.approx(brisque_of([plane]))
    assert brisque_of(halves) == brisque_of(halves[::-1])


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_what_shows_nothing_is_finite_and_no_good_photo(grey: int) -> None:
    assert 40 < brisque(np.full((64, 96, 3), grey, np.uint8)) < 250


@settings(deadline=None, max_examples=40)
@given(st.integers(32, 300), st.integers(32, 300), st.integers(0, 2**32 - 1))
def test_any_photo_has_a_value_and_always_the_same(height: int, width: int, seed: int) -> None:
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    value = brisque(rgb)
    assert np.isfinite(value)
    assert value == brisque(np.asfortranarray(rgb))


def test_the_model_is_the_published_one() -> None:
    """770 support vectors, scaled to the ranges; the regression of one of them by the definition."""
    model = read_model()
    assert model.support.shape == (770, 36) and np.abs(model.support).max() <= 1
    assert (model.lowest < model.highest).all()
    x = model.support[5]
    kernel = [np.exp(-module.GAMMA * sum((a - b) ** 2 for a, b in zip(x, s, strict=True))) for s in model.support]
    by_hand = sum(c * k for c, k in zip(model.coefficients, kernel, strict=True)) - module.RHO
    assert -40 < by_hand < 140


@pytest.mark.parametrize("fault", ["missing", "cut", "other"])
def test_a_missing_or_damaged_file_is_one_sentence(fault: str, tmp_path: Path) -> None:
    path, data = tmp_path / "brisque.safetensors", MODEL.read_bytes()
    if fault != "missing":
        path.write_bytes(data[:-100] if fault == "cut" else data[:5000] + b"\x00" + data[5001:])
    with pytest.raises(ValueError, match="install the package again") as error:
        read_model(path)
    assert "\n" not in str(error.value)
