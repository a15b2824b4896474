"""What a stage's workers get and run in: their environment, memory, other resources, and how many there are."""

from __future__ import annotations

import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from instructrestore.dataengine.running.on_ray import environments
from instructrestore.dataengine.running.on_ray.cluster import MALLOC, room
from instructrestore.dataengine.running.on_ray.runner import Cluster
from instructrestore.dataengine.running.part_files import read_outcomes
from instructrestore.dataengine.running.stage import StopStage
from instructrestore.dataengine.settings import StageResources
from tests.dataengine.running.test_runner import items, run, spec, tasks
from tests.dataengine.running.trial_stages import Deadly, Trial


def test_the_environment_reaches_the_workers_and_leaves_the_memory_settings(
    tmp_path: Path, ray_cluster: Cluster
) -> None:
    own = {"env_vars": {"TRIAL": "7"}, "py_executable": sys.executable}
    files = ray_cluster.run_stage(
        spec(tmp_path, runtime_env=own), tasks(tmp_path, [["environment"]]), 100, lambda summary: None
    )
    (outcome,) = read_outcomes(files[0].path, items)
    assert outcome.row
    assert outcome.row.value == 7 + int(MALLOC["MALLOC_TRIM_THRESHOLD_"])


@pytest.mark.parametrize(
    ("environment", "cause"),
    [
        pytest.param(
            {"pip": ["no-such-package"]},
            "virtualenv",
            marks=pytest.mark.skipif(
                find_spec("virtualenv") is not None, reason="Ray would first copy this virtual environment, for minutes"
            ),
        ),
        ({"conda": "no-such-environment"}, "conda"),
        ({"py_executable": "/no/such/python"}, "/no/such/python: No such file or directory"),
        ({"py_executable": f"{sys.executable} -I -S"}, "No module named 'ray'"),
    ],
    ids=["pip", "conda", "no python", "python without ray"],
)
def test_an_environment_that_cannot_be_made_is_one_sentence(
    tmp_path: Path, ray_cluster: Cluster, environment: dict[str, object], cause: str
) -> None:
    begin = time.monotonic()
    with pytest.raises(StopStage, match=rf"the environment of the trial stage cannot be made: .*({cause})") as stopped:
        run(ray_cluster, spec(tmp_path, runtime_env=environment), tasks(tmp_path, [["ok"]]))
    assert str(stopped.value).endswith("; put its runtime_env (run.stages) right, then run again")
    assert "\n" not in str(stopped.value)
    assert time.monotonic() - begin < 60


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"pyp": ["torch"]}, r"the runtime_env of masks has no 'pyp'; it has .*\bpip\b"),
        ({"env_vars": {"A": 1}}, "the runtime_env of masks does not hold: .*must be of type Dict"),
        ({"pip": ["a"], "uv": ["b"]}, "the runtime_env of masks does not hold: .*cannot be specified at the same time"),
    ],
    ids=["unknown", "wrong type", "two installers"],
)
def test_an_environment_that_ray_does_not_take_is_said_before_the_run(
    environment: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence) as error:
        environments.check("masks", environment)
    assert "\n" not in str(error.value)


def test_workers_that_wait_do_not_keep_the_next_stage_from_trying_their_python(
    tmp_path: Path, ray_cluster: Cluster
) -> None:
    for stage in ("one", "two"):
        (tmp_path / stage).mkdir()
        own = spec(tmp_path / stage, runtime_env={"py_executable": sys.executable}, start_limit_s=60)
        assert [o.kind for o in run(ray_cluster, own, tasks(tmp_path / stage, [["ok"], ["ok"]]))] == ["ok", "ok"]


def test_memory_and_other_resources_bound_the_workers(tmp_path: Path, ray_cluster: Cluster) -> None:
    assert room(spec(tmp_path)) == 2
    assert room(spec(tmp_path, cpus=0.5)) == 4
    assert room(spec(tmp_path, cpus=0)) is None
    assert room(spec(tmp_path, cpus=0.1, memory_gib=0.01)) == 20
    with pytest.raises(
        StopStage, match=r"needs 1 CPUs, 0 GPUs and 1e\+06 GiB of memory a worker; the cluster has 2, 0"
    ):
        run(ray_cluster, spec(tmp_path, memory_gib=1e6), tasks(tmp_path, [["ok"]]))


def test_a_stage_that_takes_little_memory_runs(tmp_path: Path, ray_cluster: Cluster) -> None:
    assert [o.kind for o in run(ray_cluster, spec(tmp_path, memory_gib=0.1), tasks(tmp_path, [["ok"]]))] == ["ok"]


def test_a_stage_begins_with_its_fewest_workers(tmp_path: Path, ray_cluster: Cluster) -> None:
    outcomes = run(ray_cluster, spec(tmp_path, min_workers=2), tasks(tmp_path, [["process"], ["process"]]))
    assert len({o.row.value for o in outcomes if o.row}) == 2, "two parts, given to two workers"


def test_a_stage_with_too_few_workers_is_one_sentence(tmp_path: Path, ray_cluster: Cluster) -> None:
    with pytest.raises(StopStage, match=r"trial stage begins with 3 workers \(min_workers\); .*has room for 2"):
        run(ray_cluster, spec(tmp_path, workers=None, min_workers=3), tasks(tmp_path, [["ok"]] * 3))


def test_more_fewest_than_most_workers_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="min_workers is 3 and workers, which are the most, 2"):
        StageResources(workers=2, min_workers=3)


def test_every_worker_killed_on_its_first_part_changes_no_byte(tmp_path: Path, ray_cluster: Cluster) -> None:
    contents = []
    for name, first in (("peace", 0), ("killed", 2)):
        folder = tmp_path / name
        folder.mkdir()
        planned = tasks(folder, [["ok", "drop", "raise"], ["ok"] * 3, ["fail"], ["ok"] * 2])
        deadly = partial(Deadly, partial(Trial, folder), folder, first=first)
        files = ray_cluster.run_stage(spec(folder, build=deadly), planned, 100, lambda summary: None)
        contents.append([file.content for file in files])
        assert len(list(folder.glob("killed-*"))) == first
    assert contents[0] == contents[1]
