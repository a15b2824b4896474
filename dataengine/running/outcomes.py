"""A batch of rows through a stage, every row's end accounted for; and the sink that a part's outcomes go to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from instructrestore.dataengine.running.part_files import Outcome
from instructrestore.dataengine.running.stage import Drop, Failed, StopStage

MAX_DETAIL = 500


def apply(stage: Callable[..., Sequence[Any]], named_rows: Sequence[tuple[str, Any]], side: Any) -> list[Outcome[Any]]:
    """The rows through the stage in one call; one by one where that call raises.

    The only place where an exception becomes an outcome: whatever a stage raises on one row is that row's failure.
    `StopStage` alone passes through.
    """
    rows = [replace(row, counts={}) if getattr(row, "counts", None) else row for _, row in named_rows]
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
