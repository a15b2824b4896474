"""Stages that misbehave on purpose, importable by workers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dataengine.row import Drop, Failed, StopStage


@dataclass(frozen=True)
class Item:
    """A row: its number and what is to happen with it."""

    number: int
    act: str = "ok"
    value: int = 0


class Trial:
    """Does to each row what the row says; `marks` is a folder where rows that act once leave a mark."""

    def __init__(self, marks: Path) -> None:
        self._marks = marks

    def __call__(self, rows: Sequence[Item]) -> list[Item | Drop | Failed]:
        return [self._do(row) for row in rows]

    def _do(self, row: Item) -> Item | Drop | Failed:
        if row.act == "drop":
            return Drop("odd", f"number {row.number}")
        if row.act == "fail":
            return Failed("said so")
        if row.act == "raise":
            raise RuntimeError(f"row {row.number}")
        if row.act == "raise once" and self._first(row):
            raise OSError(5, "Input/output error", "some/file")
        if row.act == "stop":
            raise StopStage("the server is down")
        if row.act == "die" or (row.act == "die once" and self._first(row)):
            os.kill(os.getpid(), signal.SIGKILL)
        if row.act == "hang":
            time.sleep(3600)
        return Item(row.number, row.act, row.number * row.number)

    def _first(self, row: Item) -> bool:
        mark = self._marks / f"mark-{row.number}"
        if mark.exists():
            return False
        mark.touch()
        return True


class NeedsWeights:
    """A stage that cannot start."""

    def __init__(self) -> None:
        raise ValueError("the weights are not there: fetch them")

    def __call__(self, rows: Sequence[Item]) -> list[Item]:
        return list(rows)
