"""Runs one stage over its parts with the whole cluster. The only file of the data engine that imports ray.

A worker is an actor that holds the stage. It reads a part, maps it and commits it, so that the driver carries names
and counts only. What can go wrong, and what then happens:

    a row raises             that row's outcome is `failed`; the part goes on (outcomes.apply)
    a worker dies            it is replaced and its part done again one row a call, so that the driver knows which
                             row it was in; a row that kills two workers on living nodes is failed and passed over
    a worker stalls          past its limit it is killed: the same
    a node is lost           its parts are done again elsewhere; nobody's fault
    failures in a row        past a limit the run stops with the latest cause
    StopStage, full disk     the run stops with one sentence; what was committed stays
"""

from __future__ import annotations

import re
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
from pydantic import TypeAdapter
from ray.actor import ActorHandle
from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError

from dataengine.outcomes import Sink, StageSpec, Task, failed
from dataengine.part_files import Outcome, PartFile, PartSummary
from dataengine.row import StopStage
from dataengine.worker import Done, Stopped, Todo, Worker, disk_sentence, inputs

KILLS_PER_ROW = 2
PROBE_S = 5
DEATHS_WITHOUT_PROGRESS = 5
START_LIMIT_S = 900
NODE_VERDICT_S = 15
POLL_S = 0.5
OBJECT_STORE_BYTES = 256 << 20
# In Ray's workers glibc gives every large array back to the system and takes it again, page by page: that doubled the
# quality gate's time (docs/performance.md). Arrays of up to 32 MiB, the most glibc allows, stay with the worker.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(512 << 20)}


class _Actor(Worker):
    def begin(self, spec: StageSpec) -> str | Stopped:
        """Starts the stage; returns the node it runs on."""
        return self.start(spec) or ray.get_runtime_context().get_node_id()


@contextmanager
def cluster(address: str | None, cpus: int | None) -> Iterator[Cluster]:
    """A Ray cluster for the block: the one at `address`, or one of this machine's `cpus` processors (None: all).

    Raises ValueError where the cluster at `address` cannot be reached.
    """
    if address:
        _probe(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    ours = not ray.is_initialized()  # else it is a Ray job's, or a test's, and stays
    try:
        if ours and address:
            ray.init(address=address, **quiet)
        elif ours:
            ray.init(num_cpus=cpus, include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **quiet)
    except ConnectionError as error:
        raise ValueError(f"no Ray cluster answers at {address}: {str(error).splitlines()[0]}") from None
    connected = Cluster()
    try:
        yield connected
    finally:
        connected.dismiss()
        if ours:
            ray.shutdown()


def _probe(address: str) -> None:
    """Raises ValueError where nobody listens at host:port; Ray itself would try for minutes."""
    match = re.fullmatch(r"(?:ray://)?\[?([^\[\]/]+?)\]?:(\d+)", address)
    if not match:
        return  # "auto" and the like
    try:
        socket.create_connection((match[1], int(match[2])), PROBE_S).close()
    except (OSError, OverflowError) as error:
        raise ValueError(f"no Ray cluster answers at {address}: {error}") from None


class Cluster:
    """Runs stages, one after the other, each with the whole cluster.

    Workers without a GPU stay for the next stage: starting a process and importing the packages takes a second, and
    nothing of a stage but the packages stays in it. A GPU worker goes with its stage and frees the GPU's memory, and so
    does the worker of a stage that changes its process.
    """

    def __init__(self) -> None:
        self._idle: list[ActorHandle] = []
        self._idle_cpus = 0.0

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
        if spec.gpus or spec.own_workers or spec.cpus != self._idle_cpus:
            self.dismiss()
        run = _StageRun(spec, tasks, max_failures_in_a_row, on_part, self._idle)
        self._idle = []
        try:
            run.loop()
        finally:
            self._idle, self._idle_cpus = run.close(), spec.cpus
        return [run.files[task.part] for task in tasks]

    def resources(self) -> tuple[int, int]:
        """Processors and GPUs of the whole cluster."""
        known = ray.cluster_resources()
        return int(known.get("CPU", 1)), int(known.get("GPU", 0))

    def dismiss(self) -> None:
        """Ends the workers that wait."""
        for worker in self._idle:
            ray.kill(worker)
        self._idle = []


@dataclass
class _Careful:
    """A part in whose first attempt a worker died: done one row a call, from the driver."""

    todo: list[Todo | Outcome[Any]]
    sink: Sink
    place: int = 0
    kills: int = 0


@dataclass
class _Job:
    """What a worker is doing. task None: it is starting."""

    worker: ActorHandle
    task: Task | None
    careful: _Careful | None = None
    since: float = field(default_factory=time.monotonic)
    stalled: bool = False


class _StageRun:
    def __init__(
        self,
        spec: StageSpec,
        tasks: Sequence[Task],
        max_failures: int,
        on_part: Callable[[PartSummary], None],
        idle: list[ActorHandle],
    ) -> None:
        self._spec = spec
        self._pending = deque(tasks)
        self._careful: deque[tuple[Task, _Careful]] = deque()
        self._max_failures = max_failures
        self._on_part = on_part
        self._jobs: dict[ray.ObjectRef, _Job] = {}
        self._nodes: dict[ActorHandle, str] = {}
        self._idle = idle
        self._born: dict[ActorHandle, float] = {}
        self._failures = 0
        self._deaths = 0
        self._last_death = 0.0
        resources = {"num_cpus": spec.cpus, "num_gpus": spec.gpus, "max_restarts": 0}
        self._actor: Any = ray.remote(**resources, runtime_env={"env_vars": MALLOC})(_Actor)
        self.files: dict[int, PartFile] = {}

    def loop(self) -> None:
        """Until every task is committed. Workers that the cluster has no room for are not waited for."""
        for _ in range(self._room()):
            self._spawn()
        while self._pending or self._careful or any(job.task for job in self._jobs.values()):
            done, _ = ray.wait(list(self._jobs), num_returns=1, timeout=POLL_S)
            for ref in done:
                job = self._jobs[ref]  # stays until it is seen to, so that `close` knows its worker whatever happens
                try:
                    result = ray.get(ref)
                except (RayActorError, ActorUnavailableError) as error:
                    del self._jobs[ref]
                    self._bury(job, error)
                except RayTaskError as error:  # a defect of this program or its installation, with its traceback
                    raise RuntimeError(f"the {self._spec.name} stage broke off") from error
                else:
                    if isinstance(result, Stopped):
                        raise StopStage(result.sentence)
                    del self._jobs[ref]
                    self._take(job, result)
            self._kill_stalled()

    def close(self) -> list[ActorHandle]:
        """Ends what is still at work; returns the workers that can serve another stage."""
        for job in self._jobs.values():
            ray.kill(job.worker)
        at_work = [job.careful for job in self._jobs.values() if job.careful]
        for careful in (*at_work, *(waiting for _, waiting in self._careful)):
            careful.sink.abandon()
        return self._idle

    def _room(self) -> int:
        """Workers to start: as the cluster has room, the setting allows and the tasks need."""
        resources = ray.cluster_resources()
        fits = [int(resources.get("CPU", 1) // self._spec.cpus)] if self._spec.cpus else []
        if self._spec.gpus:
            fits.append(int(resources.get("GPU", 0) // self._spec.gpus))
        if self._spec.workers:
            fits.append(self._spec.workers)
        room = min(fits, default=1)
        if room < 1:
            raise StopStage(
                f"the {self._spec.name} stage needs {self._spec.cpus:g} CPUs and {self._spec.gpus:g} GPUs a worker; "
                f"the cluster has {resources.get('CPU', 0):g} and {resources.get('GPU', 0):g}"
            )
        return min(room, len(self._pending))

    def _spawn(self) -> None:
        worker = self._idle.pop() if self._idle else self._actor.remote()
        self._born[worker] = time.monotonic()
        self._jobs[worker.begin.remote(self._spec)] = _Job(worker, None)

    def _next(self, worker: ActorHandle) -> None:
        if self._careful:
            task, careful = self._careful.popleft()
            self._next_row(worker, task, careful)
        elif self._pending:
            task = self._pending.popleft()
            self._jobs[worker.do_part.remote(task)] = _Job(worker, task)
        elif self._spec.gpus or self._spec.own_workers:
            ray.kill(worker)
        else:
            self._idle.append(worker)

    def _next_row(self, worker: ActorHandle, task: Task, careful: _Careful) -> None:
        """The careful part's next row to the worker; commits the part after its last one."""
        while careful.place < len(careful.todo):
            item = careful.todo[careful.place]
            if isinstance(item, Todo):
                self._jobs[worker.do_row.remote(task, item)] = _Job(worker, task, careful)
                return
            careful.sink.add(item)
            careful.place += 1
        try:
            done = careful.sink.commit()
        except OSError as error:
            careful.sink.abandon()
            raise StopStage(disk_sentence(self._spec.name, task, error)) from None
        self._committed(task, done)
        self._next(worker)

    def _take(self, job: _Job, result: Any) -> None:
        if job.task is None:
            self._nodes[job.worker] = result
            self._next(job.worker)
        elif job.careful:
            self._settle_row(job.careful, result)
            self._next_row(job.worker, job.task, job.careful)
        else:
            self._committed(job.task, result)
            self._next(job.worker)

    def _settle_row(self, careful: _Careful, outcome: Outcome[Any]) -> None:
        careful.sink.add(outcome)
        careful.place += 1
        careful.kills = 0
        self._deaths = 0

    def _committed(self, task: Task, done: Done) -> None:
        self._deaths = 0
        self.files[task.part], summary = done
        self._on_part(summary)
        for letter in summary.outcomes:
            self._failures = self._failures + 1 if letter == "f" else 0
            if self._failures >= self._max_failures:
                cause = Counter(summary.failed).most_common(1)[0][0]
                raise StopStage(
                    f"{self._failures} rows in a row failed in the {self._spec.name} stage, the latest with "
                    f"{cause!r}; put that right and run again with --retry-failed"
                )

    def _kill_stalled(self) -> None:
        now = time.monotonic()
        working = any(job.task for job in self._jobs.values())
        for job in self._jobs.values():
            if job.task is None:
                if not working and now - job.since > START_LIMIT_S:
                    raise StopStage(
                        f"no worker of the {self._spec.name} stage could start within {START_LIMIT_S // 60} minutes: "
                        "the cluster may be full"
                    )
                continue
            limit = self._spec.row_limit_s if job.careful else self._spec.part_limit_s
            if not job.stalled and now - job.since > limit:
                job.stalled = True
                ray.kill(job.worker)

    def _bury(self, job: _Job, error: Exception) -> None:
        """Puts back what a dead worker was doing, and replaces it."""
        node = self._nodes.pop(job.worker, None)
        ray.kill(job.worker)
        blame = job.stalled or node is None or _is_alive(node)
        if blame and self._born.pop(job.worker, 0.0) > self._last_death:
            self._last_death = time.monotonic()  # those that die with it, at one blow, count once
            self._deaths += 1
        if self._deaths > DEATHS_WITHOUT_PROGRESS:
            raise StopStage(
                f"{self._deaths} workers of the {self._spec.name} stage died one after the other and none did "
                f"anything: {str(error).splitlines()[0]}"
            )
        if job.careful and job.task:
            self._bury_careful(job.task, job.careful, job.stalled, blame)
        elif job.task and blame:
            rows = inputs(self._spec, job.task)
            sink = self._spec.sink(job.task, TypeAdapter(self._spec.result_type))
            self._careful.append((job.task, _Careful(rows, sink)))
        elif job.task:
            self._pending.appendleft(job.task)
        if self._pending or self._careful:
            self._spawn()

    def _bury_careful(self, task: Task, careful: _Careful, stalled: bool, blame: bool) -> None:
        careful.kills += blame
        if careful.kills >= KILLS_PER_ROW:
            item = careful.todo[careful.place]
            reason = "worker stalled" if stalled else "worker died"
            detail = f"{careful.kills} workers, one after the other, on this row"
            assert isinstance(item, Todo)
            attempts = item.attempts + careful.kills
            self._settle_row(careful, failed(item.name, item.row, (reason, detail), attempts))
        self._careful.append((task, careful))


def _is_alive(node: str) -> bool:
    """Whether a node still answers; the cluster needs some seconds to notice that one is gone."""
    deadline = time.monotonic() + NODE_VERDICT_S
    while True:
        alive = any(known["NodeID"] == node and known["Alive"] for known in ray.nodes())
        if not alive or len(ray.nodes()) == 1 or time.monotonic() > deadline:
            return alive
        time.sleep(POLL_S)
