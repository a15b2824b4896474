"""A test set: a data set of HQ photos, each with one region, and beside each photo in its shard the LQ photo.

DATASET/png-000000.tar     <key>.png (HQ), <key>.json (the record) and <key>.lq.png (LQ, of the same size)
DATASET/pairs.parquet      a row per photo, in the index's order: where its LQ photo lies and how it came about

All else is as in any data set, and whatever reads one reads a test set's HQ photos.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from instructrestore.shards.checksums import COPY_AGAIN, add_checksums, sha256
from instructrestore.shards.errors import DamagedFile
from instructrestore.shards.files import commit
from instructrestore.shards.index import Dataset, DatasetCard, ShardEntry, are_places
from instructrestore.shards.members import DamagedMember, is_whole_png
from instructrestore.shards.paths import Place
from instructrestore.shards.sample import AnnotatedPhoto, Region
from instructrestore.shards.write import finish_dataset

TEST_SET = "testset"  # the entry of a test set's configuration that makes it one
LQ_EXTENSION = "lq.png"
PAIRS_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("lq_offset", pa.int64()),  # bytes from the shard's start to the LQ photo's first byte
        ("lq_bytes", pa.int64()),
        ("degradation", pa.string()),  # the preset that made the LQ photo; empty: it was given
        ("seed", pa.int64()),  # of that degradation; null: it was given
        ("scale", pa.float64()),  # of the whole photo before the crop was cut out of it; 1: as it was
        ("left", pa.int32()),  # of the crop in the photo at that scale, in pixels
        ("top", pa.int32()),
    ]
)


@dataclass(frozen=True)
class Pair:
    """A sample of a test set. lq, hq: encoded photos of one size. sample: the HQ photo's record, with one region."""

    sample: AnnotatedPhoto
    lq: bytes
    hq: bytes

    @property
    def region(self) -> Region:
        return self.sample.regions[0]


class TestSet(Dataset):
    """A test set opened for reading. Raises ValueError, in one sentence, where the folder is none."""

    __test__ = False  # no class of tests

    def __init__(self, path: str, *, checked: bool = True) -> None:
        super().__init__(path, checked=checked)
        if TEST_SET not in self.card.configuration:
            raise ValueError(
                f"{path} is a data set but not a test set: make one from it with `instructrestore testset`"
            )
        facts = self.card.configuration[TEST_SET]
        if not (isinstance(facts, dict) and {"bokeh", "pairs_sha256"} <= facts.keys()):
            raise ValueError(f"{path}/dataset.json lacks entries of a test set: make the test set again")

    @property
    def bokeh(self) -> bool:
        """Whether its instructions ask for a blurred background: a set for Table 4 of the paper."""
        return bool(self.card.configuration[TEST_SET]["bokeh"])

    @cached_property
    def pairs(self) -> pa.Table:
        """`pairs.parquet` (columns: `PAIRS_SCHEMA`), a row per row of the index."""
        try:
            data = self._read(f"{self._root}/pairs.parquet")
        except FileNotFoundError:
            raise ValueError(f"{self.path} has no pairs.parquet") from None
        if sha256(data) != self.card.configuration[TEST_SET]["pairs_sha256"]:
            raise ValueError(f"{self.path}/pairs.parquet is not the one listed in dataset.json: copy both again")
        try:
            table = pq.read_table(pa.BufferReader(data))
        except (pa.ArrowException, OSError):
            raise DamagedFile(f"{self.path}/pairs.parquet", COPY_AGAIN) from None
        fits = table.schema.equals(PAIRS_SCHEMA, check_metadata=False) and table["key"] == self.index["key"]
        if not fits or not are_places(table["lq_offset"], table["lq_bytes"]):
            raise ValueError(f"{self.path}/pairs.parquet does not fit the index: make the test set again")
        return table

    def read_pair(self, row: int) -> Pair:
        """Row `row` of the index. Raises ValueError for a damaged member."""
        sample, hq = self.read(row)
        if len(sample.regions) != 1:
            raise ValueError(f"{sample.photo.key} has {len(sample.regions)} regions; in a test set each has one")
        shard = self.index["shard"][row].as_py()
        place = (self.pairs[name][row].as_py() for name in ("lq_offset", "lq_bytes"))
        lq = self._member(f"{self._root}/{shard}", *place)
        if not is_whole_png(lq):
            damage = DamagedMember("LQ photo", "its bytes are not those that were written")
            raise damage.at(f"{self.path}/{shard}", sample.photo.key)
        return Pair(sample, lq, hq)


def finish_test_set(
    folder: Place,
    name: str,
    entries: Iterable[ShardEntry],
    tables: Iterable[pa.Table],
    pairs: Iterable[dict[str, Any]],
    facts: dict[str, Any],
) -> DatasetCard:
    """Writes `pairs.parquet`, `index.parquet` and then `dataset.json`, which makes the folder a test set.

    pairs: a row per photo (`PAIRS_SCHEMA`), in the order of the index tables; the places of the LQ photos are those
    that `ShardWriter.add` gave. facts: what goes into the configuration's entry, as plain JSON; "bokeh" among it.
    """
    assert isinstance(facts["bokeh"], bool)
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(pairs), PAIRS_SCHEMA), buffer, compression="zstd")
    commit(folder / "pairs.parquet", buffer.getvalue())
    pairs_sha256 = sha256(buffer.getvalue())
    card = finish_dataset(folder, name, entries, tables, {TEST_SET: {**facts, "pairs_sha256": pairs_sha256}})
    add_checksums(folder, {"pairs.parquet": pairs_sha256})
    return card
