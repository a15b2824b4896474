"""What a stage is: how it is described to the machine that runs it, what it may answer, and where its answers go.

A stage is a class whose constructor takes its settings and loads its model, and whose call maps a batch of rows to
results of the same length and order: a row, or a `Drop` with a reason. It knows nothing of Ray, of files or of
resuming. What bad data can cause is named where data enters (decoders, parsers, servers): a `Drop`, a `Failed`, or a
ValueError or OSError, which becomes the row's failure. Other exceptions are defects of the program (`outcomes.py`).
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
    """A row left out for a reason that is counted; detail says more of this one ("short side 480").

    lost: why each of the things that it held was lost, where that is not just because of the row.
    """

    reason: str
    detail: str = ""
    lost: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """A row that could not be done for a reason outside it, such as a server's error. A stage returns it where raising
    would repeat the rest of the batch."""

    error: str


class StopStage(Exception):
    """Raised by a stage when going on is pointless (its server is down): the run stops with this one sentence."""


class Defect(Exception):
    """A fault of the program itself that stops the run; its text names the stage, the row and the traceback."""


@dataclass(frozen=True, slots=True)
class Task:
    """A part to be done: where its rows come from and under which name its outcomes are committed.

    input: hash of all that the part's content follows from (part_files.py).
    side_table: the table over the whole data set of which the stage gets the part's slice; None: it needs none.
    retry: a committed file of this part whose failed rows alone are to be done again.
    target: the folder for what a sink writes beside the part's file.
    """

    part: int
    slices: tuple[Slice, ...]
    folder: Place
    input: str
    attempt: int = 0
    side_table: Place | None = None
    retry: Place | None = None
    target: Place | None = None

    @property
    def key(self) -> tuple[str, int]:
        """Tells the task from all others of its stage."""
        return str(self.folder), self.part


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
