"""The small model where no base is named: on the command line, from Python, for workers elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import instructrestore
from instructrestore.model.restoring import small_model
from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.model.restoring.small_base import SAMPLING
from instructrestore.model.restoring.small_model import SMALL
from instructrestore.pipelines import cli
from instructrestore.pipelines.inference.model_source import ModelSource
from instructrestore.pipelines.pictures.restored_photo import read_record
from instructrestore.pretrained import installed
from tests.shards.loading import write_dataset

WISH = "make the dog clear"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    for package in (installed.SENTENCES_PACKAGE, installed.BACKBONE_PACKAGE):
        pytest.importorskip(package, reason="the small model: pip install -e .[small]")
    folder = tmp_path_factory.mktemp("models")
    monkeypatch.setattr(small_model, "_CACHE", folder)
    monkeypatch.delenv("INSTRUCTRESTORE_BASE", raising=False)
    return folder


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)).save("photo.png")
    return Path("photo.png")


def test_restore_says_which_model_it_took_and_records_its_version(
    photo: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["instructrestore", "restore", str(photo), WISH, "--out", "out"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    said = capsys.readouterr().out
    assert said.startswith("with the small model that ships") and "1 restored, 0 failed" in said
    (folder,) = cache.iterdir()
    record = read_record(Path("out/photo.png"))
    assert record and record["base"] == folder.name and folder.name.startswith(f"{SMALL}-")


def test_from_python_it_is_the_default_though_a_folder_has_its_name(photo: Path) -> None:
    Path(SMALL).mkdir()
    assert instructrestore.restore(photo, WISH, out="out", quiet=True).restored == 1


def test_every_machine_puts_it_together_for_itself(cache: Path, tmp_path: Path) -> None:
    source = ModelSource(SMALL).anchored()
    assert source.base == SMALL
    assert source.sampling(SamplingSettings()).num_inference_steps == SAMPLING["num_inference_steps"]
    assert source.fingerprint().bytes > 100e6
    assert source.load().config["sampling"] == SAMPLING


def test_it_is_trained_further_with_its_base_and_masks_as_they_are(cache: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", shards=2, photos=3)
    few = {"steps": 1, "batch": 2, "loader_workers": 0, "validation": {"share": 0}, "optimizer": {"warmup": 0}}
    checkpoint = instructrestore.train(
        tmp_path / "data", out=tmp_path / "out", preset="small", settings=few, quiet=True
    )
    before, after = load_pipeline(SMALL), load_pipeline(SMALL, checkpoint)
    changed = {
        name
        for name, value in after.controlnet.state_dict().items()
        if not torch.equal(value, before.controlnet.state_dict()[name])
    }
    assert changed and not any(name.startswith("mask_decoder.") for name in changed)
    assert all(map(torch.equal, before.unet.state_dict().values(), after.unet.state_dict().values()))
