"""What a stage is to the machine that runs it: the tasks that it gets, the ends that its rows come to, where they go.

A stage is a class whose constructor takes its settings and loads its model, and whose call maps a batch of rows to
results of the same length and order: a row, or a `Drop` with a reason. A stage knows nothing of Ray, of files or of
resuming; an exception it raises is the outcome of the row it was given (`outcomes.apply` turns it into one).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import TypeAdapter

from instructrestore.dataengine.running.part_files import Outcome, PartFile, PartSummary, Slice, write_part
from instructrestore.dataengine.running.server_settings import ServerSettings
from instructrestore.shards.paths import Place


@dataclass(frozen=True)
class Drop:
    """A row left out for a reason that is counted; detail says more of this one ("short side 480")."""

    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Failed:
    """A row that could not be done for a reason outside it (a server's error), said by the stage itself where
    raising would repeat the rest of the batch."""

    error: str


class StopStage(Exception):
    """Raised by a stage when going on is pointless (its server is down): the run stops with this one sentence."""


@dataclass(frozen=True)
class Task:
    """A part to be done: where its rows come from and under which name its outcomes are committed.

    side_table: where the part's slice of a result over the whole data set is, for a stage that depends on one.
    retry: a committed file of this part whose failed rows alone are to be done again.
    target: the folder in which the shards' sink puts its shard.
    """

    part: int
    slices: tuple[Slice, ...]
    folder: Place
    input: str
    attempt: int = 0
    side_table: Place | None = None
    retry: Place | None = None
    target: Place | None = None


class Sink(Protocol):
    """Takes a part's outcomes in order, then commits them."""

    def add(self, outcome: Outcome[Any]) -> None: ...
    def commit(self) -> tuple[PartFile, PartSummary]: ...
    def abandon(self) -> None: ...


class PartSink:
    """The usual sink: the rows go to the part's Parquet file."""

    def __init__(self, task: Task, rows: TypeAdapter[Any]) -> None:
        self._task = task
        self._rows = rows
        self._outcomes: list[Outcome[Any]] = []

    def add(self, outcome: Outcome[Any]) -> None:
        self._outcomes.append(outcome)

    def commit(self) -> tuple[PartFile, PartSummary]:
        task = self._task
        return write_part(task.folder, task.part, task.input, task.attempt, self._outcomes, self._rows)

    def abandon(self) -> None:
        self._outcomes.clear()


@dataclass(frozen=True)
class StageSpec:
    """A stage as the runner needs it.

    build: makes the stage, in the worker: loads its model. Where there is a `server`, given how it is reached.
    server: of a model that the stage asks, which must be up.
    identity: hash of everything that its results follow from besides their input.
    row_type, result_type: what its rows and results are (dataclasses that pydantic can read and write). Where they
        are one type, a failed row's input is kept in the part and can be done again alone.
    side_type: what the values of its side table are; None for a stage without one.
    sink: where outcomes go, made for each task.
    batch: rows a call. workers: at most so many; None: as many as the cluster has room for. min_workers: parts are
        handed out once so many are ready, or as many as there are parts.
    cpus, gpus, memory_gib, resources: what a worker takes of its machine; resources by Ray's names.
    runtime_env: the environment its workers run in, as Ray takes it.
    part_limit_s, row_limit_s: a worker that takes longer over a part, or over a single row, counts as dead.
    start_limit_s: a stage of which no worker is at work after so long stops the run.
    own_workers: the stage changes its process (module search path, working folder), which then serves no other stage.
    """

    name: str
    build: Callable[..., Callable[..., Sequence[Any]]]
    identity: str
    row_type: type
    result_type: type
    side_type: type | None = None
    sink: Callable[[Task, TypeAdapter[Any]], Sink] = PartSink  # given the adapter of result_type
    batch: int = 64
    cpus: float = 1
    gpus: float = 0
    memory_gib: float = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    workers: int | None = None
    min_workers: int = 1
    runtime_env: Mapping[str, Any] = field(default_factory=dict)
    part_limit_s: float = 1800
    row_limit_s: float = 300
    start_limit_s: float = 900
    own_workers: bool = False
    server: ServerSettings | None = None
