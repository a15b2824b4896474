"""A data set without some of its photos: sound, and only the touched shards are other bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from instructrestore.shards.index import Dataset
from instructrestore.shards.members import DamagedMember
from instructrestore.shards.verify import verify
from instructrestore.shards.without import sizes_without, write_without
from tests.shards.samples import write_dataset


def test_the_rest_is_a_sound_data_set_and_untouched_shards_are_links(tmp_path: Path) -> None:
    made = write_dataset(tmp_path / "set", photos=4)
    dataset = Dataset(str(tmp_path / "set"))
    card = write_without(dataset, tmp_path / "rest", {1, 2}, {"preset": "none", "note": "two are left out"})
    rest = Dataset(str(tmp_path / "rest"))
    assert verify(str(tmp_path / "rest")) == []
    kept = [row for row in range(8) if row not in (1, 2)]
    assert [rest.read(row) for row in range(6)] == [made[row] for row in kept]
    assert rest.card == card and card.configuration["note"] == "two are left out"
    png = "png-000000.tar"
    assert (tmp_path / "rest" / png).samefile(tmp_path / "set" / png)
    assert sizes_without(dataset, {1, 2}) == {entry.name: entry.bytes for entry in card.shards}


def test_a_shard_that_loses_all_its_photos_is_gone_and_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", photos=3)
    dataset = Dataset(str(tmp_path / "set"))
    cards = [write_without(dataset, tmp_path / name, {0, 1, 2, 4}, {}) for name in ("a", "b")]
    assert cards[0] == cards[1]
    assert [entry.name for entry in cards[0].shards] == ["png-000000.tar"]
    assert sorted(path.name for path in (tmp_path / "a").glob("*.tar")) == ["png-000000.tar"]
    assert sizes_without(dataset, {0, 1, 2, 4}) == {"png-000000.tar": cards[0].shards[0].bytes}
    assert verify(str(tmp_path / "a")) == []


def test_a_damaged_photo_is_not_passed_on(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", photos=3)
    dataset = Dataset(str(tmp_path / "set"))
    shard = tmp_path / "set" / "png-000000.tar"
    data = bytearray(shard.read_bytes())
    data[dataset.index["photo_offset"].to_pylist()[4] + 40] ^= 1
    shard.write_bytes(data)
    with pytest.raises(DamagedMember, match=r"png-000000\.tar is damaged at"):
        write_without(dataset, tmp_path / "rest", {3}, {})
