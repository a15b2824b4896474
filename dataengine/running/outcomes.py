"""A batch of rows through a stage, and what becomes of each row: the one place where an exception becomes an outcome.

Drop, Failed                    what the stage says of a row
StopStage                       stops the run with its sentence
NameError, ImportError,
NotImplementedError             a defect of the program that every row would meet: stops the run, with its traceback
AssertionError, TypeError,
AttributeError, KeyError,
IndexError                      a defect of the program that one odd row may have met: the row's failure, with its
                                traceback; the third from the same place stops the run
anything else                   what bad data or the machine can cause: the row's failure
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from instructrestore.dataengine.running.held import held
from instructrestore.dataengine.running.part_files import Outcome, PartSummary
from instructrestore.dataengine.running.stage import Defect, Drop, Failed, StopStage

STOPPING_DEFECTS = (NameError, ImportError, NotImplementedError)
ROW_DEFECTS = (AssertionError, TypeError, AttributeError, KeyError, IndexError)
DEFECTS_AT_ONE_PLACE = 3
DEFECT = "defect: "  # how the reason of a row that met a defect begins
MAX_DETAIL = 500  # characters
MAX_TRACEBACK = 4000
_PACKAGES = ("dataengine", "model", "pipelines", "shards")


def apply(stage: Callable[..., Sequence[Any]], named_rows: Sequence[tuple[str, Any]], side: Any) -> list[Outcome[Any]]:
    """The rows through the stage in one call; one by one where that call raises.

    Raises StopStage where the stage does, and Defect for what every row would meet.
    """
    rows = [_before(row) for _, row in named_rows]
    try:
        results = stage(rows) if side is None else stage(rows, side)
    except StopStage:
        raise
    except Exception as error:
        if len(named_rows) == 1:
            return [_raised(*named_rows[0], error)]
        outcomes = [outcome for named in named_rows for outcome in apply(stage, [named], side)]
        if isinstance(error, STOPPING_DEFECTS):  # which no single row meets
            raise Defect(f"rows {named_rows[0][0]} to {named_rows[-1][0]}: {_traceback(error)}") from error
        return outcomes
    assert len(results) == len(rows), f"a stage gave {len(results)} results for {len(rows)} rows"
    return [_outcome(name, row, result) for (name, row), result in zip(named_rows, results, strict=True)]


def _before(row: Any) -> Any:
    """The row without what the stage before it noticed and lost."""
    noticed = {name: {} for name in ("counts", "lost") if getattr(row, name, None)}
    return replace(row, **noticed) if noticed else row


def _raised(name: str, row: Any, error: Exception) -> Outcome[Any]:
    if isinstance(error, STOPPING_DEFECTS):
        raise Defect(f"row {name}: {_traceback(error)}") from error
    if isinstance(error, ROW_DEFECTS):
        reason = f"{DEFECT}{type(error).__name__} at {_place(error)}"
        return Outcome(name, "failed", row, reason, _traceback(error), 1, held(row, 0, {}, f"failed: {reason}"))
    return failed(name, row, describe_error(error))


def _outcome(name: str, row: Any, result: Any) -> Outcome[Any]:
    if isinstance(result, Drop):
        inside = held(row, 0, result.lost, f"dropped: {result.reason}")
        return Outcome(name, "dropped", None, result.reason, result.detail[:MAX_DETAIL], held=inside)
    if isinstance(result, Failed):
        return failed(name, row, (result.error, ""))
    kept = getattr(result, "held", getattr(row, "held", 0))
    return Outcome(name, "ok", result, held=held(row, kept, getattr(result, "lost", {})))


def failed(name: str, row: Any, error: tuple[str, str], attempts: int = 1) -> Outcome[Any]:
    """The outcome of a row that could not be done. error: (countable reason, detail)."""
    inside = held(row, 0, {}, f"failed: {error[0]}")
    return Outcome(name, "failed", row, error[0], error[1][:MAX_DETAIL], attempts, inside)


def describe_error(error: Exception) -> tuple[str, str]:
    """An exception as a reason that can be counted (no file names in it) and its whole text."""
    kind = type(error).__name__
    strerror = getattr(error, "strerror", None)
    return f"{kind}: {strerror}" if strerror else kind, str(error)


def why_failed(outcome: Outcome[Any]) -> str:
    """A failed row's reason for people: a ValueError's sentence is for them, its name is not."""
    return outcome.detail if outcome.reason == ValueError.__name__ and outcome.detail else outcome.reason


def defects(failures: Mapping[str, int]) -> dict[str, int]:
    """Those of a stage's failures, by reason, that are defects of the program: kind and place -> rows."""
    return {reason.removeprefix(DEFECT): n for reason, n in failures.items() if reason.startswith(DEFECT)}


class FailureWatch:
    """Counts a stage's failures as its parts are committed, and stops it where going on is pointless."""

    def __init__(self, stage: str, most_in_a_row: int) -> None:
        self._stage, self._most = stage, most_in_a_row
        self._in_a_row = 0
        self._defects: Counter[str] = Counter()

    def part(self, summary: PartSummary, outcomes: Callable[[], Iterable[Outcome[Any]]]) -> None:
        """Takes note of a committed part. outcomes: reads its rows, for the cause.

        Raises StopStage where too many rows failed one after the other, and Defect for the third from one place.
        """
        for letter in summary.outcomes:
            self._in_a_row = self._in_a_row + 1 if letter == "f" else 0
            if self._in_a_row >= self._most:
                cause = [why_failed(outcome) for outcome in outcomes() if outcome.kind == "failed"][-1]
                raise StopStage(
                    f"{self._in_a_row} rows in a row failed in the {self._stage} stage, the latest with {cause!r}; put "
                    "that right and run again with --retry-failed"
                )
        self._defects.update(defects(summary.failed))
        for place, count in self._defects.items():
            if count >= DEFECTS_AT_ONE_PLACE and DEFECT + place in summary.failed:
                of_place = [outcome for outcome in outcomes() if outcome.reason == DEFECT + place]
                raise Defect(
                    f"{count} rows of the {self._stage} stage met the same defect of this program, {place}; the last "
                    f"is {of_place[-1].name}: {of_place[-1].detail}"
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


def _traceback(error: Exception) -> str:
    """The end of the traceback, which is the part that says where."""
    text = "".join(traceback.format_exception(error)).rstrip()
    if len(text) <= MAX_TRACEBACK:
        return text
    header = "Traceback (most recent call last):\n  ...\n"
    return header + text[len(header) - MAX_TRACEBACK :].partition("\n")[2]


def _place(error: Exception) -> str:
    """File, line and function of the innermost frame in this program's own code, or of the innermost one of all."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename != __file__ and _own(frame.filename)]
    frame = (own or frames)[-1]
    return f"{_own(frame.filename) or Path(frame.filename).name}:{frame.lineno} in {frame.name}"


def _own(filename: str) -> str:
    """A file of this program relative to its root; "" for any other."""
    path, root = Path(filename).resolve(), Path(__file__).resolve().parents[2]
    if not path.is_relative_to(root) or path.relative_to(root).parts[0] not in _PACKAGES:
        return ""
    return str(path.relative_to(root))
