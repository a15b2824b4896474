"""Nodes that go, come and have no room: a Ray cluster of several nodes on this machine, its driver a process apart."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray._common.network_utils import node_ip_address_from_perspective
from ray.cluster_utils import Cluster as Nodes

from instructrestore.dataengine.running.on_ray.runner import Cluster
from tests.dataengine.running.test_runner import spec, tasks
from tests.pipelines.processes import workers_below

ROOT = Path(__file__).resolve().parents[3]
# As on a cluster of machines, and not where the Ray of this process listens, if it has one: on loopback.
SMALL_NODE: dict[str, Any] = {"object_store_memory": 80 << 20, "node_ip_address": node_ip_address_from_perspective()}
SLOW_PARTS = [["slow", "ok"], ["slow", "drop"], ["slow", "raise"], ["slow"] * 2] * 4
pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="workers are found through /proc")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A head of one CPU, to which tests add nodes."""
    cluster = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, **SMALL_NODE, "include_dashboard": False})
    try:
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture
def add_node(nodes: Nodes) -> Iterator[Callable[..., Any]]:
    """Adds a node, which goes with the test."""
    added: list[Any] = []

    def add(**given: Any) -> Any:
        added.append(nodes.add_node(**SMALL_NODE, **given))
        return added[-1]

    yield add
    for node in added:
        if node in nodes.worker_nodes:
            nodes.remove_node(node, allow_graceful=False)


class Driver:
    """A run of trial rows in a process of its own."""

    def __init__(self, nodes: Nodes, folder: Path, parts: list[list[str]], wait_s: float = 0, **changes: Any) -> None:
        self._out = folder / "out"
        words = [str(folder), nodes.address, str(wait_s), json.dumps(parts), json.dumps(changes)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.dataengine.running.trial_driver", *words],
            cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def parts_done(self) -> int:
        return len(list(self._out.glob("0*.parquet")))

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            assert self._process.poll() is None, "the driver ended early"
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def connected(self) -> None:
        assert self._process.stdout
        assert self._process.stdout.readline() == "connected\n"

    def result(self) -> dict[str, Any]:
        try:
            said, _ = self._process.communicate(timeout=150)
        finally:
            self._process.kill()
        return json.loads(said.splitlines()[-1])


def raylet(node: Any) -> int:
    return node.all_processes["raylet"][0].process.pid


def undisturbed(ray_cluster: Cluster, folder: Path) -> list[str]:
    folder.mkdir()
    files = ray_cluster.run_stage(spec(folder), tasks(folder, SLOW_PARTS), 100, lambda summary: None)
    return [file.content for file in files]


@pytest.mark.slow
def test_a_node_lost_in_the_middle_of_a_stage_changes_no_byte(
    nodes: Nodes, add_node: Callable[..., Any], ray_cluster: Cluster, tmp_path: Path
) -> None:
    node = add_node(num_cpus=2)
    (tmp_path / "run").mkdir()
    driver = Driver(nodes, tmp_path / "run", SLOW_PARTS, workers=3)
    driver.wait_until(lambda: driver.parts_done() >= 3 and len(workers_below(raylet(node))) == 2)
    nodes.remove_node(node, allow_graceful=False)
    done = driver.parts_done()
    result = driver.result()
    assert done < len(SLOW_PARTS), "the node went after the end"
    assert result["contents"] == undisturbed(ray_cluster, tmp_path / "peace")
    assert result["kinds"].count("failed") == 4, "those rows that raise, and no other"


@pytest.mark.slow
def test_a_node_that_joins_in_the_middle_of_a_stage_gets_workers(
    nodes: Nodes, add_node: Callable[..., Any], tmp_path: Path
) -> None:
    driver = Driver(nodes, tmp_path, [["slow"] * 4] * 30, workers=None)
    driver.wait_until(lambda: driver.parts_done() >= 1)
    node = add_node(num_cpus=2)
    driver.wait_until(lambda: len(workers_below(raylet(node))) == 2)
    assert driver.result()["kinds"] == ["ok"] * 120


@pytest.mark.slow
def test_a_stage_waits_for_a_machine_that_its_setting_lets_it_wait_for(
    nodes: Nodes, add_node: Callable[..., Any], tmp_path: Path
) -> None:
    driver = Driver(nodes, tmp_path, [["ok"]] * 2, wait_s=60, resources={"special": 1})
    driver.connected()
    time.sleep(2)
    add_node(num_cpus=1, resources={"special": 1})
    assert driver.result()["kinds"] == ["ok"] * 2


@pytest.mark.slow
def test_a_machine_that_does_not_come_is_one_sentence(nodes: Nodes, tmp_path: Path) -> None:
    begin = time.monotonic()
    said = Driver(nodes, tmp_path, [["ok"]], wait_s=3, resources={"special": 1}).result()["stopped"]
    # A node that went with the test before may be counted for some seconds.
    assert re.search("needs 1 CPUs, 0 GPUs and 1 special a worker; the cluster has [0-9]+, 0 and 0 special", said)
    assert said.endswith("even after 3 s")
    assert time.monotonic() - begin < 60


def test_a_worker_needs_its_room_on_one_machine(nodes: Nodes, add_node: Callable[..., Any], tmp_path: Path) -> None:
    add_node(num_cpus=2)
    said = Driver(nodes, tmp_path, [["ok"]], cpus=3).result()["stopped"]
    assert re.match(
        "the trial stage needs 3 CPUs and 0 GPUs a worker; the cluster has [0-9]+ and 0, and no machine", said
    )
