"""The loop of one stage over its parts, with the whole cluster.

A worker is an actor that holds the stage. It reads a part, maps it and commits it, so that the driver carries names
and counts only. What can go wrong, and what then happens:

    a row raises             that row's outcome is `failed`; the part goes on (outcomes.apply)
    a worker dies            it is replaced and its part done again one row a call, so that the driver knows which
                             row it was in; a row that kills two workers on living nodes is failed and passed over
    a worker stalls          past its limit it is killed: the same
    a node is lost           its parts are done again elsewhere, nobody's fault; under a part that lost two nodes the
                             same is done row by row, and a row under which two more are lost is failed
    a node joins             it gets workers, up to the stage's most
    no node has room         past a limit (0: at once) the run stops with one sentence
    failures in a row        past a limit the run stops with the latest cause
    StopStage, full disk,
    an environment that
    cannot be made           the run stops with one sentence; what was committed stays
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from pydantic import TypeAdapter
from ray.actor import ActorHandle
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError, RuntimeEnvSetupError

from instructrestore.dataengine.running.on_ray import cluster, environments
from instructrestore.dataengine.running.on_ray.row_by_row import Careful
from instructrestore.dataengine.running.outcomes import too_many_failed
from instructrestore.dataengine.running.part_files import PartFile, PartSummary, read_outcomes
from instructrestore.dataengine.running.stage import StageSpec, StopStage, Task
from instructrestore.dataengine.running.worker import Done, Stopped, Worker

DEATHS_WITHOUT_PROGRESS = 5
POLL_S = 0.5
LOOK_S = 5  # so often the cluster is asked what it has room for


class _Actor(Worker):
    def begin(self, spec: StageSpec) -> str | Stopped:
        """Starts the stage; returns the node it runs on."""
        return self.start(spec) or ray.get_runtime_context().get_node_id()


@dataclass
class _Job:
    """What a worker is doing. task None: it is starting."""

    worker: ActorHandle
    task: Task | None
    careful: Careful | None = None
    since: float = field(default_factory=time.monotonic)
    stalled: bool = False


@dataclass
class _Grave:
    """What a dead worker was doing, until it is known whether its node was lost."""

    job: _Job
    node: str | None
    error: Exception
    since: float = field(default_factory=time.monotonic)


class StageRun:
    """One stage over its tasks. idle: workers of an earlier stage that can serve this one.

    wait_s: how long to wait where the cluster has no room, for nodes that it may bring.
    """

    def __init__(
        self,
        spec: StageSpec,
        tasks: Sequence[Task],
        max_failures: int,
        on_part: Callable[[PartSummary], None],
        idle: list[ActorHandle],
        wait_s: float,
    ) -> None:
        self._spec = spec
        self._pending = deque(tasks)
        self._careful: deque[Careful] = deque()
        self._graves: list[_Grave] = []
        self._max_failures = max_failures
        self._on_part = on_part
        self._jobs: dict[ray.ObjectRef, _Job] = {}
        self._nodes: dict[ActorHandle, str] = {}
        self._idle = idle
        self._wait_s = wait_s
        self._most = 0
        self._looked = self._roomy = self._worked = 0.0
        self._least = min(spec.min_workers, spec.workers or spec.min_workers, len(tasks))
        self._ready: list[ActorHandle] = []
        self._born: dict[ActorHandle, float] = {}
        self._lost = Counter[int]()
        self._failures = 0
        self._deaths = 0
        self._last_death = 0.0
        self._actor: Any = ray.remote(**cluster.options(spec), max_restarts=0)(_Actor)
        self.files: dict[int, PartFile] = {}

    def loop(self, check: Callable[[], None]) -> None:
        """Until every task is committed. Workers that the cluster has no room for are not waited for. check: called
        over and over; may raise StopStage."""
        self._roomy = time.monotonic()
        self._look()
        if not self._idle:  # else they hold the room, and their Python runs
            environments.try_python(self._spec, self._spec.start_limit_s + self._wait_s)
        while self._pending or self._careful or self._graves or any(job.task for job in self._jobs.values()):
            self._look()
            self._fill()
            for ref in self._answers():
                job = self._jobs[ref]  # stays until it is seen to, so that `close` knows its worker whatever happens
                try:
                    result = ray.get(ref)
                except RayTaskError as error:  # a defect of this program or its installation, with its traceback
                    raise RuntimeError(f"the {self._spec.name} stage broke off") from error
                except RuntimeEnvSetupError as error:
                    raise StopStage(environments.unbuilt(self._spec, error)) from None
                except RayError as error:  # of many kinds: killed, out of memory, its node or its answer lost
                    del self._jobs[ref]
                    self._bury(job, error)
                else:
                    if isinstance(result, Stopped):
                        raise StopStage(result.sentence)
                    del self._jobs[ref]
                    self._take(job, result)
            self._judge()
            self._kill_stalled()
            check()

    def _answers(self) -> list[ray.ObjectRef]:
        if self._jobs:
            return ray.wait(list(self._jobs), num_returns=1, timeout=POLL_S)[0]
        time.sleep(POLL_S)
        return []

    def close(self) -> list[ActorHandle]:
        """Ends what is still at work; returns the workers that can serve another stage."""
        once = self._spec.gpus or self._spec.own_workers
        for worker in (*(job.worker for job in self._jobs.values()), *(self._ready if once else ())):
            ray.kill(worker)
        at_work = [job.careful for job in (*self._jobs.values(), *(grave.job for grave in self._graves)) if job.careful]
        for careful in (*at_work, *self._careful):
            careful.abandon()
        return self._idle if once else self._idle + self._ready

    def _look(self) -> None:
        """How many workers there may be now. On a cluster that may grow twice what it has room for, or all that the
        setting allows: workers that wait are what makes it grow."""
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        room = cluster.room(self._spec)
        most = self._spec.workers
        if room is None:
            self._most = most or max(1, self._least)
        elif self._wait_s:
            self._most = most or max(2 * room, 1, self._least)
        else:
            self._most = min(room, most or room)
        if room is None or room >= max(1, self._least):
            self._roomy = now
        elif not any(job.task for job in self._jobs.values()) and now - self._roomy >= self._wait_s:
            raise StopStage(self._too_small(room))

    def _too_small(self, room: int) -> str:
        text = cluster.lacking(self._spec)
        if room:
            text = (
                f"the {self._spec.name} stage begins with {self._least} workers (min_workers); the cluster has room "
                f"for {room}"
            )
        return f"{text}, even after {self._wait_s:g} s" if self._wait_s else text

    def _fill(self) -> None:
        """Work for the workers that are ready, once they are as many as the stage begins with; and as many workers as
        there may be and the tasks need."""
        if len(self._ready) >= self._least:
            self._least = 0
            while self._ready and (self._careful or self._pending):
                self._next(self._ready.pop())
        busy = sum(job.task is not None for job in self._jobs.values())
        wanted = min(self._most, busy + len(self._pending) + len(self._careful))
        for _ in range(wanted - len(self._jobs) - len(self._ready)):
            worker = self._idle.pop() if self._idle else self._actor.remote()
            self._born[worker] = time.monotonic()
            self._jobs[worker.begin.remote(self._spec)] = _Job(worker, None)

    def _next(self, worker: ActorHandle) -> None:
        if self._careful:
            self._next_row(worker, self._careful.popleft())
        elif self._pending:
            task = self._pending.popleft()
            self._jobs[worker.do_part.remote(task)] = _Job(worker, task)
        else:
            self._ready.append(worker)  # until the end: another one's part may come back

    def _next_row(self, worker: ActorHandle, careful: Careful) -> None:
        """The careful part's next row to the worker; commits the part after its last one."""
        if row := careful.next_row():
            self._jobs[worker.do_row.remote(careful.task, row)] = _Job(worker, careful.task, careful)
            return
        self._committed(careful.task, careful.commit())
        self._next(worker)

    def _take(self, job: _Job, result: Any) -> None:
        if job.task is None:
            self._nodes[job.worker] = result
            self._ready.append(job.worker)
        elif job.careful:
            job.careful.settle(result)
            self._deaths = 0
            self._next_row(job.worker, job.careful)
        else:
            self._committed(job.task, result)
            self._next(job.worker)

    def _committed(self, task: Task, done: Done) -> None:
        self._deaths = 0
        self.files[task.part], summary = done
        self._on_part(summary)
        for letter in summary.outcomes:
            self._failures = self._failures + 1 if letter == "f" else 0
            if self._failures >= self._max_failures:
                outcomes = read_outcomes(done[0].path, TypeAdapter(self._spec.result_type))
                raise too_many_failed(self._spec.name, self._failures, outcomes)

    def _kill_stalled(self) -> None:
        now = time.monotonic()
        working = any(job.task for job in self._jobs.values())
        self._worked = now if working else self._worked
        patience = self._spec.start_limit_s + self._wait_s
        for job in self._jobs.values():
            if job.task is None:
                if not working and now - max(job.since, self._worked) > patience:
                    raise StopStage(
                        f"the {self._spec.name} stage cannot begin: after {patience:g} s (start_limit_s) "
                        f"{len(self._ready)} of its workers are ready; the cluster may be full, or the environment or "
                        "the model take longer than that"
                    )
                continue
            limit = self._spec.row_limit_s if job.careful else self._spec.part_limit_s
            if not job.stalled and now - job.since > limit:
                job.stalled = True
                ray.kill(job.worker)

    def _bury(self, job: _Job, error: Exception) -> None:
        ray.kill(job.worker)
        self._graves.append(_Grave(job, self._nodes.pop(job.worker, None), error))
        self._looked = 0  # there may be a node less

    def _judge(self) -> None:
        """Puts back what dead workers were doing, once it is known whether they or their nodes went."""
        undecided = []
        for grave in self._graves:
            lost = False if grave.job.stalled or not grave.node else cluster.is_lost(grave.node, grave.since)
            if lost is None:
                undecided.append(grave)
            else:
                self._put_back(grave, blame=not lost)
        self._graves = undecided

    def _put_back(self, grave: _Grave, blame: bool) -> None:
        job = grave.job
        if blame and self._born.pop(job.worker, 0.0) > self._last_death:
            self._last_death = grave.since  # those that die with it, at one blow, count once
            self._deaths += 1
        if self._deaths > DEATHS_WITHOUT_PROGRESS:
            raise StopStage(
                f"{self._deaths} workers of the {self._spec.name} stage died one after the other and none did "
                f"anything: {str(grave.error).splitlines()[0]}"
            )
        if job.careful:
            if job.careful.killed(_reason(grave)) if blame else job.careful.lost():
                self._deaths = 0
            self._careful.append(job.careful)
        elif job.task and (blame or self._lost[job.task.part]):
            self._careful.append(Careful(self._spec, job.task))
        elif job.task:
            self._lost[job.task.part] += 1  # a second node lost under one part may be that part's doing
            self._pending.appendleft(job.task)


def _reason(grave: _Grave) -> str:
    if grave.job.stalled:
        return "worker stalled"
    return "worker out of memory" if isinstance(grave.error, OutOfMemoryError) else "worker died"
