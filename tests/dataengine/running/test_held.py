"""What rows hold is counted whatever becomes of them: input = kept + lost, by reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from instructrestore.dataengine.photos.row import Annotation, PolygonMask, Row, SourcePhoto
from instructrestore.dataengine.running.held import Held, held
from instructrestore.dataengine.running.outcomes import apply, failed
from instructrestore.dataengine.running.part_files import Outcome
from instructrestore.dataengine.running.stage import Drop, Failed

SQUARE = Annotation(PolygonMask([[0, 0, 9, 0, 9, 9]]), "cat")


def row_of(annotations: int) -> Row:
    return Row(SourcePhoto("u", "n", "s", annotations=(SQUARE,) * annotations))


def outcome_of(result: Row | Drop | Failed | Exception, row: Row) -> Outcome:
    def stage(rows: Sequence[Row]) -> list[Row | Drop | Failed]:
        assert rows == [replace(row, counts={}, lost={})]
        if isinstance(result, Exception):
            raise result
        return [result]

    [outcome] = apply(stage, [("u", row)], None)
    return outcome


@pytest.mark.parametrize(
    ("result", "lost"),
    [
        (row_of(3), {}),
        (replace(row_of(1), lost={"crowd": 2}), {"crowd": 2}),
        (Drop("short side"), {"dropped: short side": 3}),
        (Drop("no region", "", {"bad polygon": 3}), {"bad polygon": 3}),
        (Drop("no region", "", {"bad polygon": 1}), {"bad polygon": 1, "dropped: no region": 2}),
        (Failed("timeout"), {"failed: timeout": 3}),
        (OSError(5, "Input/output error"), {"failed: OSError: Input/output error": 3}),
    ],
)
def test_every_end_of_a_row_says_what_it_held(result: Row | Drop | Failed | Exception, lost: dict[str, int]) -> None:
    # What an earlier stage lost is not lost again.
    outcome = outcome_of(result, replace(row_of(3), lost={"crowd": 7}, counts={"crowd": 7}))
    assert outcome.held == Held(3, lost)


def test_a_defect_says_it_too() -> None:
    found = outcome_of(KeyError("x"), row_of(2)).held
    assert found and found.count == 2
    assert [(reason.startswith("failed: defect: KeyError"), count) for reason, count in found.lost.items()] == [
        (True, 2)
    ]


def test_rows_that_hold_nothing_say_nothing() -> None:
    assert outcome_of(Drop("short side"), row_of(0)).held is None
    assert failed("u", object(), ("killed", "")).held is None
    assert failed("u", row_of(2), ("killed", "")).held == Held(2, {"failed: killed": 2})


def test_a_loss_without_a_reason_is_a_defect() -> None:
    with pytest.raises(AssertionError):
        held(row_of(3), 1, {"crowd": 1})
