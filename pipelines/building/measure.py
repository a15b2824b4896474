"""A few photos of a build through its real stages, in a folder of their own that is removed again, by the clock.

The stages run in this process, one after the other, as one worker of a build would run them. What cannot run here (no
GPU, no server) is said, and what follows it is not measured.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from pydantic import TypeAdapter

from instructrestore.dataengine.noun_phrases.parser import ParserAnswer, Question
from instructrestore.dataengine.photos.row import Row, SourcePhoto
from instructrestore.dataengine.run_folder import RunFolder
from instructrestore.dataengine.running.on_ray.runner import cluster
from instructrestore.dataengine.running.part_files import list_parts, read_outcomes, read_rows
from instructrestore.dataengine.running.run import Run
from instructrestore.dataengine.running.stage import StageSpec, StopStage, Task
from instructrestore.dataengine.running.worker import StageWorker, Stopped
from instructrestore.dataengine.settings import BuildSettings
from instructrestore.dataengine.stages import build_stages
from instructrestore.pipelines.building.build import finish
from instructrestore.shards.errors import first_line
from instructrestore.shards.sample import Answer

_rows, _questions, _answers = TypeAdapter(Row), TypeAdapter(Question), TypeAdapter(ParserAnswer)


@dataclass
class StageTime:
    """A stage as it was measured. start_s: until its model was loaded. work_s: for all of its `rows`. processor_s: of
    both, what the processor worked on them: less where other programs were in the way, or it waited."""

    spec: StageSpec
    start_s: float
    work_s: float = 0.0
    processor_s: float = 0.0
    rows: int = 0


@dataclass
class Measured:
    """What a sample of a build took.

    photos: taken. stages: by name, in the order in which they ran. others_s: all else: tables, files. end_s: for the
    index, the card and the report.
    pieces: masks that the describer had to describe. described: of each photo that came so far, the descriptions that
    need a noun phrase. questions: descriptions asked
    in each round, from the first. answers: to them. problem: why it ended early; empty: it did not.
    bytes: written, by what for ("dataset" or "run").
    """

    photos: int
    stages: dict[str, StageTime] = field(default_factory=dict)
    others_s: float = 0.0
    end_s: float = 0.0
    pieces: int = 0
    described: list[list[str]] = field(default_factory=list)
    questions: list[list[str]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    problem: str = ""
    bytes: dict[str, int] = field(default_factory=dict)


def start_of_ray(settings: BuildSettings) -> float | None:
    """How long this program, Ray and a worker's process take to start on this machine, in seconds; None on a cluster
    that runs."""
    if settings.run.address is not None:
        return None
    began = time.perf_counter()
    # What takes long is the import of packages, by the program and by its workers, who do so at the same time.
    subprocess.run([sys.executable, "-c", f"import {finish.__module__}"], check=True)
    imported = time.perf_counter() - began
    with cluster(None, settings.run.cpus, settings.run.object_store_mib, 0):
        return time.perf_counter() - began + imported


def draw(photos: Iterable[SourcePhoto], count: int) -> list[SourcePhoto]:
    """`count` of the photos that are not excluded: the same ones in any order of the sources, a fair draw."""
    found = (photo for photo in photos if not photo.excluded)
    return heapq.nsmallest(count, found, key=lambda photo: hashlib.sha256(photo.uri.encode()).digest())


def measure(settings: BuildSettings, sample: Sequence[SourcePhoto], say: Callable[[str], None]) -> Measured:
    """Builds a data set of the sample and takes the time. say: is told of each stage before it runs."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as Ray gives it to a worker with one CPU
    measured = Measured(len(sample))
    with tempfile.TemporaryDirectory(prefix="instructrestore-measure-") as place:
        folder = RunFolder(Path(place) / "run")
        folder.append(sample, len(sample))
        watch = _Stopwatch(measured, say)
        run = Run(folder.stages, folder.tables, watch, False, [folder.answers], say)
        began = time.perf_counter()
        try:
            shards = run.through(build_stages(settings, folder), folder.parts())
            ended = time.perf_counter()
            finish(folder, settings, shards, run.summaries, {}, "")
            measured.end_s = time.perf_counter() - ended
        except (StopStage, ValueError) as error:
            measured.problem = first_line(error)
        within = measured.end_s + sum(stage.start_s + stage.work_s for stage in measured.stages.values())
        measured.others_s = max(0.0, time.perf_counter() - began - within)
        measured.pieces, measured.described = _undescribed(folder), _described(folder)
        for path in Path(place).rglob("*"):
            if path.is_file():
                what = "dataset" if Path("run/dataset") in path.relative_to(place).parents else "run"
                measured.bytes[what] = measured.bytes.get(what, 0) + path.stat().st_size
    return measured


def _described(folder: RunFolder) -> list[list[str]]:
    """Of each photo that came through the descriptions, those that need a phrase."""
    rows = _rows_of(folder, "05-descriptions")
    return [[piece.description for piece in row.pieces if not piece.noun_phrase] for row in rows]


def _undescribed(folder: RunFolder) -> int:
    """Pieces that the masks left and that the describer is to describe."""
    return sum(not piece.description for row in _rows_of(folder, "04-masks") for piece in row.pieces)


def _rows_of(folder: RunFolder, stage: str) -> list[Row]:
    files = [file for of_part in list_parts(folder.stages / stage).values() for file in of_part]
    return [outcome.row for file in files for outcome in read_outcomes(file.path, _rows) if outcome.row]


class _Stopwatch:
    """Does tasks in this process, as an executor without Ray does, and takes the time."""

    def __init__(self, measured: Measured, say: Callable[[str], None]) -> None:
        self._measured, self._say = measured, say

    def __call__(self, spec: StageSpec, tasks: Sequence[Task]) -> None:
        asks = spec.row_type is Question
        if asks:
            rows = [row for task in tasks for _, row in read_rows(task.slices, _questions)]
            self._measured.questions.append([row.description for row in rows])
        if spec.server and spec.server.where != "running":
            raise StopStage(f"the {spec.name} stage asks a model that only a build starts")
        if spec.gpus and not _has_gpu():
            raise StopStage(f"the {spec.name} stage needs a GPU, and this machine has none")
        self._say(f"measuring {spec.name}")
        worker, began, processor = StageWorker(), time.perf_counter(), time.process_time()
        _check(worker.start(spec))
        taken = StageTime(spec, time.perf_counter() - began)
        for task in tasks:
            began = time.perf_counter()
            done = worker.do_part(task)
            if isinstance(done, Stopped):
                raise done.error()
            file, summary = done
            taken.work_s += time.perf_counter() - began
            taken.rows += len(summary.outcomes)
            if asks:
                found = (outcome.row for outcome in read_outcomes(file.path, _answers))
                self._measured.answers += [row.answer for row in found if row]
        taken.processor_s = time.process_time() - processor
        self._measured.stages[spec.name] = taken


def _check(stopped: Stopped | None) -> None:
    if stopped:
        raise stopped.error()


def _has_gpu() -> bool:
    if find_spec("torch") is None:
        return False
    import torch  # noqa: PLC0415  (only where a stage asks for a GPU: slow)

    return torch.cuda.is_available()
