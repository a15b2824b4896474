"""`instructrestore train`: from what was typed to a run, in this process or on Ray."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import FrameType

from rich.console import Console

from model.checkpoint import find_device
from model.tiny_base import build_tiny_base
from model.training.checkpoints import last_of_run
from model.training.settings import TrainingSettings
from model.training.workers import Worker
from pipelines.presets import to_toml
from pipelines.training.job import Job, check_resumable, train
from pipelines.training.log import RunLog
from pipelines.training.on_ray import train_on_ray
from shards.files import commit
from shards.index import Dataset
from shards.order import exact_shares

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
        named.append((path, share))
    paths = [main, *(path for path, _ in named)]
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
        base = str(out / "tiny-base")
        init_from = init_from or base  # its own ControlNet lets the photo through from the first step on
    if workers > 1 and settings.batch % workers:
        raise ValueError(f"a batch of {settings.batch} cannot be divided among {workers} workers: make it a multiple")
    job = Job(
        datasets=datasets,
        out=out.absolute(),
        base=base,
        base_revision=base_revision,
        init_from=init_from and last_of_run(init_from),
        init_revision=init_revision,
        settings=settings,
        cache=(cache or out / "cache").absolute(),
        cache_bytes=int(cache_gib * GIB),
    )
    latest = job.checkpoints.latest()
    if latest and resume == "never":
        raise ValueError(f"{out} holds a run of {latest.step} steps: go on with --resume auto, or name another folder")
    if latest:
        check_resumable(latest, settings)
        console.print(f"going on from step {latest.step}", highlight=False)
    for path, _ in datasets:  # before anything is written
        Dataset(path)
    out.mkdir(parents=True, exist_ok=True)
    if base == str(out / "tiny-base") and not (out / "tiny-base" / "model_index.json").exists():
        build_tiny_base(out / "tiny-base")
    commit(out / "settings.toml", to_toml(settings).encode())
    if workers > 1 or address:
        return train_on_ray(job, workers, address, find_device(device).type == "cuda", console)
    with _interruptible() as stopped:
        say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
        log = RunLog(out, settings, say, latest.step if latest else 0)
        try:
            steps = train(job, Worker(find_device(device)), log, stopped)
        finally:
            log.close()
        if stopped():
            raise KeyboardInterrupt
    return steps


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or a polite kill came: the step at hand is finished and saved. A second Ctrl-C ends at once."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
