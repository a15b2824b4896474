"""PSNR and SSIM: by hand on a few pixels, against scikit-image on whole photos, and their properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from instructrestore.model.metrics.fidelity import luma, psnr, ssim


def photos(seed: int, count: int = 2, height: int = 24, width: int = 32) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def region(seed: int, count: int = 2, height: int = 24, width: int = 32) -> Tensor:
    return torch.rand(count, height, width, generator=torch.Generator().manual_seed(seed)) < 0.3


@pytest.fixture(scope="module")
def real() -> tuple[Tensor, Tensor]:
    """An HQ photo and a noisy one, (1, 3, 512, 512)."""
    hq = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)[None] / 255
    noise = torch.randn(hq.shape, generator=torch.Generator().manual_seed(1))
    return (hq + 0.05 * noise).clamp(0, 1), hq


def test_luma_is_matlabs_rgb2ycbcr() -> None:
    colours = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    y = luma(colours.T[None, :, None])[0, 0] * 255
    assert y.tolist() == pytest.approx([16, 235, 16 + 65.481, 16 + 128.553, 16 + 24.966], abs=1e-9)


def test_psnr_of_four_pixels_by_hand() -> None:
    hq = torch.zeros(1, 3, 2, 2)
    result = hq.clone()
    result[0, :, 0, 0] = 0.5  # Y differs by 219 / 255 / 2
    result[0, :, 1, 1] = 1.0  # and by 219 / 255
    half, whole = (219 / 510) ** 2, (219 / 255) ** 2
    first = torch.tensor([[[True, False], [False, False]]])
    assert psnr(result, hq).item() == pytest.approx(-10 * math.log10((half + whole) / 4))
    assert psnr(result, hq, first).item() == pytest.approx(-10 * math.log10(half))
    assert psnr(result, hq, ~first).item() == pytest.approx(-10 * math.log10(whole / 3))
    both = torch.tensor([[[True, False], [False, True]]])
    assert psnr(result, hq, both).item() == pytest.approx(-10 * math.log10((half + whole) / 2))


def test_ssim_of_flat_pictures_by_hand() -> None:
    """Without contrast SSIM is its first factor: (2 a b + C1) / (a a + b b + C1)."""
    hq, result = torch.full((1, 3, 11, 11), 0.25), torch.full((1, 3, 11, 11), 0.75)
    a, b = ((16 + 219 * value) / 255 for value in (0.25, 0.75))
    expected = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    assert ssim(result, hq).item() == pytest.approx(expected, abs=1e-12)
    middle = torch.zeros(1, 11, 11, dtype=torch.bool)
    middle[0, 5, 5] = True
    assert ssim(result, hq, middle).item() == pytest.approx(expected, abs=1e-12)


def test_ssim_of_two_windows_by_hand() -> None:
    """A photo of 11x12 has two windows; each region of one middle has its own window's value."""
    hq, result = photos(0, 1, 11, 12), photos(1, 1, 11, 12)
    taps = np.exp(-((np.arange(11) - 5) ** 2) / 4.5)
    window = np.outer(taps, taps) / taps.sum() ** 2
    expected = []
    for left in (0, 1):
        x, y = (luma(p)[0, :, left : left + 11].numpy() for p in (result, hq))
        mean_x, mean_y = (x * window).sum(), (y * window).sum()
        var_x, var_y = ((x - mean_x) ** 2 * window).sum(), ((y - mean_y) ** 2 * window).sum()
        covariance = ((x - mean_x) * (y - mean_y) * window).sum()
        one = (2 * mean_x * mean_y + 1e-4) / (mean_x**2 + mean_y**2 + 1e-4)
        expected.append(one * (2 * covariance + 9e-4) / (var_x + var_y + 9e-4))
    for left, value in enumerate(expected):
        one = torch.zeros(1, 11, 12, dtype=torch.bool)
        one[0, 5, 5 + left] = True
        assert ssim(result, hq, one).item() == pytest.approx(value, abs=1e-12)
    assert ssim(result, hq).item() == pytest.approx(np.mean(expected), abs=1e-12)


def test_whole_photos_agree_with_scikit_image(real: tuple[Tensor, Tensor]) -> None:
    result, hq = real
    y, y_hq = luma(result), luma(hq)
    arrays = y[0].numpy(), y_hq[0].numpy()
    assert psnr(result, hq).item() == pytest.approx(peak_signal_noise_ratio(*arrays, data_range=1), abs=1e-6)
    known = structural_similarity(*arrays, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    assert ssim(result, hq).item() == pytest.approx(known, abs=1e-6)


def test_equal_photos() -> None:
    hq = photos(0)
    assert psnr(hq, hq).isinf().all()
    assert torch.equal(ssim(hq, hq, region(1)), torch.ones(2, dtype=torch.float64))


@given(seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_properties(seed: int) -> None:
    result, hq, where = photos(seed), photos(seed + 1), region(seed)
    where[:, 8, 8] = True
    whole = torch.ones_like(where)
    for metric in (psnr, ssim):
        torch.testing.assert_close(metric(result, hq), metric(hq, result), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(metric(result, hq, whole), metric(result, hq), rtol=1e-12, atol=1e-12)
        mirrored = metric(result.flip(3), hq.flip(3), where.flip(2))
        torch.testing.assert_close(metric(result, hq, where), mirrored, rtol=1e-9, atol=1e-9)
        alone = torch.cat([metric(result[n : n + 1], hq[n : n + 1], where[n : n + 1]) for n in range(2)])
        torch.testing.assert_close(metric(result, hq, where), alone, rtol=0, atol=0)
    # Squared errors of the parts, by their sizes, are the whole's.
    parts = [10 ** (-psnr(result, hq, part) / 10) * part.sum((1, 2)) for part in (where, ~where)]
    torch.testing.assert_close(sum(parts) / where[0].numel(), 10 ** (-psnr(result, hq) / 10), rtol=1e-9, atol=0)


@given(seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_psnr_of_a_region_knows_nothing_of_the_rest(seed: int) -> None:
    result, hq, where = photos(seed), photos(seed + 1), region(seed)
    where[:, 0, 0] = True
    other = torch.where(where[:, None], result, photos(seed + 2))
    assert torch.equal(psnr(result, hq, where), psnr(other, hq, where))


@pytest.mark.parametrize(
    ("shape", "where", "said"),
    [
        ((1, 3, 16, 16), torch.zeros(1, 16, 16, dtype=torch.bool), "the region has no pixels"),
        (
            (1, 3, 16, 16),
            torch.ones(1, 16, 15, dtype=torch.bool),
            "the regions are 1 of 15x16 and the photos 1 of 16x16",
        ),
        ((1, 3, 16, 16), torch.ones(1, 16, 16), "regions are .* bool"),
    ],
)
def test_regions_that_cannot_be_used(shape: tuple[int, ...], where: Tensor, said: str) -> None:
    for metric in (psnr, ssim):
        with pytest.raises(ValueError, match=said):
            metric(torch.zeros(shape), torch.zeros(shape), where)


def test_photos_that_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="the results are 1 of 20x16 and the HQ photos 1 of 16x16"):
        psnr(torch.zeros(1, 3, 16, 20), torch.zeros(1, 3, 16, 16))
    with pytest.raises(ValueError, match=r"HQ photos are \(B, 3, H, W\)"):
        ssim(torch.zeros(1, 3, 16, 16), torch.zeros(3, 16, 16))
    small = torch.zeros(1, 3, 10, 40)
    assert psnr(small, small).isinf()
    with pytest.raises(ValueError, match="a photo of 40x10 is smaller than SSIM's window of 11x11 pixels"):
        ssim(small, small)
    edge = torch.zeros(1, 40, 40, dtype=torch.bool)
    edge[0, :4] = True
    with pytest.raises(ValueError, match="within 5 pixels of the photo's edge"):
        ssim(torch.zeros(1, 3, 40, 40), torch.zeros(1, 3, 40, 40), edge)
