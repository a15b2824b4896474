"""`instructrestore train`: from what was typed to a run, in this process or on Ray."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import FrameType

import torch
from rich.console import Console

from instructrestore.model.restoring.checkpoint import find_device
from instructrestore.model.restoring.tiny_base import build_tiny_base
from instructrestore.model.training.checkpoints import last_of_run
from instructrestore.model.training.settings import TrainingSettings
from instructrestore.model.training.workers import Worker
from instructrestore.pipelines.terminal.arguments import anchored_place
from instructrestore.pipelines.training.on_ray import OUT_OF_MEMORY, train_on_ray
from instructrestore.pipelines.training.run_log import RunLog
from instructrestore.pipelines.training.training_run import TrainingRun, check_resumable, train
from instructrestore.shards.index import Dataset
from instructrestore.shards.order import exact_shares

GIB = 1 << 30


def parse_datasets(main: str, mixed: Sequence[str]) -> tuple[tuple[str, Fraction], ...]:
    """The data sets with their shares: `mixed` are DATASET:SHARE each, and the main one gets the rest.

    Raises ValueError, in one sentence, for what is not that.
    """
    named: list[tuple[str, str]] = []
    for text in mixed:
        path, colon, share = text.rpartition(":")
        if not colon or not path:
            raise ValueError(f"--mix takes DATASET:SHARE as in bokeh/dataset:0.75, not {text!r}")
        named.append((path.rstrip("/"), share))
    paths = [main.rstrip("/"), *(path for path, _ in named)]
    if len(set(paths)) < len(paths):
        raise ValueError("a data set is named twice: name each once, with its whole share")
    return tuple(zip(paths, exact_shares([None, *(share for _, share in named)]), strict=True))


def run(
    *,
    dataset: str,
    mix: Sequence[str],
    out: Path,
    base: str | None,
    base_revision: str | None,
    init_from: str | None,
    init_revision: str | None,
    settings: TrainingSettings,
    workers: int,
    address: str | None,
    device: str | None,
    resume: str,
    cache: Path | None,
    cache_gib: float,
    console: Console,
) -> int:
    """Trains, or goes on where the run in `out` was; returns the steps taken in all.

    Raises ValueError, in one sentence, for a user's mistake, and KeyboardInterrupt after Ctrl-C, when what was
    learnt lies in a checkpoint.
    """
    datasets = parse_datasets(dataset, mix)
    if base is None:
        if settings.preset != "tiny":
            raise ValueError("which base? Name a Stable Diffusion 2.1 base with --base; --preset tiny makes its own")
        base = str(out.absolute() / "tiny-base")
        init_from = init_from or base  # its own ControlNet lets the photo through from the first step on
    if workers > 1 and settings.batch % workers:
        raise ValueError(f"a batch of {settings.batch} cannot be divided among {workers} workers: make it a multiple")
    if settings.preset == "stage2" and not (mix and init_from):
        console.print("the paper's stage 2 goes on from stage 1 (--init-from) with 75% of bokeh photos (--mix)")
    job = TrainingRun(
        datasets=tuple((anchored_place(path), share) for path, share in datasets),
        out=out.absolute(),
        base=anchored_place(base),
        base_revision=base_revision,
        init_from=anchored_place(last_of_run(init_from)) if init_from else None,
        init_revision=init_revision,
        settings=settings,
        cache=(cache or Path("~/.cache/instructrestore/shards")).expanduser().absolute(),
        cache_bytes=int(cache_gib * GIB),
    )
    if workers == 1 and not address:
        find_device(device)
    latest = job.checkpoints.latest()
    if latest and resume == "never":
        raise ValueError(f"{out} holds a run of {latest.step} steps: go on with --resume auto, or name another folder")
    if latest:
        check_resumable(latest, settings)
        console.print(f"going on from step {latest.step}", highlight=False)
    for path, _ in job.datasets:  # before anything is written
        Dataset(path)
    out.mkdir(parents=True, exist_ok=True)
    with _alone(out):
        if base == str(out.absolute() / "tiny-base") and not Path(base, "model_index.json").exists():
            build_tiny_base(Path(base))
        if workers > 1 or address:
            steps = train_on_ray(job, workers, address, device, console)
        else:
            steps = _train_here(job, device, console)
    _say_where(job, console)
    return steps


def _train_here(job: TrainingRun, device: str | None, console: Console) -> int:
    latest = job.checkpoints.latest()
    say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    with _interruptible(say) as stopped:
        log = RunLog(job.out, job.settings, say, latest.step if latest else 0)
        try:
            steps = train(job, Worker(find_device(device)), log, stopped)
        except RuntimeError as error:
            # Torch's own word for a dead loader comes wherever the trainer just is.
            if str(error).startswith("DataLoader "):
                raise ValueError(f"the loader failed: {str(error).splitlines()[0]}") from None
            if not isinstance(error, torch.OutOfMemoryError):
                raise
            raise ValueError(OUT_OF_MEMORY) from None
        finally:
            log.close()
        if stopped() and steps < job.settings.steps:
            raise KeyboardInterrupt
    return steps


def _say_where(job: TrainingRun, console: Console) -> None:
    latest, best = job.checkpoints.latest(), job.checkpoints.best()
    assert latest
    line = f"{latest.step} steps taken: restore with --base {job.base} --checkpoint {job.out}"
    if best and best.step != latest.step:
        line += f"; the lowest held-out loss is that of {best.folder}"
    console.print(line, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Held by the one run that works in the folder. Raises ValueError where another does."""
    descriptor = os.open(out / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        try:
            # Of this process alone: loaders are forked, and live on for seconds after a kill.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise ValueError(f"another run is at work in {out}") from None
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _interruptible(say: Callable[[str], object]) -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or a polite kill came: the step at hand is finished and saved. A second Ctrl-C ends at once."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)
        say("finishing the step at hand; Ctrl-C again ends at once")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
