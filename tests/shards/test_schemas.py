"""A mask in a record is COCO's own object, and data sets of schema 1, in which it was another, are read for ever."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pycocotools.mask
import pytest
from pydantic import TypeAdapter

from instructrestore.dataengine.photos.row import Row
from instructrestore.shards.index import Dataset
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import from_json, to_json
from instructrestore.shards.verify import verify
from tests.shards.samples import in_schema_1, make_schema_1, sample, write_dataset

# Written by version 0.1, byte for byte.
RECORD_OF_SCHEMA_1 = (
    b'{"photo":{"key":"c05b33cbf9dd054c7706","sha256":"c05b33cbf9dd054c770696f95ccf6c33aa844eb452307cba58c213cc7f54667a",'
    b'"name":"photo 1.jpg","source":"made up","licence":"CC0-1.0","url":"","width":24,"height":16,"bytes":1236,'
    b'"format":"png","perceptual_hash":"0000000000000001","group":"c05b33cbf9dd054c7706","quality":61.25,'
    b'"quality_metric":"embedded"},"regions":[{"caption":"the red dog","subject":"dog","mask":{"height":16,"width":24,'
    b'"counts":"P6P4P2"},"bokeh":true,"pieces":[{"mask":{"height":16,"width":24,"counts":"P6P4P2"},'
    b'"segmenter":"embedded 1","description":"the red dog is here","describer":"embedded","noun_phrase":"the red dog",'
    b'"subject":"dog","answers":[]}]}]}'
)


def test_pycocotools_takes_a_record_s_mask_as_it_is() -> None:
    made, _ = sample(1)
    for region, stored in zip(made.regions, json.loads(to_json(made))["regions"], strict=True):
        assert list(stored["mask"]) == ["size", "counts"]
        np.testing.assert_array_equal(pycocotools.mask.decode(stored["mask"]), region.mask.array())
        assert pycocotools.mask.area(stored["mask"]) == region.mask.area()


def test_a_record_of_schema_1_is_read_and_written_as_schema_2() -> None:
    old = from_json(RECORD_OF_SCHEMA_1)
    assert old.regions[0].mask == Mask(16, 24, "P6P4P2") == old.regions[0].pieces[0].mask
    now = to_json(old)
    assert from_json(now) == old and b'"mask":{"size":[16,24],"counts":"P6P4P2"}' in now
    assert json.dumps(in_schema_1(json.loads(now)), separators=(",", ":")).encode() == RECORD_OF_SCHEMA_1


def test_a_row_of_a_run_of_before_is_read() -> None:
    old = json.loads(RECORD_OF_SCHEMA_1)
    rows = TypeAdapter(Row)
    row = rows.validate_json(
        json.dumps(
            {"origin": {"uri": "a.png", "name": "a", "source": "s"}, **old, "pieces": old["regions"][0]["pieces"]}
        )
    )
    assert row.regions == from_json(RECORD_OF_SCHEMA_1).regions and row.pieces == row.regions[0].pieces
    assert rows.validate_json(rows.dump_json(row)) == row


def test_a_data_set_of_schema_1_is_read_and_verified(tmp_path: Path) -> None:
    made = write_dataset(tmp_path)
    make_schema_1(tmp_path)
    assert b'"height":16,"width":24,"counts"' in (tmp_path / "png-000000.tar").read_bytes()
    assert verify(str(tmp_path)) == []
    dataset = Dataset(str(tmp_path))
    assert dataset.card.schema_version == 1
    assert [dataset.read(row) for row in range(len(made))] == made


@pytest.mark.parametrize(
    "mask", [{"size": [16, 24, 1], "counts": "P6P4P2"}, {"size": [16, 24], "height": 16, "counts": ""}]
)
def test_a_mask_of_neither_schema_is_refused(mask: dict) -> None:
    record = json.loads(RECORD_OF_SCHEMA_1)
    record["regions"][0]["mask"] = mask
    with pytest.raises(ValueError, match=r"regions\.0\.mask: it is not {size: \[height, width\], counts: text}"):
        from_json(json.dumps(record).encode())
