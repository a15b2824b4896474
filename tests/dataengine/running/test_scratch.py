"""The driver's database for a step: what it leaves, and what becomes of it without room."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from instructrestore.dataengine.running import scratch
from instructrestore.dataengine.running.scratch import add, fill, number_of, rows_of
from tests.small_disk import small_disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 8 << 20) as folder:
        yield folder


def much(database: object, rows: int = 2_000_000) -> None:
    database.execute(  # type: ignore[attr-defined]
        f"CREATE TABLE much AS SELECT md5(range::VARCHAR) AS a, md5((range + 1)::VARCHAR) AS b FROM range({rows})"
    )


def test_what_does_not_fit_in_memory_lies_in_the_runs_folder_until_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "MEMORY", "32MB")
    with scratch.scratch(tmp_path) as database:
        much(database, 600_000)
        assert sum(path.stat().st_size for path in (tmp_path / "spilled").iterdir()) > 1 << 20
        assert number_of(database, "SELECT count(DISTINCT a) FROM much") == 600_000
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_error_that_names_the_folder(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "MEMORY", "32MB")
    with pytest.raises(OSError, match="No space left on device") as full, scratch.scratch(disk) as database:
        much(database)
    assert (full.value.errno, full.value.filename) == (errno.ENOSPC, str(disk / "spilled"))
    assert list(disk.iterdir()) == []


def test_rows_go_in_and_come_out_while_others_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "ROWS", 3)
    texts = ["a", "'; DROP TABLE said; --", "\x00", "", "ß"] * 2
    schema = pa.schema([("n", pa.int64()), ("text", pa.string())])
    with scratch.scratch(tmp_path) as database:
        fill(database, "said", enumerate(texts), schema)
        fill(database, "nothing", (), schema)
        for row in rows_of(database, "SELECT n, text FROM said WHERE n < ? ORDER BY n", [10]):
            add(database, "copied", pa.table([[row[0]], [row[1]]], schema=schema))
        assert list(rows_of(database, "SELECT text FROM copied ORDER BY n")) == [(text,) for text in texts]
        assert number_of(database, "SELECT sum(n) FROM nothing") == 0
