"""The tables of a catalogue, in one DuckDB file: made from a data set's index, whole or not at all.

photos        a row a photo: `INDEX_SCHEMA`, row (its place in the index), least_agreement (of its regions)
regions       a row a region, in the index's order: row, number in the photo, caption (in small letters), subject, area,
              bokeh; agreement and said (an id) once the records were read
texts         a row a photo: row, all its captions (in small letters) with SEPARATOR between them, where words alone are
              found in half the time
said          who said what: each combination once, by id
subjects      each subject with the photos and regions it has
facets        the values of sources and licences, and of what `said` holds, with their counts
dropped       the photos that the run left out; dropped_version: of the parts that say so
read          a row once the records were taken over
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from instructrestore.shards.files import sweep, sync, temporary_in
from instructrestore.shards.index import INDEX_SCHEMA, Dataset

VERSION = 2  # raised where the tables change
_MEMORY = "256MB"  # of the tables that are asked
_MEMORY_TO_MAKE = "128MB"  # while Arrow and the networks of an app have theirs
SEPARATOR = "\x1f"  # a blank to str.split, so it is in no word that is looked for
_PIECE = 10_000  # photos that are taken over at once
_PHOTOS = INDEX_SCHEMA.append(pa.field("row", pa.int32())).append(pa.field("least_agreement", pa.float32()))
_EMPTY = """
CREATE TABLE regions (row INTEGER, number INTEGER, caption VARCHAR, subject VARCHAR, area DOUBLE, bokeh BOOLEAN,
    agreement FLOAT, said INTEGER);
CREATE TABLE texts (row INTEGER, text VARCHAR);
CREATE TABLE said (id INTEGER, parts VARCHAR[]);
CREATE TABLE read (whole BOOLEAN);
CREATE TABLE dropped (number INTEGER, stage VARCHAR, kind VARCHAR, reason VARCHAR, detail VARCHAR, uri VARCHAR);
CREATE TABLE dropped_version (version VARCHAR);
"""
_REGIONS = """
INSERT INTO regions SELECT row, generate_subscripts(captions, 1) - 1, lower(unnest(captions)), unnest(subjects),
    unnest(areas), unnest(bokeh), NULL, NULL FROM piece
"""
_TEXTS = f"""
INSERT INTO texts SELECT row, lower(array_to_string(list_transform(captions,
    lambda caption: replace(caption, '{SEPARATOR}', ' ')), '{SEPARATOR}')) FROM piece
"""
_COUNTED = """
CREATE TABLE subjects AS SELECT subject, count(*) AS photos, sum(regions)::BIGINT AS regions
    FROM (SELECT subject, row, count(*) AS regions FROM regions GROUP BY subject, row) GROUP BY subject;
CREATE TABLE facets AS SELECT 'source' AS kind, source AS value, count(*)::BIGINT AS count FROM photos GROUP BY source
    UNION ALL SELECT 'licence', licence, count(*) FROM photos GROUP BY licence;
CHECKPOINT;
"""


class Ended(Exception):
    """The program ends before the catalogue was whole."""


def open_tables(
    dataset: Dataset, folder: Path, told: Callable[[int], None], ending: Callable[[], bool]
) -> duckdb.DuckDBPyConnection:
    """The tables of a data set, kept in `folder`; made where they are not there yet.

    told: is called with the photos taken over so far. ending: whether to stop, which raises Ended.
    Raises ValueError as `Dataset.index_batches` does.
    """
    sweep(folder)
    path = folder / f"catalogue-{VERSION}.duckdb"
    if not path.exists():
        _make(dataset, path, told, ending)
    return _opened(path, _MEMORY)


def _opened(path: Path, memory: str) -> duckdb.DuckDBPyConnection:
    settings: dict[str, Any] = {
        "memory_limit": memory, "threads": min(8, os.cpu_count() or 1), "autoinstall_known_extensions": False,
        "autoload_known_extensions": False, "temp_directory": str(path.parent / "spilled"),
    }  # fmt: skip
    return duckdb.connect(str(path), config=settings)


def _make(dataset: Dataset, path: Path, told: Callable[[int], None], ending: Callable[[], bool]) -> None:
    partial = temporary_in(path.parent)
    database = _opened(partial, _MEMORY_TO_MAKE)
    try:
        database.register("piece", _PHOTOS.empty_table())
        database.execute("CREATE TABLE photos AS SELECT * FROM piece")
        database.execute(_EMPTY)
        first = 0
        for piece in dataset.index_batches(_PIECE):
            if ending():
                raise Ended
            rows = pa.array(range(first, first + len(piece)), pa.int32())
            numbered = piece.append_column("row", rows).append_column(
                "least_agreement", pa.nulls(len(piece), pa.float32())
            )
            database.register("piece", numbered.cast(_PHOTOS))
            database.execute("INSERT INTO photos SELECT * FROM piece")
            database.execute(_REGIONS)
            database.execute(_TEXTS)
            first += len(piece)
            told(first)
        database.unregister("piece")
        database.execute(_COUNTED)
    finally:
        database.close()
    sync(partial)
    partial.replace(path)
    sync(path.parent)
