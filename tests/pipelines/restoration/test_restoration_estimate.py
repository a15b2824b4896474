"""`restore --shards --dry-run`: a few photos say what all of them take, by their pixels, and nothing of them stays."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.pipelines.inference.model_source import ModelSource
from instructrestore.pipelines.restoration.dataset import DatasetRestoration
from instructrestore.pipelines.restoration.estimate import print_plan
from instructrestore.shards.sample import AnnotatedPhoto
from tests.dataengine.small_dataset import photo_of, region_of, write_dataset


def test_time_and_room_grow_with_the_pixels(tiny_base: Path, tmp_path: Path) -> None:
    samples = []
    for number, width in enumerate((64, 96, 128)):
        photo, rgb = photo_of(number, width, 64)
        samples.append((AnnotatedPhoto(photo, (region_of(photo, 2, 3, 40, 30, "the box", "box"),)), rgb))
    write_dataset(tmp_path / "data", samples)
    loading = ModelSource(str(tiny_base), device="cpu")
    settings = SamplingSettings(num_inference_steps=1)
    asked = DatasetRestoration(str(tmp_path / "data"), tmp_path / "out", loading, settings)
    console = Console(width=200)
    with console.capture() as said:
        print_plan(asked, 2, 3.0, console)
    text = said.get()
    assert "3 photos to restore, 0.0 megapixels" in text and "measured: 2 photos" in text
    assert "s a megapixel" in text and "at 3 an hour and worker" in text and text.endswith("nothing was written\n")
    with console.capture() as said:
        print_plan(asked, None, None, console)
    assert "--measure 3 restores 3 photos and says" in said.get()
    assert not (tmp_path / "out").exists()
