"""The table stage that finds duplicates over all photos of a run; near_duplicates.py has the rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import TypeAdapter

from instructrestore.dataengine.photos.near_duplicates import REVISION, Assignment, assign
from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.running.checkpoints import Execute
from instructrestore.dataengine.running.part_files import read_rows_of
from instructrestore.dataengine.running.stage_kinds import Part, TableStage

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

NAME = "near-duplicates"
_rows = TypeAdapter(Row)


class DuplicateTable(TableStage):
    """What becomes of every photo that passed intake, by its URI. bits: perceptual hashes this near are one group."""

    name = NAME
    file = "duplicates"
    values = Assignment

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self.follows_from = (REVISION, bits)

    def make(
        self, parts: Sequence[Part], execute: Execute, retry_failed: bool, database: DuckDBPyConnection
    ) -> tuple[Iterator[tuple[int, dict[str, Any]]], dict[str, Any]]:
        known = ("name", "uri", "sha256", "perceptual_hash", "excluded", "cut_from")
        owners: list[int] = []
        columns: dict[str, list[Any]] = {name: [] for name in known}
        for part, photos in zip(parts, read_rows_of([part.where for part in parts], _rows), strict=True):
            for _, row in photos:
                assert row.photo
                owners.append(part.part)
                columns["name"].append(row.origin.name)
                columns["uri"].append(row.origin.uri)
                columns["sha256"].append(row.photo.sha256)
                columns["perceptual_hash"].append(row.photo.perceptual_hash)
                columns["excluded"].append(row.origin.excluded)
                columns["cut_from"].append(row.origin.cut_from)
        assigned = assign(pa.table(columns), self._bits) if owners else []
        by_part = groupby(zip(owners, columns["uri"], assigned, strict=True), key=itemgetter(0))
        return ((owner, {uri: found for _, uri, found in photos}) for owner, photos in by_part), {}
