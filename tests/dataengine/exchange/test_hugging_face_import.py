"""Through Hugging Face's Parquet and back: the same shards, byte for byte; one sentence for what is no such folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from instructrestore.dataengine.exchange.export import export
from instructrestore.dataengine.exchange.hugging_face_import import import_hugging_face
from instructrestore.shards.index import Dataset
from instructrestore.shards.verify import verify
from tests.shards.samples import make_schema_1, write_dataset


def test_the_shards_are_the_same_bytes(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set")
    before = Dataset(str(tmp_path / "set"))
    export(before, "huggingface", tmp_path / "out")
    card = import_hugging_face(tmp_path / "out", tmp_path / "back", "made-up", 256)
    assert card.shards == before.card.shards and card.index_sha256 == before.card.index_sha256
    assert verify(str(tmp_path / "back")) == []


def test_the_number_of_photos_in_a_shard_can_be_chosen(tmp_path: Path) -> None:
    made = write_dataset(tmp_path / "set")
    export(Dataset(str(tmp_path / "set")), "huggingface", tmp_path / "out")
    card = import_hugging_face(tmp_path / "out", tmp_path / "back", "made-up", 2)
    assert [(entry.name, entry.photos) for entry in card.shards] == [
        *(("jpg-000000.tar", 2), ("jpg-000001.tar", 1), ("png-000000.tar", 2), ("png-000001.tar", 1))
    ]
    back = Dataset(str(tmp_path / "back"))
    assert [back.read(row) for row in range(len(made))] == made and verify(str(tmp_path / "back")) == []


def test_a_data_set_of_schema_1_comes_back_in_schema_2(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set")
    entries = Dataset(str(tmp_path / "set")).card.shards
    make_schema_1(tmp_path / "set")
    export(Dataset(str(tmp_path / "set")), "huggingface", tmp_path / "out")
    assert import_hugging_face(tmp_path / "out", tmp_path / "back", "made-up", 256).shards == entries


def _other_photo(row: dict[str, Any]) -> None:
    row["image"]["bytes"] = row["image"]["bytes"][:-2] + b"xx"


def _other_size(row: dict[str, Any]) -> None:
    record = json.loads(row["record"])
    record["photo"].update(width=16, height=24)
    for region in record["regions"]:
        for mask in (region["mask"], *(piece["mask"] for piece in region["pieces"])):
            mask["size"] = [24, 16]
    row["record"] = json.dumps(record)


WRONG = {
    "another photo": (_other_photo, "row 2 of .* is damaged: its bytes are not those that were written"),
    "another size": (_other_size, "row 2 of .* they tell of different sizes"),
    "no record": (
        lambda row: row.update(record="{}"),
        "row 2 of .* is no photo with its record: not an annotated photo",
    ),
    "no photo": (lambda row: row.update(image=None), "row 2 of .* is no photo with its record"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_row_that_is_no_photo_with_its_record_is_named_and_nothing_is_left(tmp_path: Path, name: str) -> None:
    write_dataset(tmp_path / "set")
    export(Dataset(str(tmp_path / "set")), "huggingface", tmp_path / "out")
    (file,) = (tmp_path / "out" / "data").iterdir()
    table = pq.read_table(file)
    rows = table.to_pylist()
    change, complaint = WRONG[name]
    change(rows[1])
    pq.write_table(pa.Table.from_pylist(rows, table.schema), file)
    with pytest.raises(ValueError, match=complaint):
        import_hugging_face(tmp_path / "out", tmp_path / "back", "made-up", 256)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "set"]


def test_what_is_no_such_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(ValueError, match="in has no Parquet files"):
        import_hugging_face(tmp_path / "in", tmp_path / "back", "x", 256)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "in" / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet has no columns image and record"):
        import_hugging_face(tmp_path / "in", tmp_path / "back", "x", 256)
    (tmp_path / "in" / "a.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(ValueError, match=r"a\.parquet is damaged: copy or export it again"):
        import_hugging_face(tmp_path / "in", tmp_path / "back", "x", 256)
    with pytest.raises(ValueError, match="in is there already: name a new folder"):
        import_hugging_face(tmp_path / "in", tmp_path / "in", "x", 256)
