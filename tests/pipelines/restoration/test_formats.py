"""`restore --format`: files of other formats, with real 16 bits, found again by --skip-existing and in folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import get_sampling

import instructrestore
from instructrestore.pipelines.pictures.restored_photo import read_record
from instructrestore.pipelines.restoration.inputs import find_jobs
from tests.dataengine.photos.colour_profiles import rgb_profile
from tests.dataengine.photos.test_photo_file import scene
from tests.pipelines.restoration.test_files import DOG, Ended, files, photo, pixels, run

__all__ = ["run"]  # a fixture


def deep(path: str) -> NDArray[np.int64]:
    values = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    assert values is not None and values.dtype == np.uint16
    return values[..., ::-1].astype(np.int64)


def test_every_format_has_the_same_photo_and_record(run: Callable[..., Ended]) -> None:
    photo("a.jpg", seed=1, icc_profile=rgb_profile())
    for format, name in (
        ("png", "a.png"),
        ("jpeg", "a.jpg"),
        ("webp", "a.webp"),
        ("avif", "a.avif"),
        ("tiff", "a.tif"),
    ):
        words = ["a.jpg", DOG, "--out", format, "--format", format, "--save-mask", "--compare"]
        ended = run(*words)
        assert ended.status == 0, ended.err + ended.out
        assert f"a.jpg -> {format}/{name}, a-mask.png, a-compare.png" in ended.out
        assert files(format) == sorted([name, "a-mask.png", "a-compare.png"])
        assert read_record(Path(format, name)) == read_record(Path("png/a.png"))
        for other in ("a-mask.png", "a-compare.png"):
            assert Path(format, other).read_bytes() == Path("png", other).read_bytes()
        with Image.open(Path(format, name)) as made:
            assert made.info["icc_profile"] == rgb_profile()
        assert "0 restored, 1 already there" in run(*words, "--skip-existing").out
        assert "1 restored, 0 failed" in run(*words, "--skip-existing", "--seed", "1").out
        assert run(*words).status == 0
    assert (pixels("webp/a.webp") == pixels("png/a.png")).all()
    assert np.abs(pixels("jpeg/a.jpg") - pixels("png/a.png")).max() <= 16
    assert np.abs(pixels("avif/a.avif") - pixels("png/a.png")).mean() <= 4
    # Sixteen bits that were computed, not eight that were filled up: rounded to eight they are the PNG.
    values = deep("tiff/a.tif")
    assert (np.floor(values / 257 + 0.5) == pixels("png/a.png")).mean() > 0.999
    assert np.abs(values / 257 - pixels("png/a.png")).max() <= 0.51
    assert (values % 257 != 0).mean() > 0.9


def test_a_kept_rest_is_exact_but_in_a_jpeg(run: Callable[..., Ended]) -> None:
    photo("a.png", seed=1)
    mask = np.zeros((64, 96), np.uint8)
    mask[16:48, 24:72] = 255
    Image.fromarray(mask).save("m.png")
    words = ["a.png", DOG, "--mask", "m.png", "--rest", "keep"]
    for format in ("tiff", "webp", "jpeg", "avif"):
        ended = run(*words, "--out", format, "--format", format)
        assert ended.status == 0, ended.err + ended.out
        assert ("changes every pixel a little" in ended.out) == (format in ("jpeg", "avif"))
    outside, lq = mask == 0, pixels("a.png")
    assert (deep("tiff/a.tif")[outside] == lq[outside].astype(int) * 257).all()
    assert (deep("tiff/a.tif")[~outside] % 257 != 0).mean() > 0.9
    assert (pixels("webp/a.webp")[outside] == lq[outside]).all()


def test_each_photo_in_its_own_format(run: Callable[..., Ended]) -> None:
    for number, name in enumerate(("a.jpg", "b.png", "c.webp", "d.tif", "e.bmp", "f.avif")):
        photo(f"p/{name}", seed=number)
    Path("p/a.jpg").rename("p/a.png")  # told by content
    ended = run("p", DOG, "--out", "o", "--format", "original", "--batch", "6")
    assert ended.status == 0, ended.err + ended.out
    assert files("o") == ["a.jpg", "b.png", "c.webp", "d.tif", "e.png", "f.avif"]
    formats = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".avif": "AVIF"}
    for name in files("o"):
        with Image.open(Path("o", name)) as made:
            assert made.format == formats[Path(name).suffix]
    with Image.open("o/a.jpg") as made, Image.open("p/a.png") as lq:
        assert made.quantization == lq.quantization  # pyright: ignore[reportAttributeAccessIssue]
        assert get_sampling(made) == get_sampling(lq)
    assert pixels("o/d.tif").shape == (64, 96, 3)
    assert "6 already there" in run("p", DOG, "--out", "o", "--format", "original", "--skip-existing").out
    # In a folder they are passed over, by their records.
    for name in files("o"):
        Path("p", f"made-{name}").write_bytes(Path("o", name).read_bytes())
    said: list[str] = []
    found = find_jobs(["p", DOG], Path("out"), say=said.append)
    assert sorted(job.photo.name for job in found) == ["a.png", "b.png", "c.webp", "d.tif", "e.bmp", "f.avif"]
    assert said == ["6 earlier results were skipped in the folders: p/made-a.jpg ..."]


def test_a_batch_has_both_depths(run: Callable[..., Ended]) -> None:
    photo("p/a.png", seed=1)
    sixteen("p/b.tif", seed=2)
    assert run("p", DOG, "--out", "one", "--format", "original").status == 0
    assert run("p", DOG, "--out", "o", "--format", "original", "--batch", "2").status == 0
    assert np.abs(pixels("o/a.png") - pixels("one/a.png")).max() <= 1
    assert np.abs(deep("o/b.tif") - deep("one/b.tif")).max() <= 257


def sixteen(path: str, seed: int, channels: int = 3) -> NDArray[np.uint16]:
    """A photo of 16 bits a channel, with values that 8 bits do not hold."""
    noise = np.random.default_rng(seed).integers(0, 256, (64, 96, channels), np.uint16)
    values = np.dstack([scene(64, 96, seed)] * 2)[..., :channels].astype(np.uint16) * 256 + noise
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(path, values[..., [2, 1, 0, 3][:channels]])
    return values


def test_sixteen_bits_go_in_and_come_out(run: Callable[..., Ended]) -> None:
    values = {name: sixteen(f"p/{name}", seed=1) for name in ("a.png", "b.tif")}
    Image.fromarray((values["a.png"] >> 8).astype(np.uint8)).save("eight.png")
    stays = np.zeros((64, 96), np.uint8)
    stays[10:30, 20:50] = 255
    Image.fromarray(stays).save("m.png")
    ended = run("p", DOG, "--out", "o", "--format", "original", "--protect", "m.png", "--batch", "2")
    assert ended.status == 0 and "8 bits" not in ended.out, ended.err + ended.out
    for name in files("o"):
        found = deep(f"o/{name}")
        assert (found[stays > 0] == values[name][stays > 0]).all(), "every bit of what is protected"
        assert (found[stays == 0] % 257 != 0).mean() > 0.9
        assert read_record(Path("o", name))["bits"] == 16
    assert (deep("o/a.png") == deep("o/b.tif")).all()
    # The networks see more than the high bytes: the result is another than that of 8 bits, by less than a level.
    assert run("eight.png", DOG, "--out", "e", "--format", "tiff").status == 0
    assert run("p/a.png", DOG, "--out", "d").status == 0
    apart = np.abs(deep("e/eight.tif") - deep("d/a.png"))
    assert apart.max() > 0 and np.median(apart) < 300
    assert "2 already there" in run("p", DOG, "--out", "o", "--format", "original", "--protect", "m.png",
                                    "--skip-existing").out  # fmt: skip
    ended = run("p/a.png", DOG, "--out", "j", "--format", "jpeg")
    assert "a JPEG has 8 bits a channel, and the photo 16: --format png or tiff keeps them" in ended.out


def test_transparency_of_sixteen_bits(run: Callable[..., Ended]) -> None:
    for name in ("a.png", "b.tif"):
        values = sixteen(name, seed=3, channels=4)
        assert run(name, DOG, "--out", "o", "--format", "original").status == 0
        seen = cv2.imread(f"o/{name}", cv2.IMREAD_UNCHANGED)
        assert seen is not None and (seen[..., 3] == values[..., 3]).all()


def test_what_does_not_fit_is_that_photos_failure_before_it_is_restored(run: Callable[..., Ended]) -> None:
    image = Image.fromarray(scene(64, 96, 1)).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((96, 64)))
    image.save("a.png")
    photo("b.png")
    ended = run("a.png", "b.png", DOG, "--out", "o", "--format", "jpeg")
    assert ended.status == 1
    assert "  a.png: it is transparent in places, which a JPEG cannot say: take another --format" in ended.out
    assert files("o") == ["b.jpg"]
    assert run("a.png", DOG, "--out", "masks", "--format", "jpeg", "--mask-only").status == 0, "masks are PNGs"
    assert run("a.png", DOG, "--out", "t", "--format", "tiff").status == 0
    with Image.open("t/a.tif") as made:
        assert (np.asarray(made)[..., 3] == np.asarray(image)[..., 3]).all()


def test_nothing_that_is_read_is_overwritten(run: Callable[..., Ended]) -> None:
    photo("a.jpg")
    for format in ("jpeg", "original"):
        ended = run("a.jpg", DOG, "--out", ".", "--format", format)
        assert ended.status == 2
        assert "a.jpg would overwrite a.jpg, an input: choose another --out" in ended.err
    assert run("a.jpg", DOG, "--out", ".").status == 0
    assert files(".") == ["a.jpg", "a.png"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["a.png", DOG, "--format", "gif"], "--format must be png, jpeg, webp, avif, tiff or original, not 'gif'"),
        (["--shards", "d", "--base", "b", "--format", "tiff"], "--format works with photo files, not with --shards"),
    ],
)
def test_a_mistake_is_one_sentence(words: list[str], sentence: str, run: Callable[..., Ended]) -> None:
    photo("a.png")
    ended = run(*words)
    assert (ended.status, len(ended.err.splitlines())) == (2, 1)
    assert sentence in ended.err


def test_from_python(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photo("a.png", seed=1)
    settings = {"num_inference_steps": 1, "guidance_scale": 1}
    asked = {"base": tiny_base, "out": "o", "settings": settings, "device": "cpu", "quiet": True}
    assert instructrestore.restore("a.png", DOG, format="webp", **asked).restored == 1
    assert files("o") == ["a.webp"]
    with pytest.raises(ValueError, match=r"^format must be png"):
        instructrestore.restore("a.png", DOG, format="gif", **asked)
