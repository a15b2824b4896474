from __future__ import annotations

import io
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
import torch.distributed as dist
from rich.console import Console
from torch import multiprocessing

from instructrestore.dataengine.running.on_ray.runner import Cluster
from instructrestore.model.training.batch import Preparation
from instructrestore.model.training.settings import TrainingSettings
from instructrestore.model.training.worker import TrainingWorker
from instructrestore.pipelines.training import on_ray
from instructrestore.pipelines.training.on_ray import train_on_ray
from instructrestore.pipelines.training.training_run import TrainingRun, open_data, open_networks, train
from tests.listeners import listeners_below, open_to_others, processes_below
from tests.pipelines.training.runs import job_of, losses, metrics, run, small
from tests.shards.loading import write_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "dataset"
    write_dataset(folder, shards=3, photos=6)
    return folder


def _rank(rank: int, ranks: int, job: TrainingRun) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{job.out}/meeting", rank=rank, world_size=ranks)
    worker = TrainingWorker(torch.device("cpu"), rank, ranks)
    if rank == 0:
        run(job, worker)
    else:
        train(job, worker, None)
    dist.destroy_process_group()


@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_any_number_of_workers_has_the_same_losses(ranks: int, dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    settings = small(steps=4, validation={"every": 4})
    alone = run(job_of(dataset, tmp_path / "alone", tiny_base, settings))
    job = job_of(dataset, tmp_path / "together", tiny_base, settings)
    multiprocessing.spawn(_rank, (ranks, job), nprocs=ranks)
    together = metrics(job.out)
    assert losses(together) == pytest.approx(losses(alone), abs=1e-5)
    for name in ("loss", "iou", "iou_without_text", "photos", "regions"):
        assert together[-1]["held_out"][name] == pytest.approx(alone[-1]["held_out"][name], abs=1e-5)


@pytest.mark.slow
def test_every_worker_validates_the_moving_average(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    settings = small(steps=2, optimizer={"ema": 0.9}, validation={"every": 2})
    alone = run(job_of(dataset, tmp_path / "alone", tiny_base, settings))
    job = job_of(dataset, tmp_path / "together", tiny_base, settings)
    multiprocessing.spawn(_rank, (2, job), nprocs=2)
    for name in ("loss", "iou"):
        assert metrics(job.out)[-1]["held_out"][name] == pytest.approx(alone[-1]["held_out"][name], abs=1e-5)


@pytest.mark.parametrize("ranks", [2, 4])
def test_any_number_of_workers_has_the_same_samples_noise_and_timesteps(
    ranks: int, dataset: Path, tiny_base: Path, tmp_path: Path
) -> None:
    settings = small(batch=8)
    job = job_of(dataset, tmp_path / "out", tiny_base, settings)
    base, controlnet = open_networks(job, TrainingWorker(torch.device("cpu")))
    prepare = Preparation(base, settings, controlnet.config)

    def batch_of(worker: TrainingWorker, step: int) -> list[tuple]:
        stream, _, _ = open_data(job, worker)
        stream.step = step
        crops = next(stream.micro_batches())
        batch = prepare(crops)
        return [
            (crop.position, crop.key, crop.region, int(timestep), noise, lq)
            for crop, timestep, noise, lq in zip(crops, batch.timesteps, batch.noise, batch.lq, strict=True)
        ]

    for step in (0, 5):
        alone = batch_of(TrainingWorker(torch.device("cpu")), step)
        together = [
            each for rank in range(ranks) for each in batch_of(TrainingWorker(torch.device("cpu"), rank, ranks), step)
        ]
        assert [each[:4] for each in together] == [each[:4] for each in alone]
        for one, other in zip(together, alone, strict=True):
            assert torch.equal(one[4], other[4]) and torch.equal(one[5], other[5])


@pytest.mark.slow
def test_faults_are_counted_over_all_workers(tiny_base: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", shards=2, photos=6, corrupt=range(0, 4))
    settings = small(steps=2, batch=8, checkpoint_every=2, validation={"share": 0})
    found = []
    for ranks in (1, 2):
        job = job_of(tmp_path / "data", tmp_path / f"out-{ranks}", tiny_base, settings)
        multiprocessing.spawn(_rank, (ranks, job), nprocs=ranks)
        last = job.checkpoints.latest()
        assert last
        found.append(last.state["faults"])
    assert found[0] == found[1] and found[0]["corrupt photo"] > 0


@pytest.mark.slow
def test_a_data_set_that_cannot_be_used_is_one_sentence_from_workers_too(
    free_cluster: Cluster, tiny_base: Path, tmp_path: Path
) -> None:
    write_dataset(tmp_path / "data", shards=2, photos=4, corrupt=range(8))
    job = job_of(tmp_path / "data", tmp_path / "out", tiny_base, small(validation={"share": 0}))
    with pytest.raises(ValueError, match=r"^100 triplets in a row are unusable, the last: corrupt photo"):
        train_on_ray(job, 2, None, "cpu", Console(file=io.StringIO()))


@pytest.mark.slow
def test_a_lost_worker_means_a_restart_and_not_a_lost_run(
    free_cluster: Cluster, dataset: Path, tiny_base: Path, tmp_path: Path
) -> None:
    def settings(steps: int) -> TrainingSettings:
        return small(steps=steps, checkpoint_every=2, validation={"every": 100}, optimizer={"schedule": "constant"})

    alone = run(job_of(dataset, tmp_path / "alone", tiny_base, settings(8)))
    job = job_of(dataset, tmp_path / "out", tiny_base, settings(60))  # long enough to be killed on the way
    killed: list[int] = []

    def kill_one() -> None:
        end = time.monotonic() + 240
        while not killed and time.monotonic() < end:
            path = job.out / "metrics.jsonl"
            steps = len(losses(metrics(job.out))) if path.exists() else 0
            if steps >= 3 and (workers := _train_workers()):
                os.kill(workers[-1], signal.SIGKILL)
                killed.append(workers[-1])
            time.sleep(0.02)

    killer = threading.Thread(target=kill_one)
    killer.start()
    said = io.StringIO()
    assert train_on_ray(job, 2, None, "cpu", Console(file=said, width=200)) == 60
    killer.join()
    assert killed and "a worker was lost" in said.getvalue()
    assert losses(metrics(job.out))[:8] == pytest.approx(losses(alone), abs=1e-5)


def _train_workers() -> list[int]:
    """The processes of Ray Train's workers, of no cluster but ours."""
    found = []
    for process in processes_below(os.getpid()):
        try:
            if b"RayTrainWorker" in Path(f"/proc/{process}/cmdline").read_bytes():
                found.append(process)
        except OSError:
            continue
    return found


class _Looking(io.StringIO):
    """Notes at each line that workers say where the processes of this one's cluster listen."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}

    def write(self, text: str) -> int:
        self.found |= listeners_below(os.getpid())
        return super().write(text)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="where processes listen is read from /proc/net")
def test_workers_of_one_machine_listen_to_no_other(
    free_cluster: Cluster, dataset: Path, tiny_base: Path, tmp_path: Path
) -> None:
    settings = small(steps=4, validation={"every": 4})
    alone = run(job_of(dataset, tmp_path / "alone", tiny_base, settings))
    job = job_of(dataset, tmp_path / "out", tiny_base, settings)
    said = _Looking()
    assert train_on_ray(job, 2, None, "cpu", Console(file=said)) == 4
    assert losses(metrics(job.out)) == pytest.approx(losses(alone), abs=1e-5)
    assert sum("RayTrainWorker" in who for who in said.found.values()) >= 2, "they were seen"
    assert open_to_others(said.found) == {}


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_mailbox_that_is_gone_ends_the_listening_without_a_word(ray_cluster: Cluster) -> None:
    mailbox: Any = on_ray._Mailbox.remote()  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    ray.get(mailbox.put.remote("a line"))
    said = io.StringIO()
    with on_ray._listening(mailbox, Console(file=said)):  # pyright: ignore[reportPrivateUsage]
        ray.get(mailbox.put.remote("another line"))
        time.sleep(2 * on_ray.LISTEN_S)
        ray.kill(mailbox)
        time.sleep(2 * on_ray.LISTEN_S)
    assert said.getvalue() == "a line\nanother line\n"


def test_too_many_workers_are_one_sentence(
    free_cluster: Cluster, dataset: Path, tiny_base: Path, tmp_path: Path
) -> None:
    job = job_of(dataset, tmp_path / "out", tiny_base, small())
    with pytest.raises(ValueError, match="4 workers need 4 CPUs and the cluster has 2"):
        train_on_ray(job, 4, None, "cpu", Console(file=io.StringIO()))
