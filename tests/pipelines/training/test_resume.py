"""A run that was killed, wherever that was, ends as one that was not: checkpoints, losses, validations, every byte."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from instructrestore.model.training.checkpoints import CheckpointFolder
from instructrestore.pipelines.training.run_log import RunLog
from instructrestore.pipelines.training.training_run import TrainingRun
from tests.conftest import ROOT
from tests.pipelines.training.runs import command, job_of, losses, metrics, run, small
from tests.shards.loading import write_dataset

SHORT: dict[str, Any] = {
    "steps": 4,
    "batch": 2,
    "keep": 1,
    "checkpoint_every": 3,
    "validation": {"every": 2, "photos": 1, "restored": 1, "steps": 1},
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "dataset"
    write_dataset(folder, shards=2, photos=6)
    return folder


class Killed(BaseException):
    pass


def results(out: Path) -> dict[str, bytes]:
    """All that a run leaves but TensorBoard's files, which know the time."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and "tensorboard" not in path.parts and path.name != ".lock"
    }


def killed_once_at_every_moment(patch: pytest.MonkeyPatch, moments: list[str]) -> None:
    """Before and after everything that a run writes at a checkpoint: the first time it comes there, it ends there."""

    def ends(owner: Any, name: str, step_of: Callable[..., int]) -> None:
        does = getattr(owner, name)

        def ending(*given: Any) -> Any:
            for moment in ("before", "after"):
                if moment == "after":
                    result = does(*given)
                if (here := f"{moment} {name} {step_of(*given)}") not in moments:
                    moments.append(here)
                    raise Killed
            return result

        patch.setattr(owner, name, ending)

    ends(CheckpointFolder, "save", lambda folder, exported, trained, optimizer, state: state["step"])
    ends(CheckpointFolder, "judge", lambda folder, step, validation: step)
    ends(CheckpointFolder, "prune", lambda folder: 0 if (last := folder.latest()) is None else last.step)
    ends(RunLog, "validated", lambda log, step, validation: step)


def test_killed_at_any_moment_around_a_checkpoint_the_end_is_the_same(
    dataset: Path, tiny_base: Path, tmp_path: Path
) -> None:
    run(job_of(dataset, tmp_path / "whole", tiny_base, small(**SHORT)))
    whole = results(tmp_path / "whole")
    assert [row["step"] for row in metrics(tmp_path / "whole") if "held_out" in row] == [2, 4]
    job, moments = job_of(dataset, tmp_path / "out", tiny_base, small(**SHORT)), list[str]()
    with pytest.MonkeyPatch.context() as patch:
        killed_once_at_every_moment(patch, moments)
        for _ in range(40):
            try:
                run(job)
                break
            except Killed:
                continue
    for moment in ("after save 2", "before judge 2", "after save 3", "after save 4", "after judge 4", "after prune 4"):
        assert moment in moments
    assert results(tmp_path / "out") == whole
    run(job)
    assert results(tmp_path / "out") == whole


def test_what_an_interruption_left_is_gone_at_the_end(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    """Ctrl-C saves a step that is no other run's: it does not stay, nor does it cost another checkpoint its place."""
    from instructrestore.model.training.worker import TrainingWorker
    from instructrestore.pipelines.training.training_run import train

    settings = small(**{**SHORT, "keep": 2, "checkpoint_every": 2, "steps": 5, "validation": {"share": 0}})
    run(job_of(dataset, tmp_path / "whole", tiny_base, settings))
    job = job_of(dataset, tmp_path / "out", tiny_base, settings)
    asked = iter([False, False, False, True])
    assert train(job, TrainingWorker(torch.device("cpu")), None, lambda: next(asked)) == 3
    last = job.checkpoints.latest()
    assert last and last.step == 3 and last.interrupted
    run(job)
    names = [each.folder.name for each in job.checkpoints.all()]
    assert names == ["step-00000004", "step-00000005"]
    checkpoints = {name: data for name, data in results(tmp_path / "out").items() if name.startswith("checkpoints")}
    assert checkpoints.items() <= results(tmp_path / "whole").items()


def started(job: TrainingRun, dataset: Path, base: Path, toml: Path, *more: str) -> subprocess.Popen[bytes]:
    """The command in a process group of its own."""
    line = [*command(dataset, job.out, base, job.settings, toml), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def wait_for_steps(process: subprocess.Popen[bytes], out: Path, steps: int) -> None:
    end = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < end:
        if (out / "metrics.jsonl").exists() and len(losses(metrics(out))) >= steps:
            return
        time.sleep(0.01)
    raise AssertionError("the run did not come so far")


def group_of(leader: int) -> list[int]:
    """The processes of a group that are alive."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdigit() or os.getpgid(int(entry.name)) != leader:
                continue
            if (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_saves_the_step_in_hand(
    number: signal.Signals, dataset: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """As `timeout`, systemd and scancel send SIGTERM, and a terminal SIGINT: to the loader's workers too."""
    settings = small(steps=500, checkpoint_every=1000, loader_workers=2, validation={"every": 1000})
    job = job_of(dataset, tmp_path / "out", tiny_base, settings)
    process = started(job, dataset, tiny_base, tmp_path / "settings.toml")
    wait_for_steps(process, job.out, 2)
    assert len(group_of(process.pid)) >= 2, "the run and its loader"
    os.killpg(process.pid, number)
    said, complaint = process.communicate(timeout=120)
    assert complaint.decode() == "instructrestore: interrupted; run the same command again to continue\n"
    assert process.returncode == 130
    assert said.decode().count("finishing this step") == 1
    last = job.checkpoints.latest()
    assert last and last.step == losses_until(job.out)
    end = time.monotonic() + 10
    while (left := group_of(process.pid)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left


@pytest.mark.slow
@pytest.mark.parametrize("to", [os.kill, os.killpg], ids=["the command", "its group"])
def test_sigterm_to_a_run_on_ray_is_as_ctrl_c(
    to: Callable[[int, int], None], dataset: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """What remains is the last checkpoint: the workers, whose Ray may get the signal too, cannot agree on a step."""
    job = job_of(dataset, tmp_path / "out", tiny_base, small(steps=500, checkpoint_every=2, validation={"share": 0}))
    process = started(job, dataset, tiny_base, tmp_path / "settings.toml", "--workers", "2")
    wait_for_steps(process, job.out, 3)
    to(process.pid, signal.SIGTERM)
    _, complaint = process.communicate(timeout=120)
    *before, said = complaint.decode().splitlines()
    assert said == "instructrestore: interrupted; run the same command again to continue"
    assert not before or (to is os.killpg and all("core_worker" in line for line in before)), "Ray's log of Ray's end"
    assert process.returncode == 130
    assert (last := job.checkpoints.latest()) and last.step >= 2


def losses_until(out: Path) -> int:
    return int(metrics(out)[-1]["step"])


@pytest.mark.slow
def test_killed_and_stopped_at_random_it_ends_as_if_nothing_had_happened(
    dataset: Path, tiny_base: Path, tmp_path: Path
) -> None:
    values = {**SHORT, "steps": 12, "loader_workers": 1, "keep": 2}
    settings = small(**values)
    for name in ("whole", "out"):
        job = job_of(dataset, tmp_path / name, tiny_base, settings)
        draw = random.Random()
        while True:
            process = started(job, dataset, tiny_base, tmp_path / "settings.toml")
            done = losses_until(job.out) if (job.out / "metrics.jsonl").exists() and metrics(job.out) else 0
            if name == "out" and done < 11:
                wait_for_steps(process, job.out, done + draw.randint(0, 2))
                time.sleep(draw.random() / 2)
                os.killpg(process.pid, draw.choice([signal.SIGKILL, signal.SIGTERM]))
            process.communicate(timeout=240)
            if process.returncode == 0:
                break
            # The last one: before the training has begun, or when it has ended.
            assert process.returncode in (130, -signal.SIGKILL, -signal.SIGTERM)
    whole, out = (results(tmp_path / name) for name in ("whole", "out"))
    assert whole == out
