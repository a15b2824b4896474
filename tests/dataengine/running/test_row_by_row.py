"""A part done row by row: whose fault it is when what a row was in goes away."""

from __future__ import annotations

from pathlib import Path

from instructrestore.dataengine.running.on_ray.row_by_row import PartByRow
from instructrestore.dataengine.running.part_files import read_outcomes
from instructrestore.dataengine.running.worker import StageWorker
from tests.dataengine.running.test_runner import items, spec, tasks


def test_a_row_fails_after_two_workers_or_two_machines_and_one_of_each_is_no_fault(tmp_path: Path) -> None:
    given = spec(tmp_path)
    (task,) = tasks(tmp_path, [["ok"] * 3])
    worker = StageWorker()
    worker.start(given)
    part = PartByRow(given, task)

    assert not part.killed("worker died")
    assert not part.lost()
    row = part.next_row()
    assert row and row.name == "row 0"
    outcome = worker.do_row(task, row)
    part.settle(outcome)  # pyright: ignore[reportArgumentType]

    assert not part.lost(), "what became of the row before is forgotten"
    assert part.lost()
    assert not part.killed("worker stalled")
    assert part.killed("worker died")
    assert part.next_row() is None

    file, summary = part.commit()
    assert summary.outcomes == "off"
    failed = read_outcomes(file.path, items)[1:]
    assert [(o.reason, o.attempts) for o in failed] == [("machine lost", 2), ("worker died", 2)]
    assert failed[0].detail == "2 machines, one after the other, on this row"
