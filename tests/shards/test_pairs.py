"""Test sets: written, read back as pairs, and every fault of theirs named."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from instructrestore.shards.files import replacing
from instructrestore.shards.index import INDEX_SCHEMA, Dataset
from instructrestore.shards.pairs import LQ_EXTENSION, PAIRS_SCHEMA, TestSet, finish_test_set
from instructrestore.shards.sample import AnnotatedPhoto
from instructrestore.shards.verify import verify
from instructrestore.shards.write import ShardWriter, shard_name
from tests.shards.samples import sample, write_dataset

Made = list[tuple[AnnotatedPhoto, bytes, bytes]]


def lq_of(number: int, width: int = 24) -> bytes:
    file = io.BytesIO()
    rng = np.random.default_rng(1000 + number)
    Image.fromarray(rng.integers(0, 256, (16, width, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def write_test_set(
    folder: Path,
    photos: int = 4,
    bokeh: bool = False,
    lq: Callable[[int], bytes] = lq_of,
    move: int = 0,
    regions: int = 1,
) -> Made:
    """A test set of made-up samples in two shards. move: by how many bytes pairs.parquet is wrong about the places."""
    folder.mkdir(parents=True)
    made, entries, tables, pairs = [], [], [], []
    for start in range(0, photos, 2):
        name = shard_name("png", start // 2)
        with replacing(folder / name) as file:
            writer = ShardWriter(name, file)
            for number in range(start, min(start + 2, photos)):
                record, hq = sample(number)
                record = replace(record, regions=record.regions[:regions])
                offset, size = writer.add(record, hq, {LQ_EXTENSION: lq(number)})[LQ_EXTENSION]
                pairs.append(
                    {"key": record.photo.key, "lq_offset": offset + move, "lq_bytes": size, "degradation": "release",
                     "seed": number, "scale": 1.0, "left": 3, "top": 4}
                )  # fmt: skip
                made.append((record, lq(number), hq))
            entries.append(writer.close())
            tables.append(pa.Table.from_pylist(writer.rows, INDEX_SCHEMA))
    finish_test_set(folder, "made-up", entries, tables, pairs, {"bokeh": bokeh})
    return made


def change_card(folder: Path, change: Callable[[dict], object]) -> None:
    card = json.loads((folder / "dataset.json").read_text())
    change(card)
    (folder / "dataset.json").write_text(json.dumps(card))
    (folder / "checksums.sha256").unlink(missing_ok=True)


@pytest.mark.parametrize("bokeh", [False, True])
def test_pairs_read_back_as_they_were_written(tmp_path: Path, bokeh: bool) -> None:
    made = write_test_set(tmp_path / "set", bokeh=bokeh)
    testset = TestSet(str(tmp_path / "set"))
    assert testset.bokeh == bokeh
    pairs = [testset.read_pair(row) for row in range(4)]
    assert [(pair.sample, pair.lq, pair.hq) for pair in pairs] == made
    assert [pair.region for pair in pairs] == [record.regions[0] for record, _, _ in made]
    assert testset.pairs["seed"].to_pylist() == [0, 1, 2, 3]
    assert verify(testset.path) == []


def test_whatever_reads_a_data_set_reads_its_hq_photos(tmp_path: Path) -> None:
    made = write_test_set(tmp_path / "set")
    dataset = Dataset(str(tmp_path / "set"))
    dataset.check_files()
    assert [dataset.read(row) for row in range(4)] == [(record, hq) for record, _, hq in made]
    tars = sorted(map(str, (tmp_path / "set").glob("*.tar")))
    items = list(webdataset.WebDataset(tars, shardshuffle=False))
    assert [(item["png"], item[LQ_EXTENSION]) for item in items] == [(hq, lq) for _, lq, hq in made]


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_test_set(tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


def test_a_data_set_is_no_test_set(tmp_path: Path) -> None:
    write_dataset(tmp_path / "plain")
    with pytest.raises(ValueError, match="a data set but not a test set"):
        TestSet(str(tmp_path / "plain"))
    write_test_set(tmp_path / "set")
    change_card(tmp_path / "set", lambda card: card["configuration"]["testset"].pop("pairs_sha256"))
    with pytest.raises(ValueError, match=r"dataset\.json lacks entries"):
        TestSet(str(tmp_path / "set"))


def other_rows(folder: Path) -> None:
    """pairs.parquet with its rows in another order, and dataset.json made to agree with it."""
    table = pq.read_table(folder / "pairs.parquet").take([1, 0, 2, 3])
    pq.write_table(table, folder / "pairs.parquet")
    sha256 = hashlib.sha256((folder / "pairs.parquet").read_bytes()).hexdigest()
    change_card(folder, lambda card: card["configuration"]["testset"].update(pairs_sha256=sha256))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "pairs.parquet").unlink(), "has no pairs.parquet"),
        (lambda folder: (folder / "pairs.parquet").write_bytes(b"PAR1"), "is not the one listed in dataset.json"),
        (other_rows, "does not fit the index"),
    ],
)
def test_wrong_pairs(tmp_path: Path, damage: Callable[[Path], object], says: str) -> None:
    write_test_set(tmp_path / "set")
    damage(tmp_path / "set")
    with pytest.raises(ValueError, match=says):
        TestSet(str(tmp_path / "set")).read_pair(0)
    [fault] = verify(str(tmp_path / "set"))
    assert says in fault


def test_verify_opens_every_lq_photo(tmp_path: Path) -> None:
    write_test_set(tmp_path / "a", lq=lambda number: lq_of(number)[: 300 if number == 1 else None])
    [fault] = verify(str(tmp_path / "a"))
    assert sample(1)[0].photo.key in fault
    assert "the LQ photo cannot be opened" in fault
    write_test_set(tmp_path / "b", lq=lambda number: lq_of(number, 12 if number == 2 else 24))
    [fault] = verify(str(tmp_path / "b"))
    assert sample(2)[0].photo.key in fault
    assert "the LQ photo has 12x16 pixels, not 24x16" in fault


def test_verify_finds_a_flipped_byte_in_an_lq_photo(tmp_path: Path) -> None:
    write_test_set(tmp_path / "set")
    pair = TestSet(str(tmp_path / "set")).pairs.to_pylist()[0]
    data = bytearray((tmp_path / "set/png-000000.tar").read_bytes())
    data[pair["lq_offset"] + pair["lq_bytes"] // 2] ^= 1
    (tmp_path / "set/png-000000.tar").write_bytes(data)
    faults = verify(str(tmp_path / "set"))
    assert any("its sha256 is not the one" in fault for fault in faults)
    assert any(pair["key"] in fault and "LQ photo cannot be opened" in fault for fault in faults)


def test_verify_compares_places(tmp_path: Path) -> None:
    write_test_set(tmp_path / "set", move=512)
    faults = verify(str(tmp_path / "set"))
    assert len(faults) == 4
    assert all("pairs.parquet has another place for its lq.png file" in fault for fault in faults)


def test_verify_counts_regions(tmp_path: Path) -> None:
    write_test_set(tmp_path / "set", photos=1, regions=2)
    [fault] = verify(str(tmp_path / "set"))
    assert "2 regions, and in a test set each photo has one" in fault
    with pytest.raises(ValueError, match="has 2 regions"):
        TestSet(str(tmp_path / "set")).read_pair(0)


def test_only_a_test_set_has_lq_photos(tmp_path: Path) -> None:
    write_test_set(tmp_path / "set", photos=1)
    change_card(tmp_path / "set", lambda card: card["configuration"].clear())
    assert any("lq.png does not belong in a shard" in fault for fault in verify(str(tmp_path / "set")))


def test_a_missing_lq_photo_is_named(tmp_path: Path) -> None:
    """A shard as an ordinary data set has it, in a test set's place."""
    write_test_set(tmp_path / "set", photos=1)
    record, hq = sample(0)
    path = tmp_path / "set/png-000000.tar"
    with path.open("wb") as file:
        writer = ShardWriter(path.name, file)
        writer.add(replace(record, regions=record.regions[:1]), hq)
        writer.close()
    faults = verify(str(tmp_path / "set"))
    assert any("it has the files json, png and index.parquet says png, json, lq.png" in fault for fault in faults)


def test_where_members_lie(tmp_path: Path) -> None:
    """The places that the writer gives are those that tarfile finds."""
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        writer = ShardWriter(path.name, file)
        places = [writer.add(sample(n)[0], sample(n)[1], {"lq.png": lq_of(n), "a.txt": b"x" * n}) for n in range(2)]
        writer.close()
    with tarfile.open(path) as tar:
        found = {member.name: (member.offset_data, member.size) for member in tar}
    expected = {f"{sample(n)[0].photo.key}.{extension}": at for n in range(2) for extension, at in places[n].items()}
    assert found == expected
    assert set(places[0]) == {"png", "json", "lq.png", "a.txt"}


def test_columns(tmp_path: Path) -> None:
    write_test_set(tmp_path / "set")
    assert pq.read_schema(tmp_path / "set/pairs.parquet").equals(PAIRS_SCHEMA)
