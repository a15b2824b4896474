"""The bokeh IoU and the embedded blur detector: made photos of known focus, real photos with mattes, what must hold."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from instructrestore.model.metrics.blur import (
    LocalSharpness,
    blur_detector,
    bokeh_iou,
    energy_ratio,
    gradient_energy,
    noise_variance,
)
from instructrestore.model.metrics.settings import MetricSettings
from tests import real_photos
from tests.dataengine.textures import texture

Photo = NDArray[np.uint8]
NEAR_NEGATIVES = ("sample13", "p_bd6af989")


def tensor(*photos: Photo) -> Tensor:
    return torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).float() / 255


def blurred(photo: Photo) -> NDArray[np.bool_]:
    return LocalSharpness()(tensor(photo))[0].numpy()


def gaussian(photo: Photo, sigma: float) -> Photo:
    return np.asarray(cv2.GaussianBlur(photo, (0, 0), sigma), np.uint8)


def noisy(photo: Photo, sigma: float) -> Photo:
    noise = np.random.default_rng(7).normal(0, sigma, photo.shape)
    return np.clip(np.round(photo + noise), 0, 255).astype(np.uint8)


def jpeg(photo: Photo, quality: int) -> Photo:
    _, data = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(bokeh_iou(torch.from_numpy(one)[None], torch.from_numpy(other)[None])[0])


def matte_photos(data: Path) -> list[tuple[str, Photo, NDArray[np.bool_]]]:
    """(name, 512x512 crop in the middle of the photo scaled to a short side of 512, its background) by name."""
    found = []
    for path in real_photos.present(data, real_photos.ANIMALS + real_photos.PORTRAITS):
        photo, matte = cv2.imread(str(path)), cv2.imread(str(real_photos.matte_of(path)), cv2.IMREAD_GRAYSCALE)
        assert photo is not None and matte is not None
        scale = 512 / min(matte.shape)
        size = (max(512, round(matte.shape[1] * scale)), max(512, round(matte.shape[0] * scale)))
        top, left = (size[1] - 512) // 2, (size[0] - 512) // 2
        place = np.s_[top : top + 512, left : left + 512]
        photo, matte = (cv2.resize(each, size, interpolation=cv2.INTER_AREA)[place] for each in (photo, matte))
        found.append((path.stem, np.ascontiguousarray(photo[..., ::-1]), matte < 128))
    return found


# The bokeh IoU.


def test_bokeh_iou_by_hand() -> None:
    result = torch.tensor([[[1, 1, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]], [[1, 0, 0], [0, 0, 0]]]).bool()
    hq = torch.tensor([[[0, 1, 1], [1, 0, 0]], [[0, 0, 0], [0, 0, 0]], [[0, 1, 1], [1, 1, 1]]]).bool()
    found = bokeh_iou(result, hq)
    assert found.dtype == torch.float64
    assert found.tolist() == [0.25, 1.0, 0.0]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_bokeh_iou_is_symmetric_and_one_only_for_equal_masks(seed: int) -> None:
    one, other = torch.rand((2, 3, 4, 5), generator=torch.Generator().manual_seed(seed)) > 0.5
    assert torch.equal(bokeh_iou(one, other), bokeh_iou(other, one))
    assert bokeh_iou(one, one).tolist() == [1.0] * 3
    assert torch.equal(bokeh_iou(one, other) == 1, (one == other).all(2).all(1))


def test_masks_of_two_sizes_are_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"\(1, 4, 4\).*\(1, 4, 5\): compare photos of one size"):
        bokeh_iou(torch.zeros(1, 4, 4).bool(), torch.zeros(1, 4, 5).bool())


# The detector on made photos, whose focus is known.


@pytest.mark.parametrize("size", [(512, 512), (300, 421)])
def test_a_sharp_photo_is_not_blurred_and_a_blurred_one_is_all_over(size: tuple[int, int]) -> None:
    photos = [texture(*size, seed=seed) for seed in range(4)]
    assert np.mean([blurred(photo) for photo in photos]) < 0.05
    assert np.mean([blurred(gaussian(photo, 2)) for photo in photos]) > 0.99
    assert np.mean([blurred(gaussian(photo, 8)) for photo in photos]) > 0.99


@pytest.mark.parametrize("seed", [0, 1])
def test_noise_and_jpeg_do_not_turn_the_answer(seed: int) -> None:
    photo = texture(512, 512, seed=seed)
    for spoilt in (noisy(photo, 5), jpeg(photo, 60)):
        assert blurred(spoilt).mean() < 0.1
    soft = gaussian(photo, 3)
    for spoilt in (noisy(soft, 5), jpeg(soft, 60)):
        assert blurred(spoilt).mean() > 0.95


@pytest.mark.parametrize("spoil", [lambda photo: photo, lambda p: noisy(p, 5), lambda p: jpeg(p, 60)])
def test_the_border_of_a_blurred_half_is_found(spoil: Callable[[Photo], Photo]) -> None:
    distances = []
    for seed in range(6):
        photo = texture(512, 512, seed=seed)
        photo[:, 256:] = gaussian(photo, 4)[:, 256:]
        found = blurred(spoil(photo))
        distances.append(abs((~found).sum(1) - 256.0).mean())
        assert found[:, :206].mean() < 0.1 and found[:, 306:].mean() > 0.95
    assert np.mean(distances) < 16, distances


@pytest.mark.parametrize("contrast", [0.25, 0.5, 2])
def test_sharpness_is_not_contrast(contrast: float) -> None:
    photo = texture(384, 384, seed=3)
    photo[:, 192:] = gaussian(photo, 4)[:, 192:]
    changed = np.clip(128 + contrast * (photo.astype(np.float32) - 128), 0, 255).astype(np.uint8)
    assert iou(blurred(changed), blurred(photo)) > 0.9


def test_a_plain_patch_goes_with_what_surrounds_it() -> None:
    sharp = texture(512, 512, seed=2)
    sharp[200:280, 200:280] = 90
    assert blurred(sharp)[220:260, 220:260].mean() < 0.05
    soft = gaussian(texture(512, 512, seed=2), 5)
    soft[200:280, 200:280] = soft[199, 199]
    soft = gaussian(soft, 3)
    assert blurred(soft)[220:260, 220:260].mean() > 0.95


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=5, deadline=None)
def test_a_batch_is_its_photos_one_by_one_and_the_answer_is_always_the_same(seed: int) -> None:
    photos = tensor(*(gaussian(texture(96, 128, seed=seed + index), 0.3 + 0.5 * index) for index in range(3)))
    detector = LocalSharpness()
    found = detector(photos)
    assert found.dtype == torch.bool
    assert torch.equal(found, torch.cat([detector(photo[None]) for photo in photos]))
    assert torch.equal(found, detector(photos))


def test_photos_of_any_size_from_32_pixels_and_none_below() -> None:
    for height, width in ((32, 32), (33, 77), (64, 2000)):
        assert LocalSharpness()(tensor(texture(height, width))).shape == (1, height, width)
    assert LocalSharpness()(torch.zeros(0, 3, 64, 64)).shape == (0, 64, 64)
    with pytest.raises(ValueError, match=r"40x31 pixels are too small.*at least 32"):
        LocalSharpness()(torch.zeros(1, 3, 31, 40))


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_a_photo_of_one_colour_is_blurred(grey: float) -> None:
    """There is nothing in it that is in focus; what matters is that the answer is whole."""
    assert LocalSharpness()(torch.full((1, 3, 64, 64), grey)).all()


def test_the_ratio_of_an_edge_falls_with_its_blur_as_its_kernel_says() -> None:
    """The differences of a blurred step are the kernel itself, and after a box average the two convolved."""
    step = np.full((64, 64), 40, np.float32)
    step[:, 32:] = 200
    found = []
    for sigma in (0.3, 0.5, 0.7, 1, 1.5, 2):
        ratio, _ = energy_ratio(np.asarray(cv2.GaussianBlur(step, (21, 21), sigma), np.float32))
        found.append(float(ratio[32, 31]))
        kernel = np.exp(-0.5 * np.square(np.arange(-10, 11) / sigma))
        kernel /= kernel.sum()
        expected = np.square(kernel).sum() / np.square(np.convolve(kernel, np.full(8, 1 / 8))).sum()
        # Of the widest a little lies outside the window.
        assert found[-1] == pytest.approx(expected, rel=0.02)
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("sigma", [2.0, 5.0, 10.0])
def test_noise_is_measured_beside_texture(sigma: float) -> None:
    luma = cv2.cvtColor(texture(512, 512, seed=4), cv2.COLOR_RGB2GRAY).astype(np.float32)
    luma[:, 320:] = np.linspace(60, 180, 512)[:, None]  # a ramp, as a sky has
    luma += np.random.default_rng(0).normal(0, sigma, luma.shape).astype(np.float32)
    coarse = gradient_energy(np.asarray(cv2.blur(luma, (8, 8)), np.float32))
    assert noise_variance(luma, coarse) ** 0.5 == pytest.approx(sigma, rel=0.15)


# The detector on real photos.


def test_real_backgrounds_out_of_focus_are_found(data_folder: Path) -> None:
    photos = matte_photos(data_folder)
    ious = {name: iou(blurred(photo), behind) for name, photo, behind in photos if name not in NEAR_NEGATIVES}
    shares = {name: behind.mean() for name, _, behind in photos if name in ious}
    assert np.mean(list(ious.values())) > 0.6, ious
    # A detector that calls everything blurred has the background's share for its IoU.
    assert np.mean(list(ious.values())) > np.mean(list(shares.values())) + 0.1, (ious, shares)


def test_more_blur_never_leaves_less_blurred(data_folder: Path) -> None:
    photos = matte_photos(data_folder)
    for name, photo, _ in photos[:4]:
        areas = [blurred(gaussian(photo, sigma) if sigma else photo).mean() for sigma in (0, 0.8, 1.5, 3)]
        assert all(later >= earlier - 0.01 for earlier, later in pairwise(areas)), (name, areas)
        assert areas[-1] > 0.99, (name, areas)


def test_bokeh_iou_falls_when_the_background_gains_detail_or_the_subject_loses_its(data_folder: Path) -> None:
    photos = [photo for photo in matte_photos(data_folder) if photo[0] not in NEAR_NEGATIVES]
    scores: dict[str, list[float]] = {"itself": [], "noisy": [], "textured": [], "soft": []}
    for _, photo, behind in photos:
        hq = blurred(photo)
        textured, soft = photo.copy(), photo.copy()
        textured[behind] = (0.8 * photo + 0.2 * texture(512, 512, seed=1)).astype(np.uint8)[behind]
        soft[~behind] = gaussian(photo, 1.5)[~behind]
        for name, result in (("itself", photo), ("noisy", noisy(photo, 2)), ("textured", textured), ("soft", soft)):
            scores[name].append(iou(blurred(result), hq))
    means = {name: float(np.mean(each)) for name, each in scores.items()}
    assert scores["itself"] == [1.0] * len(photos)
    assert means["noisy"] > 0.85, means
    assert means["textured"] < 0.5 and means["soft"] < 0.75, means


def test_the_settings_choose_the_detector() -> None:
    assert isinstance(blur_detector(MetricSettings()), LocalSharpness)
    with pytest.raises(ValueError, match="D-DFFNet needs a checkout"):
        blur_detector(MetricSettings(blur_detector="d-dffnet"))
