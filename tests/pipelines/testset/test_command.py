"""`instructrestore testset`: from a data set or a CSV to a test set that reads back, and what becomes of bad photos."""

from __future__ import annotations

import csv
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from instructrestore.model.degradation.chain import Degradation
from instructrestore.model.degradation.settings import REAL_ESRGAN, RELEASE
from instructrestore.model.instruction.parser import parse
from instructrestore.pipelines.cli import app
from instructrestore.pipelines.restoration.inputs import find_jobs
from instructrestore.pipelines.testset.command import make_testset, spread
from instructrestore.pipelines.testset.from_csv import CsvSource
from instructrestore.pipelines.testset.material import UnfitPhoto
from instructrestore.pipelines.testset.settings import TestSetSettings
from instructrestore.shards.index import Dataset
from instructrestore.shards.new_folder import new_folder
from instructrestore.shards.pairs import TestSet
from instructrestore.shards.verify import verify
from tests import real_photos
from tests.pipelines.testset.photos import inside, pixels, region, row_of, save, texture, write_csv, write_dataset

QUIET = Console(quiet=True)
SMALL = TestSetSettings(size=64)


def make(source: str, out: Path, settings: TestSetSettings = SMALL, **wishes):
    return make_testset(source, out, settings=settings, console=QUIET, **wishes)


def all_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def table(tmp_path: Path) -> str:
    """Three photos with their masks in a CSV."""
    return write_csv(tmp_path / "in/photos.csv", [row_of(tmp_path / "in", number) for number in range(3)])


def test_a_crop_of_every_photo_of_a_csv(table: str, tmp_path: Path) -> None:
    summary = make(table, tmp_path / "out")
    assert (summary.input, summary.made, dict(summary.passed_over)) == (3, 3, {})
    testset = TestSet(str(tmp_path / "out"))
    assert verify(testset.path) == []
    assert not testset.bokeh
    assert testset.card.name == "photos"
    for number in range(3):
        pair = testset.read_pair(number)
        facts = testset.pairs.slice(number, 1).to_pylist()[0]
        assert (facts["scale"], facts["left"], facts["top"]) == (1, 48, 23)  # the box's middle is (80, 55)
        hq = pixels(pair.hq)
        assert np.array_equal(hq, texture(number, 160, 128)[23:87, 48:112])
        assert np.array_equal(pair.region.mask.array(), inside((2, 7, 60, 50), 64, 64))
        assert (pair.region.caption, pair.region.subject) == ("the red dog", "dog")
        assert pair.sample.photo.key == hashlib.sha256(pair.hq).hexdigest()[:20]
        assert pair.sample.photo.name == f"hq/{number}.png"
        original = hashlib.sha256((tmp_path / f"in/hq/{number}.png").read_bytes()).hexdigest()
        assert pair.sample.photo.group == original[:20]


@pytest.mark.parametrize(("preset", "degradation"), [("release", RELEASE), ("real-esrgan", REAL_ESRGAN)])
def test_the_stated_seed_gives_the_lq_photo_again(table: str, tmp_path: Path, preset: str, degradation) -> None:
    make(table, tmp_path / "out", TestSetSettings(size=64, degradation=preset, seed=7))
    testset = TestSet(str(tmp_path / "out"))
    assert testset.card.configuration["testset"]["degradation_settings"] == degradation.model_dump(mode="json")
    seeds = testset.pairs["seed"].to_pylist()
    assert len(set(seeds)) == 3
    for row, seed in enumerate(seeds):
        pair = testset.read_pair(row)
        hq = torch.from_numpy(pixels(pair.hq).copy()).permute(2, 0, 1)[None] / 255
        lq = Degradation(degradation)(hq, [seed])
        assert np.array_equal(pixels(pair.lq), (lq[0].permute(1, 2, 0) * 255).round().byte().numpy())
        assert testset.pairs["degradation"][row].as_py() == preset
    make(table, tmp_path / "other", TestSetSettings(size=64, degradation=preset, seed=8))
    assert not set(seeds) & set(TestSet(str(tmp_path / "other")).pairs["seed"].to_pylist())


def test_same_input_same_bytes(table: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        make(table, tmp_path / name, files=True)
    assert all_files(tmp_path / "a") == all_files(tmp_path / "b")
    # Nothing says where on this machine it was made, and the seed of a photo depends on nothing else in the set.
    assert str(tmp_path) not in (tmp_path / "a/dataset.json").read_text()
    rows = list(csv.DictReader(Path(table).read_text().splitlines()))
    make(write_csv(tmp_path / "in/one.csv", rows[2:]), tmp_path / "c")
    assert TestSet(str(tmp_path / "c")).read_pair(0).lq == TestSet(str(tmp_path / "a")).read_pair(2).lq


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_given_pairs_of_another_size(tmp_path: Path, factor: int) -> None:
    """The LQ crop is the HQ crop's part of the LQ photo enlarged as a whole."""
    row = row_of(tmp_path, 0, 240, 192, box=(101, 77, 60, 50))
    lq = texture(9, 240 // factor, 192 // factor)
    save(lq, tmp_path / "lq.png")
    make(write_csv(tmp_path / "pairs.csv", [{**row, "lq": "lq.png"}]), tmp_path / "out")
    testset = TestSet(str(tmp_path / "out"))
    pair, facts = testset.read_pair(0), testset.pairs.to_pylist()[0]
    assert (facts["degradation"], facts["seed"], facts["scale"]) == ("", None, 1)
    left, top = facts["left"], facts["top"]
    assert abs(left - 99) <= factor
    assert abs(top - 70) <= factor
    assert np.array_equal(pixels(pair.hq), texture(0, 240, 192)[top : top + 64, left : left + 64])
    whole = np.asarray(Image.fromarray(lq).resize((240, 192), Image.Resampling.BICUBIC))
    assert np.array_equal(pixels(pair.lq), whole[top : top + 64, left : left + 64])
    assert testset.card.configuration["testset"]["degradation"] == ""


def test_given_pairs_are_never_scaled(tmp_path: Path) -> None:
    row = row_of(tmp_path, 0, 400, 300, box=(50, 100, 120, 30))
    save(texture(9, 400, 300), tmp_path / "lq.png")
    rows = [row, {**row, "caption": "the blue dog", "lq": "lq.png"}]
    make(write_csv(tmp_path / "a.csv", [{"lq": "", **row} for row in rows]), tmp_path / "out")
    free, pair = TestSet(str(tmp_path / "out")).pairs.to_pylist()
    assert free["scale"] == 0.75 * 64 / 120
    assert pair["scale"] == 1


def test_a_photo_is_scaled_down_for_a_large_region(tmp_path: Path) -> None:
    row = row_of(tmp_path, 0, 400, 300, box=(50, 60, 120, 90))
    make(write_csv(tmp_path / "a.csv", [row]), tmp_path / "out")
    testset = TestSet(str(tmp_path / "out"))
    pair = testset.read_pair(0)
    assert pair.region.mask.box() == (8, 14, 48, 36)
    facts = testset.pairs.to_pylist()[0]
    scaled = np.asarray(Image.fromarray(texture(0, 400, 300)).resize((160, 120), Image.Resampling.LANCZOS))
    part = scaled[facts["top"] : facts["top"] + 64, facts["left"] : facts["left"] + 64]
    assert np.array_equal(pixels(pair.hq), part)


def test_bad_photos_do_not_end_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    rows = [{"name": "", "lq": "", "bokeh": "", **row_of(folder, number)} for number in range(14)]
    (folder / "hq/1.png").write_bytes((folder / "hq/1.png").read_bytes()[:500])
    (folder / "hq/2.png").unlink()
    save(texture(3, 63, 200), folder / "hq/3.png")
    save(inside((10, 10, 40, 40), 63, 200), folder / "masks/3.png")
    save(inside((10, 10, 40, 40), 80, 64), folder / "masks/4.png")
    save(inside((10, 10, 3, 3), 160, 128), folder / "masks/5.png")
    save(inside((0, 0, 160, 128), 160, 128), folder / "masks/6.png")
    save(np.zeros((128, 160), np.bool_), folder / "masks/7.png")
    shutil.copy(folder / "hq/0.png", folder / "hq/8.png")
    rows[9]["caption"] = ""
    rows[10]["bokeh"] = "perhaps"
    rows[11]["lq"] = save(texture(11, 150, 128), folder / "lq.png").name
    rows[12]["caption"] = "a dog " * 40
    summary = make(write_csv(folder / "a.csv", rows), tmp_path / "out")
    assert summary.made == 2
    assert summary.input == 14
    found = {name.split(" (")[0]: reason for reason, names in summary.passed_over.items() for name in names}
    assert found == {
        "hq/1.png": "corrupt photo",
        "hq/2.png": "photo not found",
        "hq/3.png": "photo smaller than the crop",
        "hq/4.png": "mask that differs from its photo in size",
        "hq/5.png": "region under 0.02 of the crop",
        "hq/6.png": "region over 0.9 of the crop",
        "hq/7.png": "empty mask",
        "hq/8.png": "the same crop twice",
        "hq/9.png": "row without caption",
        "hq/10.png": "bokeh is neither true nor false",
        "hq/11.png": "LQ photo of a size that does not fit",
        "hq/12.png": "caption too long",
    }
    assert [sample.photo.name for sample, _ in map(Dataset(str(tmp_path / "out")).read, (0, 1))] == [
        "hq/0.png",
        "hq/13.png",
    ]


def test_masks_are_read_as_in_a_build(tmp_path: Path) -> None:
    """Turned with a photo stored on its side, of a cut-out, under a name that Windows wrote; or passed over."""
    folder = tmp_path / "in"
    rows = [row_of(folder, number) for number in range(6)]
    exif = Image.Exif()
    exif[0x0112] = 6
    expected = inside((50, 30, 60, 50), 160, 128)
    for name in ("hq/0.png", "masks/0.png"):
        with Image.open(folder / name) as image:
            image.load()
        image.transpose(Image.Transpose.ROTATE_90).save(folder / name, exif=exif if "hq" in name else Image.Exif())
    cut = Image.fromarray(texture(1, 160, 128))
    cut.putalpha(Image.fromarray(expected.astype(np.uint8) * 255))
    cut.save(folder / "masks/1.png")
    rows[2] |= {"hq": "hq\\2.png", "mask": ".\\masks\\2.png"}
    save(texture(3, 160, 128), folder / "masks/3.png")
    save(inside((25, 15, 30, 25), 80, 64), folder / "masks/4.png")
    rows[5]["mask"] = "..\\in\\masks\\5.png"
    source = CsvSource(Path(write_csv(folder / "a.csv", rows)))
    for row in range(3):
        (found,) = source.read(row, SMALL).regions
        assert np.array_equal(found.mask.array(), expected), row
    for row, reason in (
        (3, "mask that cannot be used: masks/3.png: not grey"),
        (4, "mask that differs from its photo in size: 80x64 and 160x128"),
        (5, "mask that cannot be used: .*path outside its folder"),
    ):
        with pytest.raises(UnfitPhoto, match=reason):
            source.read(row, SMALL)


def test_of_a_data_sets_photo_the_largest_fitting_region(tmp_path: Path) -> None:
    def two(first: tuple[int, int, int, int], second: tuple[int, int, int, int], bokeh: bool = False):
        return [region("a wide wall", first, 160, 128), region("a red dog", second, 160, 128, bokeh)]

    photos = [
        (texture(0, 160, 128), two((0, 0, 160, 128), (20, 20, 30, 40), bokeh=True)),  # the wall takes all of a crop
        (texture(1, 160, 128), two((30, 30, 50, 50), (100, 90, 30, 30))),
        (texture(2, 160, 60), [region("a wide wall", (0, 0, 50, 50), 160, 60)]),
    ]
    source = write_dataset(tmp_path / "source", photos)
    summary = make(source, tmp_path / "out")
    assert dict(summary.passed_over) == {"photo smaller than the crop": [f"{Dataset(source).index['key'][2]} (160x60)"]}
    testset = TestSet(str(tmp_path / "out"))
    first, second = (testset.read_pair(row) for row in (0, 1))
    assert (first.region.caption, second.region.caption) == ("a red dog", "a wide wall")
    assert first.region.bokeh
    assert first.region.pieces[0].mask == first.region.mask
    original = Dataset(source).read(0)[0].photo
    photo = first.sample.photo
    assert (photo.name, photo.source, photo.licence, photo.url, photo.group) == (
        original.name, original.source, original.licence, original.url, original.key,
    )  # fmt: skip
    assert make(source, tmp_path / "bokeh", TestSetSettings(size=64, bokeh=True)).made == 1
    bokeh = TestSet(str(tmp_path / "bokeh"))
    assert bokeh.bokeh
    assert bokeh.read_pair(0).hq == first.hq


def test_a_bokeh_set_of_a_csv(tmp_path: Path) -> None:
    rows = [{**row_of(tmp_path, number), "bokeh": text} for number, text in enumerate(["true", "", "No", "1"])]
    source = write_csv(tmp_path / "a.csv", rows)
    assert make(source, tmp_path / "out", TestSetSettings(size=64, bokeh=True)).made == 2
    assert make(source, tmp_path / "all").made == 4
    without = write_csv(tmp_path / "b.csv", [row_of(tmp_path, 0)])
    with pytest.raises(ValueError, match="column bokeh"):
        make(without, tmp_path / "none", TestSetSettings(size=64, bokeh=True))


def test_plain_files_restore_as_they_are(table: str, tmp_path: Path) -> None:
    make(table, tmp_path / "out", files=True)
    testset = TestSet(str(tmp_path / "out"))
    files = tmp_path / "out/files"
    jobs = find_jobs([str(files / "lq.csv")], tmp_path / "restored")
    assert [job.problem for job in jobs] == [""] * 3
    for row, job in enumerate(jobs):
        pair = testset.read_pair(row)
        key = pair.sample.photo.key
        assert job.stem == key
        assert job.photo.read_bytes() == pair.lq
        assert (files / f"hq/{key}.png").read_bytes() == pair.hq
        with Image.open(files / f"masks/{key}.png") as mask:
            assert np.array_equal(np.asarray(mask) == 255, pair.region.mask.array())
        assert job.instruction == parse(f"make {pair.region.caption} clear with 0.8 and keep other parts clear with 1")
    assert len(all_files(files)) == 10


def test_plain_files_of_a_bokeh_set_ask_for_bokeh(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "a.csv", [{**row_of(tmp_path, 0), "bokeh": "true"}])
    make(source, tmp_path / "out", TestSetSettings(size=64, bokeh=True), files=True)
    [job] = find_jobs([str(tmp_path / "out/files/lq.csv")], tmp_path / "restored")
    assert job.instruction == parse("make the red dog clear with 1, and keep other parts bokeh blur with 1")


def test_a_limit_spreads_over_the_source(tmp_path: Path) -> None:
    assert spread(10, None) == list(range(10))
    assert spread(10, 5)[:5] == [0, 2, 4, 6, 8]
    assert spread(10, 3)[:3] == [0, 3, 6]
    for count, limit in ((10, 3), (7, 7), (7, 6), (5, 9), (1, 1)):
        assert sorted(spread(count, limit)) == list(range(count))
    folder = tmp_path / "in"
    rows = [row_of(folder, number) for number in range(6)]
    (folder / "hq/3.png").unlink()
    summary = make(write_csv(folder / "a.csv", rows), tmp_path / "out", limit=2)
    # Each stretch is asked in turn until there are as many as wanted.
    names = [sample.photo.name for sample, _ in map(Dataset(str(tmp_path / "out")).read, (0, 1))]
    assert names == ["hq/0.png", "hq/1.png"]
    assert summary.input == 3


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"size": 100}, "--size must be a multiple of 64"),
        ({"size": 0}, "--size must be a multiple of 64"),
        ({"size": 8192}, "from 64 to 4096"),
        ({"degradation": "none"}, "release or real-esrgan"),
        ({"least_share": 0.95}, "--least-share"),
        ({"most_share": 1.5}, "--most-share"),
        ({"seed": -1}, "--seed"),
    ],
)
def test_settings_that_cannot_be_meant(wish: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TestSetSettings(**wish)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hq,mask\na.png,b.png\n", "hq, mask, caption"),
        ("hq;mask;caption\na.png;b.png;a dog\n", "separated by commas"),
        ("hq,mask,caption,captain\na.png,b.png,a dog,x\n", "the column 'captain'"),
        ("hq,mask,caption\n", "has no rows"),
        ("", "hq, mask, caption"),
        ("hq,mask,caption\na.png,b.png,a dog\n", "gives a sample: 1 photo not found: a.png \\(line 2\\)"),
        ('hq,mask,caption\n"a.png,b.png,a dog\n', "cannot be read as CSV"),
        ("h\0q,mask,caption\n", "NUL"),
    ],
)
def test_a_csv_that_is_none(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=says) as caught:
        make(str(tmp_path / "a.csv"), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_sources_that_are_not_there(tmp_path: Path) -> None:
    for source in ("nowhere", "nowhere.csv"):
        with pytest.raises(ValueError, match=source):
            make(str(tmp_path / source), tmp_path / "out")
    with pytest.raises(ValueError, match="not a data set"):
        make(str(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_left_alone(table: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is there already"):
        make(table, out)
    assert all_files(out) == {"notes.txt": b"mine"}
    with pytest.raises(ValueError, match="is there already"):
        make(table, out / "notes.txt")
    (out / "notes.txt").unlink()
    make(table, out)
    before = all_files(out)
    with pytest.raises(ValueError, match="is there already"):
        make(table, out)
    assert all_files(out) == before


def test_what_a_killed_run_left_is_no_hindrance(table: str, tmp_path: Path) -> None:
    make(table, tmp_path / "whole", files=True)
    left = tmp_path / ".out.unfinished"
    shutil.copytree(tmp_path / "whole", left)
    (left / "dataset.json").unlink()
    (left / ".partial-abc").write_bytes(b"half a shard")
    (left / "png-000001.tar").write_bytes(b"of a larger set")
    make(table, tmp_path / "out", files=True)
    assert all_files(tmp_path / "out") == all_files(tmp_path / "whole")
    assert not left.exists()


def test_two_runs_do_not_write_to_one_folder(table: str, tmp_path: Path) -> None:
    with new_folder(tmp_path / "out"), pytest.raises(ValueError, match="another run is making"):
        make(table, tmp_path / "out")
    assert make(table, tmp_path / "out").made == 3


def test_an_interrupted_run_leaves_nothing(table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("instructrestore.pipelines.testset.writer.finish_test_set", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(table, tmp_path / "out", files=True)
    assert not (tmp_path / "out").exists()


def test_more_photos_than_a_shard_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("instructrestore.pipelines.testset.writer.PHOTOS_PER_SHARD", 2)
    source = write_csv(tmp_path / "a.csv", [row_of(tmp_path, number) for number in range(5)])
    make(source, tmp_path / "out")
    testset = TestSet(str(tmp_path / "out"))
    assert [entry.photos for entry in testset.card.shards] == [2, 2, 1]
    assert verify(testset.path) == []
    assert [testset.read_pair(row).sample.photo.name for row in range(5)] == [f"hq/{n}.png" for n in range(5)]


def test_the_options_of_the_command_line(tmp_path: Path) -> None:
    rows = [{**row_of(tmp_path, number), "bokeh": "true"} for number in range(3)]
    source, out = write_csv(tmp_path / "a.csv", rows), tmp_path / "out"
    words = ["testset", source, "--out", str(out), "--size", "64", "--degradation", "real-esrgan", "--seed", "3"]
    words += ["--bokeh", "--least-share", "0.1", "--most-share", "0.8", "--limit", "2", "--files"]
    ended = CliRunner().invoke(app, words)
    assert ended.exit_code == 0, ended.output
    assert "input 2 (of 3 in all) = made 2 + passed over 0" in ended.output
    wished = {
        "size": 64, "bokeh": True, "degradation": "real-esrgan", "seed": 3, "least_share": 0.1, "most_share": 0.8,
        "limit": 2,
    }  # fmt: skip
    assert wished.items() <= TestSet(str(out)).card.configuration["testset"].items()
    assert (out / "files/lq.csv").exists()


def test_real_photos_with_mattes(data_folder: Path, tmp_path: Path) -> None:
    """A bokeh set of matting photos, whose masks are soft and whose subjects are larger than the crop."""
    paths = real_photos.present(data_folder, real_photos.ANIMALS[:3])
    rows = [
        {"hq": str(path), "mask": str(real_photos.matte_of(path)), "caption": "the animal", "bokeh": "true"}
        for path in paths
    ]
    summary = make(write_csv(tmp_path / "a.csv", rows), tmp_path / "out", TestSetSettings(size=256, bokeh=True))
    assert summary.made == 3
    testset = TestSet(str(tmp_path / "out"))
    assert verify(testset.path) == []
    for row, path in enumerate(paths):
        pair = testset.read_pair(row)
        assert pair.sample.photo.name == path.name  # an absolute path means nothing elsewhere
        assert 0.02 <= pair.region.mask.area() / 256**2 <= 0.9
        assert pixels(pair.hq).shape == pixels(pair.lq).shape == (256, 256, 3)
