"""What a whole build will take, from a measured sample: time, requests, tokens, GPU hours, disk, cost.

It says of every figure whether it was measured or is assumed.
"""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from instructrestore.dataengine.run_folder import RunLayout
from instructrestore.dataengine.settings import BuildSettings
from instructrestore.pipelines.building.measure import Measured, StageTime
from instructrestore.pipelines.building.rounds_ahead import RoundsAhead, rounds_ahead
from instructrestore.pipelines.terminal.amounts import duration_text, size_text
from instructrestore.pipelines.terminal.damage import print_line
from instructrestore.shards.paths import Place

BUSY = 0.8  # of the time: a processor that worked less on a sample had other things to do
_QUESTIONS_AT_ONCE = 256  # in a chunk: a part of the noun-phrase rounds


@dataclass(frozen=True)
class StageAhead:
    """A stage of the whole build. rows: to be done. wall_s: with `workers` at once. gpu_hours: of all workers."""

    name: str
    rows: int
    row_s: float
    workers: int
    wall_s: float
    gpu_hours: float


@dataclass(frozen=True)
class BuildAhead:
    """A build of `photos` photos. missing: why the sample ended early; then only the stages before that are counted.
    regions: to be described. requests: of those, how many a served vision-language model is asked for.
    bytes: on disk, by what for. end_s: for the index, the card and the report. ray_s: for starting; None: unknown."""

    photos: int
    stages: tuple[StageAhead, ...]
    rounds: RoundsAhead | None
    regions: int
    requests: int
    others_s: float
    end_s: float
    ray_s: float | None
    bytes: dict[str, int]
    missing: str

    @property
    def wall_s(self) -> float:
        """From beginning to end, in seconds."""
        return (self.ray_s or 0.0) + self.others_s + self.end_s + sum(stage.wall_s for stage in self.stages)


def estimate(
    settings: BuildSettings, measured: Measured, photos: int, out: Place, ray_s: float | None = None
) -> BuildAhead:
    """The estimate for `photos` photos, on this machine's CPUs. out: the run's folder, which need not be there.
    ray_s: how long Ray takes to start, where that was measured."""
    times = photos / measured.photos
    rules = settings.noun_phrases
    rounds = rounds_ahead(measured, photos, rules.rounds, rules.rank, RunLayout(out))
    stages = []
    for name, taken in measured.stages.items():
        rows, at_once = round(taken.rows * times), settings.photos_per_part
        if name.startswith("noun phrases, round ") and rounds:
            number = int(name.rsplit(" ", 1)[-1])
            rows, at_once = rounds.asked[number - 1], _QUESTIONS_AT_ONCE
        elif name.endswith(" shards"):
            at_once = settings.shards.photos_per_shard
        stages.append(_ahead(settings, name, taken, rows, at_once))
    written = {what: round(size * times) for what, size in measured.bytes.items()}
    regions = round(measured.pieces * times)
    asked = regions if settings.descriptions.describer == "vision_language" else 0
    return BuildAhead(
        photos,
        tuple(stages),
        rounds,
        regions,
        asked,
        measured.others_s * times,
        measured.end_s,
        ray_s,
        written,
        measured.problem,
    )


def _ahead(settings: BuildSettings, name: str, taken: StageTime, rows: int, at_once: int) -> StageAhead:
    parts, spec = max(1, math.ceil(rows / at_once)), taken.spec
    cpus = settings.run.cpus or len(os.sched_getaffinity(0))
    fit = max(1, int(cpus / spec.cpus)) if spec.cpus else parts
    workers = min(parts, fit, spec.workers or fit)
    row_s = taken.work_s / max(1, taken.rows)
    # The last parts run with fewer workers: whole rounds of parts are counted.
    longest = math.ceil(parts / workers) * min(rows, at_once) * row_s if parts < 4 * workers else rows * row_s / workers
    gpu_hours = spec.gpus * (taken.start_s * workers + rows * row_s) / 3600
    return StageAhead(name, rows, row_s, workers, taken.start_s + longest, gpu_hours)


def print_estimate(found: BuildAhead, measured: Measured, out: Place, price: float | None, console: Console) -> None:
    """The estimate for people, and what of it was measured and what is assumed."""
    table = Table("stage", "rows", "s a row", "workers", "time", box=None, pad_edge=False)
    for stage in found.stages:
        cells = (f"{stage.rows:,}", f"{stage.row_s:.3g}", str(stage.workers), duration_text(stage.wall_s))
        table.add_row(stage.name, *cells)
    console.print(table)

    def say(line: str) -> None:
        print_line(line, console)

    busy = _busy(measured)
    rather = f"; {duration_text(found.wall_s * busy)} if nothing else keeps the processor" if busy < BUSY else ""
    rest = found.wall_s - sum(stage.wall_s for stage in found.stages)
    say(f"beginning, end and tables: {duration_text(rest)}")
    say(f"time: {duration_text(found.wall_s)} in all for {found.photos:,} photos{rather}")
    gpu_hours = sum(stage.gpu_hours for stage in found.stages)
    say(f"GPU hours: {gpu_hours:.2f}")
    if found.regions:
        how = (
            ": as many requests to the vision-language model, or more where it is asked again" if found.requests else ""
        )
        say(f"regions to describe: {found.regions:,}{how}")
    if rounds := found.rounds:
        asked = ", ".join(f"{number:,}" for number in rounds.asked)
        total = sum(rounds.asked)
        say(f"noun-phrase questions: {total:,} (in rounds of {asked})")
        say(
            f"tokens, if a language model answers them: {total * rounds.tokens_in:,.0f} in, "
            f"{total * rounds.tokens_out:,.0f} out"
        )
    needed = sum(found.bytes.values())
    parts = ", ".join(f"{size_text(size)} for the {what}" for what, size in sorted(found.bytes.items()))
    free = f"; {size_text(shutil.disk_usage(_above(out)).free)} are free" if isinstance(out, Path) else ""
    say(f"disk: {size_text(needed)} ({parts}){free}")
    if price is not None:
        say(f"cost: {price * found.wall_s / 3600:.2f} at {price:g} an hour")
    for line in _grounds(found, measured):
        say(line)


def _busy(measured: Measured) -> float:
    """The share of the measured time in which the processor worked on the sample, 0..1."""
    passed = sum(stage.start_s + stage.work_s for stage in measured.stages.values())
    return min(1.0, sum(stage.processor_s for stage in measured.stages.values()) / passed) if passed else 1.0


def _grounds(found: BuildAhead, measured: Measured) -> list[str]:
    lines = [
        f"measured: {measured.photos} photos drawn from the sources, through every stage named above, on this machine "
        "as busy as it is now; bytes written; "
        + (
            f"the start of the program, Ray and workers ({found.ray_s:.0f} s)"
            if found.ray_s is not None
            else "not Ray's start"
        ),
        "assumed: other photos are like these; each worker is as quick as one alone; all CPUs of this machine work on "
        "it; the card and the report at the end take as long as the sample's",
    ]
    if rounds := found.rounds:
        lines.append(
            "questions: distinct descriptions grow as in two halves of the sample; the shares asked again are those of "
            f"{rounds.shares_from}; {rounds.rare:,} subjects beyond the rank are expected, each asked again every round"
        )
        lines.append("tokens: counted by words and signs, which a model's own tokenizer may make up to a third more of")
    if found.missing:
        lines.append(f"not measured, and not in the time: the stages from here on: {found.missing}")
    return lines


def _above(place: Path) -> Path:
    """The nearest folder that is there."""
    place = place.absolute()
    return next(folder for folder in (place, *place.parents) if folder.is_dir())
