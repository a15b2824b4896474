"""`instructrestore restore` from end to end with the tiny base: what is written, said and returned."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from instructrestore.model.restoring.memory import PRESETS
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.model.restoring.tiny_base import build_tiny_base
from instructrestore.pipelines import cli
from instructrestore.pipelines.inference.model_source import ModelSource
from instructrestore.pipelines.inference.options import OPTIONS
from instructrestore.pipelines.inference.restorer import OutputSettings, out_of_memory
from instructrestore.pipelines.inference.weights import fingerprint_of
from instructrestore.pipelines.pictures.restored_photo import read_record
from instructrestore.pipelines.pictures.source_photo import read_photo
from instructrestore.pipelines.restoration.files import RestoreOptions, restore
from instructrestore.pipelines.restoration.inputs import find_jobs
from tests.dataengine.photos.colour_profiles import rgb_profile
from tests.dataengine.photos.test_photo_file import scene
from tests.pipelines.building.test_full_disk import disk, leave

__all__ = ["disk"]  # a fixture
ROOT = Path(__file__).resolve().parents[3]
DOG = "make the dog clear with 0.6 and keep other parts clear with 1"
QUICK = ["--steps", "2", "--guidance", "1", "--device", "cpu"]


@dataclass
class Ended:
    status: int
    out: str
    err: str


@pytest.fixture
def run(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Runs `instructrestore restore` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str, quick: bool = True) -> Ended:
        options = [*QUICK, "--base", str(tiny_base)] if quick else []
        monkeypatch.setattr(sys, "argv", ["instructrestore", "restore", *words, *options])
        status = 0
        try:
            cli.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        text = capsys.readouterr()
        return Ended(status, text.out, text.err)

    return call


def photo(path: str, width: int = 96, height: int = 64, seed: int = 0, **options: Any) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(scene(height, width, seed)).save(path, **options)
    return Path(path)


def pixels(path: str | Path) -> NDArray[np.int16]:
    with Image.open(path) as image:
        return np.asarray(image, np.int16)


def files(folder: str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def test_photos_become_pngs_and_bad_ones_are_named(run: Callable[..., Ended]) -> None:
    photo("p/a.jpg", seed=1)
    photo("p/sub/b.png", seed=2)
    photo("p/small.png", 63, 200)
    Path("p/no.jpg").write_text("no photo")
    Path("p/cut.png").write_bytes(photo("whole.png").read_bytes()[:400])
    Path("p/gone.jpg").symlink_to("nowhere")
    ended = run("p", DOG, "--out", "o")
    assert ended.status == 1
    assert ended.err == ""
    assert files("o") == ["a.png", "sub/b.png"]
    assert "2 restored, 4 failed" in ended.out
    listed = ended.out.split("4 failed")[1]
    for name, reason in {
        "p/small.png": "it is too small: 63x200",
        "p/no.jpg": "not a photo",
        "p/cut.png": "corrupt photo",
        "p/gone.jpg": "broken link",
    }.items():
        assert re.search(f"{name}: .*{reason}", listed), name
    for name in ("a", "sub/b"):
        with Image.open(f"o/{name}.png") as image:
            assert (image.mode, image.size) == ("RGB", (96, 64))
            assert np.asarray(image).std() > 1


def test_the_record_says_how_and_gives_the_photo_again(run: Callable[..., Ended], tiny_base: Path) -> None:
    source = photo("a.jpg", seed=1, icc_profile=rgb_profile(), exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x00\0\0\0\0")
    ended = run("a.jpg", DOG, "--out", "o", "--seed", "5", "--set", "mask=hard")
    assert ended.status == 0, ended.err + ended.out
    record = read_record(Path("o/a.png"))
    assert record["instruction"] == DOG
    assert record["regions"] == [{"caption": "the dog", "scale": 0.6}]
    assert (record["others"], record["seed"], record["photo"], record["masks"]) == (1.0, 5, "a.jpg", "predicted")
    assert record["photo_sha256"] == read_photo(source).sha256
    assert record["base"] == tiny_base.name
    assert record["weights"] == fingerprint_of(str(tiny_base), None).identity
    assert str(Path.cwd()) not in str(record)
    assert str(tiny_base.parent) not in str(record)
    with Image.open("o/a.png") as image:
        assert image.info["icc_profile"] == rgb_profile()
        assert image.info["exif"]
    # What the record says is all that is needed to come to the same pixels.
    pipe = ModelSource(str(tiny_base), device="cpu").load()
    made = pipe(
        read_photo(source).image,
        record["instruction"],
        settings=SamplingSettings.model_validate(record["settings"]),
        generator=[torch.Generator().manual_seed(record["seed"])],
    )
    assert isinstance(made.images, list)
    assert (np.asarray(made.images[0], np.int16) == pixels("o/a.png")).all()


def test_again_gives_the_same_bytes_and_another_seed_others(run: Callable[..., Ended]) -> None:
    photo("a.jpg", seed=1)
    for out, seed in (("o", "1"), ("again", "1"), ("other", "2")):
        assert run("a.jpg", DOG, "--out", out, "--seed", seed).status == 0
    assert Path("o/a.png").read_bytes() == Path("again/a.png").read_bytes()
    assert (pixels("o/a.png") != pixels("other/a.png")).any()


def test_a_batch_gives_each_photo_what_it_gets_alone(run: Callable[..., Ended]) -> None:
    for number in range(3):
        photo(f"p/{number}.png", seed=number)
    photo("p/other.png", 64, 96, seed=9)
    assert run("p", DOG, "--out", "one").status == 0
    assert run("p", DOG, "--out", "many", "--batch", "8").status == 0
    assert files("one") == files("many") == ["0.png", "1.png", "2.png", "other.png"]
    for name in files("one"):
        assert np.abs(pixels(f"one/{name}") - pixels(f"many/{name}")).max() <= 1
        assert read_record(Path("one", name)) == read_record(Path("many", name))


def test_a_batch_that_does_not_fit_is_done_one_by_one(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        photo(f"p/{number}.png", seed=number)

    class Small(InstructRestorePipeline):
        """Has memory for one photo at a time, and none for photo 1."""

        def __call__(self, photos: Any, *words: Any, **options: Any) -> Any:
            if len(photos) > 1 or (np.asarray(photos[0]) == scene(64, 96, 1)).all():
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
            return super().__call__(photos, *words, **options)

    class Limited(ModelSource):
        def load(self) -> InstructRestorePipeline:
            return Small(**super().load().components)

    console = Console(file=open(os.devnull, "w"))  # noqa: SIM115
    settings = SamplingSettings.model_validate({"num_inference_steps": 1, "guidance_scale": 1})
    jobs = find_jobs(["p", DOG], Path("o"))
    options = RestoreOptions(Limited(str(tiny_base), device="cpu"), settings, OutputSettings(sweep=(0.5, 0.7)), batch=3)
    summary = restore(jobs, Path("o"), options, console)
    assert summary.restored == 2
    assert files("o") == ["0-sweep.png", "0.png", "2-sweep.png", "2.png"]
    ((name, reason),) = summary.failed
    assert name == "p/1.png"
    assert reason.startswith("out of GPU memory: try a smaller --tile")


def test_masks_compare_and_sweep(run: Callable[..., Ended]) -> None:
    photo("a.jpg", seed=1)
    two = "make the dog clear with 0.6, make the sky clear with 1.1 and keep other parts clear with 1"
    ended = run("a.jpg", two, "--out", "o", "--save-mask", "--compare", "--sweep", "0.5,0.6,1.4", "--upscale", "2")
    assert ended.status == 0, ended.err + ended.out
    assert files("o") == ["a-compare.png", "a-mask-1.png", "a-mask-2.png", "a-sweep.png", "a.png"]
    assert all(read_record(Path("o", name))["instruction"] == two for name in files("o"))
    assert read_record(Path("o/a-mask-2.png"))["shows"] == "where the sky is"
    for number in (1, 2):
        with Image.open(f"o/a-mask-{number}.png") as image:
            assert (image.mode, image.size) == ("L", (96, 64)), "a mask has the photo's size, as --mask wants it"
    restored = pixels("o/a.png")
    assert restored.shape == (128, 192, 3)
    for sheet in ("o/a-compare.png", "o/a-sweep.png"):
        page = pixels(sheet)
        windows = np.lib.stride_tricks.sliding_window_view(page[..., 0], (128, 192))
        assert (windows[:, :, ::16, ::16] == restored[::16, ::16, 0]).all((2, 3)).any(), "the result is on the sheet"


def test_each_cell_of_a_sweep_is_what_that_scale_gives(run: Callable[..., Ended]) -> None:
    photo("a.png", 192, 128, seed=1)
    for scale in ("0.5", "1.4"):
        assert run("a.png", DOG.replace("0.6", scale), "--out", scale).status == 0
    assert (pixels("0.5/a.png") != pixels("1.4/a.png")).any()
    assert run("a.png", DOG, "--out", "o", "--sweep", "1.4,0.5", "--batch", "2").status == 0
    page = pixels("o/a-sweep.png")
    lefts = []
    for scale in ("1.4", "0.5"):
        wanted = pixels(f"{scale}/a.png")
        windows = np.lib.stride_tricks.sliding_window_view(page, (128, 192, 3))[:, :, 0]
        near = (np.abs(windows[:, :, ::16, ::16] - wanted[::16, ::16]) <= 1).all((2, 3, 4))
        lefts.append(int(np.nonzero(near)[1].min()))
    assert lefts == sorted(lefts), "in the order that was asked for"


def test_a_given_mask_is_used_and_comes_back(run: Callable[..., Ended]) -> None:
    photo("a.png", seed=1)
    mask = np.zeros((64, 96), np.uint8)
    mask[16:48, 24:72] = 255
    Image.fromarray(mask).save("m.png")
    ended = run("a.png", DOG, "--out", "o", "--mask", "m.png", "--save-mask")
    assert ended.status == 0, ended.err + ended.out
    assert (pixels("o/a-mask.png") == mask).all()
    assert read_record(Path("o/a.png"))["masks"][0]["file"] == "m.png"
    assert run("a.png", DOG, "--out", "predicted").status == 0
    assert (pixels("o/a.png") != pixels("predicted/a.png")).any()
    # The mask that was saved gives the same photo again.
    assert run("a.png", DOG, "--out", "again", "--mask", "o/a-mask.png").status == 0
    assert (pixels("o/a.png") == pixels("again/a.png")).all()


def test_a_scale_map_says_what_masks_and_scales_say(run: Callable[..., Ended]) -> None:
    photo("a.png", seed=1)
    mask = np.zeros((64, 96), np.uint8)
    mask[:, 48:] = 255
    Image.fromarray(mask).save("m.png")
    Image.fromarray(np.where(mask, 60, 100).astype(np.uint8)).save("map.png")
    Image.fromarray(np.full((64, 96), 100, np.uint8)).save("ones.png")
    assert run("a.png", DOG, "--out", "mask", "--mask", "m.png").status == 0
    assert run("a.png", DOG, "--out", "map", "--scale-map", "map.png", "--save-mask", "--compare").status == 0
    assert files("map") == ["a-compare.png", "a.png"]
    assert np.abs(pixels("mask/a.png") - pixels("map/a.png")).max() <= 1
    assert run("a.png", DOG, "--out", "ones", "--scale-map", "ones.png").status == 0
    assert run("a.png", DOG.replace("0.6", "1"), "--out", "unscaled").status == 0
    assert np.abs(pixels("ones/a.png") - pixels("unscaled/a.png")).max() <= 1
    assert (pixels("ones/a.png") != pixels("map/a.png")).any()


def test_mask_only_writes_the_mask_that_restoring_begins_with(run: Callable[..., Ended]) -> None:
    photo("p/a.png", seed=1)
    photo("p/b.png", seed=2)
    ended = run("p", DOG, "--out", "o", "--mask-only", "--batch", "2")
    assert ended.status == 0, ended.err + ended.out
    assert files("o") == ["a-mask.png", "b-mask.png"]
    assert run("p", DOG, "--out", "full", "--save-mask", "--set", "mask_steps=1").status == 0
    assert np.abs(pixels("o/a-mask.png") - pixels("full/a-mask.png")).max() <= 1
    assert (pixels("o/a-mask.png") != pixels("o/b-mask.png")).any()


def test_what_the_pipeline_reports_is_said_with_the_photo(run: Callable[..., Ended]) -> None:
    photo("a.png", seed=1)
    long = " ".join(f"word{number}" for number in range(60))
    ended = run("a.png", f"make the {long} clear", "--out", "o")
    assert ended.status == 0, ended.err + ended.out
    lines = ended.out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("a.png -> "))
    assert lines[at + 1].startswith("  ") and "77" in lines[at + 1]
    assert ended.err == "", "said once, not logged as well"


def test_a_csv(run: Callable[..., Ended]) -> None:
    photo("d/a.jpg", seed=1)
    photo("d/b.jpg", seed=2)
    Image.fromarray(np.full((64, 96), 255, np.uint8)).save("d/m.png")
    Image.fromarray(np.full((10, 96), 255, np.uint8)).save("d/small.png")
    Path("d/list.csv").write_text(
        "photo,instruction,mask,seed\n"
        'a.jpg,"make the cat clear with 0.5, and make other parts with 1.1",m.png,3\n'
        "b.jpg,,,\n"
        "a.jpg,,,\n"
        "b.jpg,,small.png,\n"
        "nowhere.jpg,,,\n"
    )
    ended = run("d/list.csv", DOG, "--out", "o")
    assert ended.status == 1
    assert files("o") == ["a.png", "a_2.png", "b.png"]
    assert "3 restored, 2 failed" in ended.out
    reason = "the mask small.png is 96x10 but its photo is 96x64: they must have the same size"
    assert f"b.jpg (list.csv line 5): {reason}" in ended.out
    assert "nowhere.jpg (list.csv line 6): No such file or directory" in ended.out
    assert "  the mask m.png is white everywhere: its region is the whole photo\n" in ended.out
    record = read_record(Path("o/a.png"))
    assert (record["regions"][0]["caption"], record["seed"], record["masks"][0]["file"]) == ("the cat", 3, "m.png")
    assert read_record(Path("o/a_2.png"))["instruction"] == DOG


def test_skip_existing_passes_over_what_is_the_same_and_nothing_else(run: Callable[..., Ended]) -> None:
    photo("p/a.png", seed=1)
    photo("p/b.png", seed=2)
    assert run("p", DOG, "--out", "o", "--save-mask").status == 0
    ended = run("p", DOG, "--out", "o", "--skip-existing")
    assert "0 restored, 2 already there, 0 failed" in ended.out
    photo("p/a.png", seed=3)
    Path("o/b.png").write_bytes(Path("o/b.png").read_bytes()[:300])
    assert "2 restored, 0 failed" in run("p", DOG, "--out", "o", "--skip-existing").out
    # The new photo's mask is still that of the old one.
    assert "1 restored, 1 already there" in run("p", DOG, "--out", "o", "--skip-existing", "--save-mask").out
    assert "2 already there" in run("p", DOG, "--out", "o", "--skip-existing", "--save-mask").out
    assert "2 restored, 0 failed" in run("p", DOG, "--out", "o", "--skip-existing", "--seed", "1").out


def test_skip_existing_tells_weights_apart_and_not_how_a_path_is_typed(
    run: Callable[..., Ended], tiny_base: Path
) -> None:
    bases = [Path("one/base"), Path("two/base")]
    for seed, base in enumerate(bases):
        build_tiny_base(base, seed)
    source = photo("p/a.png", seed=1)
    assert run("p/a.png", DOG, "--out", "o", *QUICK, "--base", str(bases[0]), quick=False).status == 0
    assert str(Path.cwd()) not in str(read_record(Path("o/a.png")))
    for words in (["p"], ["p/../p/a.png"], [str(source.absolute())]):
        ended = run(*words, DOG, "--out", "o", "--skip-existing", *QUICK, "--base", str(bases[0]), quick=False)
        assert "0 restored, 1 already there" in ended.out, words
    ended = run("p", DOG, "--out", "o", "--skip-existing", *QUICK, "--base", str(bases[1]), quick=False)
    assert "1 restored, 0 failed" in ended.out


def test_masks_that_say_nothing_or_too_little(run: Callable[..., Ended]) -> None:
    photo("a.png")
    Image.new("L", (96, 64), 0).save("black.png")
    drawn = Image.new("RGBA", (96, 64), (255, 255, 255, 0))
    drawn.paste((255, 255, 255, 255), (10, 10, 40, 40))
    drawn.save("drawn.png")
    drawn.paste((0, 0, 0, 255), (40, 10, 50, 40))
    drawn.save("two.png")
    ended = run("a.png", DOG, "--out", "o", "--mask", "black.png")
    assert ended.status == 0
    assert "  the mask black.png is black everywhere: its region is empty\n" in ended.out
    ended = run("a.png", DOG, "--out", "drawn", "--mask", "drawn.png", "--save-mask")
    assert ended.status == 0
    assert "  the mask drawn.png is a cut-out: what is left in it is the region\n" in ended.out
    with Image.open("drawn/a-mask.png") as used:
        assert used.getbbox() == (10, 10, 40, 40) and used.getextrema() == (0, 255)
    ended = run("a.png", DOG, "--out", "two", "--mask", "two.png")
    assert ended.status == 1
    assert "a.png: the mask two.png cannot be used: grey and transparent: it may be meant by its grey" in ended.out
    assert "masks of 1 photo predicted, 0 failed" in run("a.png", DOG, "--out", "found", "--mask-only").out


def test_a_mask_of_the_photo_as_stored_is_turned_with_it(run: Callable[..., Ended]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo("a.jpg", exif=exif)  # 96 x 64 as stored, 64 x 96 to look at
    mask = Image.new("L", (96, 64))
    mask.paste(255, (10, 20, 40, 30))
    mask.save("stored.png")
    Image.new("L", (48, 32), 255).save("small.png")
    ended = run("a.jpg", DOG, "--out", "o", "--mask", "stored.png", "--save-mask")
    assert ended.status == 0
    assert "the mask stored.png was turned with the photo, which is stored on its side\n" in ended.out
    assert np.array_equal(pixels("o/a-mask.png"), np.asarray(mask.transpose(Image.Transpose.ROTATE_270), np.int16))
    assert "is 48x32 but its photo is 64x96" in run("a.jpg", DOG, "--out", "o", "--mask", "small.png").out


def test_what_was_made_before_is_not_restored_again(run: Callable[..., Ended]) -> None:
    photo("p/a.jpg")
    photo("p/b\nc.jpg", seed=1)
    assert run("p", DOG, "--out", "p", "--save-mask").status == 0
    ended = run("p", DOG, "--out", "p", "--save-mask", "--skip-existing")
    lines = ended.out.splitlines()
    assert lines[0] == "4 earlier results were skipped in the folders: p/a-mask.png ..."
    assert lines[-2:] == ["p/b\\nc.jpg is already there", "0 restored, 2 already there, 0 failed"]


def test_a_small_tile_needs_nothing_more(run: Callable[..., Ended]) -> None:
    photo("a.png", 160, 136)
    ended = run("a.png", DOG, "--out", "o", "--tile", "128")
    assert ended.status == 0, ended.err
    assert read_record(Path("o/a.png"))["settings"]["overlap"] == 32


def test_transparency_comes_out_at_the_results_size(run: Callable[..., Ended]) -> None:
    image = Image.fromarray(scene(64, 96, 1)).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((96, 64)))
    image.save("a.png")
    ended = run("a.png", DOG, "--out", "o", "--upscale", "1.5", "--compare")
    assert "the transparency was kept as it is" in ended.out
    with Image.open("o/a.png") as made, Image.open("o/a-compare.png") as sheet:
        assert (made.mode, made.size, sheet.mode) == ("RGBA", (144, 96), "RGB")


MISTAKES = {
    "nothing at all": ([], "name one or more photos, then the instruction in quotes, as in photo.jpg"),
    "a checkpoint alone": (["a.png", DOG, "--checkpoint", "c"], "--checkpoint needs the base that it was trained for"),
    "no such base": (["a.png", DOG, "--base", "./nowhere"], "the base ./nowhere is not a folder here and cannot be"),
    "base is no model": (["a.png", DOG, "--base", "."], ". is not a saved pipeline: there is no model_index.json"),
    "base is empty": (["a.png", DOG, "--base", "empty"], "empty is not a saved pipeline: there is no empty/model"),
    "no instruction": (["a.png", "--base", "b"], "the instruction is missing: after a.png"),
    "bad instruction": (["a.png", "make the dog clear with five", "--base", "b"],
                        "expected a scale such as 0.8 at character 25, found 'five'"),
    "missing photo": (["b.png", DOG, "--base", "b"], "there is no photo or folder b.png"),
    "bad setting": (["a.png", DOG, "--base", "b", "--set", "mask=fuzzy"],
                    "--set mask: input should be 'soft' or 'hard', not fuzzy"),
    "setting with an option": (["a.png", DOG, "--base", "b", "--set", "tile=256"],
                               "--set does not take tile: use --tile"),
    "bad seed": (["a.png", DOG, "--base", "b", "--seed", "-1"], "--seed must be a whole number from 0 to "),
    "bad seed of shards": (["--shards", "d", "--base", "b", "--seed", "-1"], "--seed must be a whole number from 0"),
    "bad steps": (["a.png", DOG, "--base", "b", "--steps", "0"], "--steps: input should be greater than"),
    "bad sweep": (["a.png", DOG, "--base", "b", "--sweep", "a,b"], "--sweep takes scales separated by commas"),
    "bad dtype": (["a.png", DOG, "--base", "{base}", "--dtype", "int8"], "unknown dtype 'int8': choose one"),
    "unknown memory": (["a.png", DOG, "--base", "{base}", "--memory", "6"],
                       "unknown memory preset '6': choose one of auto, 4, 8, 12, 24, none"),
    "memory of shards": (["--shards", "d", "--base", "b", "--memory", "8"], "--memory works with photo files"),
    "no such device": (["a.png", DOG, "--base", "{base}", "--device", "banana"],
                       "unknown device 'banana': name one"),
    "mask only and sweep": (["a.png", DOG, "--base", "b", "--mask-only", "--sweep", "1"], "--mask-only restores"),
    "mask only and mask": (["a.png", DOG, "--base", "b", "--mask-only", "--mask", "a.png"], "leave out the mask"),
    "sweep of a map": (["a.png", DOG, "--base", "b", "--scale-map", "a.png", "--sweep", "1"], "--sweep varies"),
    "out is a file": (["a.png", DOG, "--base", "b", "--out", "a.png"], "a.png is a file"),
    "out over the photo": (["a.png", DOG, "--base", "b", "--out", "."], "would overwrite a.png"),
    "masks of shards": (["--shards", "d", "--base", "b", "--save-mask"], "--save-mask works with photo files"),
    "regions of files": (["a.png", DOG, "--base", "b", "--regions", "all"], "--regions works with --shards only"),
    "photos and shards": (["a.png", DOG, "--base", "b", "--shards", "d"], "only the instruction is named"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence_and_status_2(
    name: str, run: Callable[..., Ended], tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INSTRUCTRESTORE_BASE", raising=False)
    photo("a.png")
    Path("empty").mkdir()
    words, sentence = MISTAKES[name]
    ended = run(*(word.format(base=tiny_base) for word in words), quick=False)
    assert ended.status == 2, ended
    assert len(ended.err.strip().splitlines()) == 1, ended.err
    assert ended.err.startswith("instructrestore: ")
    assert sentence in ended.err
    assert not Path("restored").exists() or not files("restored")


@pytest.mark.parametrize("number", ["0", "-1"])
@pytest.mark.parametrize("words", [["a.png", DOG], ["--shards", "d"]])
def test_a_batch_is_of_one_photo_at_least(words: list[str], number: str, run: Callable[..., Ended]) -> None:
    photo("a.png")
    ended = run(*words, "--out", "o", f"--batch={number}")
    assert ended.status == 2
    assert re.search(r"'--batch': .*greater than or equal to 1", ended.err), ended.err
    assert not Path("o").exists()


def test_an_upscale_that_leaves_too_little_is_that_photos_failure(run: Callable[..., Ended]) -> None:
    photo("a.png", 96, 64)
    photo("b.png", 960, 640)
    ended = run("a.png", "b.png", DOG, "--out", "o", "--upscale", "0.01")
    assert ended.status == 1, ended.err
    assert "0 restored, 2 failed" in ended.out
    assert "  a.png: an upscale of 0.01 gives a photo of 1x1: less than 64\n" in ended.out
    assert "  b.png: an upscale of 0.01 gives a photo of 10x6: less than 64\n" in ended.out
    assert not files("o")


def test_the_base_may_come_from_the_environment(
    run: Callable[..., Ended], tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSTRUCTRESTORE_BASE", str(tiny_base))
    photo("a.png")
    assert run("a.png", DOG, *QUICK, quick=False).status == 0
    assert files("restored") == ["a.png"]


def test_help_names_every_setting(monkeypatch: pytest.MonkeyPatch, run: Callable[..., Ended]) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    ended = run("--help", quick=False)
    assert ended.status == 0
    words = re.findall(r"[\w-]+", ended.out.replace("\u2502", " "))
    for field in SamplingSettings.model_fields:
        assert OPTIONS.get(field, field) in words, field
    page = (ROOT / "docs" / "restoring.md").read_text(encoding="utf-8")
    table = page.partition("## Settings")[2]
    for field, about in SamplingSettings.model_fields.items():
        (row,) = (line for line in table.splitlines() if line.startswith(f"| `{field}` |"))
        assert str(about.description) in row.replace("\\|", "|"), field
        if field in OPTIONS:
            assert f"`{OPTIONS[field]}`" in row, field
    named = re.findall(r"--[a-z][a-z-]+", ended.out)
    for option in dict.fromkeys(named):
        assert option == "--help" or re.search(rf"`{option}[`\s]", page), option


def test_a_full_disk_is_one_sentence_and_the_end(disk: Path, run: Callable[..., Ended]) -> None:
    for number in range(4):
        photo(f"p/{number}.png", 160, 160, seed=number)
    assert run("p/0.png", DOG, "--out", "o").status == 0
    size = Path("o/0.png").stat().st_size
    leave(disk, 2 * size + 16_384)
    ended = run("p", DOG, "--out", str(disk / "o"))
    assert ended.status == 2
    assert re.fullmatch(rf"instructrestore: No space left on device: {disk}/o/\d\.png\n", ended.err)
    made = sorted(path.name for path in (disk / "o").iterdir())
    assert 0 < len(made) < 4
    assert f"{len(made)} restored, 0 failed" in ended.out
    assert made == [f"{number}.png" for number in range(len(made))], "nothing half written is left"
    assert all(pixels(disk / "o" / name).shape == (160, 160, 3) for name in made)


def test_memory_that_a_cpu_does_not_have_is_told_from_other_faults() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**50)
    assert out_of_memory(raised.value)
    with pytest.raises(RuntimeError) as raised:
        torch.dot(torch.zeros(2), torch.zeros(3))
    assert not out_of_memory(raised.value)


def test_how_the_model_is_loaded(tiny_base: Path) -> None:
    pipe = ModelSource(str(tiny_base), dtype="bfloat16", device="cpu", channels_last=True).load()
    weights = pipe.unet.conv_in.weight
    assert weights.dtype == torch.bfloat16
    assert weights.is_contiguous(memory_format=torch.channels_last)
    if torch.accelerator.current_accelerator() is None:
        with pytest.raises(ValueError, match="there is no GPU here"):
            ModelSource(str(tiny_base), cpu_offload=True).load()
    with pytest.raises(ValueError, match="no GPU"):
        ModelSource(str(tiny_base), device="cpu", cpu_offload=True).load()


def test_a_memory_preset_changes_nothing_on_a_cpu_and_says_so(run: Callable[..., Ended]) -> None:
    photo("p/a.png")
    usual, sparing = run("p", DOG), run("p", DOG, "--memory", "auto", "--out", "sparing")
    assert (usual.status, sparing.status) == (0, 0)
    assert "--memory auto changes nothing here: it is for CUDA GPUs, and the model runs on cpu" in sparing.out
    assert Path("restored/a.png").read_bytes() == Path("sparing/a.png").read_bytes()


def test_what_a_memory_preset_switches_on(tiny_base: Path) -> None:
    source = ModelSource(str(tiny_base), device="cpu").with_preset(PRESETS[8])
    assert source.sampling(SamplingSettings()).tile_batch == PRESETS[8].tile_batch
    assert source.sampling(SamplingSettings(tile_batch=3)).tile_batch == 3
    pipe = source.load()
    assert pipe.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert pipe.on_this_machine == {"tile_batch": PRESETS[8].tile_batch}
    assert ModelSource(str(tiny_base)).with_preset(PRESETS[4]).cpu_offload


def test_ctrl_c_ends_with_a_sentence_and_nothing_half_written(tiny_base: Path, tmp_path: Path) -> None:
    for number in range(50):
        photo(f"{tmp_path}/p/{number:02}.png", seed=number)
    command = [
        sys.executable,
        "-m",
        "instructrestore",
        "restore",
        str(tmp_path / "p"),
        DOG,
        "--out",
        str(tmp_path / "o"),
    ]
    process = subprocess.Popen(
        [*command, "--base", str(tiny_base), *QUICK, "--steps", "15"],  # a photo takes long enough to be interrupted
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("o/*.png")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 130, err
    assert err.strip() == "instructrestore: interrupted; finished photos are kept; add --skip-existing to continue"
    made = files(str(tmp_path / "o"))
    assert 0 < len(made) < 50
    said = re.search(r"^(\d+) restored, 0 failed, (\d+) not reached$", out, re.MULTILINE)
    assert said, out
    # The last one's file may be there without its line.
    assert int(said[1]) in (len(made), len(made) - 1)
    assert int(said[1]) + int(said[2]) == 50
    for name in made:
        assert read_record(tmp_path / "o" / name)["seed"] == 0
        assert pixels(tmp_path / "o" / name).shape == (64, 96, 3)
