"""The shards of a data set in a new folder, of which only those are written anew in which a photo changes or goes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from instructrestore.shards.files import follow_umask, replacing
from instructrestore.shards.index import INDEX_SCHEMA, Dataset, ShardEntry
from instructrestore.shards.sample import SCHEMA_VERSION, AnnotatedPhoto
from instructrestore.shards.write import ShardWriter


@dataclass
class Rewritten:
    """entries, tables: of the new shards, as `finish_dataset` takes them.

    written, linked, dropped: shards written anew, taken as they are, and left out because no photo of them is left.
    """

    entries: list[ShardEntry] = field(default_factory=list)
    tables: list[pa.Table] = field(default_factory=list)
    written: int = 0
    linked: int = 0
    dropped: int = 0


def rewrite_shards(
    dataset: Dataset,
    folder: Path,
    gone: Collection[int],
    changed: Collection[int] = (),
    record: Callable[[int], AnnotatedPhoto | None] = lambda row: None,
    on_shard: Callable[[], None] = lambda: None,
) -> Rewritten:
    """Shards keep their names, their order and the order in them; those without a row of `gone` or `changed` are hard
    links, or copies where there can be none. Of an older schema all are written anew, since a data set's records are of
    one schema.

    gone: rows of the index that are left out. changed: rows whose record is `record(row)`. Raises DamagedMember or
    ValueError where a photo that is written anew is damaged, and OSError.
    """
    made = Rewritten()
    is_older = dataset.card.schema_version != SCHEMA_VERSION
    for entry, rows in rows_by_shard(dataset):
        kept = [row for row in rows if row not in gone]
        if rows and not kept:
            made.dropped += 1
        elif not is_older and len(kept) == len(rows) and not any(row in changed for row in rows):
            _link(Path(dataset.path) / entry.name, folder / entry.name)
            made.entries.append(entry)
            made.tables.append(dataset.index.slice(rows.start, len(rows)))
            made.linked += 1
        else:
            _write(dataset, folder / entry.name, kept, changed, record, made)
        on_shard()
    return made


def rows_by_shard(dataset: Dataset) -> list[tuple[ShardEntry, range]]:
    """Each shard with the rows of the index that lie in it; ValueError where they do not follow each other."""
    found: dict[str, range] = {}
    for row, name in enumerate(dataset.index["shard"].to_pylist()):
        known = found.get(name, range(row, row))
        if known.stop != row:
            raise ValueError(f"{dataset.path}/index.parquet has the photos of {name} in several places: build it again")
        found[name] = range(known.start, row + 1)
    return [(entry, found.get(entry.name, range(0))) for entry in dataset.card.shards]


def _write(
    dataset: Dataset, path: Path, rows: list[int], changed: Collection[int],
    record: Callable[[int], AnnotatedPhoto | None], made: Rewritten,
) -> None:  # fmt: skip
    with replacing(path) as file:
        writer = ShardWriter(path.name, file)
        try:
            for row in rows:
                sample, data = dataset.read(row)
                if row in changed:
                    judged = record(row)
                    assert judged, row
                    sample = judged
                writer.add(sample, data)
            made.entries.append(writer.close())
        except BaseException:  # Ctrl-C as well
            writer.abandon()
            raise
    made.tables.append(pa.Table.from_pylist(writer.rows, INDEX_SCHEMA))
    made.written += 1


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)  # of a link, what it leads to: it may lead from its own folder alone
    except OSError:  # another disk, or one that knows no links
        shutil.copyfile(source, target)
        follow_umask([target])
