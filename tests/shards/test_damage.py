"""A data set with a bit flipped: `verify` finds it wherever it is, and whoever reads what it is in is told."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest
from PIL import Image

from instructrestore.dataengine.reporting import card, statistics
from instructrestore.shards.checksums import add_checksums, sha256
from instructrestore.shards.errors import DamagedFile
from instructrestore.shards.index import Dataset
from instructrestore.shards.members import DamagedMember, is_whole_png
from instructrestore.shards.reading.reader import Fault, PhotoReader
from instructrestore.shards.verify import verify
from tests.shards import loading
from tests.shards.test_cache import flipped
from tests.shards.test_dataset import write_dataset


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with its card."""
    folder = tmp_path_factory.mktemp("sound")
    write_dataset(folder)
    dataset = Dataset(str(folder))
    card.write_card(folder, dataset.card, statistics.of_dataset(dataset))
    assert verify(str(folder)) == []
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    for path in sound.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def flip(path: Path, place: int) -> None:
    path.write_bytes(flipped(path.read_bytes(), place))


NAMES = ["README.md", "checksums.sha256", "croissant.json", "dataset.json", "index.parquet", "jpg-000000.tar"]


@pytest.mark.parametrize("name", NAMES)
def test_verify_finds_every_flipped_bit(folder: Path, name: str) -> None:
    path, rng = folder / name, random.Random(name)
    data = path.read_bytes()
    for _ in range(25):
        path.write_bytes(flipped(data, rng.randrange(len(data))))
        try:
            faults = verify(str(folder))
        except ValueError as error:
            faults = [str(error)]
        assert any(name in fault or (name == "checksums.sha256" and "dataset.json" in fault) for fault in faults)


def test_a_data_set_of_version_0_1_has_no_checksums_and_is_sound(folder: Path) -> None:
    (folder / "checksums.sha256").unlink()
    assert verify(str(folder)) == []
    flip(folder / "README.md", 9)
    assert verify(str(folder)) == []


def test_a_card_that_is_gone_or_was_edited_is_a_fault(folder: Path) -> None:
    (folder / "README.md").unlink()
    assert verify(str(folder)) == ["README.md is missing, which checksums.sha256 lists"]
    (folder / "README.md").write_text("mine")
    assert verify(str(folder)) == ["README.md has another sha256 than checksums.sha256 says"]
    add_checksums(folder, {"README.md": sha256(b"mine")})
    assert verify(str(folder)) == []


def test_what_is_listed_is_compared_as_it_is_read(folder: Path) -> None:
    text = (folder / "dataset.json").read_bytes()
    flip(folder / "dataset.json", text.index(b'"regions": ') + 12)  # a digit
    with pytest.raises(ValueError, match=r"dataset.json is not the one listed in checksums.sha256: copy both again"):
        Dataset(str(folder))
    (folder / "dataset.json").write_bytes(text)
    flip(folder / "checksums.sha256", 64)  # the blank after a hash
    with pytest.raises(DamagedFile, match=r"checksums.sha256 is damaged: copy it again"):
        Dataset(str(folder))
    (folder / "checksums.sha256").write_text(f"{sha256(text)}  dataset.json\n{sha256(text)}  ../dataset.json\n")
    with pytest.raises(DamagedFile, match=r"checksums.sha256 is damaged"):  # it lists files of the folder alone
        verify(str(folder))
    (folder / "checksums.sha256").unlink()
    index = (folder / "index.parquet").read_bytes()
    for place in range(0, len(index), 37):
        (folder / "index.parquet").write_bytes(flipped(index, place))
        with pytest.raises(
            ValueError,
            match=r"/index.parquet (is damaged|is not the index|has other|names a shard|has places or sizes)",
        ):
            _ = Dataset(str(folder)).index


def test_a_record_and_a_photo_are_compared_with_what_the_index_and_the_record_say(folder: Path) -> None:
    shard = folder / "jpg-000000.tar"
    data = shard.read_bytes()
    dataset = Dataset(str(folder))
    place = dataset.index.to_pylist()[0]
    caption = data.index(b'"caption":"', place["json_offset"]) + 12
    shard.write_bytes(flipped(data, caption))
    with pytest.raises(DamagedMember, match=rf"{shard} is damaged at {place['key']}: damaged record: it has captions"):
        dataset.read(0)
    assert dataset.read(1) and dataset.damaged_shards() == ["jpg-000000.tar"]
    shard.write_bytes(flipped(data, place["json_offset"]))
    with pytest.raises(DamagedMember, match=rf"{shard} is damaged at .*: damaged record: not an annotated photo"):
        dataset.record(0)


def test_a_photo_kept_as_it_was_has_the_hash_in_its_record_and_a_png_its_own() -> None:
    file = io.BytesIO()
    Image.new("RGB", (5, 3), "red").save(file, "PNG")
    png = file.getvalue()
    assert is_whole_png(png)
    assert not any(is_whole_png(flipped(png, place)) for place in range(len(png)))
    assert not is_whole_png(png[:-1]) and not is_whole_png(png + b"x") and not is_whole_png(b"")


def test_what_training_reads_is_the_same_or_a_fault(tmp_path: Path) -> None:
    """Of a record: photo, region and mask; a caption of another letter is found by its checksum."""
    dataset = loading.write_dataset(tmp_path / "data", shards=1)
    reader = PhotoReader(dataset)
    expected = reader.read(1, 1)
    shard = tmp_path / "data/jpg-000000.tar"
    data = shard.read_bytes()
    start, size = map(int, reader._spans[1, 2:])
    faults = 0
    for place in range(start, start + size):
        shard.write_bytes(flipped(data, place))
        try:
            _, region, _, photo = reader.read(1, 1)
        except Fault:
            faults += 1
            continue
        assert (region.caption, region.mask, region.bokeh) == (expected[1].caption, expected[1].mask, expected[1].bokeh)
        assert photo == expected[3]
    assert faults > size // 3
