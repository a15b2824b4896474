"""Parts on disk: one Parquet file per stage and part, which is the checkpoint; and the manifest, of the same form.

A part's file is named

    <part>-<input>-<attempt>-<content>.parquet        000017-8f3a...-0-c0ff....parquet

input: hash of all that its content follows from: the stage's name, revision and settings, the content of the part
before it, and its slice of an artefact of the whole data set where the stage depends on one. content: hash of
its rows, but for why and how often one failed. So a listing of names alone tells what is done, and what a change
makes stale.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, Literal, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from instructrestore.shards.files import commit
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
    ]
)
GROUP_ROWS = 8192  # of a row group of a manifest
_NAME = re.compile(r"(\d{6,})-([0-9a-f]{16})-(\d+)-([0-9a-f]{16})\.parquet")
_SUMMARY_KEY = b"instructrestore.summary"
_FOOTER_BYTES = 64 << 10  # of a file in a store asked for when its footer is wanted; a longer one costs a request more


def digest(*values: Any) -> str:
    """16 hex digits over JSON-able values: the hash used in file names and between parts."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """What became of one row. row: the result where ok, the input where failed, None where dropped."""

    name: str
    kind: Literal["ok", "dropped", "failed"]
    row: R | None
    reason: str = ""
    detail: str = ""
    attempts: int = 0


@dataclass(frozen=True)
class PartSummary:
    """Counts of a part, kept in its file's footer.

    outcomes: one letter a row, in order: o, d or f. families: ok rows by their family, where rows have one.
    """

    outcomes: str
    dropped: dict[str, int]
    failed: dict[str, int]
    counts: dict[str, int]
    families: dict[str, int]

    @property
    def ok(self) -> int:
        return self.outcomes.count("o")


@dataclass(frozen=True)
class PartFile:
    """A committed part."""

    part: int
    input: str
    attempt: int
    content: str
    path: Place

    @classmethod
    def parse(cls, path: Place) -> PartFile | None:
        match = _NAME.fullmatch(path.name)
        return _named(match, path) if match else None

    def summary(self) -> PartSummary:
        return next(summaries([self]))


def _named(match: re.Match[str], path: Place) -> PartFile:
    return PartFile(int(match[1]), match[2], int(match[3]), match[4], path)


@dataclass(frozen=True)
class Slice:
    """Rows [start, stop) among the ok rows of a part's or the manifest's file; stop None: to the end.

    family: counts, and takes, the rows of that family alone; None: all.
    """

    path: str
    start: int = 0
    stop: int | None = None
    family: str | None = None


def write_part(
    folder: Place, part: int, input_hash: str, attempt: int, outcomes: Sequence[Outcome[R]], rows: TypeAdapter[R]
) -> tuple[PartFile, PartSummary]:
    """Commits a part. Raises OSError where it cannot be written."""
    table = _table(outcomes, rows)
    summary = _summarise(outcomes)
    table = table.replace_schema_metadata({_SUMMARY_KEY: json.dumps(summary.__dict__, sort_keys=True).encode()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    content = _content(table)
    path = folder / f"{part:06d}-{input_hash}-{attempt}-{content}.parquet"
    commit(path, buffer.getvalue())
    return PartFile(part, input_hash, attempt, content, path), summary


def _table(outcomes: Sequence[Outcome[R]], rows: TypeAdapter[R]) -> pa.Table:
    return pa.table(
        {
            "name": [_printable(outcome.name) for outcome in outcomes],
            "outcome": [outcome.kind for outcome in outcomes],
            "reason": [_printable(outcome.reason) for outcome in outcomes],
            "detail": [_printable(outcome.detail) for outcome in outcomes],
            "attempts": [outcome.attempts for outcome in outcomes],
            "row": [None if outcome.row is None else rows.dump_json(outcome.row) for outcome in outcomes],
        },
        schema=PART_SCHEMA,
    )


def _content(table: pa.Table) -> str:
    """Hash of what later stages can see of a part: who came through and how, who was dropped and why, who failed."""
    known = hashlib.blake2b(digest_size=8)
    columns = (table[column].to_pylist() for column in ("name", "outcome", "reason", "row"))
    for name, outcome, reason, row in zip(*columns, strict=True):
        seen = {"ok": row, "dropped": reason.encode(), "failed": b""}[outcome]
        known.update(f"{len(name)} {outcome} {len(seen)} ".encode() + name.encode() + seen)
    return known.hexdigest()


def _printable(text: str) -> str:
    """Text with what UTF-8 cannot hold (undecodable bytes of a file name) escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def _summarise(outcomes: Sequence[Outcome[Any]]) -> PartSummary:
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        if outcome.kind == "ok":
            counts.update(getattr(outcome.row, "counts", {}))
    return PartSummary(
        outcomes="".join(outcome.kind[0] for outcome in outcomes),
        dropped=dict(Counter(o.reason for o in outcomes if o.kind == "dropped")),
        failed=dict(Counter(o.reason for o in outcomes if o.kind == "failed")),
        counts=dict(counts),
        families=dict(Counter(getattr(o.row, "family", "") for o in outcomes if o.kind == "ok")),
    )


def read_metadata(places: Sequence[Place]) -> Iterator[pq.FileMetaData]:
    """The footers of Parquet files, in order."""
    ends = read_many([place for place in places if isinstance(place, ObjectPath)], _FOOTER_BYTES)
    for place in places:
        if isinstance(place, ObjectPath):
            try:
                yield pq.read_metadata(pa.BufferReader(next(ends)))
            except pa.ArrowInvalid:  # the footer is longer than that
                yield pq.read_metadata(pa.BufferReader(read(place)))
        else:
            yield pq.read_metadata(place)


def summaries(files: Sequence[PartFile]) -> Iterator[PartSummary]:
    """The counts of committed parts, in order."""
    for footer in read_metadata([file.path for file in files]):
        yield PartSummary(**json.loads(footer.metadata[_SUMMARY_KEY]))


def read_outcomes(path: Place | str, rows: TypeAdapter[R]) -> list[Outcome[R]]:
    """All rows of a part's file."""
    return next(read_outcomes_of([place_of(str(path))], rows))


def read_outcomes_of(places: Sequence[Place], rows: TypeAdapter[R]) -> Iterator[list[Outcome[R]]]:
    """All rows of each of several parts' files."""
    for source in whole_files(places):
        yield [
            Outcome(
                record["name"],
                record["outcome"],
                None if record["row"] is None else rows.validate_json(record["row"]),
                record["reason"],
                record["detail"],
                record["attempts"],
            )
            for record in pq.read_table(source).to_pylist()
        ]


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
    """`read_rows` of each slice; each is to be gone through before the next one."""
    places = [place_of(piece.path) for piece in slices]
    # Parts are small, and come from a store whole; only the manifest is not.
    parts = whole_files([place for place in places if PartFile.parse(place)])
    for piece, place in zip(slices, places, strict=True):
        file = pq.ParquetFile(next(parts)) if PartFile.parse(place) else open_parquet(place)
        yield _rows_of(piece, place, file, rows)


def _rows_of(piece: Slice, place: Place, file: pq.ParquetFile, rows: TypeAdapter[R]) -> Iterator[tuple[str, R]]:
    seen = 0
    with file:
        for group in range(file.num_row_groups):
            if piece.stop is not None and seen >= piece.stop:
                break
            size = file.metadata.row_group(group).num_rows
            if file.num_row_groups > 1 and seen + size <= piece.start:
                seen += size  # only the manifest has several row groups, and all of its rows are ok
                continue
            with reaching(place):
                table = file.read_row_group(group, ["name", "outcome", "row"])
            table = table.filter(pc.call_function("equal", [table["outcome"], pa.scalar("ok")]))
            if piece.family is None:  # then places can be told without reading a row
                start = max(0, piece.start - seen)
                stop = table.num_rows if piece.stop is None else max(0, piece.stop - seen)
                for record in table.slice(start, max(0, stop - start)).to_pylist():
                    yield record["name"], rows.validate_json(record["row"])
                seen += table.num_rows
                continue
            for record in table.to_pylist():
                row = rows.validate_json(record["row"])
                if getattr(row, "family", None) != piece.family:
                    continue
                if seen >= piece.start and (piece.stop is None or seen < piece.stop):
                    yield record["name"], row
                seen += 1


def list_parts(folder: Place) -> dict[int, list[PartFile]]:
    """The committed files of a stage's folder, by part; several of a part only where a kill left a stale one."""
    parts: dict[int, list[PartFile]] = {}
    for name in names(folder):
        if match := _NAME.fullmatch(name):
            found = _named(match, folder / name)
            parts.setdefault(found.part, []).append(found)
    return parts


@dataclass(frozen=True)
class StageSummary:
    """What a stage did with its rows: input = ok + dropped + failed, always.

    dropped, failed: rows by reason. counts: what was removed or noticed inside the photos kept, by reason.
    """

    name: str
    input: int
    ok: int
    dropped: dict[str, int]
    failed: dict[str, int]
    counts: dict[str, int]


def add_up(name: str, summaries: Iterable[PartSummary]) -> StageSummary:
    """The counts of all parts of a stage."""
    dropped, failed, counts = Counter[str](), Counter[str](), Counter[str]()
    rows = ok = 0
    for summary in summaries:
        rows += len(summary.outcomes)
        ok += summary.ok
        dropped.update(summary.dropped)
        failed.update(summary.failed)
        counts.update(summary.counts)
    total = StageSummary(name, rows, ok, *(dict(sorted(c.items())) for c in (dropped, failed, counts)))
    assert total.input == total.ok + sum(dropped.values()) + sum(failed.values()), total
    return total
