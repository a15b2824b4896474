"""Runs stages over their parts with the whole cluster: connects to it and keeps its workers between the stages.

What the cluster is and has room for: cluster.py. The loop of one stage, and what becomes of it when a row, a worker or
a node fails: stage_run.py. The environments of its workers: environments.py. No other file of the stages imports ray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.actor import ActorHandle

from instructrestore.dataengine.running.on_ray.cluster import MALLOC, OBJECT_STORE_MIB, connected, options
from instructrestore.dataengine.running.on_ray.servers.started import Servers
from instructrestore.dataengine.running.on_ray.stage_run import StageRun
from instructrestore.dataengine.running.part_files import PartFile, PartSummary
from instructrestore.dataengine.running.stage import StageSpec, Task

__all__ = ["MALLOC", "Cluster", "cluster"]


@contextmanager
def cluster(
    address: str | None, cpus: int | None, object_store_mib: int = OBJECT_STORE_MIB, wait_for_nodes_s: float = 0
) -> Iterator[Cluster]:
    """A Ray cluster for the block: the one at `address` or at RAY_ADDRESS, which `ray job submit` sets; else one of
    this machine's `cpus` processors (None: all), with so much shared memory.

    wait_for_nodes_s: how long a stage that finds no room waits for nodes that the cluster may bring.
    Raises ValueError where the cluster cannot be reached.
    """
    with connected(address, cpus, object_store_mib) as alone:
        held = Cluster(wait_for_nodes_s, alone)
        try:
            yield held
        finally:
            held.close()


@dataclass
class WaitingWorkers:
    """Workers between two stages, and the options they were started with."""

    workers: list[ActorHandle] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)


class Cluster:
    """Runs stages, one after the other, each with the whole cluster.

    Workers without a GPU stay for the next stage: starting a process and importing the packages takes a second, and
    nothing of a stage but the packages stays in it. A GPU worker goes with its stage and frees the GPU's memory, and so
    does the worker of a stage that changes its process.

    alone: the cluster is this machine, and no other will join.
    """

    def __init__(self, wait_for_nodes_s: float = 0, alone: bool = True) -> None:
        self.alone = alone
        self._wait_s = wait_for_nodes_s
        self._waiting = WaitingWorkers()
        self.servers = Servers(alone, wait_for_nodes_s)

    def run_stage(
        self,
        spec: StageSpec,
        tasks: Sequence[Task],
        max_failures_in_a_row: int,
        on_part: Callable[[PartSummary], None],
    ) -> list[PartFile]:
        """Does the tasks with as many workers as there is room for; returns their files in the tasks' order.

        on_part is told of each part as it is committed. Raises StopStage with one sentence where going on is
        pointless.
        """
        if not tasks:
            return []
        spec = self.servers.ready(spec)
        if spec.server and spec.server.where == "in_process":
            self.dismiss()
            return _run_in_process(spec, tasks, on_part)
        if spec.gpus or spec.own_workers or options(spec) != self._waiting.options:
            self.dismiss()
        run = StageRun(spec, tasks, max_failures_in_a_row, on_part, self._waiting.workers, self._wait_s)
        self._waiting.workers = []
        try:
            run.loop(self.servers.check)
        finally:
            self._waiting.workers, self._waiting.options = run.close(), options(spec)
        return [run.files[task.key] for task in tasks]

    def resources(self) -> tuple[int, int]:
        """Processors and GPUs of the whole cluster."""
        known = ray.cluster_resources()
        return int(known.get("CPU", 1)), int(known.get("GPU", 0))

    def dismiss(self) -> None:
        """Ends the workers that wait."""
        for worker in self._waiting.workers:
            ray.kill(worker)
        self._waiting.workers = []

    def close(self) -> None:
        """Ends the workers that wait and the servers that were started."""
        self.dismiss()
        self.servers.stop()


def _run_in_process(spec: StageSpec, tasks: Sequence[Task], on_part: Callable[[PartSummary], None]) -> list[PartFile]:
    from instructrestore.dataengine.running.on_ray.servers.in_process import run_in_process  # noqa: PLC0415  (imports transformers and ray.data)

    return run_in_process(spec, tasks, on_part)
