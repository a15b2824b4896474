"""What handing out parts costs: many workers that sleep, against as many that sleep and do nothing else.

python -m benchmarks.dispatch --workers 64 --ms 20                    64 workers, 3,200 photos/s at most
python -m benchmarks.dispatch --workers 256 --ms 100 --processes 16   256 workers as threads of 16 processes

Four things in turn, on the same Ray actors and through the same gate:

    stage    the real one: a worker reads its part, sleeps, commits it; the driver is told
    one      the same, but no worker is handed a part ahead
    empty    as many calls of an actor as there are parts, each of which sleeps as long: what Ray itself costs
    alone    one call a worker, which sleeps as often: what the machine costs

A worker takes some 120 MiB as a process of its own.
"""

from __future__ import annotations

import fcntl
import os
import statistics
import tempfile
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle

from benchmarks.overhead import photos
from benchmarks.used import Used, shared_out_mib
from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.run_folder import RunFolder
from instructrestore.dataengine.running.integrity import digest
from instructrestore.dataengine.running.on_ray.actor import PARTS_IN_HAND, Actor
from instructrestore.dataengine.running.on_ray.cluster import MALLOC, connected
from instructrestore.dataengine.running.on_ray.stage_run import StageRun
from instructrestore.dataengine.running.part_files import PartSummary
from instructrestore.dataengine.running.stage import StageSpec, Task

CPUS = 2
SETTLE_S = 5.0  # Ray starts spare processes after those that were asked for
PAUSE_S = 1.0


class Gate:
    """Holds workers until all are there; then it is open, and `used` says what was used by then."""

    def __init__(self, path: Path, workers: int) -> None:
        self.path = path
        path.mkdir()
        (path / "gate").touch()
        self._workers = workers
        self._lock = os.open(path / "gate", os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        while len(list(self.path.glob("ready-*"))) < self._workers:
            time.sleep(0.1)
        time.sleep(PAUSE_S)
        self.used = Used.now()
        self.opened = time.monotonic()
        os.close(self._lock)


def pass_gate(path: Path) -> None:
    """Waits in a worker until the gate is open."""
    (path / f"ready-{os.getpid()}-{threading.get_ident()}").touch()
    with (path / "gate").open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # given once the driver lets go of its own


class OneInHand(StageRun):
    """A stage whose workers get no part ahead."""

    def _hand_out(self, worker: ActorHandle, behind: bool) -> None:
        if not behind:
            super()._hand_out(worker, behind)


class Sleeping:
    """A stage that sleeps, and whose workers are ready when the gate opens."""

    def __init__(self, gate: Path, row_s: float) -> None:
        self._row_s = row_s
        pass_gate(gate)

    def __call__(self, rows: Sequence[Row]) -> list[Row]:
        time.sleep(self._row_s * len(rows))
        return list(rows)


class Sleeper(Actor):
    """A worker that can also sleep and do nothing else."""

    def sleep(self, seconds: Sequence[float], gate: Path | None = None) -> None:
        if gate:
            pass_gate(gate)
        for span in seconds:
            time.sleep(span)


class Host:
    """A process of several workers."""

    def __init__(self, workers: int) -> None:
        self._workers = [Sleeper() for _ in range(workers)]

    def call(self, place: int, method: str, *given: Any) -> Any:
        return getattr(self._workers[place], method)(*given)


@dataclass(frozen=True)
class Worker:
    """The handle of one, which a stage uses as that of an actor."""

    host: Any
    place: int

    def __getattr__(self, method: str) -> Any:
        return Method(self, method)


@dataclass(frozen=True)
class Method:
    worker: Worker
    name: str

    def remote(self, *given: Any) -> ray.ObjectRef:
        return self.worker.host.call.remote(self.worker.place, self.name, *given)


@dataclass
class Measured:
    """The share of the bound, and CPU ms a part."""

    share: float
    driver_ms: float
    workers_ms: float


def measured(gate: Gate, options: Namespace, parts: int, ended: float) -> Measured:
    """Of a run from the gate's opening until it ended."""
    now = Used.now()
    bound = options.photos * options.ms / 1000 / options.workers
    driver, workers = now.driver_s - gate.used.driver_s, now.workers_s - gate.used.workers_s
    return Measured(bound / (ended - gate.opened), driver / parts * 1000, workers / parts * 1000)


def stage(
    workers: Sequence[Worker], run: RunFolder, folder: Path, options: Namespace, loop: type[StageRun] = StageRun
) -> Measured:
    """The real one, through the driver's loop."""
    (folder / "parts").mkdir(parents=True)
    tasks = [Task(part.part, (part.where,), folder / "parts", digest(part.content)) for part in run.parts()]
    gate = Gate(folder / "gate", len(workers))
    build = partial(Sleeping, gate.path, options.ms / 1000)
    spec = StageSpec("sleeping", build, "sleeping", Row, Row, batch=4096, cpus=CPUS / options.workers)
    done: list[float] = []

    def note(_: PartSummary) -> None:
        done.append(time.monotonic())

    loop(spec, tasks, 100, note, list(workers), 0).loop(lambda: None)  # pyright: ignore[reportArgumentType]
    return measured(gate, options, len(tasks), done[-1])


def empty(workers: Sequence[Worker], spans: Sequence[float], folder: Path, options: Namespace) -> Measured:
    """A call a part, the next one to the worker that answers; answers are taken as the driver's loop takes them."""
    folder.mkdir(parents=True)
    gate = Gate(folder / "gate", len(workers))
    jobs = {worker.sleep.remote([], gate.path): worker for worker in workers}
    pending = list(spans)
    while jobs:
        first, others = ray.wait(list(jobs), num_returns=1)
        for ref in first + (ray.wait(others, num_returns=len(others), timeout=0)[0] if others else []):
            ray.get(ref)
            worker = jobs.pop(ref)
            if pending:
                jobs[worker.sleep.remote([pending.pop()])] = worker
    return measured(gate, options, len(spans), time.monotonic())


def alone(workers: Sequence[Worker], spans: Sequence[float], folder: Path, options: Namespace) -> Measured:
    """A call a worker, which was there before the gate opened."""
    folder.mkdir(parents=True)
    gate = Gate(folder / "gate", len(workers))
    dealt = [spans[place :: len(workers)] for place in range(len(workers))]
    ray.get([worker.sleep.remote(mine, gate.path) for worker, mine in zip(workers, dealt, strict=True)])
    return measured(gate, options, len(spans), time.monotonic())


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--ms", type=float, default=20, help="that a worker sleeps, a photo")
    parser.add_argument("--processes", type=int, help="that hold the workers; as many as workers")
    parser.add_argument("--parts", type=int, nargs="+", default=[47], help="photos in a part")
    parser.add_argument("--rounds", type=int, nargs="+", default=[1], help="parts a worker, for each size of parts")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    os.environ.setdefault("RAY_worker_niceness", "0")  # else Ray's workers give way to all other jobs of the machine
    with tempfile.TemporaryDirectory() as name, connected(None, CPUS, 128):
        compare(options, Path(name))


def started(options: Namespace) -> list[Worker]:
    """The workers, once all are ready and Ray is quiet."""
    processes = options.processes or options.workers
    share, rest = divmod(options.workers, processes)
    assert not rest, "as many workers in each process"
    given: dict[str, Any] = {"num_cpus": CPUS / processes, "max_concurrency": PARTS_IN_HAND * share}
    begin = time.monotonic()
    actor: Any = ray.remote(**given, runtime_env={"env_vars": MALLOC})(Host)
    hosts = [actor.remote(share) for _ in range(processes)]
    ray.get([host.__ray_ready__.remote() for host in hosts])
    took = time.monotonic() - begin
    time.sleep(SETTLE_S)
    memory_mib = sum(shared_out_mib(process) for process in Used.now().processes)
    print(f"{options.workers} workers in {processes} processes, {options.ms:g} ms a photo", flush=True)
    print(f"ready after {took:.0f} s, {memory_mib:,.0f} MiB in all", flush=True)
    return [Worker(host, place) for place in range(share) for host in hosts]


def compare(options: Namespace, folder: Path) -> None:
    """Prints medians of the four, and of how they compare in one repeat, for each size of parts."""
    workers = started(options)
    for size, rounds in zip(options.parts, options.rounds, strict=True):
        options.photos = options.workers * size * rounds
        where = folder / f"{size}-{rounds}"
        run = RunFolder(where)
        run.append(photos(options.photos), size)
        spans = [size * options.ms / 1000] * (options.workers * rounds)
        stage(workers, run, where / "first", options)  # each worker's first part takes longer
        found = [
            (
                stage(workers, run, where / f"stage-{repeat}", options),
                stage(workers, run, where / f"one-{repeat}", options, OneInHand),
                empty(workers, spans, where / f"empty-{repeat}", options),
                alone(workers, spans, where / f"alone-{repeat}", options),
            )
            for repeat in range(options.repeats)
        ]
        tell(found, f"{rounds} x {options.workers} parts of {size}")


def tell(found: Sequence[tuple[Measured, ...]], what: str) -> None:
    print(f"{what}; load {os.getloadavg()[0]:.1f}")
    for name, column in zip(("stage", "one", "empty", "alone"), zip(*found, strict=True), strict=True):
        shares = [one.share for one in column]
        print(
            f"  {name}: {statistics.median(shares):.1%} ({min(shares):.1%}-{max(shares):.1%}) of the bound; CPU ms "
            f"a part: driver {statistics.median(one.driver_ms for one in column):.2f}, "
            f"workers {statistics.median(one.workers_ms for one in column):.2f}"
        )
    for name, place in (("one", 1), ("empty", 2)):
        ratios = [measured[0].share / measured[place].share for measured in found]
        told = f"{statistics.median(ratios):.1%} ({min(ratios):.1%}-{max(ratios):.1%})"
        print(f"  stage / {name} of the same repeat: {told}", flush=True)


if __name__ == "__main__":
    main()
