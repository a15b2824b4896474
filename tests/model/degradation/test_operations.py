"""Every operation of the degradation against the arrays that BasicSR computed, and what must hold besides."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrestore.model.degradation import kernels, noise
from instructrestore.model.degradation.filtering import USM_SIGMA, USM_SIZE, blur, reflected, sharpen
from instructrestore.model.degradation.jpeg import jpeg
from instructrestore.model.degradation.kernels import CANVAS, FAMILIES, Kernel
from instructrestore.model.degradation.resizing import MODES, resize_by, resize_to
from tests import numerics

JPEG_TERMS = 256  # a chroma coefficient is a sum over 16x16 pixels


@pytest.fixture(scope="module")
def folder(reference_folder: Path) -> Path:
    return reference_folder / "degradation"


def arrays(file: Path) -> dict[str, torch.Tensor]:
    with np.load(file, allow_pickle=False) as opened:
        return {name: torch.from_numpy(opened[name]) for name in opened.files}


def kernel_of(entry: dict) -> Kernel:
    """A kernel as the reference's json describes it."""
    family = entry["family"].replace("generalized", "generalised")
    names = ("sigma_x", "sigma_y", "theta", "beta", "omega")
    return Kernel(family, entry["size"], **{name: entry[name] for name in names if name in entry})


def test_kernels(folder: Path) -> None:
    entries = json.loads((folder / "kernels.json").read_text())
    expected = arrays(folder / "kernels.npz")
    usm = [entry for entry in entries if entry["family"].startswith("usm")]
    entries = [entry for entry in entries if not entry["family"].startswith("usm")]
    drawn = kernels.draw([kernel_of(entry) for entry in entries])  # all sizes and families at once
    for entry, canvas in zip(entries, drawn, strict=True):
        wanted = expected[entry["array"]].numpy()
        border = (CANVAS - len(wanted)) // 2
        inner = canvas[border : CANVAS - border, border : CANVAS - border]
        assert np.abs(inner - wanted).max() < 1e-9, entry
        assert abs(canvas.sum() - inner.sum()) < 1e-12, entry
    for entry in usm:
        row = kernels.gaussian_row(USM_SIZE, USM_SIGMA)
        assert np.abs(np.outer(row, row) - expected[entry["array"]].numpy()).max() < 1e-7


def blurred(pictures: torch.Tensor, own: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"blurred": torch.stack(blur(list(pictures), own))}


def test_blur(folder: Path) -> None:
    a = arrays(folder / "filter2d.npz")
    shared = a["batch_kernels"][1:].expand(len(a["batch_image"]), -1, -1)
    for name, pictures, own in (
        ("one_out", a["one_image"], a["one_kernel"]),
        ("batch_out", a["batch_image"], a["batch_kernels"]),
        ("shared_kernel_out", a["batch_image"], shared),
    ):
        numerics.check(blurred, pictures, own, expected={"blurred": a[name]}, terms=CANVAS**2)


def test_sharpen(folder: Path) -> None:
    """Where the photo differs from its blur by the threshold, two processors may disagree on whether it does."""
    a = arrays(folder / "usm.npz")
    for name, picture, options in (
        ("out", a["image"], {}),
        ("out_weight1_threshold5", a["image_small"], {"weight": 1.0, "threshold": 5}),
    ):
        sharpened = partial(sharpen, **options)
        error = (sharpened(picture) - a[name]).abs()
        assert (error <= numerics.spread(sharpened, picture, terms=2 * USM_SIZE)).all(), float(error.max())


def test_jpeg(folder: Path) -> None:
    """A coefficient half-way between two steps may be rounded to either."""
    a = arrays(folder / "jpeg.npz")
    cases = json.loads((folder / "jpeg.json").read_text())["cases"]
    pictures: list[torch.Tensor] = []
    qualities: list[float] = []
    expected: list[torch.Tensor] = []
    bounds: list[torch.Tensor] = []
    for case in cases:
        batch = a[f"in_{case['name']}"]
        quality = case["quality"] if isinstance(case["quality"], list) else [case["quality"]] * len(batch)
        for picture, wanted, q in zip(batch, a[f"out_{case['name']}"], quality, strict=True):
            bounds.append(numerics.spread(lambda one, q=q: jpeg([one], [q])[0], picture, terms=JPEG_TERMS))
            assert ((jpeg([picture], [q])[0] - wanted).abs() <= bounds[-1]).all(), case["name"]
            pictures.append(picture)
            qualities.append(q)
            expected.append(wanted)
    # All sizes and qualities in one pass.
    for number, result in enumerate(jpeg(pictures, qualities)):
        assert ((result - expected[number]).abs() <= bounds[number]).all(), number


def test_resize(folder: Path) -> None:
    """A pixel is a sum of 64 at the most; sampling positions are float32 as well, and off by three roundings."""
    a = arrays(folder / "interpolate.npz")
    picture = a["image"][0]
    steepest = max(float(picture.diff(dim=dim).abs().max()) for dim in (1, 2))
    besides = 3 * numerics.UNIT_ROUNDOFF * max(picture.shape) * steepest
    for case in json.loads((folder / "interpolate.json").read_text()):

        def resized(picture: torch.Tensor, case: Any = case) -> dict[str, torch.Tensor]:
            if "scale_factor" in case:
                return {"resized": resize_by(picture, case["scale_factor"], case["mode"])}
            return {"resized": resize_to(picture, tuple(case["size"]), case["mode"])}

        exact = numerics.exact(resized, picture, terms=64)
        exact.check({"resized": a[case["array"]][0]}, besides)
        exact.check(resized(picture), besides)


def test_noise_moments(folder: Path) -> None:
    """Mean, deviation and correlation of the channels within what 100 draws of 64x64 leave open."""
    images = arrays(folder / "noise_images.npz")
    cases = [case for case in json.loads((folder / "noise_moments.json").read_text()) if "image" in case]
    draws = 100
    for seed, case in enumerate(cases):
        name = case["image"]
        real = images.get(name)
        picture = real[0] if real is not None else torch.full((3, 64, 64), float(name.removeprefix("constant_")))
        draw, strength = (
            (noise.gaussian, case["sigma"]) if case["kind"] == "gaussian" else (noise.poisson, case["scale"])
        )
        generator = torch.Generator().manual_seed(seed)
        field = torch.stack(
            [draw(picture, strength, bool(case["gray"]), generator).expand(3, -1, -1) for _ in range(draws)]
        ).double()
        numbers = draws * picture[0].numel()
        for channel in range(3):
            values = field[:, channel]
            std, wanted = float(values.std()), case["std"][channel]
            # Poisson noise of few photons is skewed: its deviation spreads more than a Gaussian's.
            assert abs(std / wanted - 1) < 0.02, case
            assert abs(float(values.mean()) - case["mean"][channel]) < 6 * wanted / math.sqrt(numbers / 2), case
        red_green = float(torch.corrcoef(field[:, :2].transpose(0, 1).flatten(1))[0, 1])
        assert abs(red_green - case["corr_rg"]) < 6 / math.sqrt(numbers), case


@pytest.mark.parametrize(("distinct", "vals"), [(1, 1), (2, 2), (3, 4), (129, 256), (256, 256)])
def test_poisson_counts_its_own_values(distinct: int, vals: int) -> None:
    """With n distinct values the noise is a multiple of 1 / (n raised to a power of two), less the picture."""
    levels = (torch.arange(3 * 32 * 32) % distinct).reshape(3, 32, 32) * (255 // max(1, distinct - 1)) / 255
    field = noise.poisson(levels, 1.0, False, torch.Generator().manual_seed(0))
    counts = (field + levels) * vals
    assert (counts - counts.round()).abs().max() < 1e-3
    assert vals == 1 or ((counts / 2) - (counts / 2).round()).abs().max() > 0.4  # nor of half as many


def test_identity_kernel_returns_the_picture() -> None:
    pictures = [torch.rand(3, 40, 33), torch.rand(3, 7, 64)]
    pulse = torch.zeros(2, CANVAS, CANVAS)
    pulse[:, CANVAS // 2, CANVAS // 2] = 1
    for picture, result in zip(pictures, blur(pictures, pulse), strict=True):
        assert (picture - result).abs().max() < 1e-6


@given(height=st.integers(1, 60), width=st.integers(1, 60), reach=st.integers(0, 12))
@settings(max_examples=40, deadline=None)
def test_reflection_is_numpys(height: int, width: int, reach: int) -> None:
    picture = torch.rand(2, height, width)
    expected = np.pad(picture.numpy(), ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
    assert np.array_equal(reflected(picture, reach).numpy(), expected)


def test_blur_is_a_correlation() -> None:
    """A pulse in the picture shows the kernel turned by half a turn; sizes in one call do not disturb each other."""
    kernel = torch.rand(CANVAS, CANVAS)
    picture = torch.zeros(3, 64, 70)
    picture[:, 30, 40] = 1
    result = blur([torch.rand(3, 20, 31), picture], kernel.expand(2, -1, -1))[1]
    assert (result[0, 20:41, 30:51] - kernel.flip(0, 1)).abs().max() < 1e-5
    assert result.sum() == pytest.approx(3 * float(kernel.sum()), rel=1e-4)


@given(value=st.floats(0, 1, width=32), family=st.sampled_from(FAMILIES), quality=st.floats(1, 100))
@settings(max_examples=30, deadline=None)
def test_a_constant_photo_stays_constant(value: float, family: str, quality: float) -> None:
    photo = torch.full((3, 48, 48), value)
    kernel = torch.from_numpy(kernels.draw([Kernel(family, 13, 1.2, 0.4, 0.3, 0.8)])).float()  # pyright: ignore
    assert (blur([photo], kernel)[0] - value).abs().max() < 1e-5
    assert (sharpen(photo[None]) - value).abs().max() < 1e-5
    compressed = jpeg([photo], [quality])[0]
    assert float(compressed.max() - compressed.min()) < 1e-5  # quantised, but nowhere but in the mean
    assert abs(float(compressed.mean()) - value) < 16 * max(50 / quality, 2 - quality / 50) / 8 / 2 / 255 + 0.03


@pytest.mark.parametrize("mode", MODES)
def test_resizing_keeps_a_constant_and_a_factor_of_one(mode: str) -> None:
    photo = torch.full((3, 33, 47), 0.3)
    assert (resize_by(photo, 0.637, mode) - 0.3).abs().max() < 1e-6  # pyright: ignore[reportArgumentType]
    noisy = torch.rand(3, 33, 47)
    assert torch.equal(resize_by(noisy, 1, mode), noisy)  # pyright: ignore[reportArgumentType]


def test_jpeg_quality_100_is_what_99_99_tends_to() -> None:
    photo = torch.rand(3, 50, 34)
    best, near = jpeg([photo, photo], [100, 99.99])
    assert torch.isfinite(best).all()
    assert (best - near).abs().max() < 0.01
    grey = photo[:1].expand(3, -1, -1)  # no chroma to subsample: nothing is lost
    assert (jpeg([grey], [100])[0] - grey).abs().max() < 1e-4


def test_lower_quality_loses_more(folder: Path) -> None:
    photo = arrays(folder / "usm.npz")["image"][0]
    errors = [float((out - photo).square().mean()) for out in jpeg([photo] * 5, [95, 75, 50, 25, 5])]
    assert errors == sorted(errors) and errors[0] < errors[-1] / 10


def test_sharpening_steepens_edges_and_leaves_flat_parts() -> None:
    photo = torch.full((1, 3, 64, 160), 0.3)
    photo[..., 80:] = 0.6
    result = sharpen(photo)
    assert result[0, 0, 32, 80] > 0.62 and result[0, 0, 32, 79] < 0.28
    assert (result[..., :10] - 0.3).abs().max() < 1e-4
    assert result.min() >= 0 and result.max() <= 1
