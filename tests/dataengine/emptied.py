"""A database that many tests share, one after the other: to open it takes longer than they do."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

from duckdb import DuckDBPyConnection

from instructrestore.dataengine.running.scratch import rows_of, scratch

_held = ExitStack()
atexit.register(_held.close)


@contextmanager
def emptied() -> Iterator[DuckDBPyConnection]:
    """The database for the block, after which it has no tables."""
    database = _database()
    try:
        yield database
    finally:
        for name, kind in list(rows_of(database, "SELECT table_name, table_type FROM information_schema.tables")):
            database.execute(f"DROP {'VIEW' if kind == 'VIEW' else 'TABLE'} {name}")


@cache
def _database() -> DuckDBPyConnection:
    return _held.enter_context(scratch(None))
