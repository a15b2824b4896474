"""A data set: read back exactly, by this project and by plain webdataset, HF datasets and Ray Data; verified."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from instructrestore.shards.index import Dataset
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import from_json, to_json
from instructrestore.shards.verify import verify
from tests.shards.samples import sample, write_dataset


def test_record_round_trip() -> None:
    made, _ = sample(3)
    assert from_json(to_json(made)) == made


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda record: record.update(extra=1), "extra"),
        (lambda record: record["photo"].update(key="../../etc"), "photo.key"),
        (lambda record: record["photo"].update(width="wide"), "photo.width"),
        (lambda record: record["regions"][0].update(caption=""), "regions.0.caption"),
        (lambda record: record["regions"][0]["mask"].update(size=[16, 23]), "mask of 23x16 on a photo of 24x16"),
        (lambda record: record["regions"][0]["mask"].update(counts="00"), "runs cover"),
        (lambda record: record["photo"].pop("sha256"), "photo.sha256"),
        (lambda record: record["photo"].update(quality="70"), "photo.quality: input should be a valid number"),
        (lambda record: record["photo"].update(quality=True), "photo.quality: input should be a valid number"),
        (lambda record: record["photo"].update(quality=float("nan")), "photo.quality"),
        (lambda record: record["photo"].update(width="24"), "photo.width: input should be a valid integer"),
        (lambda record: record["photo"].update(bytes=24.0), "photo.bytes: input should be a valid integer"),
        (lambda record: record["photo"].update(name=5), "photo.name: input should be a valid string"),
        (lambda record: record["regions"][0].update(bokeh="yes"), "regions.0.bokeh: input should be a valid boolean"),
        (lambda record: record["regions"][0].update(bokeh=1), "regions.0.bokeh: input should be a valid boolean"),
        (
            lambda record: record["regions"][0]["mask"].update(size=["16", 24]),
            "mask.height: input should be a valid integer",
        ),
        (lambda record: record["regions"][0]["mask"].update(size=[16]), r"mask: it is not {size: \[height, width\]"),
        (lambda record: record["regions"][0]["mask"].update(height=16), r"mask: it is not {size: \[height, width\]"),
        (lambda record: record["photo"].update(width=65_535, height=65_535), "65535x65535 is over 100000000 pixels"),
        (lambda record: record["photo"].update(width=10**400), "photo.width"),
    ],
)
def test_a_bad_record_is_one_sentence(change: Callable[[dict], None], complaint: str) -> None:
    record = json.loads(to_json(sample(1)[0]))
    change(record)
    with pytest.raises(ValueError, match=complaint) as caught:
        from_json(json.dumps(record).encode())
    assert "\n" not in str(caught.value)


def test_what_is_large_is_refused_by_its_numbers_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven masks of 65535x65535 took `verify` 8.5 GB and minutes."""
    made = write_dataset(tmp_path)
    monkeypatch.delattr(Mask, "array")  # decodes
    assert verify(str(tmp_path)) == []
    record = json.loads(to_json(made[0][0]))
    record["photo"].update(width=65_535, height=65_535)
    for region in record["regions"]:
        region["mask"].update(size=[65_535, 65_535], counts="1oooo3")
    with pytest.raises(ValueError, match="is over 100000000 pixels"):
        from_json(json.dumps(record).encode())


@pytest.mark.parametrize(
    ("column", "value"),
    [("json_bytes", 10**12), ("photo_bytes", -1), ("photo_offset", -5), ("width", 2**30), ("height", 0)],
)
def test_an_index_of_places_that_cannot_be_is_refused_before_they_are_read(
    tmp_path: Path, column: str, value: int
) -> None:
    write_dataset(tmp_path)
    index = pq.read_table(tmp_path / "index.parquet")
    place = index.schema.get_field_index(column)
    wrong = pa.array([value] * len(index), index.schema.field(column).type)
    pq.write_table(index.set_column(place, index.schema.field(column), wrong), tmp_path / "index.parquet")
    with pytest.raises(ValueError, match=r"index\.parquet has places or sizes that no shard and no photo has"):
        Dataset(str(tmp_path)).read(0)
    assert "no shard and no photo has" in verify(str(tmp_path))[0]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"[" * 200_000, "nested too deeply"),
        (b"[1]", "holds no values by name"),
        (b'{"schema_version": 1, "schema_version": 2}', "says 'schema_version' twice"),
        (b'{"schema_version": "1"}', "schema_version: input should be a valid integer"),
        (b'{"schema_version": ' + b"9" * 1_000_000 + b"}", "thousands of digits"),
    ],
)
def test_a_bad_card_is_one_sentence_that_names_it(tmp_path: Path, content: bytes, complaint: str) -> None:
    write_dataset(tmp_path)
    (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(ValueError, match=complaint) as caught:
        Dataset(str(tmp_path))
    assert f"{tmp_path}/dataset.json" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../png-000000.tar", "/etc/passwd", ".hidden", "a\\b", "", "a/b"])
def test_a_card_lists_plain_names(tmp_path: Path, name: str) -> None:
    write_dataset(tmp_path)
    card = json.loads((tmp_path / "dataset.json").read_bytes())
    card["shards"][0]["name"] = name
    (tmp_path / "dataset.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match=r"dataset\.json cannot be read: shards\.0\.name"):
        Dataset(str(tmp_path))


def test_verify_finds_a_record_that_says_two_things(tmp_path: Path) -> None:
    made, _ = sample(1)
    twice = to_json(made).replace(b'"quality":61.25', b'"quality":1.0,"quality":61.25')
    assert from_json(twice) == made  # the last one counts, as everywhere
    entry_faults = [fault for fault in faults_with_record(tmp_path, twice) if "twice" in fault]
    assert entry_faults == [
        f"png-000000.tar: {made.photo.key}.json: the record cannot be relied on: it says 'quality' twice in one place"
    ]


def faults_with_record(folder: Path, record: bytes) -> list[str]:
    """What verify says of a data set whose second photo has this record."""
    write_dataset(folder, 1)
    made, photo = sample(1)
    name = "png-000000.tar"
    with tarfile.open(folder / name, "w") as tar:
        for ending, data in (("json", record), ("png", photo)):
            info = tarfile.TarInfo(f"{made.photo.key}.{ending}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return verify(str(folder))


def test_random_access_gives_what_was_written(tmp_path: Path) -> None:
    made = write_dataset(tmp_path)
    dataset = Dataset(str(tmp_path))
    assert [dataset.read(row) for row in range(6)] == made
    assert dataset.find(made[4][0].photo.key[:12]) == 4
    with pytest.raises(ValueError, match=r"no photos of .* begins with 'zz'"):
        dataset.find("zz")
    with pytest.raises(ValueError, match="6 photos of"):
        dataset.find("")


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    write_dataset(tmp_path / "a")
    write_dataset(tmp_path / "b")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["checksums.sha256", "dataset.json", "index.parquet", "jpg-000000.tar", "png-000000.tar"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_tar_headers_hold_nothing_that_varies(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    with tarfile.open(tmp_path / "jpg-000000.tar") as tar:
        members = tar.getmembers()
    assert {(m.mtime, m.uname, m.gname, m.uid, m.gid, m.mode) for m in members} == {(0, "", "", 0, 0, 0o644)}


def test_opens_over_fsspec(tmp_path: Path) -> None:
    made = write_dataset(tmp_path)
    memory = fsspec.filesystem("memory")
    for path in tmp_path.iterdir():
        memory.pipe(f"/data/{path.name}", path.read_bytes())
    assert Dataset("memory://data").read(5) == made[5]
    assert verify("memory://data") == []


def test_opens_with_plain_webdataset(tmp_path: Path) -> None:
    made = write_dataset(tmp_path)
    reader = webdataset.WebDataset([str(p) for p in sorted(tmp_path.glob("*.tar"))], shardshuffle=False)
    read = list(reader.decode("pil"))
    assert [item["__key__"] for item in read] == [s.photo.key for s, _ in made]
    for item, (s, data) in zip(read, made, strict=True):
        photo = next(item[f] for f in ("jpg", "png", "webp") if f in item)
        assert photo.convert("RGB").tobytes() == Image.open(io.BytesIO(data)).convert("RGB").tobytes()
        assert item["json"] == json.loads(to_json(s))


def test_opens_with_hf_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import load_dataset

    made = write_dataset(tmp_path, photos=8)[:8]
    loaded = load_dataset(
        "webdataset", data_files=str(tmp_path / "jpg-*.tar"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert [item["__key__"] for item in loaded] == [s.photo.key for s, _ in made]
    assert [item["jpg"].size for item in loaded] == [(24, 16)] * 8
    assert loaded[2]["json"]["regions"][0]["caption"] == "the red dog"


@pytest.mark.usefixtures("free_cluster")
def test_opens_with_ray_data(tmp_path: Path) -> None:
    import ray

    made = write_dataset(tmp_path)[3:]
    ray.data.DataContext.get_current().enable_progress_bars = False
    read = ray.data.read_webdataset([str(p) for p in sorted(tmp_path.glob("png-*.tar"))]).take_all()
    assert {item["png"].shape for item in read} == {(16, 24, 3)}
    assert {item["__key__"] for item in read} == {s.photo.key for s, _ in made}
    captions = {item["__key__"]: item["json"]["regions"][1]["caption"] for item in read}
    assert set(captions.values()) == {"a wall"}


def damage(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 255
    path.write_bytes(data)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped byte": (lambda f: damage(f / "png-000000.tar", 700), "png-000000.tar: its sha256"),
    "a missing shard": (lambda f: (f / "jpg-000000.tar").unlink(), "jpg-000000.tar is missing"),
    "a truncated shard": (
        lambda f: (f / "jpg-000000.tar").write_bytes((f / "jpg-000000.tar").read_bytes()[:3000]),
        "jpg-000000.tar: ",
    ),
    "a stranger": (lambda f: (f / "png-000009.tar").write_bytes(b""), "png-000009.tar is not listed"),
    "a changed index": (lambda f: damage(f / "index.parquet", 60), "index.parquet"),
    "no index": (lambda f: (f / "index.parquet").unlink(), "index.parquet cannot be read"),
    "wrong counts": (lambda f: edit(f, lambda card: card.update(photos=7)), "counts are not the sums"),
    "wrong shard counts": (lambda f: edit(f, lambda card: card["shards"][1].update(regions=5)), "it holds 6 regions"),
    "another area": (lambda f: change_index(f, "areas", 1, [0.5, 0.1]), "index.parquet has areas"),
    "another place": (lambda f: change_index(f, "photo_offset", 2, 9), "another place for its"),
    "another shard": (lambda f: change_index(f, "shard", 0, "png-000007.tar"), "which dataset.json does not list"),
    "a key twice": (lambda f: change_index(f, "key", 0, None), "stands twice"),
}


def edit(folder: Path, change: Callable[[dict], None]) -> None:
    card = json.loads((folder / "dataset.json").read_bytes())
    change(card)
    (folder / "dataset.json").write_text(json.dumps(card))


def change_index(folder: Path, column: str, row: int, value: object) -> None:
    table = pq.read_table(folder / "index.parquet")
    rows = table.to_pylist()
    rows[row][column] = rows[row + 1][column] if value is None else value
    pq.write_table(type(table).from_pylist(rows, table.schema), folder / "index.parquet")
    digest = hashlib.sha256((folder / "index.parquet").read_bytes()).hexdigest()
    edit(folder, lambda card: card.update(index_sha256=digest))


@pytest.mark.parametrize("name", FAULTS)
def test_verify_names_each_fault(tmp_path: Path, name: str) -> None:
    write_dataset(tmp_path)
    assert verify(str(tmp_path)) == []
    spoil, expected = FAULTS[name]
    spoil(tmp_path)
    assert any(expected in fault for fault in verify(str(tmp_path))), verify(str(tmp_path))


def test_what_is_no_data_set_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is not a data set: it has no dataset\.json"):
        Dataset(str(tmp_path))
    write_dataset(tmp_path)
    edit(tmp_path, lambda card: card.update(schema_version=99))
    with pytest.raises(ValueError, match="schema version 99; this program reads 1 and 2"):
        Dataset(str(tmp_path))
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(ValueError, match=r"dataset\.json cannot be read"):
        Dataset(str(tmp_path))
