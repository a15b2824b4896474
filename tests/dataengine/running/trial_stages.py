"""Stages that misbehave on purpose, importable by workers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instructrestore.dataengine.running.part_files import PartFile, PartSummary
from instructrestore.dataengine.running.stage import Drop, Failed, PartSink, StopStage


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
        self._together = len(rows)
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
        if row.act == "slow":
            time.sleep(0.3)
        if row.act == "together":
            return Item(row.number, row.act, self._together)
        if row.act == "process":
            return Item(row.number, row.act, os.getpid())
        if row.act == "environment":
            return Item(row.number, row.act, int(os.environ["TRIAL"]) + int(os.environ["MALLOC_TRIM_THRESHOLD_"]))
        return Item(row.number, row.act, row.number * row.number)

    def _first(self, row: Item) -> bool:
        mark = self._marks / f"mark-{row.number}"
        if mark.exists():
            return False
        mark.touch()
        return True


class SlowSink(PartSink):
    """A sink whose parts take a while to reach the disk."""

    def commit(self) -> tuple[PartFile, PartSummary]:
        time.sleep(0.5)
        return super().commit()


class Deadly:
    """A stage around another one that kills its worker.

    photo: each time it comes to the photo of this name. first: on its first call, as long as fewer than so many have
    died of that; `marks` is a folder in which they leave a mark.
    """

    def __init__(self, build: Callable[[], Callable[..., Any]], marks: Path, photo: str = "", first: int = 0) -> None:
        self._stage = build()
        self._marks = marks
        self._photo = photo
        self._first = first

    def __call__(self, rows: Sequence[Any], *side: Any) -> Any:
        for number in range(self._first):
            try:
                (self._marks / f"killed-{number}").touch(exist_ok=False)
            except FileExistsError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)
        self._first = 0
        if self._photo and any(row.origin.name == self._photo for row in rows):
            os.kill(os.getpid(), signal.SIGKILL)
        return self._stage(rows, *side)


class NeedsWeights:
    """A stage that cannot start."""

    def __init__(self) -> None:
        raise ValueError("the weights are not there: fetch them")

    def __call__(self, rows: Sequence[Item]) -> list[Item]:
        return list(rows)
