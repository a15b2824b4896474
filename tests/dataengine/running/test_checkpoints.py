"""A part's file never tells of an output that another plan has replaced, whatever was killed in between."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from instructrestore.dataengine.running.checkpoints import complete
from instructrestore.dataengine.running.part_files import Outcome, PartFile, read_outcomes, write_part
from instructrestore.dataengine.running.stage import StageSpec, Task
from tests.dataengine.running.test_runner import items, spec
from tests.dataengine.running.trial_stages import Item


class Written:
    """Outputs of one size each: the file of a row's number, which holds who wrote it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def lost(self, files: Sequence[PartFile]) -> list[PartFile]:
        return [file for file in files if not all((self.folder / str(n)).exists() for n in numbers(file))]

    def withdraw(self) -> None:
        (self.folder / "complete").unlink(missing_ok=True)


def numbers(file: PartFile) -> list[int]:
    return [outcome.row.number for outcome in read_outcomes(file.path, items) if outcome.row]


class Killed(Exception):
    """In the place of a kill."""


def run(tmp_path: Path, writer: str, rows_per_part: int, killed_after: int | None = None) -> list[PartFile]:
    """Four rows, each written to its file and then told of by its part; broken off after some rows, as by a kill."""
    out, parts = Written(tmp_path / "out"), tmp_path / "parts"
    starts = range(0, 4, rows_per_part)
    planned = [Task(k, (), parts, f"{ord(writer):015x}{rows_per_part}") for k, _ in enumerate(starts)]

    def execute(spec: StageSpec, todo: Sequence[Task]) -> None:
        done = 0
        for task in todo:
            rows = range(4)[task.part * rows_per_part :][:rows_per_part]
            for number in rows:
                if done == killed_after:
                    raise Killed
                (out.folder / str(number)).write_text(writer)
                done += 1
            outcomes = [Outcome(str(number), "ok", Item(number, writer)) for number in rows]
            write_part(parts, task.part, task.input, task.attempt, outcomes, items)

    return complete(spec(tmp_path), planned, execute, outputs=out)


def told(files: Sequence[PartFile]) -> dict[int, str]:
    rows: list[Any] = [outcome.row for file in files for outcome in read_outcomes(file.path, TypeAdapter(Item))]
    return {row.number: row.act for row in rows}


@pytest.mark.parametrize("killed_after", range(5))
@pytest.mark.parametrize("rows_per_part", [1, 2, 4])
def test_parts_and_outputs_agree_after_a_plan_that_was_broken_off(
    tmp_path: Path, killed_after: int, rows_per_part: int
) -> None:
    run(tmp_path, "a", 2)
    if killed_after < 4:
        with pytest.raises(Killed):
            run(tmp_path, "b", rows_per_part, killed_after)
    else:
        run(tmp_path, "b", rows_per_part)
    files = run(tmp_path, "a", 2)
    assert told(files) == {n: (tmp_path / "out" / str(n)).read_text() for n in range(4)} == dict.fromkeys(range(4), "a")
