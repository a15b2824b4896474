"""Colour fixes against the official arrays, and what they keep of which photo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from instructrestore.model.restoring.colour import adain_fix, wavelet_fix
from tests import numerics

Fix = Callable[[Tensor, Tensor], Tensor]


def _photo(seed: int, height: int = 64, width: int = 80) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2, 3, 8, 10, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")
    return smooth + 0.05 * torch.randn(2, 3, height, width, generator=generator)


def rounding(fix: Fix, *photos: Tensor) -> float:
    """The bound for a fix of these photos: moments are sums over all pixels."""
    found = numerics.exact(lambda *given: {"fixed": fix(*given)}, *photos, terms=photos[0][0, 0].numel())
    return found.bounds["fixed"]


@pytest.mark.parametrize(("name", "fix"), [("adain", adain_fix), ("wavelet", wavelet_fix)])
def test_official_arrays(name: str, fix: Fix, reference_folder: Path) -> None:
    with np.load(reference_folder / "official_model" / "colorfix.npz") as arrays:
        pairs = sorted(key.removeprefix("target_") for key in arrays if key.startswith("target_"))
        assert pairs
        for pair in pairs:
            photo, reference = (
                torch.from_numpy(arrays[f"{which}_{pair}"]).permute(2, 0, 1)[None].contiguous().float() / 255
                for which in ("target", "source")
            )
            fixed = fix(photo, reference)[0]
            bound = rounding(fix, photo, reference)
            assert np.abs(fixed.numpy() - arrays[f"{name}_float_{pair}"]).max() <= bound
            levels = fixed.clamp(0, 1) * 255  # truncated, as in the release
            wrong = levels.to(torch.uint8).permute(1, 2, 0).numpy() != arrays[f"{name}_{pair}"]
            at_an_edge = (levels - levels.round()).abs().permute(1, 2, 0).numpy() <= 255 * bound
            assert not (wrong & ~at_an_edge).any() and wrong.mean() < 0.001


@pytest.mark.parametrize("fix", [adain_fix, wavelet_fix])
def test_a_photo_is_its_own_reference(fix: Fix) -> None:
    photo = _photo(0)
    before = photo.clone()
    torch.testing.assert_close(fix(photo, photo), photo, rtol=0, atol=rounding(fix, photo, photo))
    assert torch.equal(photo, before)


@pytest.mark.parametrize("fix", [adain_fix, wavelet_fix])
def test_each_photo_of_a_batch_for_itself(fix: Fix) -> None:
    photos, references = _photo(0), _photo(1)
    singles = [fix(photos[i : i + 1], references[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(
        fix(photos, references), torch.cat(singles), rtol=0, atol=rounding(fix, photos, references)
    )


def test_adain_takes_mean_and_deviation() -> None:
    fixed, reference = adain_fix(_photo(0), _photo(1)), _photo(1)
    bound = rounding(adain_fix, _photo(0), _photo(1))
    torch.testing.assert_close(fixed.mean((2, 3)), reference.mean((2, 3)), rtol=0, atol=bound)
    # The variances of about 0.05 are raised by 1e-5.
    torch.testing.assert_close(fixed.std((2, 3)), reference.std((2, 3)), rtol=1e-3, atol=0)


def test_flat_channels_stay_finite() -> None:
    flat = torch.full((1, 3, 16, 16), 0.5)
    torch.testing.assert_close(adain_fix(flat, flat + 0.25), flat + 0.25)
    assert adain_fix(flat, _photo(0, 16, 16)[:1]).isfinite().all()
    assert adain_fix(_photo(0, 16, 16)[:1], flat).isfinite().all()


def test_wavelet_takes_a_colour_cast_and_keeps_details() -> None:
    photo, cast = _photo(0), torch.tensor([0.1, -0.05, 0.2]).view(3, 1, 1)
    bound = rounding(wavelet_fix, photo, photo + cast)
    torch.testing.assert_close(wavelet_fix(photo, photo + cast), photo + cast, rtol=0, atol=bound)

    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(80), indexing="ij")
    details = 0.1 * ((rows + columns) % 2 * 2 - 1).float()  # a chessboard: the highest frequency there is
    fixed, with_details = wavelet_fix(photo, _photo(1)), wavelet_fix(photo + details, _photo(1))
    inside = (..., slice(1, -1), slice(1, -1))  # at the very border a replicated row is not a chessboard
    torch.testing.assert_close((with_details - fixed)[inside], details.expand_as(photo)[inside], rtol=0, atol=0.01)
    # And the reference's own details do not come through.
    torch.testing.assert_close(wavelet_fix(photo, _photo(1) + details)[inside], fixed[inside], rtol=0, atol=0.01)


@pytest.mark.parametrize("fix", [adain_fix, wavelet_fix])
def test_photos_smaller_than_the_blur_and_of_half_precision(fix: Fix) -> None:
    photo, reference = _photo(0, 5, 7), _photo(1, 5, 7)
    fixed = fix(photo.bfloat16(), reference.bfloat16())
    assert fixed.dtype == torch.float32
    torch.testing.assert_close(fixed, fix(photo, reference), rtol=0, atol=0.05)


@pytest.mark.parametrize("fix", [adain_fix, wavelet_fix])
def test_other_sizes_are_refused(fix: Fix) -> None:
    with pytest.raises(ValueError, match="one size"):
        fix(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 24))
