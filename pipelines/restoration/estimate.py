"""`instructrestore restore --shards --dry-run`: what it will take, from a few of its photos restored here."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from dataclasses import dataclass

from rich.console import Console

from instructrestore.dataengine.running.stage import Failed
from instructrestore.pipelines.restoration.dataset import DatasetRestoration, read_template, triplets_of
from instructrestore.pipelines.restoration.dataset_stage import RestoreRow, RestoreStage
from instructrestore.pipelines.terminal.amounts import duration_text, size_text
from instructrestore.pipelines.terminal.damage import print_line
from instructrestore.shards.index import Dataset


@dataclass(frozen=True)
class RestoreTimes:
    """What a few rows took: seconds for the model's loading and for the rows, their megapixels, and the bytes of the
    results. failed: of the rows, those that gave none."""

    rows: int
    load_s: float
    work_s: float
    megapixels: float
    bytes: int
    failed: int


def print_plan(asked: DatasetRestoration, sample: int | None, price: float | None, console: Console) -> None:
    """Says what the restoration would do. sample: so many rows are restored, and thrown away; None: none. price: of an
    hour. Raises ValueError, in one sentence, where it could not begin."""

    def say(line: str) -> None:
        print_line(line, console)

    asked.check()
    source = Dataset(asked.dataset if "://" in asked.dataset else os.path.abspath(asked.dataset))
    rows = triplets_of(source, asked.regions)
    megapixels = sum(map(_megapixels, rows))
    say(f"{len(rows):,} photos to restore, {megapixels:,.1f} megapixels; what {asked.out} holds already is counted too")
    if sample is None:
        say("how long it takes, disk and cost: --measure 3 restores 3 photos and says")
    else:
        times = measure(asked, source, draw(rows, sample))
        if times.failed == times.rows:
            raise ValueError(f"none of the {times.rows} photos that were tried could be restored: try one with `show`")
        # Time and room go by pixels: the photos of a data set have many sizes.
        wall = times.load_s + times.work_s / times.megapixels * megapixels
        say(f"a photo: {times.work_s / times.rows:.3g} s, {times.work_s / times.megapixels:.3g} s a megapixel")
        say(f"time: {duration_text(wall)} by one worker, as this process is")
        device = asked.loading.device
        if device and device.startswith("cuda"):
            say(f"GPU hours: {wall / 3600:.1f}")
        there = next(folder for folder in (asked.out.absolute(), *asked.out.absolute().parents) if folder.is_dir())
        needed = times.bytes / times.megapixels * megapixels
        say(f"disk: {size_text(needed)}; {size_text(shutil.disk_usage(there).free)} are free")
        if price is not None:
            say(f"cost: {price * wall / 3600:.2f} at {price:g} an hour and worker")
        say(f"measured: {times.rows} photos drawn from the data set, one after the other, on this machine")
        say("assumed: time and room grow with the pixels; Ray's start is not counted, nor that photos share a batch")
    say("nothing was written")


def draw(rows: list[RestoreRow], count: int) -> list[RestoreRow]:
    """`count` of the rows, a fair draw that is always the same."""
    return sorted(rows, key=lambda row: hashlib.sha256(row.name.encode()).digest())[:count]


def measure(asked: DatasetRestoration, source: Dataset, rows: list[RestoreRow]) -> RestoreTimes:
    """Restores the rows by the real stage in this process, and keeps nothing of them."""
    loading = asked.loading.anchored()
    settings = loading.sampling(asked.settings)
    template = read_template(asked.instruction, asked.regions)
    began = time.perf_counter()
    stage = RestoreStage(source.path, template, loading, settings, asked.seed, None)
    loaded = time.perf_counter()
    results = [stage([row])[0] for row in rows]
    done = time.perf_counter()
    bytes_there = sum(len(result.png) for result in results if not isinstance(result, Failed))
    failed = sum(isinstance(result, Failed) for result in results)
    return RestoreTimes(len(rows), loaded - began, done - loaded, sum(map(_megapixels, rows)), bytes_there, failed)


def _megapixels(row: RestoreRow) -> float:
    return row.width * row.height / 1e6
