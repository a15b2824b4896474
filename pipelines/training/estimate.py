"""`instructrestore train --dry-run`: what a run will take, from a few real steps in a folder that is removed again."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from instructrestore.model.networks.devices import find_device
from instructrestore.model.training.settings import TrainingSettings
from instructrestore.model.training.trainer import Progress
from instructrestore.model.training.validation import Validation
from instructrestore.model.training.worker import TrainingWorker
from instructrestore.pipelines.terminal.amounts import counts_text, duration_text, size_text
from instructrestore.pipelines.terminal.damage import print_line
from instructrestore.pipelines.training.command import TrainingOptions, make_base, with_dtype
from instructrestore.pipelines.training.training_run import check_resumable, train
from instructrestore.shards.index import Dataset


def print_plan(options: TrainingOptions, sample: int | None, price: float | None, console: Console) -> None:
    """Says what the run would do. sample: so many steps are taken, for what they tell; None: none. price: of an hour.

    Raises ValueError, in one sentence, where the run could not begin.
    """

    def say(line: str) -> None:
        print_line(line, console)

    run, settings = options.training_run(), options.settings
    for path, share in run.datasets:
        card = Dataset(path).card
        say(f"{path}: {counts_text(photo=card.photos, triplet=card.regions)}, {float(share):.0%} of the run")
    latest = run.checkpoints.latest()
    if latest:
        check_resumable(latest, settings)
    done = latest.step if latest else 0
    left = max(0, settings.steps - done)
    say(f"steps: {left:,} of {settings.steps:,} are left, {settings.batch} triplets each")
    if sample is None or not left:
        say(
            "how long they take, disk and cost: --measure 5 takes 5 steps and says" if left else "nothing is left to do"
        )
    else:
        _print_measured(options, measure(options, sample, console), done, price, console)
    say("nothing was written")


@dataclass
class StepTimes:
    """What a few steps took, by a clock in seconds. ends: when each was over. saved, validated: when the checkpoint was
    written, and when the validation after it was over; None: there was none. bytes: of the checkpoint."""

    began: float
    ends: list[float] = field(default_factory=list)
    saved: float = 0.0
    validated: float | None = None
    bytes: int = 0

    @property
    def step_s(self) -> float:
        """Of one step; the first, which warms up, does not count."""
        return (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1)

    @property
    def start_s(self) -> float:
        """Until the first step began, which is taken to be as long as the others."""
        return max(0.0, self.ends[0] - self.began - self.step_s)

    @property
    def save_s(self) -> float:
        return self.saved - self.ends[-1]

    @property
    def validation_s(self) -> float:
        return self.validated - self.saved if self.validated else 0.0


class _Clock:
    """The watcher of a measured run."""

    def __init__(self, times: StepTimes) -> None:
        self._times = times

    def noted(self, line: str) -> None:
        pass

    def logged(self, progress: Progress) -> None:
        self._times.ends.append(time.perf_counter())

    def saved(self, folder: Path) -> None:
        self._times.saved = time.perf_counter()
        self._times.bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    def validated(self, step: int, validation: Validation) -> None:
        self._times.validated = time.perf_counter()


def measure(options: TrainingOptions, steps: int, console: Console) -> StepTimes:
    """Takes so many steps (at least 2) of the run's own kind in this process, with the checkpoint and validation at
    their end. Of several workers this is one, with its share of the batch."""
    settings = options.settings
    few = {
        "steps": steps,
        "log_every": 1,
        "checkpoint_every": steps,
        "batch": settings.batch // options.workers,
        "validation": settings.validation.model_copy(update={"every": steps}),
    }
    times = StepTimes(time.perf_counter())
    with tempfile.TemporaryDirectory(prefix="instructrestore-measure-") as place:
        there = replace(options, out=Path(place) / "run", workers=1, address=None)
        there = replace(there, settings=TrainingSettings.model_validate({**settings.model_dump(), **few}))
        there = with_dtype(there, None, console)
        run = there.training_run()
        run.out.mkdir()
        if run.base == str(there.own_base):
            make_base(there.own_base, there.settings, console)
        times.began = time.perf_counter()
        train(run, TrainingWorker(find_device(options.device)), _Clock(times))
    return times


def _print_measured(
    options: TrainingOptions, times: StepTimes, done: int, price: float | None, console: Console
) -> None:
    def say(line: str) -> None:
        print_line(line, console)

    settings, workers = options.settings, options.workers
    left = settings.steps - done
    judged = times.validated is not None
    validations = settings.steps // settings.validation.every - done // settings.validation.every if judged else 0
    saves = max(1, settings.steps // settings.checkpoint_every - done // settings.checkpoint_every, validations)
    wall = times.start_s + left * times.step_s + saves * times.save_s + validations * times.validation_s
    say(f"a step: {times.step_s:.3g} s, {settings.batch / times.step_s:.1f} triplets/s")
    say(f"a checkpoint: {times.save_s:.3g} s, {size_text(times.bytes)}; about {saves:,} of them")
    if judged:
        say(f"a validation: {times.validation_s:.3g} s; {validations:,} of them")
    say(f"time: {duration_text(wall)} in all")
    if find_device(options.device).type == "cuda":
        say(f"GPU hours: {workers * wall / 3600:.1f}")
    kept = min(saves, settings.keep + (1 if judged else 0))  # the best one stays besides
    there = next(folder for folder in (options.out.absolute(), *options.out.absolute().parents) if folder.is_dir())
    free = size_text(shutil.disk_usage(there).free)
    say(
        f"disk: {size_text((kept + 1) * times.bytes)} for {kept} checkpoints and the one being written; {free} are free"
    )
    if price is not None:
        say(f"cost: {price * workers * wall / 3600:.2f} at {price:g} an hour and worker")
    steps = len(times.ends)
    say(f"measured: {steps} steps, the first left out of the mean, a checkpoint and a validation, on this machine")
    assumed = "assumed: later steps take as long"
    if workers > 1 or options.address:
        assumed += f"; {workers} workers are each as quick as this one, and waiting for each other takes no time"
    say(assumed)
