"""`instructrestore train`: from its options to a run, in this process or on Ray."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import FrameType

import torch
from rich.console import Console

from instructrestore.dataengine.running.lock import locked
from instructrestore.model.networks.devices import find_device, gain_of_bfloat16
from instructrestore.model.restoring.base_record import check_recorded, write_record
from instructrestore.model.restoring.small_base import build_small_base
from instructrestore.model.restoring.small_model import SMALL, base_place
from instructrestore.model.restoring.tiny_base import build_tiny_base
from instructrestore.model.training.checkpoints import TrainingCheckpoint, last_of_run
from instructrestore.model.training.settings import TrainingSettings
from instructrestore.model.training.worker import TrainingWorker
from instructrestore.pipelines.terminal.arguments import anchored_place
from instructrestore.pipelines.training.on_ray import OUT_OF_MEMORY, train_on_ray
from instructrestore.pipelines.training.run_log import RunLog
from instructrestore.pipelines.training.training_run import TrainingRun, check_resumable, train
from instructrestore.shards.errors import first_line
from instructrestore.shards.index import Dataset
from instructrestore.shards.reading.order import exact_shares

GIB = 1 << 30
BFLOAT16_PAYS = 1.3  # times as fast as float32 from which on it is taken
OF_SMALL = (SMALL, "small-distil")  # the presets that begin with the model that ships
# What the presets that need no base begin with: (folder, seed) writes it.
OWN_BASES: dict[str, Callable[[Path, int], None]] = {
    "tiny": build_tiny_base,
    "small-base": build_small_base,
    "small-masks": build_small_base,
}


def parse_datasets(main: str, mixed: Sequence[str]) -> tuple[tuple[str, Fraction], ...]:
    """The data sets with their shares: each of `mixed` is DATASET:SHARE, and the main one gets the rest.

    Raises ValueError, in one sentence, for anything else.
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


@dataclass(frozen=True)
class TrainingOptions:
    """What was asked for on the command line.

    dataset: folder or fsspec URI; `mix`: further ones, DATASET:SHARE each. out: the run's folder.
    base: Stable Diffusion 2.1-base, a folder or hub id; None: the presets in `OWN_BASES` make their own.
    init_from: the checkpoint to begin with, or a run's folder; None: the base's UNet. The revisions are of hub ids.
    workers, address, device: how many processes, on which Ray cluster, on which kind of device.
    resume: "auto" continues the run in `out`, "never" refuses to.
    cache, cache_gib: where shards of remote data sets are kept, None: in ~/.cache, and how much of them.
    """

    dataset: str
    out: Path
    settings: TrainingSettings
    mix: Sequence[str] = ()
    base: str | None = None
    base_revision: str | None = None
    init_from: str | None = None
    init_revision: str | None = None
    workers: int = 1
    address: str | None = None
    device: str | None = None
    resume: str = "auto"
    cache: Path | None = None
    cache_gib: float = 64

    def training_run(self) -> TrainingRun:
        """The run that they ask for. Raises ValueError, in one sentence, for options that do not go together."""
        datasets = parse_datasets(self.dataset, self.mix)
        base, init_from, settings = self.base, self.init_from, self.settings
        if base is None and settings.preset in OF_SMALL:
            base = SMALL
        if base == SMALL:
            base = base_place(SMALL)
            init_from = init_from or base
        elif base is None:
            if settings.preset not in OWN_BASES:
                raise ValueError(
                    "which base? Name a Stable Diffusion 2.1 base with --base; only the presets "
                    f"{', '.join(OWN_BASES)} make their own, and small takes the model that ships"
                )
            base = str(self.own_base)
            init_from = init_from or base  # its own ControlNet
        if settings.learns == "student" and not init_from:
            if not Path(base, "controlnet").is_dir():
                raise ValueError(
                    f"which teacher? {base} has no ControlNet of its own: name a trained checkpoint with --checkpoint"
                )
            init_from = base
        if self.workers > 1 and settings.batch % self.workers:
            raise ValueError(
                f"a batch of {settings.batch} cannot be divided among {self.workers} workers: make it a multiple"
            )
        return TrainingRun(
            datasets=tuple((anchored_place(path), share) for path, share in datasets),
            out=self.out.absolute(),
            base=anchored_place(base),
            base_revision=self.base_revision,
            init_from=anchored_place(last_of_run(init_from)) if init_from else None,
            init_revision=self.init_revision,
            settings=settings,
            cache=(self.cache or Path("~/.cache/instructrestore/shards")).expanduser().absolute(),
            cache_bytes=int(self.cache_gib * GIB),
        )

    @property
    def on_ray(self) -> bool:
        """Whether it runs in workers, and not in this process."""
        return self.workers > 1 or bool(self.address)

    @property
    def own_base(self) -> Path:
        """Where a preset that makes its own base puts it."""
        return Path(os.path.abspath(self.out)) / ("tiny-base" if self.settings.preset == "tiny" else "base")


def run(options: TrainingOptions, console: Console) -> int:
    """Trains, or resumes the run in `options.out`; returns the number of steps taken in all.

    Raises ValueError, in one sentence, for a user's mistake, and KeyboardInterrupt after Ctrl-C, by which time what
    was learnt is in a checkpoint.
    """
    training_run, out, device, on_ray = options.training_run(), options.out, options.device, options.on_ray
    settings = options.settings
    if settings.preset == "stage2" and not (options.mix and options.init_from):
        console.print("the paper's stage 2 continues stage 1 (--init-from), with 75% bokeh photos (--mix)")
    if not on_ray:
        find_device(device)
    latest = training_run.checkpoints.latest()
    if latest and options.resume == "never":
        raise ValueError(f"{out} holds a run of {latest.step} steps: use --resume auto, or name another folder")
    for path, _ in training_run.datasets:  # before anything is written
        Dataset(path)
    options = with_dtype(options, latest, console)
    training_run, settings = options.training_run(), options.settings
    if latest:
        check_resumable(latest, settings)
        console.print(f"resuming at step {latest.step}", highlight=False)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out, forks=True):
        if training_run.base == str(options.own_base):
            make_base(options.own_base, settings, console)
        if on_ray:
            steps = train_on_ray(training_run, options.workers, options.address, device, console)
        else:
            steps = _train_here(training_run, device, console)
    _say_where(training_run, console)
    return steps


def make_base(folder: Path, settings: TrainingSettings, console: Console) -> None:
    """The base of a preset that makes its own, where it is not there yet or no longer what was made."""
    if (folder / "model_index.json").exists():
        try:
            check_recorded(folder)
            return
        except ValueError as error:
            console.print(f"the base is made again: {first_line(error)}", highlight=False, markup=False, soft_wrap=True)
    OWN_BASES[settings.preset](folder, settings.seed)
    write_record(folder)


def with_dtype(options: TrainingOptions, latest: TrainingCheckpoint | None, console: Console) -> TrainingOptions:
    """With the precision that the run in `out` began with, or that is quicker here, where it is to be measured.

    On Ray nothing is measured, since this process may be on another kind of machine than the workers.
    """
    if options.settings.dtype != "measured":
        return options
    if latest:
        dtype = latest.state["settings"]["dtype"]
    elif options.on_ray:
        dtype = "bfloat16" if (options.device or "").startswith("cuda") else "float32"
        console.print(f"{dtype} in all workers; for another: --set dtype=...", highlight=False)
    else:
        device = find_device(options.device)
        gain = gain_of_bfloat16(device)
        dtype = "bfloat16" if gain >= BFLOAT16_PAYS else "float32"
        console.print(f"{dtype}: on {device} bfloat16 takes {1 / gain:.1f} times as long as float32", highlight=False)
    return replace(options, settings=options.settings.model_copy(update={"dtype": dtype}))


def _train_here(job: TrainingRun, device: str | None, console: Console) -> int:
    job.settle()
    latest = job.checkpoints.latest()
    say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    with _interruptible(say) as stopped:
        log = RunLog(job.out, job.settings, say, latest)
        try:
            steps = train(job, TrainingWorker(find_device(device)), log, stopped)
        except RuntimeError as error:
            # torch reports a dead loader with this error, wherever the trainer is at that moment.
            if str(error).startswith("DataLoader "):
                raise ValueError(f"the loader failed: {first_line(error)}") from None
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
        line += f"; {best.folder} has the lowest held-out loss"
    console.print(line, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _interruptible(say: Callable[[str], object]) -> Iterator[Callable[[], bool]]:
    """Tells whether Ctrl-C or SIGTERM came: the current step is then finished and saved. A second one stops at once."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)
        say("finishing this step; press Ctrl-C again to stop at once")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
