"""`restore` with masks as people have them: for a whole folder, by name, cut with others, protecting; scale maps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import instructrestore
from instructrestore.model.restoring.shaping import grown
from instructrestore.pipelines.pictures.restored_photo import read_record
from tests.dataengine.photos.test_photo_file import scene
from tests.pipelines.restoration.test_files import DOG, Ended, files, photo, pixels, run

__all__ = ["run"]  # a fixture
TWO = "make the dog clear with 0.5, make the sky clear with 1.2 and keep other parts clear with 1"


def mask(path: str, top: int = 16, bottom: int = 48, left: int = 24, right: int = 72) -> NDArray[np.uint8]:
    values = np.zeros((64, 96), np.uint8)
    values[top:bottom, left:right] = 255
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return values


def test_one_mask_for_a_folder_and_a_folder_by_name(run: Callable[..., Ended]) -> None:
    photo("p/a.jpg", seed=1)
    photo("p/sub/b.png", seed=2)
    photo("p/tall.png", 64, 96, seed=3)
    mask("m.png")
    ended = run("p", DOG, "--out", "one", "--mask", "m.png", "--rest", "keep", "--batch", "2")
    assert ended.status == 1 and "the mask m.png is 96x64 but its photo is 64x96" in ended.out
    assert files("one") == ["a.png", "sub/b.png"]
    mask("masks/a.png", 0, 20)
    mask("masks/sub/b-mask.png", 40, 60)
    ended = run("p", DOG, "--out", "named", "--mask", "masks", "--rest", "keep")
    assert ended.status == 1
    assert "  p/tall.png: there is no mask of its name in masks, such as tall-mask.png" in ended.out
    for folder, name, lq, rows in (("one", "a.png", "p/a.jpg", (16, 48)), ("named", "a.png", "p/a.jpg", (0, 20)),
                                   ("named", "sub/b.png", "p/sub/b.png", (40, 60))):  # fmt: skip
        changed = np.flatnonzero((pixels(f"{folder}/{name}") != pixels(lq)).any((1, 2)))
        assert (changed.min(), changed.max() + 1) == rows
    assert read_record(Path("named/sub/b.png"))["masks"][0]["file"] == "b-mask.png"


def test_what_save_mask_wrote_is_taken_back(run: Callable[..., Ended]) -> None:
    """Beside their photos too, where no mask is taken for a photo nor a photo for its own mask."""
    for number in range(2):
        photo(f"p/{number}.jpg", seed=number)
    assert run("p", TWO, "--out", "p", "--mask-only", "--grow", "2").status == 0
    assert run("p", TWO, "--out", "o", "--grow", "2", "--save-mask").status == 0
    ended = run("p", TWO, "--out", "again", "--mask", "p")
    assert ended.status == 0, ended.err + ended.out
    assert files("again") == ["0.png", "1.png"]
    for name in files("again"):
        assert (pixels(f"again/{name}") == pixels(f"o/{name}")).all()
        assert (pixels(f"o/{name[0]}-mask-1.png") == pixels(f"p/{name[0]}-mask-1.png")).all()


def test_masks_cut_grown_and_inverted(run: Callable[..., Ended]) -> None:
    photo("a.png", seed=1)
    dog, sky, face = mask("dog.png"), mask("sky.png", 0, 20, 0, 96), mask("face.png", 20, 30, 30, 50)
    ended = run("a.png", DOG, "--out", "o", "--mask", "dog.png", "--unite", "sky.png", "--subtract", "face.png",
                "--intersect", "big.png", "--grow", "-2", "--invert", "--save-mask")  # fmt: skip
    assert (ended.status, ended.err.count("\n")) == (2, 1) and "there is no file big.png for --intersect" in ended.err
    mask("big.png", 4, 60, 4, 92)
    words = ["--mask", "dog.png", "--unite", "sky.png", "--subtract", "face.png", "--intersect", "big.png",
             "--grow", "-2", "--invert", "--save-mask"]  # fmt: skip
    ended = run("a.png", DOG, "--out", "o", *words)
    assert ended.status == 0, ended.err + ended.out
    within = np.zeros_like(dog, bool)
    within[4:60, 4:92] = True
    left = ((dog | sky) > 0) & within & (face == 0)
    assert (pixels("o/a-mask.png") == 255 * ~grown(torch.from_numpy(left), -2).numpy()).all()
    record = read_record(Path("o/a.png"))
    assert [record[name][0]["file"] for name in ("masks", "unite", "intersect", "subtract")] == [
        "dog.png", "sky.png", "big.png", "face.png",
    ]  # fmt: skip
    assert (record["settings"]["grow"], record["settings"]["invert"]) == (-2, True)
    assert "1 already there" in run("a.png", DOG, "--out", "o", *words, "--skip-existing").out
    mask("face.png", 20, 31, 30, 50)
    assert "1 restored" in run("a.png", DOG, "--out", "o", *words, "--skip-existing").out


def test_protected_pixels_stay(run: Callable[..., Ended]) -> None:
    photo("p/a.jpg", seed=1)
    photo("p/b.png", seed=2)
    stays = mask("faces/a.png", 10, 30) | mask("sign.png", 50, 60, 0, 20)
    mask("faces/b.png", 10, 30)
    ended = run("p", DOG, "--out", "o", "--protect", "faces", "--protect", "sign.png", "--batch", "2")
    assert ended.status == 0, ended.err + ended.out
    for name, lq in (("a.png", "p/a.jpg"), ("b.png", "p/b.png")):
        changed = (pixels(f"o/{name}") != pixels(lq)).any(-1)
        assert not changed[stays > 0].any() and changed[stays == 0].mean() > 0.9
    ended = run("p/a.jpg", DOG, "--out", "j", "--protect", "sign.png", "--format", "jpeg")
    assert "a JPEG changes every pixel a little" in ended.out


def test_the_photos_transparency_is_a_mask_where_it_is_asked_for(run: Callable[..., Ended]) -> None:
    image = Image.fromarray(scene(64, 96, 1)).convert("RGBA")
    image.putalpha(Image.fromarray(mask("cut.png")))
    image.save("p.png")
    for out, words in (("plain", []), ("asked", ["--mask", "alpha"]), ("file", ["--mask", "cut.png"])):
        assert run("p.png", DOG, "--out", out, *words).status == 0
        assert (pixels(f"{out}/p.png")[..., 3] == pixels("cut.png")).all(), "it is in the result in any case"
    assert read_record(Path("plain/p.png"))["masks"] == "predicted"
    assert (pixels("asked/p.png") == pixels("file/p.png")).all()
    photo("opaque.png")
    ended = run("opaque.png", DOG, "--out", "o", "--mask", "alpha")
    assert ended.status == 1 and "it is nowhere transparent, so it has no mask of its own" in ended.out


def test_a_scale_map_in_a_range(run: Callable[..., Ended]) -> None:
    for name in ("a", "b"):
        photo(f"p/{name}.png", seed=1)
    levels = np.linspace(0, 255, 96).round().astype(np.uint8)
    Path("maps").mkdir()
    Image.fromarray(np.tile(levels, (64, 1))).save("maps/a.png")
    Image.fromarray(np.tile(levels.astype(np.uint16) * 257, (64, 1))).save("maps/b.png")
    ended = run("p", DOG, "--out", "o", "--scale-map", "maps", "--scale-range", "0.5,1.1", "--batch", "2")
    assert ended.status == 0, ended.err + ended.out
    assert (pixels("o/a.png") == pixels("o/b.png")).all(), "eight or sixteen bits"
    assert run("p/a.png", DOG, "--out", "other", "--scale-map", "maps/a.png", "--scale-range", "1.1,0.5").status == 0
    assert (pixels("o/a.png") != pixels("other/a.png")).any()
    Image.new("L", (96, 64), 255).save("white.png")
    Image.new("L", (96, 64), 60).save("sixty.png")
    same = DOG.replace("with 1", "with 0.6")
    assert run("p/a.png", same, "--out", "range", "--scale-map", "white.png", "--scale-range", "0.1,0.6").status == 0
    assert run("p/a.png", same, "--out", "hundred", "--scale-map", "sixty.png").status == 0
    assert run("p/a.png", same, "--out", "scale", "--mask", "white.png").status == 0
    for folder in ("hundred", "scale"):
        assert (pixels("range/a.png") == pixels(f"{folder}/a.png")).all()


def test_a_row_of_a_csv_keeps_its_own_mask(run: Callable[..., Ended]) -> None:
    photo("a.png", seed=1)
    photo("b.png", seed=2)
    mask("m.png")
    mask("own.png", 0, 9)
    Path("list.csv").write_text("photo,mask\na.png,own.png\nb.png,\n")
    assert run("list.csv", DOG, "--out", "o", "--mask", "m.png").status == 0
    assert [read_record(Path("o", name))["masks"][0]["file"] for name in ("a.png", "b.png")] == ["own.png", "m.png"]


MISTAKES = {
    "no file": (["--protect", "none.png"], "there is no file none.png for --protect"),
    "a range alone": (["--scale-range", "0.5,1"], "--scale-range says what black and white mean in a scale map: name"),
    "one scale": (["--scale-map", "m.png", "--scale-range", "0.5"], "as in 0.5,1.1, not '0.5'"),
    "no scale": (["--scale-map", "m.png", "--scale-range", "0.5,99"], "a scale of --scale-range must be from 0 to"),
    "a cut map": (["--scale-map", "m.png", "--subtract", "m.png"], "--subtract is for masks, and with --scale-map"),
    "a grown map": (["--scale-map", "m.png", "--grow", "2"], "so there is no mask for grow: give a mask"),
    "too far": (["--grow", "1001"], "--grow: input should be less than or equal to 1000, not 1001"),
    "moved": (["--protect", "m.png", "--upscale", "2"], "protected pixels stay as they are, and an upscale of 2 moves"),
    "nothing to change": (["--protect", "m.png", "--mask-only"], "--mask-only restores nothing, so there is nothing"),
    "an empty folder": (["--mask", "empty"], "there is no mask of its name in empty, such as a-mask.png"),
    "several": (["--mask", "twice"], "there are several masks of its name in twice: a.png and a.tif"),
    "by --set": (["--set", "grow=3"], "--set does not take grow: use --grow"),
    "a data set": (["--shards", "d", "--protect", "m.png"], "--protect works with photo files, not with --shards"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence_and_status_2(name: str, run: Callable[..., Ended]) -> None:
    photo("a.png")
    for path in ("m.png", "twice/a.png", "twice/a.tif"):
        mask(path)
    Path("empty").mkdir()
    words, sentence = MISTAKES[name]
    ended = run("a.png", DOG, "--out", "o", *words)
    assert (ended.status, len(ended.err.splitlines())) == (2, 1), ended
    assert sentence in ended.err
    assert not Path("o").exists() or not files("o")


def test_two_regions_cannot_be_inverted(run: Callable[..., Ended]) -> None:
    photo("a.png")
    ended = run("a.png", TWO, "--out", "o", "--invert")
    assert (ended.status, len(ended.err.splitlines())) == (2, 1)
    assert "invert is for one region, and the instruction names 2: unite their masks and invert that" in ended.err


def test_from_python(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photo("a.png", seed=1)
    stays = mask("m.png")
    settings = {"num_inference_steps": 1, "guidance_scale": 1, "grow": 2}
    made = instructrestore.restore(
        "a.png", DOG, base=tiny_base, out="o", protect=["m.png"], settings=settings, device="cpu", quiet=True
    )
    assert (made.restored, made.failed) == (1, [])
    assert (pixels("o/a.png") == pixels("a.png"))[stays > 0].all()
