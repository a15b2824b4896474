"""A batch of rows through a stage, every row's end accounted for; and the sink that a part's outcomes go to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from pydantic import TypeAdapter

from dataengine.noun_phrases.language_model import ServerSettings
from dataengine.part_files import Outcome, PartFile, PartSummary, Slice, write_part
from dataengine.row import Drop, Failed, Row, StopStage
from shards.paths import Place

MAX_DETAIL = 500


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


def apply(stage: Callable[..., Sequence[Any]], named_rows: Sequence[tuple[str, Any]], side: Any) -> list[Outcome[Any]]:
    """The rows through the stage in one call; one by one where that call raises.

    The only place where an exception becomes an outcome: whatever a stage raises on one row is that row's failure.
    `StopStage` alone passes through.
    """
    rows = [replace(row, counts={}) if isinstance(row, Row) else row for _, row in named_rows]
    try:
        results = stage(rows) if side is None else stage(rows, side)
    except StopStage:
        raise
    except Exception as error:
        if len(named_rows) > 1:
            return [outcome for named in named_rows for outcome in apply(stage, [named], side)]
        return [failed(*named_rows[0], describe_error(error))]
    assert len(results) == len(rows), f"a stage gave {len(results)} results for {len(rows)} rows"
    return [_outcome(name, row, result) for (name, row), result in zip(named_rows, results, strict=True)]


def _outcome(name: str, row: Any, result: Any) -> Outcome[Any]:
    if isinstance(result, Drop):
        return Outcome(name, "dropped", None, result.reason, result.detail[:MAX_DETAIL])
    if isinstance(result, Failed):
        return failed(name, row, (result.error, ""))
    return Outcome(name, "ok", result)


def failed(name: str, row: Any, error: tuple[str, str], attempts: int = 1) -> Outcome[Any]:
    """The outcome of a row that could not be done. error: (countable reason, detail)."""
    return Outcome(name, "failed", row, error[0], error[1][:MAX_DETAIL], attempts)


def describe_error(error: Exception) -> tuple[str, str]:
    """An exception as a reason that can be counted (no file names in it) and its whole text."""
    kind = type(error).__name__
    strerror = getattr(error, "strerror", None)
    return f"{kind}: {strerror}" if strerror else kind, str(error)


def why_failed(outcome: Outcome[Any]) -> str:
    """A failed row's reason for people: a ValueError's sentence is for them, its name is not."""
    return outcome.detail if outcome.reason == ValueError.__name__ and outcome.detail else outcome.reason


def too_many_failed(stage: str, failures: int, outcomes: Iterable[Outcome[Any]]) -> StopStage:
    """What stops a stage of which `failures` rows in a row failed. outcomes: of the latest part."""
    cause = [why_failed(outcome) for outcome in outcomes if outcome.kind == "failed"][-1]
    return StopStage(
        f"{failures} rows in a row failed in the {stage} stage, the latest with {cause!r}; put that right and run "
        "again with --retry-failed"
    )


def batched(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of `size` rows, the last one shorter."""
    batch: list[Any] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
