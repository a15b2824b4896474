"""Parts on disk: one Parquet file per stage and part, which is the checkpoint; and the manifest, of the same form.

A part's file is named

    <part>-<input>-<attempt>-<content>.parquet        000017-8f3a...-0-c0ff....parquet

input: hash of all that its content follows from: the stage's name, revision and settings, the content of the part
before it, and its slice of an artefact of the whole data set where the stage depends on one. content: hash of
its rows, but for why and how often one failed. So a listing of names alone tells what is done, and what a change
makes stale. Whoever reads a part compares its content with that hash, and the rest of it with those in its footer
(integrity.py); parts of version 0.1 have none there.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from typing import Any, Generic, Literal, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from instructrestore.dataengine.running.held import Held
from instructrestore.dataengine.running.integrity import content_hash, digest, reading, rest_hash
from instructrestore.shards.errors import DamagedFile
from instructrestore.shards.files import commit
from instructrestore.shards.parsing import parse_object
from instructrestore.shards.paths import ObjectPath, Place, names, open_ranges, place_of, reaching, read, read_many

R = TypeVar("R")

PART_SCHEMA = pa.schema(
    [
        ("name", pa.string()),  # what the row is of: a photo's URI, a description
        ("outcome", pa.string()),  # ok | dropped | failed
        ("reason", pa.string()),  # a drop's reason, or a failure's error
        ("detail", pa.string()),
        ("attempts", pa.int32()),  # of a failed row
        ("row", pa.binary()),  # the row as JSON; of a failed row its input, so that it can be tried again
        ("held", pa.string()),  # `Held` as JSON; null where the row held nothing that is counted
    ]
)
GROUP_ROWS = 8192  # of a row group of a manifest
MANIFEST_REMEDY = (
    "put a copy of it back, or remove its folder and build again with all sources of the run, which settings.toml names"
)
_NAME = re.compile(r"(\d{6}|[1-9]\d{6,})-([0-9a-f]{16})-(0|[1-9]\d*)-([0-9a-f]{16})\.parquet", re.ASCII)
_SUMMARY_KEY = b"instructrestore.summary"
_HASHES_KEY = b"instructrestore.hashes"  # of the summary, and of what the content's hash leaves out
_FOOTER_BYTES = 64 << 10  # of a file in a store asked for when its footer is wanted; a longer one costs a request more


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """What became of one row. row: the result where ok, the input where failed, None where dropped. held: what it held
    that is counted too; None: nothing."""

    name: str
    kind: Literal["ok", "dropped", "failed"]
    row: R | None
    reason: str = ""
    detail: str = ""
    attempts: int = 0
    held: Held | None = None


@dataclass(frozen=True)
class PartSummary:
    """Counts of a part, kept in its file's footer.

    outcomes: one letter a row, in order: o, d or f. families: ok rows by their family, where rows have one.
    held, lost: what the rows held that is counted too, and those that were lost, by reason.
    """

    outcomes: str
    dropped: dict[str, int]
    failed: dict[str, int]
    counts: dict[str, int]
    families: dict[str, int]
    held: int = 0
    lost: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> int:
        return self.outcomes.count("o")


@dataclass(frozen=True, slots=True)
class PartFile:
    """A committed part: what its name says. There are as many as parts, so its name is made only where it is read."""

    part: int
    input: str
    attempt: int
    content: str
    folder: Place

    @property
    def path(self) -> Place:
        return self.folder / f"{self.part:06d}-{self.input}-{self.attempt}-{self.content}.parquet"

    @classmethod
    def parse(cls, path: Place) -> PartFile | None:
        return _named(path.name, path.parent)

    def summary(self) -> PartSummary:
        return next(summaries([self]))


def _named(name: str, folder: Place) -> PartFile | None:
    match = _NAME.fullmatch(name)
    return PartFile(int(match[1]), match[2], int(match[3]), match[4], folder) if match else None


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows [start, stop) among the ok rows of a part's or the manifest's file; stop None: to the end.

    family: counts, and takes, the rows of that family alone; None: all.
    content: the hash that its rows must have (`rows_hash`), where the file's name does not say it; "": unknown.
    """

    path: str
    start: int = 0
    stop: int | None = None
    family: str | None = None
    content: str = ""


def rows_hash(rows: Iterable[bytes]) -> str:
    """Hash of rows as JSON, in their order."""
    return digest([row.decode() for row in rows])


def write_part(
    folder: Place, part: int, input_hash: str, attempt: int, outcomes: Sequence[Outcome[R]], rows: TypeAdapter[R]
) -> tuple[PartFile, PartSummary]:
    """Commits a part. Raises OSError where it cannot be written."""
    table = _table(outcomes, rows)
    records = table.to_pylist()
    summary = _summarise(outcomes)
    told = json.dumps(summary.__dict__, sort_keys=True)
    hashes = json.dumps({"summary": digest(told), "rest": rest_hash(records)})
    table = table.replace_schema_metadata({_SUMMARY_KEY: told.encode(), _HASHES_KEY: hashes.encode()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    content = content_hash(records)
    file = PartFile(part, input_hash, attempt, content, folder)
    commit(file.path, buffer.getvalue())
    return file, summary


def _table(outcomes: Sequence[Outcome[R]], rows: TypeAdapter[R]) -> pa.Table:
    return pa.table(
        {
            "name": [_printable(outcome.name) for outcome in outcomes],
            "outcome": [outcome.kind for outcome in outcomes],
            "reason": [_printable(outcome.reason) for outcome in outcomes],
            "detail": [_printable(outcome.detail) for outcome in outcomes],
            "attempts": [outcome.attempts for outcome in outcomes],
            "row": [None if outcome.row is None else rows.dump_json(outcome.row) for outcome in outcomes],
            "held": [json.dumps(asdict(outcome.held)) if outcome.held else None for outcome in outcomes],
        },
        schema=PART_SCHEMA,
    )


def _printable(text: str) -> str:
    """Text with what UTF-8 cannot hold (undecodable bytes of a file name) escaped."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _summarise(outcomes: Sequence[Outcome[Any]]) -> PartSummary:
    counts, lost = Counter[str](), Counter[str]()
    for outcome in outcomes:
        if outcome.kind == "ok":
            counts.update(getattr(outcome.row, "counts", {}))
        lost.update(outcome.held.lost if outcome.held else {})
    return PartSummary(
        outcomes="".join(outcome.kind[0] for outcome in outcomes),
        dropped=dict(Counter(o.reason for o in outcomes if o.kind == "dropped")),
        failed=dict(Counter(o.reason for o in outcomes if o.kind == "failed")),
        counts=dict(counts),
        families=dict(Counter(getattr(o.row, "family", "") for o in outcomes if o.kind == "ok")),
        held=sum(o.held.count for o in outcomes if o.held),
        lost=dict(lost),
    )


def read_metadata(places: Sequence[Place], remedy: str | None = None) -> Iterator[pq.FileMetaData]:
    """The footers of Parquet files, in order. Raises DamagedFile, with the remedy."""
    ends = read_many([place for place in places if isinstance(place, ObjectPath)], _FOOTER_BYTES)
    for place in places:
        end = next(ends) if isinstance(place, ObjectPath) else b""
        with reading(place, remedy):
            footer = _footer(place, end) if isinstance(place, ObjectPath) else pq.read_metadata(place)
        yield footer


def _footer(place: ObjectPath, end: bytes) -> pq.FileMetaData:
    try:
        return pq.read_metadata(pa.BufferReader(end))
    except pa.ArrowInvalid:  # the footer is longer than that
        return pq.read_metadata(pa.BufferReader(read(place)))


def summaries(files: Sequence[PartFile]) -> Iterator[PartSummary]:
    """The counts of committed parts, in order. Raises DamagedFile."""
    for file, footer in zip(files, read_metadata([file.path for file in files]), strict=True):
        with reading(file.path):
            told = footer.metadata[_SUMMARY_KEY].decode()
            hashes = footer.metadata.get(_HASHES_KEY)
            if hashes and parse_object(hashes, str(file.path))["summary"] != digest(told):
                raise DamagedFile(file.path)
            summary = PartSummary(**parse_object(told, str(file.path)))
        yield summary


def read_outcomes(path: Place | str, rows: TypeAdapter[R]) -> list[Outcome[R]]:
    """All rows of a part's file. Raises DamagedFile."""
    return next(read_outcomes_of([place_of(str(path))], rows))


def read_outcomes_of(places: Sequence[Place], rows: TypeAdapter[R]) -> Iterator[list[Outcome[R]]]:
    """All rows of each of several parts' files. Raises DamagedFile."""
    for records in _records_of(places):
        yield [
            Outcome(
                record["name"],
                record["outcome"],
                None if record["row"] is None else rows.validate_json(record["row"]),
                record["reason"],
                record["detail"],
                record["attempts"],
                Held(**parse_object(held, "what a row held"))
                if (held := record.get("held"))
                else None,  # parts of 0.1 do not say it
            )
            for record in records
        ]


def _records_of(places: Sequence[Place]) -> Iterator[list[dict[str, Any]]]:
    """The rows of each part's file (columns: `PART_SCHEMA`), compared with the file's hashes."""
    contents = read_many([place for place in places if isinstance(place, ObjectPath)])
    for place in places:
        data = next(contents) if isinstance(place, ObjectPath) else read(place)
        with reading(place):
            file = pq.ParquetFile(pa.BufferReader(data))
            records = file.read(PART_SCHEMA.names).to_pylist()
            named = PartFile.parse(place)
            hashes = (file.metadata.metadata or {}).get(_HASHES_KEY)
            if named and content_hash(records) != named.content:
                raise DamagedFile(place)
            if hashes and parse_object(hashes, str(place))["rest"] != rest_hash(records):
                raise DamagedFile(place)
        yield records


def whole_files(places: Sequence[Place]) -> Iterator[Any]:
    """What Arrow can read each Parquet file from: a local one's path, the bytes of one in a store."""
    contents = read_many([place for place in places if isinstance(place, ObjectPath)])
    for place in places:
        yield pa.BufferReader(next(contents)) if isinstance(place, ObjectPath) else place


def open_parquet(place: Place) -> pq.ParquetFile:
    """A Parquet file of which some row groups are to be read; in a store, reading belongs in `reaching`."""
    if isinstance(place, ObjectPath):
        with reaching(place):
            return pq.ParquetFile(open_ranges(place))
    return pq.ParquetFile(place)


def read_rows(slices: Sequence[Slice], rows: TypeAdapter[R]) -> Iterator[tuple[str, R]]:
    """The (name, row) of the ok rows of the slices, in order; of a large file only the row groups needed."""
    return chain.from_iterable(read_rows_of(slices, rows))


def read_rows_of(slices: Sequence[Slice], rows: TypeAdapter[R]) -> Iterator[Iterator[tuple[str, R]]]:
    """`read_rows` of each slice; each is to be gone through before the next one. Raises DamagedFile."""
    places = [place_of(piece.path) for piece in slices]
    # Parts are small, and are read whole; only the manifest is not.
    parts = _records_of([place for place in places if PartFile.parse(place)])
    for piece, place in zip(slices, places, strict=True):
        yield _of_part(piece, next(parts), rows) if PartFile.parse(place) else _of_manifest(piece, place, rows)


def _of_part(piece: Slice, records: list[dict[str, Any]], rows: TypeAdapter[R]) -> Iterator[tuple[str, R]]:
    ok = [record for record in records if record["outcome"] == "ok"]
    if piece.family is None:  # then places can be told without reading a row
        for record in ok[piece.start : piece.stop]:
            yield record["name"], rows.validate_json(record["row"])
        return
    read = ((record["name"], rows.validate_json(record["row"])) for record in ok)
    yield from islice(
        (named for named in read if getattr(named[1], "family", None) == piece.family), piece.start, piece.stop
    )


def _of_manifest(piece: Slice, place: Place, rows: TypeAdapter[R]) -> Iterator[tuple[str, R]]:
    """All rows of a manifest are ok, and of one family; of its row groups those are read that are needed."""
    found: list[tuple[str, bytes]] = []
    with reading(place, MANIFEST_REMEDY if piece.content else None):
        seen = 0
        with open_parquet(place) as file:
            for group in range(file.num_row_groups):
                size = file.metadata.row_group(group).num_rows
                first = max(0, piece.start - seen)
                last = size if piece.stop is None else min(size, piece.stop - seen)
                if first < last:
                    with reaching(place):
                        table = file.read_row_group(group, ["name", "row"])
                    records = table.slice(first, last - first).to_pylist()
                    found += [(record["name"], record["row"]) for record in records]
                seen += size
        if piece.content and rows_hash(row for _, row in found) != piece.content:
            raise DamagedFile(place, MANIFEST_REMEDY)
    for name, row in found:
        yield name, rows.validate_json(row)


def list_parts(folder: Place) -> dict[int, list[PartFile]]:
    """The committed files of a stage's folder, by part; several of a part only where a kill left a stale one."""
    parts: dict[int, list[PartFile]] = {}
    for found in part_files(folder):
        parts.setdefault(found.part, []).append(found)
    return parts


def part_files(folder: Place) -> Iterator[PartFile]:
    """The committed files of a stage's folder, by name."""
    for name in names(folder):
        if found := _named(name, folder):
            yield found
