"""The loop of one stage over its parts, with the whole cluster.

A worker is an actor that holds the stage. It reads a part, maps it and commits it, so that the driver carries names
and counts only. It is handed the next part ahead, which it reads while the stage is at work (actor.py). What can go
wrong, and what then happens:

    a row raises             outcomes.py says what becomes of it; as a rule the row has failed and the part goes on
    a worker dies            it is replaced, and its part is done again row by row, so that the driver knows which row
                             it was at; a row that kills two workers on living nodes has failed and is passed over.
                             The part that it had ahead is given back, once: it may have been that one
    a worker stalls          past its time limit it is killed, and the same happens
    a node is lost           its parts are done again elsewhere, which is nobody's fault; a part that has lost two nodes
                             is done row by row, and a row that loses two more has failed
    a node joins             it gets workers, up to the stage's limit
    no node has room         past a time limit (0: at once) the run stops with one sentence
    failures in a row        past a limit the run stops and names the latest cause
    StopStage, a full disk,
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
from instructrestore.dataengine.running.on_ray.actor import PARTS_IN_HAND, Actor
from instructrestore.dataengine.running.on_ray.row_by_row import PartByRow
from instructrestore.dataengine.running.outcomes import FailureWatch
from instructrestore.dataengine.running.part_files import PartFile, PartSummary, read_outcomes
from instructrestore.dataengine.running.stage import Defect, StageSpec, StopStage, Task
from instructrestore.dataengine.running.worker import Done, Stopped
from instructrestore.shards.errors import first_line

DEATHS_WITHOUT_PROGRESS = 5
POLL_S = 0.5
LOOK_S = 5  # between two questions to the cluster what it has room for


@dataclass
class _Assignment:
    """What a worker has in hand. task None: it is starting. by_row: the task is done row by row. behind: another part
    is before it."""

    worker: ActorHandle
    task: Task | None
    by_row: PartByRow | None = None
    behind: bool = False
    since: float = field(default_factory=time.monotonic)
    stalled: bool = False


@dataclass
class _Death:
    """What a dead worker was doing, until it is known whether its node was lost."""

    job: _Assignment
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
        self._by_row: deque[PartByRow] = deque()
        self._deaths_to_judge: list[_Death] = []
        self._watch = FailureWatch(spec.name, max_failures)
        self._on_part = on_part
        self._jobs: dict[ray.ObjectRef, _Assignment] = {}
        self._following: dict[ActorHandle, _Assignment] = {}  # those that are behind another
        self._nodes: dict[ActorHandle, str] = {}
        self._idle = idle
        self._wait_s = wait_s
        self._most = 0
        self._looked = self._had_room = self._worked = 0.0
        self._least = min(spec.min_workers, spec.workers or spec.min_workers, len(tasks))
        self._ready: list[ActorHandle] = []
        self._born: dict[ActorHandle, float] = {}
        self._lost = Counter[tuple[str, int]]()  # nodes, and workers that had it ahead, by the task
        self._deaths = 0
        self._last_death = 0.0
        given: dict[str, Any] = {"max_restarts": 0, "max_concurrency": PARTS_IN_HAND, **cluster.options(spec)}
        self._actor: Any = ray.remote(**given)(Actor)
        self.files: dict[tuple[str, int], PartFile] = {}  # by the task's key

    def loop(self, check: Callable[[], None]) -> None:
        """Until every task is committed. Workers that the cluster has no room for are not waited for. check: called
        over and over; may raise StopStage."""
        self._had_room = time.monotonic()
        self._look()
        if not self._idle:  # else they hold the room, and their Python runs
            environments.try_python(self._spec, self._spec.start_limit_s + self._wait_s)
        while self._pending or self._by_row or self._deaths_to_judge or any(job.task for job in self._jobs.values()):
            self._look()
            self._fill()
            for ref in self._answers():
                job = self._jobs[ref]  # stays until it is seen to, so that `close` knows its worker whatever happens
                try:
                    result = ray.get(ref)
                except RayTaskError as error:  # a defect of this program or its installation, with its traceback
                    raise Defect(
                        f"the {self._spec.name} stage broke off: {first_line(error.cause)}\n{error}"
                    ) from error
                except RuntimeEnvSetupError as error:
                    raise StopStage(environments.unbuilt(self._spec, error)) from None
                except RayError as error:  # of many kinds: killed, out of memory, its node or its answer lost
                    del self._jobs[ref]
                    self._bury(job, error)
                else:
                    if isinstance(result, Stopped):
                        raise result.error()
                    del self._jobs[ref]
                    self._take(job, result)
            self._judge()
            self._kill_stalled()
            check()

    def _answers(self) -> list[ray.ObjectRef]:
        if self._jobs:
            first, others = ray.wait(list(self._jobs), num_returns=1, timeout=POLL_S)
            return first + ray.wait(others, num_returns=len(others), timeout=0)[0] if first and others else first
        time.sleep(POLL_S)
        return []

    def close(self) -> list[ActorHandle]:
        """Ends what is still at work; returns the workers that can serve another stage."""
        once = self._spec.gpus or self._spec.own_workers
        for worker in (*(job.worker for job in self._jobs.values()), *(self._ready if once else ())):
            ray.kill(worker)
        dead = (death.job for death in self._deaths_to_judge)
        at_work = [job.by_row for job in (*self._jobs.values(), *dead) if job.by_row]
        for by_row in (*at_work, *self._by_row):
            by_row.abandon()
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
            self._had_room = now
        elif not any(job.task for job in self._jobs.values()) and now - self._had_room >= self._wait_s:
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
            while self._ready and (self._by_row or self._pending):
                self._next(self._ready.pop())
        at_work = {job.worker: job.task for job in self._jobs.values()}
        busy = sum(task is not None for task in at_work.values())
        wanted = min(self._most, busy + len(self._pending) + len(self._by_row))
        for _ in range(wanted - len(at_work) - len(self._ready)):
            worker = self._idle.pop() if self._idle else self._actor.remote()
            self._born[worker] = time.monotonic()
            self._jobs[worker.begin.remote(self._spec)] = _Assignment(worker, None)

    def _next(self, worker: ActorHandle) -> None:
        """What a worker does next. It gets a part to follow as long as there are enough for all: at the end, of parts
        that take alike, none waits at a busy worker while another worker is idle."""
        if follows := self._following.pop(worker, None):
            follows.behind, follows.since = False, time.monotonic()
        elif self._by_row:
            self._next_row(worker, self._by_row.popleft())
            return
        elif self._pending:
            self._hand_out(worker, behind=False)
        else:
            self._ready.append(worker)  # until the end: another one's part may come back
            return
        if len(self._pending) > self._most and not self._by_row:
            self._hand_out(worker, behind=True)

    def _hand_out(self, worker: ActorHandle, behind: bool) -> None:
        task = self._pending.popleft()
        job = self._jobs[worker.do_part.remote(task)] = _Assignment(worker, task, behind=behind)
        if behind:
            self._following[worker] = job

    def _next_row(self, worker: ActorHandle, by_row: PartByRow) -> None:
        """The part's next row to the worker; commits the part after its last one."""
        if row := by_row.next_row():
            self._jobs[worker.do_row.remote(by_row.task, row)] = _Assignment(worker, by_row.task, by_row)
            return
        self._committed(by_row.task, by_row.commit())
        self._next(worker)

    def _take(self, job: _Assignment, result: Any) -> None:
        if job.task is None:
            self._nodes[job.worker] = result
            self._ready.append(job.worker)
        elif job.by_row:
            job.by_row.settle(result)
            self._deaths = 0
            self._next_row(job.worker, job.by_row)
        else:
            self._committed(job.task, result)
            self._next(job.worker)

    def _committed(self, task: Task, done: Done) -> None:
        self._deaths = 0
        file, summary = done
        self.files[task.key] = file
        self._on_part(summary)
        self._watch.part(summary, lambda: read_outcomes(file.path, TypeAdapter(self._spec.result_type)))

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
            limit = self._spec.row_limit_s if job.by_row else self._spec.part_limit_s
            if not (job.stalled or job.behind) and now - job.since > limit:
                job.stalled = True
                ray.kill(job.worker)

    def _bury(self, job: _Assignment, error: Exception) -> None:
        ray.kill(job.worker)
        self._deaths_to_judge.append(_Death(job, self._nodes.get(job.worker), error))
        self._following.pop(job.worker, None)
        self._looked = 0  # there may be a node less

    def _judge(self) -> None:
        """Puts back what dead workers were doing, once it is known whether they or their nodes went."""
        undecided = []
        for death in self._deaths_to_judge:
            lost = False if death.job.stalled or not death.node else cluster.is_lost(death.node, death.since)
            if lost is None:
                undecided.append(death)
            else:
                self._put_back(death, blame=not lost)
        self._deaths_to_judge = undecided

    def _put_back(self, death: _Death, blame: bool) -> None:
        job = death.job
        if blame and self._born.pop(job.worker, 0.0) > self._last_death:
            self._last_death = death.since  # those that die with it, at one blow, count once
            self._deaths += 1
        if self._deaths > DEATHS_WITHOUT_PROGRESS:
            raise StopStage(
                f"{self._deaths} workers of the {self._spec.name} stage died one after the other without doing "
                f"anything: {first_line(death.error)}"
            )
        if job.by_row:
            if job.by_row.killed(_reason(death)) if blame else job.by_row.lost():
                self._deaths = 0
            self._by_row.append(job.by_row)
        elif job.task and ((blame and not job.behind) or self._lost[job.task.key]):
            self._by_row.append(PartByRow(self._spec, job.task))
        elif job.task:
            self._lost[job.task.key] += 1  # a second node or worker lost under one part may be that part's doing
            self._pending.appendleft(job.task)


def _reason(death: _Death) -> str:
    if death.job.stalled:
        return "worker stalled"
    return "worker out of memory" if isinstance(death.error, OutOfMemoryError) else "worker died"
