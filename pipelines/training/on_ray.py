"""A run on several workers of a Ray cluster: Ray Train starts them and joins them in torch's process group.

When a worker is lost, all of them restart from the last checkpoint. Ray's own restarts would also retry a user's
mistakes, so the loop around them is here.
"""

from __future__ import annotations

import errno
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
import ray.exceptions
import ray.train.torch
import torch
from ray.actor import ActorHandle
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError, WorkerGroupError
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.console import Console

from instructrestore.dataengine.running.on_ray.loopback import INTERFACES
from instructrestore.dataengine.running.on_ray.runner import MALLOC, cluster
from instructrestore.model.training.worker import TrainingWorker
from instructrestore.pipelines.terminal.ending import GO_ON
from instructrestore.pipelines.training.on_one_machine import OneMachineConfig
from instructrestore.pipelines.training.run_log import RunLog
from instructrestore.pipelines.training.termination import ends_at_once
from instructrestore.pipelines.training.training_run import TrainingRun, train
from instructrestore.shards.errors import first_line
from instructrestore.shards.reading.stream import ReadingError

COLLECTIVE_LIMIT_S = 1800  # a worker that waits longer for the others, even in validation, counts as lost
RESTARTS_WITHOUT_PROGRESS = 3
WAIT_FOR_CLUSTER_S = 600  # for machines to come back after a loss
LISTEN_S = 0.5
OUT_OF_MEMORY = "the GPU ran out of memory: lower micro_batch, as in --set micro_batch=8"
# Read by Ray Train in the driver: keep the working folder, run no metrics server, notice lost workers within a second,
# and give a busy machine time to start them.
RAY_TRAIN = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",
}


def train_on_ray(job: TrainingRun, workers: int, address: str | None, device: str | None, console: Console) -> int:
    """Runs the job on `workers` workers, each with a GPU where the cluster has any; returns the steps taken in all.

    device: "cpu" or "cuda" overrides that choice. All nodes must see the run's folder. Raises ValueError, in one
    sentence, for a user's mistake, for a cluster that is too small and for workers that are lost repeatedly;
    KeyboardInterrupt after Ctrl-C, when the last checkpoint is what remains; SIGTERM ends the process at once.
    """
    if device not in (None, "cpu", "cuda"):
        raise ValueError(
            f"with several workers --device must be cpu or cuda, not {device}: Ray gives each worker its own"
        )
    for name, value in RAY_TRAIN.items():
        os.environ.setdefault(name, value)
    with cluster(address, None) as workplace, _own_interrupt(), ends_at_once(GO_ON):
        gpus = device == "cuda" or (device is None and ray.cluster_resources().get("GPU", 0) > 0)
        needed = _needed(workers, gpus)
        if lacking := _lacking(needed, workers):
            raise ValueError(lacking)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        mailbox: Any = _Mailbox.options(scheduling_strategy=here).remote()
        lost, progress = 0, _steps(job)
        with _listening(mailbox, console):
            while True:
                try:
                    with _meeting(workplace.alone) as torch_config:
                        return _fit(job, workers, gpus, needed, mailbox, torch_config)
                except WorkerGroupError as failure:
                    reason = _reason(failure)
                    lost = 1 if _steps(job) > progress else lost + 1
                    progress = _steps(job)
                if lost >= RESTARTS_WITHOUT_PROGRESS:
                    raise ValueError(f"workers were lost {lost} times without a new checkpoint; the last one: {reason}")
                line = f"a worker was lost ({reason}): resuming at step {progress}"
                console.print(line, highlight=False, markup=False, soft_wrap=True)
                _wait(needed, workers)


@contextmanager
def _meeting(alone: bool) -> Iterator[TorchConfig]:
    """How the workers of one attempt are joined. alone: they are all on this machine."""
    if not alone:
        yield TorchConfig(timeout_s=COLLECTIVE_LIMIT_S)
        return
    with tempfile.TemporaryDirectory(prefix="instructrestore-", ignore_cleanup_errors=True) as folder:
        yield OneMachineConfig(timeout_s=COLLECTIVE_LIMIT_S, meeting=folder)


def _fit(
    job: TrainingRun, workers: int, gpus: bool, needed: dict[str, float], mailbox: Any, torch_config: TorchConfig
) -> int:
    """One attempt. Raises WorkerGroupError if workers are lost."""
    job.settle()
    threads = {} if gpus else {"OMP_NUM_THREADS": str(int(needed["CPU"]))}
    interfaces = INTERFACES if isinstance(torch_config, OneMachineConfig) else {}
    environment = {**MALLOC, **threads, **interfaces}
    trainer = TorchTrainer(
        _work,
        train_loop_config={"job": job, "mailbox": mailbox},
        torch_config=torch_config,
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus, resources_per_worker=needed),
        run_config=RunConfig(
            name="ray",
            storage_path=str(job.out),
            worker_runtime_env={"env_vars": environment},
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=1),
        ),
    )
    try:
        return int(trainer.fit().return_value)  # pyright: ignore[reportArgumentType]
    except WorkerGroupError as failure:
        for fault in failure.worker_failures.values():
            if sentence := _final(fault):
                raise ValueError(sentence) from None
        raise
    except TrainingFailedError as failure:
        raise ValueError(f"Ray could not run the workers: {first_line(failure)}") from None


def _work(config: dict[str, Any]) -> int:
    """What each worker does."""
    job: TrainingRun = config["job"]
    mailbox: Any = config["mailbox"]
    context = ray.train.get_context()
    device = ray.train.torch.get_device()
    assert not isinstance(device, list)
    worker = TrainingWorker(device, context.get_world_rank(), context.get_world_size())
    if not worker.leads:
        return train(job, worker, None)
    latest = job.checkpoints.latest()
    log = RunLog(job.out, job.settings, mailbox.put.remote, latest)
    steps = train(job, worker, log)
    log.close()
    return steps


@ray.remote(num_cpus=0)
class _Mailbox:
    """Lines from workers, kept until the driver takes them."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def put(self, line: str) -> None:
        self._lines.append(line)

    def take(self) -> list[str]:
        lines, self._lines = self._lines, []
        return lines


@contextmanager
def _listening(mailbox: ActorHandle, console: Console) -> Iterator[None]:
    """Prints the lines that arrive in the mailbox."""
    done = threading.Event()

    def listen() -> None:
        last = False
        while not last:
            last = done.wait(LISTEN_S)
            try:
                lines: Any = ray.get(mailbox.take.remote())  # pyright: ignore[reportAttributeAccessIssue]
            except ray.exceptions.ActorUnavailableError:  # a signal to the group ends Ray's processes too, in any order
                continue
            except ray.exceptions.RayActorError:
                return
            for line in lines:
                console.print(line, highlight=False, markup=False, soft_wrap=True)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        ray.kill(mailbox)


@contextmanager
def _own_interrupt() -> Iterator[None]:
    """Restores Ctrl-C, which Ray Train takes over for good, and turns its SystemExit into KeyboardInterrupt."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, before)


def _needed(workers: int, gpus: bool) -> dict[str, float]:
    """What a worker takes: a GPU and a CPU, or as many CPUs as every worker can have."""
    if gpus:
        return {"CPU": 1, "GPU": 1}
    nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    fitting = (each for each in range(max(nodes, default=1), 1, -1) if sum(node // each for node in nodes) >= workers)
    return {"CPU": next(fitting, 1)}


def _lacking(needed: dict[str, float], workers: int) -> str | None:
    there = ray.cluster_resources()
    for name, each in needed.items():
        if each * workers > there.get(name, 0):
            kind = "CPUs" if name == "CPU" else "GPUs"
            return f"{workers} workers need {each * workers:g} {kind} and the cluster has {there.get(name, 0):g}"
    return None


def _wait(needed: dict[str, float], workers: int) -> None:
    """Waits until the cluster is large enough again. Raises ValueError if it stays too small."""
    end = time.monotonic() + WAIT_FOR_CLUSTER_S
    while lacking := _lacking(needed, workers):
        if time.monotonic() > end:
            raise ValueError(f"{lacking}, after a loss: run the same command again with fewer workers, or later")
        time.sleep(LISTEN_S)


def _steps(job: TrainingRun) -> int:
    latest = job.checkpoints.latest()
    return latest.step if latest else 0


def _final(fault: Exception) -> str | None:
    """What a worker reports that no further attempt would change; None for what may go better next time."""
    if isinstance(fault, ValueError) and not isinstance(fault, ReadingError):
        return str(fault)
    if isinstance(fault, OSError) and fault.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{fault.strerror}: {fault.filename}"
    if isinstance(fault, torch.OutOfMemoryError):
        return OUT_OF_MEMORY
    return None


def _reason(failure: WorkerGroupError) -> str:
    faults = failure.worker_failures
    rank = min(
        faults, key=lambda each: "HealthCheck" not in type(faults[each]).__name__
    )  # the lost worker, not its peers
    return f"worker {rank}: {first_line(faults[rank])}"
