"""Small runs for the tests: photos of 64x48 pixels, the tiny base, a few steps."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from instructrestore.model.training.settings import TrainingSettings, tiny
from instructrestore.model.training.worker import TrainingWorker
from instructrestore.pipelines.building.presets import with_values
from instructrestore.pipelines.training.run_log import RunLog
from instructrestore.pipelines.training.training_run import TrainingRun, train

SMALL: dict[str, Any] = {
    "steps": 6,
    "batch": 4,
    "crop": {"size": 64, "short_side": 64},
    "loader_workers": 0,
    "checkpoint_every": 2,
    "log_every": 1,
    "validation": {"share": 0.3, "every": 3, "photos": 3, "training_photos": 0, "restored": 0, "steps": 2},
}


def small(**values: Any) -> TrainingSettings:
    """The tiny preset made smaller, with values laid over it."""
    return with_values(with_values(tiny(), SMALL), values)


def job_of(dataset: Path, out: Path, base: Path, settings: TrainingSettings) -> TrainingRun:
    out.mkdir(exist_ok=True)
    return TrainingRun(
        datasets=((str(dataset), Fraction(1)),),
        out=out,
        base=str(base),
        base_revision=None,
        init_from=str(base),
        init_revision=None,
        settings=settings,
        cache=out / "cache",
        cache_bytes=1 << 30,
    )


def run(job: TrainingRun, worker: TrainingWorker | None = None, said: list[str] | None = None) -> list[dict[str, Any]]:
    """Trains to the end or on from where the run was; returns metrics.jsonl."""
    job.settle()
    latest = job.checkpoints.latest()
    log = RunLog(job.out, job.settings, (said if said is not None else []).append, latest)
    try:
        train(job, worker or TrainingWorker(torch.device("cpu")), log)
    finally:
        log.close()
    return metrics(job.out)


def metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def losses(rows: list[dict[str, Any]]) -> list[float]:
    return [row["loss"] for row in rows if "loss" in row]


def command(dataset: Path, out: Path, base: Path, settings: TrainingSettings, toml: Path) -> list[str]:
    """`instructrestore train` for a process of its own."""
    from instructrestore.pipelines.building.presets import to_toml

    toml.write_text(to_toml(settings))
    return [
        sys.executable, "-m", "instructrestore", "train", str(dataset), "--out", str(out), "--base", str(base),
        "--init-from", str(base), "--preset", "tiny", "--config", str(toml), "--device", "cpu",
    ]  # fmt: skip
