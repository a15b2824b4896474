"""A worker as an actor of Ray, which overlaps parts."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import ray

from instructrestore.dataengine.running.part_files import Outcome
from instructrestore.dataengine.running.stage import StageSpec, Task
from instructrestore.dataengine.running.worker import Done, PartInput, StageWorker, Stopped, Todo

PARTS_IN_HAND = 2  # of a worker


class Actor:
    """A worker that has two parts in hand: while one is in the stage, the next is read and the one before committed.

    The stage has a thread of its own, as what it sets (gradients off, processors) and what OpenMP starts belong to one.
    """

    def __init__(self) -> None:
        self._worker = StageWorker()
        self._reading, self._staging, self._committing = (ThreadPoolExecutor(1) for _ in range(3))

    def begin(self, spec: StageSpec) -> str | Stopped:
        """Starts the stage; returns the node it runs on."""
        stopped = self._staging.submit(self._worker.start, spec).result()
        return stopped or ray.get_runtime_context().get_node_id()

    def do_part(self, task: Task) -> Done | Stopped:
        """Parts are committed in the order in which they were in the stage."""
        given = self._reading.submit(self._worker.read, task).result()
        return self._staging.submit(self._stage, task, given).result().result()

    def _stage(self, task: Task, given: PartInput | Stopped) -> Future[Done | Stopped]:
        return self._committing.submit(self._worker.commit, task, self._worker.through(task, given))

    def do_row(self, task: Task, todo: Todo) -> Outcome[Any] | Stopped:
        return self._staging.submit(self._worker.do_row, task, todo).result()
