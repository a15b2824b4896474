"""The table stage that finds duplicates over all photos of a run; near_duplicates.py has the rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from instructrestore.dataengine.photos.near_duplicates import PHOTOS, REVISION, Assignment, assign
from instructrestore.dataengine.running.checkpoints import Execute
from instructrestore.dataengine.running.part_files import read_rows_of
from instructrestore.dataengine.running.scratch import fill
from instructrestore.dataengine.running.stage_kinds import Part, TableStage

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

NAME = "near-duplicates"


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
        fill(database, "photos", _photos(parts), PHOTOS)
        by_part = groupby(assign(database, self._bits), key=itemgetter(0))
        return ((part, {uri: found for _, uri, found in photos}) for part, photos in by_part), {}


@dataclass(frozen=True)
class _Origin:
    """What is needed of `SourcePhoto`, whose annotations take longest to read."""

    name: str
    uri: str
    excluded: bool = False
    cut_from: str = ""


@dataclass(frozen=True)
class _Photo:
    sha256: str
    perceptual_hash: str


@dataclass(frozen=True)
class _Row:
    origin: _Origin
    photo: _Photo


_rows = TypeAdapter(_Row)


def _photos(parts: Sequence[Part]) -> Iterator[tuple[object, ...]]:
    """Rows of `PHOTOS`."""
    number = count()
    for part, photos in zip(parts, read_rows_of([part.where for part in parts], _rows), strict=True):
        for _, row in photos:
            origin, photo = row.origin, row.photo
            yield (
                next(number), part.part, origin.name, origin.uri, photo.sha256, int(photo.perceptual_hash, 16),
                origin.excluded, origin.cut_from,
            )  # fmt: skip
