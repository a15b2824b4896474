"""A part during whose first attempt a worker died: done one row per call, so that the driver knows which row a worker
was at when it dies again."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from instructrestore.dataengine.running.outcomes import failed
from instructrestore.dataengine.running.part_files import Outcome
from instructrestore.dataengine.running.stage import StageSpec, StopStage, Task
from instructrestore.dataengine.running.worker import Done, Todo, disk_sentence, inputs

KILLS_PER_ROW = 2
LOSSES_PER_ROW = 2


class PartByRow:
    """The part's rows in order, and its sink."""

    def __init__(self, spec: StageSpec, task: Task) -> None:
        self.task = task
        self._stage = spec.name
        self._rows = inputs(spec, task)
        self._sink = spec.sink(task, TypeAdapter(spec.result_type))
        self._place = 0
        self._kills = self._losses = 0

    def next_row(self) -> Todo | None:
        """The row to be done now; None after the last one. Outcomes that are kept go to the sink on the way."""
        while self._place < len(self._rows):
            item = self._rows[self._place]
            if isinstance(item, Todo):
                return item
            self._sink.add(item)
            self._place += 1
        return None

    def settle(self, outcome: Outcome[Any]) -> None:
        """Takes the outcome of the row that was to be done."""
        self._sink.add(outcome)
        self._place += 1
        self._kills = self._losses = 0

    def killed(self, reason: str) -> bool:
        """Notes that the row killed a worker on a living node; whether that was once too often, and the row failed."""
        self._kills += 1
        return self._kills >= KILLS_PER_ROW and self._fail(reason, f"{self._kills} workers")

    def lost(self) -> bool:
        """The same for a node that was lost: once may be chance, twice at the same row is not."""
        self._losses += 1
        return self._losses >= LOSSES_PER_ROW and self._fail("machine lost", f"{self._losses} machines")

    def _fail(self, reason: str, gone: str) -> bool:
        row = self.next_row()
        assert row
        detail = f"{gone}, one after the other, on this row"
        self.settle(failed(row.name, row.row, (reason, detail), row.attempts + self._kills + self._losses))
        return True

    def commit(self) -> Done:
        """Commits the part. Raises StopStage where it cannot be written."""
        try:
            return self._sink.commit()
        except OSError as error:
            self.abandon()
            raise StopStage(disk_sentence(self._stage, self.task, error)) from None

    def abandon(self) -> None:
        self._sink.abandon()
