"""A model that asks for its own sampling settings: where nothing else is asked they hold, and are what is recorded."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from instructrestore.dataengine.running.on_ray.runner import Cluster
from instructrestore.model.restoring.settings import SamplingSettings, resolve
from instructrestore.pipelines import cli
from instructrestore.pipelines.evaluation.methods.restorers import model_group
from instructrestore.pipelines.evaluation.options import evaluation_settings
from instructrestore.pipelines.inference.model_source import ModelSource
from instructrestore.pipelines.inference.options import sampling_settings
from instructrestore.pipelines.pictures.restored_photo import read_record
from instructrestore.pipelines.restoration.dataset import DatasetRestoration, restore_dataset
from instructrestore.shards.index import Dataset
from instructrestore.shards.sample import AnnotatedPhoto
from tests.dataengine.photos.test_photo_file import scene
from tests.dataengine.small_dataset import photo_of, region_of, write_dataset

OWN = {"num_inference_steps": 2, "guidance_scale": 1.0, "colour_fix": "none", "upscale": 1.25}


@pytest.fixture(scope="module")
def base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "base"
    shutil.copytree(tiny_base, folder, copy_function=os.link)
    index = json.loads((tiny_base / "model_index.json").read_text())
    (folder / "model_index.json").unlink()
    (folder / "model_index.json").write_text(json.dumps({**index, "sampling": OWN}))
    return folder


def own(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: settings[name] for name in OWN}


def test_the_model_is_heard_where_nothing_is_asked() -> None:
    assert resolve(None, {}, OWN) == SamplingSettings.model_validate(OWN)
    assert resolve(None, {}, None) == SamplingSettings()
    asked = resolve(SamplingSettings(num_inference_steps=20), {"upscale": 1.0}, OWN)
    assert (asked.num_inference_steps, asked.upscale, asked.guidance_scale) == (20, 1, 1)  # 20, 1: the usual, but asked
    assert resolve(asked, {}, OWN) == asked
    assert resolve(SamplingSettings(compat="official"), {}, OWN).mask == "hard"
    with pytest.raises(ValueError, match="setting num_inference_steps"):
        resolve(None, {}, {"num_inference_steps": 0})


def test_an_option_that_was_not_given_asks_nothing() -> None:
    values = {"num_inference_steps": None, "guidance_scale": 2.0, "tile": None, "compat": None}
    assert sampling_settings(values, ["mask=hard"]).model_fields_set == {"guidance_scale", "mask"}


@pytest.mark.parametrize(
    ("flags", "asked"), [([], {}), (["--steps", "3", "--upscale", "1"], {"num_inference_steps": 3, "upscale": 1})]
)
def test_restored_files_record_what_they_were_restored_with(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], asked: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(scene(64, 64)).save("dog.png")
    words = ["restore", "dog.png", "make the dog clear", "--base", str(base), "--device", "cpu", "--out", "out"]
    monkeypatch.setattr(sys, "argv", ["instructrestore", *words, *flags])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert own(read_record(tmp_path / "out/dog.png")["settings"]) == {**OWN, **asked}
    side = 64 if asked else 80
    assert Image.open("out/dog.png").size == (side, side)


def test_an_evaluation_records_them_but_never_changes_a_photos_size(base: Path) -> None:
    for values, asked in (({}, {}), ({"guidance_scale": 2.0}, {"guidance_scale": 2.0})):
        group = model_group(ModelSource(str(base), device="cpu"), evaluation_settings(values, ()), [(0.5, 1)], False)
        assert own(group.record["settings"]) == {**OWN, "upscale": 1, **asked}
        assert group.follows_from["settings"] == group.record["settings"]
        assert group.steps == 2


def test_a_restored_data_set_records_them(ray_cluster: Cluster, base: Path, tmp_path: Path) -> None:
    photo, rgb = photo_of(0, 64, 64)
    write_dataset(
        tmp_path / "data", [(AnnotatedPhoto(photo, (region_of(photo, 2, 3, 40, 30, "the box", "box"),)), rgb)]
    )
    loading = ModelSource(str(base), device="cpu")
    asked = DatasetRestoration(str(tmp_path / "data"), tmp_path / "out", loading, output="shards")
    assert restore_dataset(asked, Console(file=io.StringIO())).ok == 1
    made = Dataset(str(tmp_path / "out/dataset"))
    assert own(made.card.configuration["restored"]["settings"]) == OWN
    assert made.index["width"].to_pylist() == [80]
