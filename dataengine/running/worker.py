"""A worker: holds a stage and does parts of it, or single rows where one of them may kill it. Knows nothing of Ray."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import cv2
from pydantic import TypeAdapter

from instructrestore.dataengine.running.outcomes import apply, batched
from instructrestore.dataengine.running.part_files import Outcome, PartFile, PartSummary, read_outcomes, read_rows
from instructrestore.dataengine.running.side_table import SideTable
from instructrestore.dataengine.running.stage import Defect, Sink, StageSpec, StopStage, Task
from instructrestore.shards.errors import DamagedFile
from instructrestore.shards.paths import Place

Done = tuple[PartFile, PartSummary]


@dataclass(frozen=True)
class Stopped:
    """A worker's word that the whole run must stop. defect: because of a fault of the program. damaged: the file that
    it could not use."""

    sentence: str
    defect: bool = False
    damaged: DamagedFile | None = None

    def error(self) -> StopStage | Defect | DamagedFile:
        """What stops the run."""
        return self.damaged or (Defect(self.sentence) if self.defect else StopStage(self.sentence))


@dataclass(frozen=True)
class Todo:
    """A row still to be done, among outcomes that are kept. attempts: how often it failed before."""

    name: str
    row: Any
    attempts: int = 0


@dataclass(frozen=True)
class PartInput:
    """A part as it was read: its rows in order, of which outcomes are kept, and its slice of the side table."""

    rows: list[Todo | Outcome[Any]]
    side: Any


class StageWorker:
    """Holds a stage; another one can take its place."""

    def start(self, spec: StageSpec) -> Stopped | None:
        """Builds the stage, in place of an earlier one."""
        self._spec = spec
        self._results = _adapter(spec.result_type)
        self._table: tuple[Place | None, SideTable | None] = (None, None)
        cv2.setNumThreads(max(1, int(spec.cpus)))  # Ray tells OpenMP, OpenCV takes every processor
        try:
            self._stage = spec.build(spec.server) if spec.server else spec.build()
        except (ValueError, StopStage) as error:
            return Stopped(f"the {spec.name} stage cannot start: {error}")
        return None

    def do_part(self, task: Task) -> Done | Stopped:
        """The part's rows through the stage and its sink."""
        return self.commit(task, self.through(task, self.read(task)))

    def read(self, task: Task) -> PartInput | Stopped:
        """The first third of a part: what it is made of."""
        try:
            return PartInput(inputs(self._spec, task), self._side(task))
        except (OSError, DamagedFile) as error:
            return self._unread(error)

    def through(self, task: Task, given: PartInput | Stopped) -> Sink | Stopped:
        """The second: the rows through the stage, into the sink."""
        if isinstance(given, Stopped):
            return given
        try:
            sink = self._spec.sink(task, self._results)
        except OSError as error:
            return Stopped(disk_sentence(self._spec.name, task, error))
        try:
            for batch in batched(given.rows, self._spec.batch):
                waiting = [item for item in batch if isinstance(item, Todo)]
                done = iter(self._outcomes(waiting, given.side))
                for item in batch:
                    sink.add(next(done) if isinstance(item, Todo) else item)
        except (StopStage, Defect) as stop:
            sink.abandon()
            return self._stopped(stop)
        except OSError as error:
            sink.abandon()
            return Stopped(disk_sentence(self._spec.name, task, error))
        return sink

    def commit(self, task: Task, sink: Sink | Stopped) -> Done | Stopped:
        """The last: the sink to disk."""
        if isinstance(sink, Stopped):
            return sink
        try:
            return sink.commit()
        except OSError as error:
            sink.abandon()
            return Stopped(disk_sentence(self._spec.name, task, error))

    def do_row(self, task: Task, todo: Todo) -> Outcome[Any] | Stopped:
        """One row through the stage."""
        try:
            side = self._side(task)
        except (OSError, DamagedFile) as error:
            return self._unread(error)
        try:
            return self._outcomes([todo], side)[0]
        except (StopStage, Defect) as stop:
            return self._stopped(stop)

    def _unread(self, error: OSError | DamagedFile) -> Stopped:
        if isinstance(error, DamagedFile):
            return Stopped(str(error), damaged=error)
        return Stopped(f"the {self._spec.name} stage cannot read its input: {error}")

    def _stopped(self, stop: StopStage | Defect) -> Stopped:
        if isinstance(stop, Defect):
            return Stopped(f"a defect of this program stopped the {self._spec.name} stage at {stop}", defect=True)
        return Stopped(str(stop))

    def _outcomes(self, todo: list[Todo], side: Any) -> list[Outcome[Any]]:
        if not todo:
            return []
        outcomes = apply(self._stage, [(item.name, item.row) for item in todo], side)
        return [
            replace(outcome, attempts=outcome.attempts + item.attempts) if outcome.kind == "failed" else outcome
            for item, outcome in zip(todo, outcomes, strict=True)
        ]

    def _side(self, task: Task) -> Any:
        """The part's slice of the side table that the stage depends on; None for a stage that depends on none."""
        if task.side_table is None or self._spec.side_type is None:
            return None
        if self._table[0] != task.side_table:
            self._table = (task.side_table, SideTable(task.side_table, _adapter(self._spec.side_type)))
        assert self._table[1]
        return self._table[1].slice(task.part)


def inputs(spec: StageSpec, task: Task) -> list[Todo | Outcome[Any]]:
    """The part's rows in order; when failed rows are retried, the other rows' outcomes as they were."""
    if task.retry is None:
        return [Todo(name, row) for name, row in read_rows(task.slices, _adapter(spec.row_type))]
    kept: Iterator[Outcome[Any]] = iter(read_outcomes(task.retry, _adapter(spec.result_type)))
    return [Todo(o.name, o.row, o.attempts) if o.kind == "failed" else o for o in kept]


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    """What reads and writes rows of a type. Kept, as making one takes longer than a part of a few rows."""
    return TypeAdapter(kind)


def disk_sentence(stage: str, task: Task, error: OSError) -> str:
    """What is said where a part cannot be written."""
    return f"the {stage} stage cannot write to {task.target or task.folder}: {error.strerror or error}"
