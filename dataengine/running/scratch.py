"""A database that lives as long as one step of the driver: what is as large as the data set is sorted, counted and
joined in it, and not in the driver's memory.

It is DuckDB in memory, which moves what is over MEMORY to a folder of its own within the run. Nothing in that folder is
ever read as a result: it is emptied before and after, and by the next run where this one was killed.

Texts of the data set go in as Arrow tables and parameters, never as SQL.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from numpy.typing import NDArray

from instructrestore.dataengine.running.outcomes import batched
from instructrestore.shards.paths import Place

MEMORY = "512MB"
THREADS = 4  # at most: each needs memory of its own
ROWS = 1 << 16  # that go in or come out at a time
_FOLDER = "spilled"
_NO_ROOM = ("no space left", "max_temp_directory_size", "disk full")


@contextmanager
def scratch(tables: Place | None) -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database for the block. tables: the run's folder for tables, in which it may take room; for None,
    and for one in a store, that is this machine's temporary folder.

    Raises OSError, which names the folder, where the disk is full or MEMORY does not suffice.
    """
    remove_scratch(tables)
    with _room(tables) as folder:
        settings: dict[str, Any] = {
            "memory_limit": MEMORY, "threads": min(THREADS, os.cpu_count() or 1), "temp_directory": str(folder),
            "preserve_insertion_order": False, "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }  # fmt: skip
        database = duckdb.connect(":memory:", config=settings)
        try:
            yield database
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            full = any(sign in str(error).lower() for sign in _NO_ROOM)
            number = errno.ENOSPC if full else errno.ENOMEM
            raise OSError(number, os.strerror(number), str(folder)) from error
        finally:
            database.close()
            remove_scratch(tables)


@contextmanager
def _room(tables: Place | None) -> Iterator[Path]:
    """The folder for what does not fit in memory, which need not be there."""
    if isinstance(tables, Path):
        yield tables / _FOLDER
        return
    with tempfile.TemporaryDirectory(prefix="instructrestore-scratch-") as folder:
        yield Path(folder)


def remove_scratch(tables: Place | None) -> None:
    """Removes what a killed run left."""
    if isinstance(tables, Path):
        shutil.rmtree(tables / _FOLDER, ignore_errors=True)


def add(database: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    """Adds rows to a table of their schema, which is made where it is not there yet."""
    database.register("given_rows", rows)
    database.execute(f"CREATE TABLE IF NOT EXISTS {table} AS SELECT * FROM given_rows LIMIT 0")
    database.execute(f"INSERT INTO {table} SELECT * FROM given_rows")
    database.unregister("given_rows")


def fill(
    database: duckdb.DuckDBPyConnection,
    table: str,
    rows: Iterable[Sequence[Any]],
    schema: pa.Schema,
    some: int | None = None,
) -> None:
    """`add` of rows of that schema, some (ROWS) at a time; without any the table is made."""
    for rows_at_a_time in chain([[]], batched(rows, some or ROWS)):
        columns = zip(*rows_at_a_time, strict=True) if rows_at_a_time else [()] * len(schema)
        add(database, table, pa.table([list(column) for column in columns], schema=schema))


def rows_of(
    database: duckdb.DuckDBPyConnection, query: str, values: Sequence[Any] = (), some: int | None = None
) -> Iterator[tuple[Any, ...]]:
    """The rows of a query, some (ROWS) at a time; the database may be used in between."""
    asked = database.cursor()
    try:
        asked.execute(query, values)
        while rows_at_a_time := asked.fetchmany(some or ROWS):
            yield from rows_at_a_time
    finally:
        asked.close()


def columns_of(database: duckdb.DuckDBPyConnection, query: str) -> Iterator[list[NDArray[Any]]]:
    """The columns of a query's rows, numbers that are not null, some rows at a time; the same holds."""
    asked = database.cursor()
    try:
        # By `sql`, as what `execute` gives to Arrow is in no order.
        for some in asked.sql(query).to_arrow_reader(ROWS):
            yield [column.to_numpy() for column in some.columns]
    finally:
        asked.close()


def number_of(database: duckdb.DuckDBPyConnection, query: str, values: Sequence[Any] = ()) -> int:
    """What a query counts; 0 where that is null."""
    ((found,),) = database.execute(query, values).fetchall()
    return int(found or 0)
