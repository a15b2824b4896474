"""`instructrestore degrade`: the pairs and the sheet that it writes, and what becomes of bad photos and wishes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from instructrestore.model.degradation.chain import Degradation
from instructrestore.model.degradation.filtering import sharpen
from instructrestore.model.degradation.recipe import draw_recipe
from instructrestore.model.degradation.settings import REAL_ESRGAN, RELEASE
from instructrestore.pipelines.degrade import degrade, label
from tests.pipelines.photos import make_photos

QUIET = Console(quiet=True)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photos of 128x96 in a folder."""
    make_photos(tmp_path / "photos", 2)
    return tmp_path / "photos"


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_pairs_and_sheet_of_every_photo(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = degrade([str(photos)], out, seed=5, count=2, console=QUIET)
    assert (summary.written, summary.failed) == (2, [])
    endings = ("hq", "lq-5", "lq-6", "sheet")
    names = {f"photo {n:03d}-{ending}.png" for n in range(2) for ending in endings}
    assert {path.name for path in out.iterdir()} == names
    source = torch.from_numpy(pixels(photos / "photo 001.png").copy()).permute(2, 0, 1)[None] / 255
    hq = sharpen(source)
    assert np.abs(pixels(out / "photo 001-hq.png") - (hq[0] * 255).round().permute(1, 2, 0).numpy()).max() <= 1
    for seed in (5, 6):
        lq = Degradation(RELEASE)(hq, [seed])[0]
        written = pixels(out / f"photo 001-lq-{seed}.png")
        assert np.abs(written - (lq * 255).round().permute(1, 2, 0).numpy()).max() <= 1
    sheet = pixels(out / "photo 001-sheet.png")
    assert sheet.shape[1] > 3 * 128


def test_a_seed_is_its_picture(photos: Path, tmp_path: Path) -> None:
    """Whatever else was asked for, a seed gives the same bytes; another preset gives others."""
    photo = str(photos / "photo 000.jpg")
    degrade([photo], tmp_path / "a", seed=1, count=3, console=QUIET)
    degrade([photo], tmp_path / "b", seed=2, console=QUIET)
    degrade([photo], tmp_path / "c", seed=2, preset="real-esrgan", console=QUIET)
    a, b, c = ((tmp_path / name / "photo 000-lq-2.png").read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(("crop", "size"), [(64, (64, 64)), (0, (100, 96)), (512, (100, 96))])
def test_crops(tmp_path: Path, crop: int, size: tuple[int, int]) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (99, 103, 3)).astype(np.uint8)).save(tmp_path / "a.png")
    degrade([str(tmp_path / "a.png")], tmp_path / "out", crop=crop, console=QUIET)
    for ending in ("hq", "lq-0"):
        with Image.open(tmp_path / f"out/a-{ending}.png") as image:
            assert image.size == size


def test_a_bad_photo_does_not_end_the_run(photos: Path, tmp_path: Path) -> None:
    (photos / "a broken.jpg").write_bytes((photos / "photo 000.jpg").read_bytes()[:300])
    (photos / "b text.png").write_text("no photo")
    Image.new("RGB", (20, 200)).save(photos / "c small.png")
    out = tmp_path / "out"
    summary = degrade([str(photos)], out, console=QUIET)
    assert summary.written == 2
    assert [Path(name).name for name, _ in summary.failed] == ["a broken.jpg", "b text.png", "c small.png"]
    reasons = [reason for _, reason in summary.failed]
    assert "not a photo" in reasons[1]
    assert reasons[2] == "20x200 is too small: 32 px is the least"
    assert len(list(out.iterdir())) == 2 * 3


def test_results_in_the_folder_are_no_photos(photos: Path) -> None:
    degrade([str(photos)], photos / "out", console=QUIET)
    assert degrade([str(photos)], photos / "out", console=QUIET).written == 2
    assert len(list((photos / "out").iterdir())) == 2 * 3


def test_photos_of_one_name_in_two_folders(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "more")
    summary = degrade([str(photos), str(tmp_path / "more")], tmp_path / "out", console=QUIET)
    assert summary.written == 4
    assert len(list((tmp_path / "out").rglob("*-hq.png"))) == 4


@pytest.mark.parametrize(
    ("wishes", "says"),
    [
        ({"preset": "releese"}, "release or real-esrgan"),
        ({"crop": 30}, "multiple of 4"),
        ({"crop": 16}, "multiple of 4"),
        ({"count": 0}, "--count"),
        ({"seed": -1}, "--seed"),
        ({"photos": ["nowhere.jpg"]}, "no photo or folder nowhere.jpg"),
    ],
)
def test_wishes_that_cannot_be_meant(photos: Path, tmp_path: Path, wishes: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        degrade(**{"photos": [str(photos)], "out": tmp_path / "out", "console": QUIET, **wishes})
    assert not (tmp_path / "out").exists()


def test_no_photo_is_overwritten(photos: Path) -> None:
    shutil.copy(photos / "photo 001.png", photos / "photo 001-hq.png")
    before = (photos / "photo 001-hq.png").read_bytes()
    with pytest.raises(ValueError, match="would overwrite an input photo"):
        degrade([str(photos)], photos, console=QUIET)
    assert (photos / "photo 001-hq.png").read_bytes() == before


@pytest.mark.parametrize("seed", range(20))
def test_labels_say_what_was_done(seed: int) -> None:
    recipe = draw_recipe(REAL_ESRGAN, seed)
    lines = [text for text, _ in label(seed, recipe)]
    assert lines[0] == f"seed {seed}"
    assert f"x{recipe.first.resize.factor:.2f} {recipe.first.resize.mode}" in lines[1]
    assert f"JPEG {recipe.first.quality:.0f}" in lines[2]
    assert lines[-1].startswith("JPEG") != recipe.jpeg_last
    assert len(lines) == 6 and max(map(len, lines)) < 60
