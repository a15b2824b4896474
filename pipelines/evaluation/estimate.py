"""`instructrestore evaluate --dry-run`: what an evaluation will take, from a few of its photos evaluated by itself."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from instructrestore.pipelines.evaluation.row import rows_of
from instructrestore.pipelines.evaluation.run import EvaluationRequest, run_evaluation
from instructrestore.pipelines.terminal.amounts import duration_text, size_text
from instructrestore.pipelines.terminal.console import PlainConsole
from instructrestore.pipelines.terminal.damage import print_line
from instructrestore.shards.pairs import TestSet


@dataclass(frozen=True)
class EvaluationTimes:
    """What evaluations of one photo and of `photos` took, in seconds; and the bytes that the second left."""

    photos: int
    one_s: float
    all_s: float
    bytes: int

    @property
    def photo_s(self) -> float:
        """Of each further photo, by all methods and metrics."""
        return max(0.0, (self.all_s - self.one_s) / (self.photos - 1))


def print_plan(asked: EvaluationRequest, sample: int | None, price: float | None, console: Console) -> None:
    """Says what the evaluation would do. sample: so many photos are evaluated, in a folder that is removed again; None:
    none. price: of an hour. Raises ValueError, in one sentence, where it could not begin."""

    def say(line: str) -> None:
        print_line(line, console)

    testset = TestSet(asked.testset if "://" in asked.testset else os.path.abspath(asked.testset))
    photos = len(rows_of(testset, asked.limit))
    methods = [method.name for group in asked.groups for method in group.methods]
    methods += [found.method.name for found in asked.found]
    named = (name if count == 1 else f"{name} ({count} settings)" for name, count in Counter(methods).items())
    say(f"{photos:,} photos; methods besides the LQ photos: {', '.join(named) or 'none'}")
    if sample is None or photos < 2:
        say("how long it takes, disk and cost: --measure 3 evaluates 3 photos and says")
    else:
        times = measure(asked, min(sample, photos))
        wall = times.one_s + (photos - 1) * times.photo_s
        say(f"a photo: {times.photo_s:.3g} s, after {max(0.0, times.one_s - times.photo_s):.3g} s to begin")
        say(f"time: {duration_text(wall)} in this process")
        there = next(folder for folder in (asked.out.absolute(), *asked.out.absolute().parents) if folder.is_dir())
        free = size_text(shutil.disk_usage(there).free)
        say(f"disk: {size_text(times.bytes / times.photos * photos)}; {free} are free")
        if price is not None:
            say(f"cost: {price * wall / 3600:.2f} at {price:g} an hour")
        say(f"measured: the first photo, then the first {times.photos}, by every method and metric, on this machine")
        say("assumed: other photos take as long; results that are there already are counted too; Ray is not")
    say("nothing was written")


def measure(asked: EvaluationRequest, photos: int) -> EvaluationTimes:
    """Evaluates the first photo, then the first `photos`, each in a folder of its own and in this process."""
    quiet = PlainConsole(file=io.StringIO())
    taken = []
    size = 0
    for limit in (1, photos):
        with tempfile.TemporaryDirectory(prefix="instructrestore-measure-") as place:
            few = replace(asked, out=Path(place) / "evaluation", limit=limit, address=None, baseline=None)
            began = time.perf_counter()
            run_evaluation(few, quiet)
            taken.append(time.perf_counter() - began)
            size = sum(path.stat().st_size for path in few.out.rglob("*") if path.is_file())
    return EvaluationTimes(photos, taken[0], taken[1], size)
