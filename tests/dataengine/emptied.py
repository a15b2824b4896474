"""A database that many tests share, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from duckdb import DuckDBPyConnection

from instructrestore.dataengine.running.scratch import rows_of


@contextmanager
def emptied(database: DuckDBPyConnection) -> Iterator[DuckDBPyConnection]:
    """The database for the block, after which it has no tables."""
    try:
        yield database
    finally:
        for name, kind in list(rows_of(database, "SELECT table_name, table_type FROM information_schema.tables")):
            database.execute(f"DROP {'VIEW' if kind == 'VIEW' else 'TABLE'} {name}")
