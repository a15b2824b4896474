"""The compared methods that this program runs: what is asked for, and how LQ photos get into the networks."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from instructrestore.pipelines.evaluation.methods.photos import MAX_PIXELS, shrunk
from instructrestore.pipelines.evaluation.methods.spec import KINDS, MethodSpec, parse_method
from tests.pipelines.evaluation.small_photos import enlarged, small_photo

# What is asked for


def test_a_run_is_read_from_what_was_typed() -> None:
    assert parse_method("lq") == MethodSpec("lq")
    assert parse_method(" real-esrgan = weights/RealESRGAN_x4plus.pth ") == MethodSpec(
        "real-esrgan", "weights/RealESRGAN_x4plus.pth"
    )
    assert parse_method("x4-upscaler=owner/name") == MethodSpec("x4-upscaler", "owner/name")
    assert parse_method("x4-upscaler=owner/name@refs/pr/5") == MethodSpec("x4-upscaler", "owner/name", "refs/pr/5")
    assert parse_method("x4-upscaler=./owner/name@main") == MethodSpec("x4-upscaler", "./owner/name@main")
    assert parse_method("network=a/b@c.pth") == MethodSpec("network", "a/b@c.pth")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seesr", "knows no method 'seesr'.*lq, real-esrgan.*--results NAME=FOLDER"),
        ("", "knows no method ''"),
        ("=x.pth", "knows no method ''"),
        ("lq=x", "lq takes no place"),
        ("span-ncnn=spanx4_ch48.bin", "span-ncnn takes no place: span-ncnn alone"),
        ("real-esrgan", "needs its weights: real-esrgan=FILE"),
        ("x4-upscaler=", "needs its weights: x4-upscaler=FOLDER"),
    ],
)
def test_what_cannot_be_asked_for_is_one_sentence(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected) as caught:
        parse_method(text)
    assert "\n" not in str(caught.value)


def test_rows_are_called_as_in_the_tables() -> None:
    assert MethodSpec("lq").title == "LQ"
    assert MethodSpec("real-esrgan", "some/file.pth").title == "Real-ESRGAN"
    assert MethodSpec("span-ncnn").title == "SPAN"
    assert MethodSpec("network", "some/SwinIR-L_x4.safetensors").title == "SwinIR-L_x4"
    assert len({kind.name for kind in KINDS}) == len(KINDS)


def test_names_are_read_without_torch() -> None:
    code = (
        "import sys, instructrestore.pipelines.evaluation.methods.spec\n"
        "print([m for m in ('torch', 'diffusers') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_run_is_told_by_its_weights_and_not_by_where_they_are(tmp_path: Path) -> None:
    for name, data in (("a.pth", b"one"), ("b.pth", b"one"), ("c.pth", b"two")):
        (tmp_path / name).write_bytes(data)
    a, b, c = (MethodSpec("real-esrgan", str(tmp_path / name)).identity() for name in ("a.pth", "b.pth", "c.pth"))
    assert a == b != c
    assert MethodSpec("network", str(tmp_path / "a.pth")).identity() != a
    assert MethodSpec("x4-upscaler", "o/n", "1").identity() != MethodSpec("x4-upscaler", "o/n", "2").identity()
    assert MethodSpec("real-esrgan", str(tmp_path / "a.pth")).record()["place"] == "a.pth"
    with pytest.raises(ValueError, match=r"there is no file .*d\.pth"):
        MethodSpec("real-esrgan", str(tmp_path / "d.pth")).identity()


def test_a_folder_is_told_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text("{}")
    run = MethodSpec("x4-upscaler", str(tmp_path))
    before = run.identity()
    (tmp_path / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"is never read")
    (tmp_path / "x4-upscaler-ema.safetensors").write_bytes(b"nor this")
    assert run.identity() == before
    (tmp_path / "unet" / "config.json").write_text('{"a": 1}')
    assert run.identity() != before


def test_a_run_says_beforehand_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MethodSpec("lq").check()
    MethodSpec("x4-upscaler", "owner/name").check()
    (tmp_path / "weights.pth").write_bytes(b"weights")
    monkeypatch.setitem(sys.modules, "spandrel", module_from_spec(ModuleSpec("spandrel", None)))
    MethodSpec("network", str(tmp_path / "weights.pth")).check()
    for run, expected in (
        (MethodSpec("real-esrgan", str(tmp_path / "no.pth")), r"there is no file .*no\.pth: .* BSD-3-Clause, .*github"),
        (MethodSpec("network", str(tmp_path)), "there is no file .*: check its name"),
    ):
        with pytest.raises(ValueError, match=expected):
            run.check()
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(ValueError, match=r"network needs spandrel: pip install .*compare"):
        MethodSpec("network", str(tmp_path / "weights.pth")).check()


# LQ photos


@pytest.mark.parametrize("factor", [2, 4])
def test_an_enlarged_photo_is_shrunk_to_what_it_was(factor: int) -> None:
    small = small_photo(40, 56)
    apart = (shrunk(enlarged(small, factor), factor) - small).abs() * 255
    assert apart.mean() < 0.5 and apart.max() < 2.5  # levels; rounding and clipping of the enlarged photo
    blurred = F.interpolate(F.interpolate(small, scale_factor=factor, mode="bicubic"), (40, 56), mode="area")
    assert (blurred - small).abs().mean() * 255 > 4 * apart.mean()


def test_a_photo_with_detail_of_its_own_is_shrunk_without_aliasing() -> None:
    stripes = np.zeros((96, 96, 3), np.uint8)
    stripes[:, ::3] = 255  # every third column: at a quarter of the size only their mean can be left
    pixels = torch.from_numpy(stripes.copy()).permute(2, 0, 1)[None] / 255
    folded = F.interpolate(pixels, (24, 24), mode="bicubic")
    assert (shrunk(stripes, 4)[..., 2:-2] - 1 / 3).abs().max() < 0.1 < 0.3 < (folded - 1 / 3).abs().max()


def test_a_small_photo_is_continued_to_whole_blocks() -> None:
    photo = enlarged(small_photo(9, 15))
    plain, continued = shrunk(photo, 4), shrunk(photo, 4, multiple=8)
    assert plain.shape == (1, 3, 9, 15) and continued.shape == (1, 3, 16, 16)
    assert torch.equal(continued[..., :9, :15], plain)
    assert torch.equal(continued[..., 9:, :15], plain[..., 8:9, :].expand(-1, -1, 7, -1))


@pytest.mark.parametrize(
    ("photo", "factor", "expected"),
    [
        (np.zeros((30, 32, 3), np.uint8), 4, "32x30 cannot be shrunk by 4.*multiple of 4"),
        (np.zeros((32, 33, 3), np.uint8), 2, "33x32 cannot be shrunk by 2"),
        (np.zeros((32, 32), np.uint8), 4, r"not \(32, 32\) uint8"),
        (np.zeros((32, 32, 3), np.float32), 4, "float32"),
        (np.zeros((1, MAX_PIXELS + 4, 3), np.uint8), 1, "over the 4194304 pixels"),
    ],
)
def test_photos_that_no_network_takes_are_one_sentence(photo: Any, factor: int, expected: str) -> None:
    with pytest.raises(ValueError, match=expected) as caught:
        shrunk(photo, factor)
    assert "\n" not in str(caught.value)
