"""Every way in which a row, a worker or a disk can fail, with real workers in a real cluster."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
from pydantic import TypeAdapter

from instructrestore.dataengine.running.on_ray.runner import Cluster
from instructrestore.dataengine.running.part_files import (
    Outcome,
    PartFile,
    PartSummary,
    Slice,
    list_parts,
    read_outcomes,
    write_part,
)
from instructrestore.dataengine.running.stage import StageSpec, StopStage, Task
from tests.dataengine.running.trial_stages import Item, NeedsWeights, SlowSink, Trial

items = TypeAdapter(Item)


def spec(marks: Path, **changes: Any) -> StageSpec:
    fields = {
        "name": "trial",
        "build": partial(Trial, marks),
        "identity": "0",
        "row_type": Item,
        "result_type": Item,
        "workers": 2,
        "part_limit_s": 60,
        "row_limit_s": 3,
    }
    return StageSpec(**(fields | changes))


def tasks(folder: Path, parts: list[list[str]]) -> list[Task]:
    """A task per part; a part is the acts of its rows."""
    source, out = folder / "in", folder / "out"
    source.mkdir()
    out.mkdir()
    planned, number = [], 0
    for part, acts in enumerate(parts):
        rows = [Outcome(f"row {number + i}", "ok", Item(number + i, act)) for i, act in enumerate(acts)]
        number += len(acts)
        file, _ = write_part(source, part, f"{part:016x}", 0, rows, items)
        planned.append(Task(part, (Slice(str(file.path)),), out, f"{part:016x}"))
    return planned


def run(ray_cluster: Cluster, spec: StageSpec, planned: list[Task], limit: int = 100) -> list[Outcome[Item]]:
    files = ray_cluster.run_stage(spec, planned, limit, lambda summary: None)
    return [outcome for file in files for outcome in read_outcomes(file.path, items)]


def test_every_row_is_accounted_for(tmp_path: Path, ray_cluster: Cluster) -> None:
    seen: list[PartSummary] = []
    planned = tasks(tmp_path, [["ok", "drop", "raise", "ok"], ["fail", "ok"], ["ok"] * 3, []])
    files = ray_cluster.run_stage(spec(tmp_path), planned, 100, seen.append)
    outcomes = [outcome for file in files for outcome in read_outcomes(file.path, items)]
    assert [o.kind for o in outcomes] == ["ok", "dropped", "failed", "ok", "failed", "ok", "ok", "ok", "ok"]
    assert [o.name for o in outcomes] == [f"row {n}" for n in range(9)]
    assert outcomes[3].row == Item(3, "ok", 9)
    assert (outcomes[1].reason, outcomes[1].detail) == ("odd", "number 1")
    assert (outcomes[2].reason, outcomes[2].detail) == ("RuntimeError", "row 2")
    assert outcomes[2].row == Item(2, "raise"), "a failed row keeps its input, to be done again"
    assert outcomes[4].reason == "said so"
    assert sorted(summary.outcomes for summary in seen) == ["", "fo", "odfo", "ooo"]


def test_a_worker_that_dies_once_costs_nothing(tmp_path: Path, ray_cluster: Cluster) -> None:
    outcomes = run(ray_cluster, spec(tmp_path), tasks(tmp_path, [["ok", "die once", "ok"], ["ok", "ok"], ["die once"]]))
    assert [o.kind for o in outcomes] == ["ok"] * 6


@pytest.mark.slow
def test_workers_that_die_at_one_blow_do_not_stop_the_run(tmp_path: Path, ray_cluster: Cluster) -> None:
    planned = tasks(tmp_path, [["die once", "ok"]] * 7)
    outcomes = run(ray_cluster, spec(tmp_path, workers=7, cpus=0.25), planned)
    assert [o.kind for o in outcomes] == ["ok"] * 14


def test_a_deadly_row_is_failed_and_the_rest_done(tmp_path: Path, ray_cluster: Cluster) -> None:
    outcomes = run(ray_cluster, spec(tmp_path), tasks(tmp_path, [["ok", "die", "ok"], ["ok", "ok"]]))
    assert [o.kind for o in outcomes] == ["ok", "failed", "ok", "ok", "ok"]
    assert (outcomes[1].reason, outcomes[1].attempts) == ("worker died", 2)


def test_a_part_ahead_of_a_worker_that_dies_is_not_blamed(tmp_path: Path, ray_cluster: Cluster) -> None:
    parts = [["slow", "die once", "together"], ["together"] * 3, ["ok"], ["ok"]]
    outcomes = run(ray_cluster, spec(tmp_path, workers=1), tasks(tmp_path, parts))
    assert [o.kind for o in outcomes] == ["ok"] * 8
    together = [o.row.value for o in outcomes if o.row and o.row.act == "together"]
    assert together == [1, 3, 3, 3], "the part with the death row by row, the one behind it as a whole"


def test_a_deadly_part_behind_one_that_is_being_committed_is_found(tmp_path: Path, ray_cluster: Cluster) -> None:
    planned = tasks(tmp_path, [["ok", "ok"], ["die", "ok"], ["ok"], ["ok"]])
    outcomes = run(ray_cluster, spec(tmp_path, workers=1, sink=SlowSink), planned)
    assert [o.kind for o in outcomes] == ["ok", "ok", "failed", "ok", "ok", "ok"]
    assert (outcomes[2].reason, outcomes[2].attempts) == ("worker died", 2)


def test_no_part_is_handed_ahead_where_there_are_few(tmp_path: Path, ray_cluster: Cluster) -> None:
    planned = tasks(tmp_path, [["process"] + ["slow"] * 6, ["process"], ["process"]])
    outcomes = run(ray_cluster, spec(tmp_path, workers=2, min_workers=2), planned)
    slow, *quick = [o.row.value for o in outcomes if o.row and o.row.act == "process"]
    assert slow not in quick


def test_a_worker_that_hangs_counts_as_dead(tmp_path: Path, ray_cluster: Cluster) -> None:
    outcomes = run(ray_cluster, spec(tmp_path, part_limit_s=2, row_limit_s=2), tasks(tmp_path, [["ok", "hang", "ok"]]))
    assert [o.kind for o in outcomes] == ["ok", "failed", "ok"]
    assert outcomes[1].reason == "worker stalled"


def test_a_worker_without_a_place_is_no_reason_to_stop_when_another_dies(tmp_path: Path, ray_cluster: Cluster) -> None:
    ray_cluster.dismiss()
    held = ray.remote(num_cpus=1)(Item).remote(0)  # somebody else's
    ray.get(held.__ray_ready__.remote())
    try:
        planned = tasks(tmp_path, [["slow"] * 3] * 14 + [["die once", "ok"]])  # longer than the limit
        outcomes = run(ray_cluster, spec(tmp_path, start_limit_s=10), planned)
    finally:
        ray.kill(held)
    assert [o.kind for o in outcomes] == ["ok"] * 44


def test_the_same_bytes_with_one_worker_or_two_or_dying_ones(tmp_path: Path, ray_cluster: Cluster) -> None:
    contents = []
    for name, workers, deadly in (("one", 1, False), ("two", 2, False), ("dying", 2, True)):
        folder = tmp_path / name
        folder.mkdir()
        if not deadly:
            (folder / "mark-1").touch()
        planned = tasks(folder, [["ok", "die once", "drop", "raise"], ["ok"] * 5, ["drop"]])
        files = ray_cluster.run_stage(spec(folder, workers=workers), planned, 100, lambda summary: None)
        contents.append([file.content for file in files])
    assert contents[0] == contents[1] == contents[2]


def test_stop_ends_the_stage_with_its_sentence_and_keeps_what_was_done(tmp_path: Path, ray_cluster: Cluster) -> None:
    planned = tasks(tmp_path, [["ok"], ["ok", "stop"], ["ok"]])
    with pytest.raises(StopStage, match="the server is down"):
        run(ray_cluster, spec(tmp_path, workers=1), planned)
    assert list(list_parts(tmp_path / "out")) == [0]


def test_a_stage_that_cannot_start_says_why(tmp_path: Path, ray_cluster: Cluster) -> None:
    with pytest.raises(StopStage, match="trial stage cannot start: the weights are not there"):
        run(ray_cluster, spec(tmp_path, build=NeedsWeights), tasks(tmp_path, [["ok"]]))


def test_too_many_failures_in_a_row_stop_the_run(tmp_path: Path, ray_cluster: Cluster) -> None:
    planned = tasks(tmp_path, [["ok"] + ["raise"] * 4, ["raise"] * 4])
    with pytest.raises(StopStage, match=r"rows in a row failed in the trial stage.*RuntimeError.*--retry-failed"):
        run(ray_cluster, spec(tmp_path, workers=1), planned, limit=6)


def test_failures_with_successes_between_do_not_stop_it(tmp_path: Path, ray_cluster: Cluster) -> None:
    outcomes = run(
        ray_cluster, spec(tmp_path, workers=1), tasks(tmp_path, [["raise", "ok"] * 5, ["raise", "ok"] * 5]), limit=3
    )
    assert sum(o.kind == "failed" for o in outcomes) == 10


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path, ray_cluster: Cluster) -> None:
    planned = tasks(tmp_path, [["ok"]])
    (tmp_path / "out").rmdir()
    with pytest.raises(StopStage, match=r"trial stage cannot write to .*out: No such file or directory"):
        run(ray_cluster, spec(tmp_path), planned)


def test_a_stage_too_big_for_the_cluster_is_one_sentence(tmp_path: Path, ray_cluster: Cluster) -> None:
    with pytest.raises(StopStage, match="needs 1 CPUs and 3 GPUs a worker; the cluster has"):
        run(ray_cluster, spec(tmp_path, gpus=3), tasks(tmp_path, [["ok"]]))


def test_retry_does_the_failed_rows_alone(tmp_path: Path, ray_cluster: Cluster) -> None:
    planned = tasks(tmp_path, [["raise once", "drop", "ok", "raise"]])
    (file,) = ray_cluster.run_stage(spec(tmp_path), planned, 100, lambda summary: None)
    # The first call raised and every row was then called alone: row 0 had left its mark by that time.
    assert [o.kind for o in read_outcomes(file.path, items)] == ["ok", "dropped", "ok", "failed"]
    (again,) = ray_cluster.run_stage(spec(tmp_path), [retry_of(planned[0], file)], 100, lambda summary: None)
    assert again.attempt == 1
    assert again.content == file.content, "the same failure again is the same content"


def retry_of(task: Task, file: PartFile) -> Task:
    return Task(task.part, task.slices, task.folder, task.input, file.attempt + 1, retry=file.path)
