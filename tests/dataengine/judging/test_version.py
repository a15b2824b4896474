from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from instructrestore.dataengine.judging.judgement import Judgement, region_id
from instructrestore.dataengine.judging.log import LogEntry
from instructrestore.dataengine.judging.version import Version, still_applying, write_version
from instructrestore.shards.index import Dataset
from instructrestore.shards.sample import AnnotatedPhoto
from instructrestore.shards.verify import verify
from tests.dataengine.judging.judgements import judged
from tests.dataengine.small_dataset import photo_of, region_of, write_dataset

FORMATS = ("png", "webp", "webp")


@pytest.fixture
def parent(tmp_path: Path) -> Dataset:
    """Three photos in two shards, a sky and a dog in each."""
    samples = []
    for seed, kind in enumerate(FORMATS):
        photo, rgb = photo_of(seed, 64, 48, format=kind)
        regions = (region_of(photo, 0, 0, 64, 20, "the sky", "sky"), region_of(photo, 4, 24, 20, 20, "a dog", "dog"))
        samples.append((AnnotatedPhoto(photo, regions), rgb))
    return write_dataset(tmp_path / "parent", samples, {"preset": "embedded"})


def of(parent: Dataset, row: int, act: str, region: int | None = 0, **fields: Any) -> Judgement:
    sample = parent.record(row)
    name = "" if region is None else region_id(sample.regions[region])
    return judged(act, name, key=sample.photo.key, **fields)


def entries(*judgements: Judgement) -> list[LogEntry]:
    return [LogEntry(number, each) for number, each in enumerate(judgements, 1)]


def write(parent: Dataset, folder: Path, *judgements: Judgement) -> Version:
    folder.mkdir()
    made = write_version(parent, folder, entries(*judgements))
    assert verify(str(folder)) == []
    return made


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_only_shards_with_a_change_are_written_anew(parent: Dataset, tmp_path: Path) -> None:
    made = write(
        parent,
        tmp_path / "v2",
        of(parent, 0, "accept"),
        of(parent, 1, "caption", caption="the grey sea"),
        of(parent, 2, "reject", 1),
    )
    assert (made.changes, made.unchanged, made.lost) == ({"caption": 1, "reject": 1}, 1, {})
    assert (made.linked, made.written, made.dropped) == (1, 1, 0)
    v2 = Dataset(str(tmp_path / "v2"))
    assert [entry.name for entry in v2.card.shards] == [entry.name for entry in parent.card.shards]
    assert (tmp_path / "v2" / "png-000000.tar").samefile(tmp_path / "parent" / "png-000000.tar")
    assert v2.index["key"].to_pylist() == parent.index["key"].to_pylist()
    assert v2.index["captions"].to_pylist() == [["the sky", "a dog"], ["the grey sea", "a dog"], ["the sky"]]
    assert v2.read(2)[1] == parent.read(2)[1]


def test_dataset_json_names_the_parent_and_the_changes(parent: Dataset, tmp_path: Path) -> None:
    write(parent, tmp_path / "v2", of(parent, 1, "caption", caption="the sea", who="Ben"), of(parent, 0, "reject", 1))
    card = Dataset(str(tmp_path / "v2")).card
    assert card.configuration["preset"] == "embedded"
    revised = card.configuration["revised"]
    assert revised["parent"] == {"name": "small", "sha256": parent.sha256} and revised["ancestors"] == []
    assert [(each["act"], each["who"]) for each in revised["changes"]] == [("reject", "Ann"), ("caption", "Ben")]
    second = Dataset(str(tmp_path / "v2"))
    write(second, tmp_path / "v3", of(second, 0, "caption", caption="the night"))
    revised = Dataset(str(tmp_path / "v3")).card.configuration["revised"]
    assert [revised["parent"]["sha256"], *(each["sha256"] for each in revised["ancestors"])] == [
        second.sha256,
        parent.sha256,
    ]


def test_the_same_judgements_give_the_same_bytes(
    parent: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = of(parent, 0, "reject", 1), of(parent, 1, "caption", caption="the sea")
    write(parent, tmp_path / "one", first, second)
    write(parent, tmp_path / "other", judged("accept", "0" * 16), second, first)
    assert content(tmp_path / "one") == content(tmp_path / "other")

    def no_links(source: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    write(parent, tmp_path / "linked", second)
    monkeypatch.setattr("os.link", no_links)
    write(parent, tmp_path / "copied", second)
    assert content(tmp_path / "linked") == content(tmp_path / "copied")


def test_without_a_change_everything_is_the_parents(parent: Dataset, tmp_path: Path) -> None:
    made = write(parent, tmp_path / "v2", of(parent, 0, "accept"))
    assert (made.linked, made.written) == (2, 0)
    assert (tmp_path / "v2" / "index.parquet").read_bytes() == (tmp_path / "parent" / "index.parquet").read_bytes()


def test_photos_without_a_region_and_shards_without_a_photo_go(parent: Dataset, tmp_path: Path) -> None:
    made = write(
        parent,
        tmp_path / "v2",
        of(parent, 0, "reject_photo", None),
        of(parent, 1, "reject", 0),
        of(parent, 1, "reject", 1),
    )
    assert (made.linked, made.written, made.dropped) == (0, 1, 1)
    v2 = Dataset(str(tmp_path / "v2"))
    assert v2.index["key"].to_pylist() == parent.index["key"].to_pylist()[2:]
    assert [entry.name for entry in v2.card.shards] == ["webp-000000.tar"]


def test_judgements_of_another_version_count_where_the_region_is_the_same(parent: Dataset, tmp_path: Path) -> None:
    rename, drop, gone = (
        of(parent, 0, "caption", 0, caption="the sea"),
        of(parent, 0, "reject", 1),
        judged("reject_photo", key="f" * 20),
    )
    write(parent, tmp_path / "v2", rename)
    made = write(Dataset(str(tmp_path / "v2")), tmp_path / "v3", rename, drop, gone)
    assert still_applying(parent, entries(rename, drop, gone)) == (2, 1)
    assert made.changes == {"reject": 1} and made.lost == {"caption": 1, "reject_photo": 1}


def test_a_test_set_is_not_revised(parent: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "parent" / "dataset.json"
    values = json.loads(path.read_bytes())
    values["configuration"]["testset"] = {}
    path.write_text(json.dumps(values))
    (tmp_path / "parent" / "checksums.sha256").unlink()
    with pytest.raises(ValueError, match="is a test set"):
        write_version(Dataset(str(tmp_path / "parent")), tmp_path, [])


def test_a_damaged_photo_in_a_shard_to_be_written_is_named(parent: Dataset, tmp_path: Path) -> None:
    row = parent.index.slice(0, 1).to_pylist()[0]
    path = tmp_path / "parent" / row["shard"]
    data = bytearray(path.read_bytes())
    data[row["photo_offset"] + row["photo_bytes"] // 2] ^= 0xFF
    path.write_bytes(data)
    (tmp_path / "v2").mkdir()
    with pytest.raises(ValueError, match=rf"{row['shard']} is damaged at {row['key']}"):
        write_version(parent, tmp_path / "v2", entries(of(parent, 0, "reject", 1)))
    assert not list((tmp_path / "v2").iterdir())
