"""`restore --rest keep`: the files that are written have the photo's own pixels outside the regions."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from scipy.ndimage import distance_transform_edt

import instructrestore
from instructrestore.dataengine.running.on_ray.runner import Cluster
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.pipelines.inference.model_source import ModelSource
from instructrestore.pipelines.pictures.restored_photo import read_record
from instructrestore.pipelines.pictures.source_photo import read_photo
from instructrestore.pipelines.restoration.dataset import DatasetRestoration, restore_dataset
from instructrestore.shards.sample import AnnotatedPhoto
from tests.dataengine.small_dataset import photo_of, region_of, write_dataset
from tests.pipelines.restoration.test_files import DOG, Ended, files, photo, pixels, run

__all__ = ["run"]  # a fixture
BOKEH = "make the dog clear and keep other parts bokeh blur with 0.6"


def mask(path: str = "m.png") -> np.ndarray:
    values = np.zeros((64, 96), np.uint8)
    values[16:48, 24:72] = 255
    Image.fromarray(values).save(path)
    return values


def test_the_rest_is_the_photo_pixel_for_pixel(run: Callable[..., Ended]) -> None:
    source = photo("a.jpg", seed=1)
    inside = mask() > 0
    ended = run("a.jpg", DOG, "--out", "o", "--mask", "m.png", "--rest", "keep", "--feather", "4", "--compare",
                "--sweep", "0.5,1.2", "--save-mask")  # fmt: skip
    assert ended.status == 0, ended.err + ended.out
    assert files("o") == ["a-compare.png", "a-mask.png", "a-sweep.png", "a.png"]
    assert run("a.jpg", DOG, "--out", "whole", "--mask", "m.png").status == 0
    lq, found = np.asarray(read_photo(source).image, np.int16), pixels("o/a.png")
    outside = distance_transform_edt(~inside) > 4
    assert (found[outside] == lq[outside]).all()
    assert (found[inside] == pixels("whole/a.png")[inside]).all()
    assert (pixels("whole/a.png")[outside] != lq[outside]).any()
    record = read_record(Path("o/a.png"))["settings"]
    assert (record["rest"], record["feather"]) == ("keep", 4)
    # The sheets show what was written: the photo, its two results over the scale with the same rest.
    page = pixels("o/a-sweep.png")[..., 0]
    windows = np.lib.stride_tricks.sliding_window_view(page, (8, 96))[:, :, ::4, ::12]
    assert (windows == lq[:8:4, ::12, 0]).all((2, 3)).sum() == 3


def test_a_predicted_mask_and_a_batch(run: Callable[..., Ended]) -> None:
    for number in range(2):
        photo(f"p/{number}.png", seed=number)
    ended = run("p", DOG, "--out", "o", "--rest", "keep", "--batch", "2", "--save-mask", "--set", "mask_steps=1")
    assert ended.status == 0, ended.err + ended.out
    for number in range(2):
        outside = pixels(f"o/{number}-mask.png") < 127
        assert (pixels(f"o/{number}.png")[outside] == pixels(f"p/{number}.png")[outside]).all()


def test_skip_existing_tells_it_apart(run: Callable[..., Ended]) -> None:
    photo("p/a.png", seed=1)
    assert run("p", DOG, "--out", "o").status == 0
    for words in (["--rest", "keep"], ["--rest", "keep", "--feather", "3"], ["--rest", "restored"]):
        assert "1 restored, 0 failed" in run("p", DOG, "--out", "o", "--skip-existing", *words).out, words
        assert "1 already there" in run("p", DOG, "--out", "o", "--skip-existing", *words).out, words
    assert "1 already there" in run("p", DOG, "--out", "o", "--skip-existing").out, "as where nothing is said"


def test_from_python(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photo("a.png", seed=1)
    outside = mask() == 0
    settings = {"num_inference_steps": 1, "guidance_scale": 1, "rest": "keep"}
    made = instructrestore.restore(
        "a.png", DOG, base=tiny_base, out="o", masks=["m.png"], settings=settings, device="cpu", quiet=True
    )
    assert (made.restored, made.failed) == (1, [])
    assert (pixels("o/a.png")[outside] == pixels("a.png")[outside]).all()


MISTAKES = {
    "an unknown rest": (["--rest", "blur"], "--rest: input should be 'restored' or 'keep', not blur"),
    "a negative feather": (["--rest", "keep", "--feather", "-1"], "--feather: input should be greater than or equal"),
    "another size": (["--rest", "keep", "--upscale", "2"], "and an upscale of 2 moves them: upscale by 1, or restore"),
    "a scale map": (["--rest", "keep", "--scale-map", "m.png"], "there is no rest to keep: give a mask"),
    "masks alone": (["--rest", "keep", "--mask-only"], "--mask-only restores nothing, so there is no rest to keep"),
    "by --set": (["--set", "rest=keep"], "--set does not take rest: use --rest"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence_and_status_2(name: str, run: Callable[..., Ended]) -> None:
    photo("a.png")
    mask()
    words, sentence = MISTAKES[name]
    ended = run("a.png", DOG, "--out", "o", *words)
    assert (ended.status, len(ended.err.splitlines())) == (2, 1), ended
    assert sentence in ended.err
    assert not Path("o").exists() or not files("o")


def test_bokeh_is_refused_for_all_at_once_and_else_for_those_photos(run: Callable[..., Ended]) -> None:
    photo("a.png")
    photo("b.png", seed=1)
    ended = run("a.png", BOKEH, "--out", "o", "--rest", "keep")
    assert ended.status == 2 and "the instruction blurs the other parts" in ended.err
    Path("list.csv").write_text(f'photo,instruction\na.png,"{BOKEH}"\nb.png,"{DOG}"\n')
    ended = run("list.csv", "--out", "o", "--rest", "keep")
    assert ended.status == 1
    assert "  a.png (list.csv line 2): the instruction blurs the other parts, and rest=keep" in ended.out
    assert files("o") == ["b.png"]


def test_a_data_set(ray_cluster: Cluster, tiny_base: Path, tmp_path: Path) -> None:
    known, rgb = photo_of(0, 64, 64)
    region = region_of(known, 2, 3, 40, 30, "the box", "box")
    write_dataset(tmp_path / "data", [(AnnotatedPhoto(known, (region,)), rgb)])
    kept = SamplingSettings.model_validate({"num_inference_steps": 1, "guidance_scale": 1, "rest": "keep"})

    def restored(out: str, settings: SamplingSettings, instruction: str | None = None) -> np.ndarray:
        loading = ModelSource(str(tiny_base), device="cpu")
        asked = DatasetRestoration(str(tmp_path / "data"), tmp_path / out, loading, settings, instruction)
        assert restore_dataset(asked, Console(file=io.StringIO())).ok == 1
        return pixels(tmp_path / out / f"restored/{known.key}-0.png")

    found, whole = restored("kept", kept), restored("whole", kept.model_copy(update={"rest": "restored"}))
    assert ((found == rgb).all(-1) | (found == whole).all(-1)).all()
    assert (found != whole).any()
    with pytest.raises(ValueError, match="the instruction blurs the other parts"):
        restored("blurred", kept, BOKEH.replace("the dog", "{caption}"))
    assert not (tmp_path / "blurred").exists()
