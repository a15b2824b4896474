"""A result over the whole data set (duplicates, noun phrases), cut into the slices that single parts depend on.

Each part sees only its own slice and carries its hash, so that photos added later redo only the parts whose slice
they change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from instructrestore.dataengine.running.integrity import digest, reading
from instructrestore.dataengine.running.part_files import open_parquet
from instructrestore.shards.errors import DamagedFile
from instructrestore.shards.files import replacing
from instructrestore.shards.parsing import parse_object
from instructrestore.shards.paths import Place, reaching

_SCHEMA = pa.schema([("part", pa.int32()), ("key", pa.string()), ("value", pa.binary())])
_HASHES_KEY = b"instructrestore.slices"
_CHECK_KEY = b"instructrestore.slices.hash"  # of the text under the key before; tables of version 0.1 have none
PARTS_PER_GROUP = 64


class SideTable:
    """Opened for reading: one dictionary a part, read when it is asked for. Opening and reading raise DamagedFile.

    hashes: of each part's slice; a part that is not in it has an empty slice.
    facts: what the writer had to say of the whole (JSON).
    """

    def __init__(self, path: Place, values: TypeAdapter[Any]) -> None:
        self.path = path
        self._values = values
        with reading(path):
            self._file = open_parquet(path)
            said = self._file.metadata.metadata or {}
            check = said.get(_CHECK_KEY)
            if check and check.decode() != digest(said[_HASHES_KEY].decode()):
                raise DamagedFile(path)
            stored = parse_object(said[_HASHES_KEY], str(path))
            self.facts: dict[str, Any] = stored["facts"]
            self.hashes: dict[int, str] = {int(part): found for part, found in stored["hashes"].items()}
        self._group_of = {part: place // PARTS_PER_GROUP for place, part in enumerate(sorted(self.hashes))}
        self._loaded: tuple[int, pa.Table | None] = (-1, None)

    def slice(self, part: int) -> dict[str, Any]:
        """The part's slice; ask in the parts' order, as one group of parts at a time is kept in memory."""
        group = self._group_of.get(part)
        if group is None:
            return {}
        with reading(self.path):
            if self._loaded[0] != group:
                with reaching(self.path):
                    self._loaded = (group, self._file.read_row_group(group))
            table = self._loaded[1]
            assert table is not None
            # Of a group each of many workers does a part or two: parsing all of it would cost more than these.
            rows = table.filter(pc.call_function("equal", [table["part"], pa.scalar(part, pa.int32())])).to_pylist()
            if _slice_hash((row["key"], row["value"]) for row in rows) != self.hashes[part]:
                raise DamagedFile(self.path)
        return {row["key"]: self._values.validate_json(row["value"]) for row in rows}


def _slice_hash(entries: Iterable[tuple[str, bytes]]) -> str:
    return digest([(key, value.decode()) for key, value in entries])


def write_side_table(
    path: Place, slices: Iterable[tuple[int, dict[str, Any]]], values: TypeAdapter[Any], facts: dict[str, Any]
) -> None:
    """Commits the slices, given in the parts' order; parts with an empty slice are left out."""
    hashes: dict[int, str] = {}
    with replacing(path) as file, pq.ParquetWriter(file, _SCHEMA, compression="zstd") as writer:
        rows: list[tuple[int, str, bytes]] = []
        for part, entries in slices:
            if not entries:
                continue
            encoded = [(key, values.dump_json(entries[key])) for key in sorted(entries)]
            hashes[part] = _slice_hash(encoded)
            rows += [(part, key, value) for key, value in encoded]
            if len(hashes) % PARTS_PER_GROUP == 0:
                _flush(writer, rows)
        if rows:
            _flush(writer, rows)
        said = json.dumps({"hashes": hashes, "facts": facts})
        writer.add_key_value_metadata({_HASHES_KEY.decode(): said, _CHECK_KEY.decode(): digest(said)})


def _flush(writer: pq.ParquetWriter, rows: list[tuple[int, str, bytes]]) -> None:
    columns = [list(column) for column in zip(*rows, strict=True)]
    writer.write_table(pa.table(columns, schema=_SCHEMA), row_group_size=len(rows))
    rows.clear()
