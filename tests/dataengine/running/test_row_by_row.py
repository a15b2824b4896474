"""A part done row by row: whose fault it is when what a row was in goes away."""

from __future__ import annotations

from pathlib import Path

from instructrestore.dataengine.running.on_ray.row_by_row import Careful
from instructrestore.dataengine.running.part_files import read_outcomes
from instructrestore.dataengine.running.worker import Worker
from tests.dataengine.running.test_runner import items, spec, tasks


def test_a_row_fails_after_two_workers_or_two_machines_and_one_of_each_is_no_fault(tmp_path: Path) -> None:
    given = spec(tmp_path)
    (task,) = tasks(tmp_path, [["ok"] * 3])
    worker = Worker()
    worker.start(given)
    careful = Careful(given, task)

    assert not careful.killed("worker died")
    assert not careful.lost()
    row = careful.next_row()
    assert row and row.name == "row 0"
    outcome = worker.do_row(task, row)
    careful.settle(outcome)  # pyright: ignore[reportArgumentType]

    assert not careful.lost(), "what became of the row before is forgotten"
    assert careful.lost()
    assert not careful.killed("worker stalled")
    assert careful.killed("worker died")
    assert careful.next_row() is None

    file, summary = careful.commit()
    assert summary.outcomes == "off"
    failed = read_outcomes(file.path, items)[1:]
    assert [(o.reason, o.attempts) for o in failed] == [("machine lost", 2), ("worker died", 2)]
    assert failed[0].detail == "2 machines, one after the other, on this row"
