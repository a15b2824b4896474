"""`instructrestore evaluate`: every method's results of a test set, their figures, and what is written of them.

Results are made once and kept, figures likewise (folder.py): the same command goes on where it was, and another
metric restores nothing again.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from instructrestore.dataengine.photos import photo_file
from instructrestore.dataengine.running.part_files import Outcome, PartFile, digest
from instructrestore.dataengine.running.stage import StageSpec, Task
from instructrestore.model.metrics.metric import BOKEH_IOU, MASK_IOU
from instructrestore.model.metrics.scorer import Scorer
from instructrestore.model.metrics.settings import MetricSettings
from instructrestore.pipelines.evaluation.folder import PART_ROWS, EvaluationFolder
from instructrestore.pipelines.evaluation.gathering import gather, print_summary, scores_of
from instructrestore.pipelines.evaluation.measured_with import measured_with
from instructrestore.pipelines.evaluation.methods.method import LQ, Evaluation, Method
from instructrestore.pipelines.evaluation.methods.restorers import MethodGroup
from instructrestore.pipelines.evaluation.methods.results_folder import GivenResults, find_results
from instructrestore.pipelines.evaluation.outputs import write_outputs
from instructrestore.pipelines.evaluation.restore_stage import REVISION as RESTORING_REVISION
from instructrestore.pipelines.evaluation.restore_stage import Restore, RestoreSink
from instructrestore.pipelines.evaluation.row import Row, rows_of
from instructrestore.pipelines.evaluation.score_stage import Score, has_networks
from instructrestore.pipelines.evaluation.tables.baseline import check_baseline
from instructrestore.pipelines.evaluation.where import Running, running
from instructrestore.pipelines.inference.worker_share import (
    LEAST_MEGAPIXELS,
    MEGAPIXEL_STEP_S,
    START_S,
    WorkerShare,
    share_of,
)
from instructrestore.pipelines.terminal.arguments import check_local
from instructrestore.pipelines.terminal.progress import StageProgress
from instructrestore.shards.pairs import TestSet

UNRESTORED = Method(LQ, "runner")
HERE = WorkerShare("", 1, 0, None, MEGAPIXEL_STEP_S["cpu"])  # of this process, which no limit watches
SCORE_ROW_S = 600.0  # when a worker that measures counts as stalled


@dataclass(frozen=True)
class _Common:
    """What is the same for all methods. source, measured_with: the test set by its content, and what figures follow
    from besides, as plain JSON."""

    testset: TestSet
    source: dict[str, str]
    metrics: MetricSettings
    measured_with: dict[str, Any]
    seed: int
    batch: int
    retry_failed: bool
    console: Console


def run_evaluation(
    *,
    testset: str,
    out: Path,
    makings: Sequence[MethodGroup],
    found: Sequence[GivenResults],
    metrics: MetricSettings,
    console: Console,
    seed: int = 0,
    batch: int = 1,
    limit: int | None = None,
    address: str | None = None,
    retry_failed: bool = False,
    tables: Sequence[int] = (),
    quoted: bool = True,
    baseline: tuple[str, bytes] | None = None,
) -> Evaluation:
    """Evaluates, or goes on evaluating, methods over the test set at `testset` into the folder `out`.

    makings: methods that are run here. found: results of others. The unrestored photos come first, as the method LQ.
    batch: at most so many photos of one size are restored together. limit: the first so many photos. address: of a Ray
    cluster, "local" for one of this machine; None: this process. retry_failed: rows that failed are done again.
    tables: of the paper, that are written; (): all that there are figures for. quoted: with the paper's own rows.
    baseline: name and bytes of an earlier evaluation.json that this one is to compare with: said early where it cannot.
    Raises ValueError for a user's mistake and StopStage where going on is pointless, each with one sentence; what was
    done by then stays and is not done again. A row that cannot be restored or measured is counted.
    """
    opened = TestSet(testset if "://" in testset else os.path.abspath(testset))
    card = opened.card
    source = source_of(opened)
    common = _Common(opened, source, metrics, measured_with(metrics), seed, batch, retry_failed, console)
    _check_applicable(metrics, opened.bokeh, makings)
    rows = rows_of(opened, limit)
    made = [method for making in makings for method in making.methods]
    methods = (UNRESTORED, *made, *(each.method for each in found))
    _check_titles(methods)
    configuration = _configuration(common, makings)
    if baseline:
        name, earlier = baseline
        check_baseline(
            earlier, name, testset=card.name, photos=len(rows), bokeh=opened.bokeh, methods=methods,
            configuration=configuration,
        )  # fmt: skip
    check_local(out)
    folder = EvaluationFolder(out, source)
    results = {each.method: find_results(each.folder, opened, rows) for each in found}
    results[UNRESTORED] = [Outcome(row.key, "ok", row) for row in rows]
    with folder.lock(), running(address) as where:
        restored = {method: folder.note_found(method, outcomes) for method, outcomes in results.items()}
        for making in makings:
            restored |= _restore(making, rows, folder, common, where)
        scored = _score({method: restored[method] for method in methods}, folder, common, where)
        measured, failed = gather(restored, scored, len(rows))
        evaluated = Evaluation(card.name, len(rows), opened.bokeh, methods, scores_of(measured), failed, configuration)
        folder.write_scores(evaluated.scores)
        print_summary(evaluated, out, console)
        write_outputs(evaluated, measured, opened, out, tables, quoted, console)
    return evaluated


def source_of(testset: TestSet) -> dict[str, str]:
    """A test set by its name and content, wherever it lies."""
    return {"name": testset.card.name, "sha256": hashlib.sha256(testset.card.to_json()).hexdigest()}


def _check_titles(methods: Sequence[Method]) -> None:
    """Raises ValueError where two titles differ by case at the most: some file systems do not tell these apart."""
    often = Counter(method.title.casefold() for method in methods)
    for method in methods[::-1]:
        if often[method.title.casefold()] > 1:
            raise ValueError(f"two methods are called {method.title}: every method needs a name of its own")


def _restore(
    making: MethodGroup, rows: Sequence[Row], folder: EvaluationFolder, common: _Common, where: Running
) -> dict[Method, list[PartFile]]:
    """The results of its methods, as committed parts; what is not there is made."""
    known = digest(RESTORING_REVISION, photo_file.REVISION, making.follows_from, common.seed, common.source)
    tasks: dict[Method, list[Task]] = {}
    for method in making.methods:
        asked = [replace(row, s1=method.s1, s2=method.s2) for row in rows]
        tasks[method] = folder.plan(method, asked, known, common.batch, sum(map(len, tasks.values())))
    todo = [
        each for method, own in tasks.items() for each in folder.undone(method, "restored", own, common.retry_failed)
    ]
    if todo:
        if has_networks(common.metrics):  # what they lack is said now, not after hours of restoring
            Scorer(common.metrics.model_copy(update={"device": "cpu"}))
        connected = where.on_ray()
        means = share_of(making.device, making.weights_bytes, *connected.resources()) if connected else HERE
        largest = max(max(LEAST_MEGAPIXELS, row.width * row.height / 1e6) for row in rows)
        longest_s = largest * making.steps * means.megapixel_step_s
        device = means.device if connected else making.device
        spec = StageSpec(
            name=making.name,
            build=partial(Restore, common.testset.path, folder.path, making, device, common.seed, means.threads),
            identity=known,
            row_type=Row,
            result_type=Row,
            sink=RestoreSink,
            batch=common.batch,
            cpus=means.cpus,
            gpus=means.gpus,
            part_limit_s=START_S + PART_ROWS * longest_s,
            row_limit_s=START_S + common.batch * longest_s,  # a row done alone fills its whole batch
        )
        _run(spec, todo, sum(map(len, tasks.values())), common.console, where)
    return {method: folder.files(method, "restored", own) for method, own in tasks.items()}


def _score(
    restored: dict[Method, list[PartFile]], folder: EvaluationFolder, common: _Common, where: Running
) -> dict[Method, list[PartFile]]:
    """The figures of all results, as committed parts; what is not there is measured."""
    metrics = common.metrics
    known = digest(photo_file.REVISION, common.measured_with, common.source)
    tasks: dict[Method, list[Task]] = {}
    for method, files in restored.items():
        tasks[method] = folder.to_score(method, files, known, sum(map(len, tasks.values())))
    undone = (folder.undone(method, "scored", own, common.retry_failed) for method, own in tasks.items())
    todo = [task for own in undone for task in own]
    if todo:
        connected, gpus = where.on_ray(), 0
        if connected and has_networks(metrics) and metrics.device != "cpu" and connected.resources()[1]:
            gpus, metrics = 1, metrics.model_copy(update={"device": "cuda"})  # Ray shows each worker its own GPU alone
        at_once = 1 if connected or has_networks(metrics) else torch.get_num_threads()
        spec = StageSpec(
            name="measure",
            build=partial(Score, common.testset.path, folder.path, metrics, at_once),
            identity=known,
            row_type=Row,
            result_type=Row,
            batch=PART_ROWS,
            gpus=gpus,
            part_limit_s=START_S + PART_ROWS * SCORE_ROW_S,
            row_limit_s=START_S + SCORE_ROW_S,
        )
        _run(spec, todo, sum(map(len, tasks.values())), common.console, where)
    return {method: folder.files(method, "scored", own) for method, own in tasks.items()}


def _run(spec: StageSpec, todo: Sequence[Task], parts: int, console: Console, where: Running) -> None:
    console.print(f"{spec.name}: {len(todo):,} of {parts:,} parts to do", highlight=False, markup=False)
    with StageProgress(console, spec.name, len(todo)) as progress:
        where.run(spec, todo, progress.part)


def _configuration(common: _Common, makings: Sequence[MethodGroup]) -> dict[str, Any]:
    """What the figures follow from, for people and programs: no path of this machine is in it."""
    made = [{"methods": [method.title for method in making.methods], **making.record} for making in makings]
    return {"testset": common.source, "seed": common.seed, "metrics": common.measured_with, "made": made}


def _check_applicable(metrics: MetricSettings, bokeh: bool, makings: Sequence[MethodGroup]) -> None:
    """Raises ValueError where none of the metrics has a figure for what is evaluated."""
    finds = any(method.kind == "model" for making in makings for method in making.methods if not making.given_masks)
    needs = {MASK_IOU.name: (finds, "masks that the model predicts"), BOKEH_IOU.name: (bokeh, "a bokeh set")}
    if not any(needs.get(name, (True, ""))[0] for name in metrics.metrics):
        lacking = " and ".join(f"{name} is of {needs[name][1]}" for name in metrics.metrics)
        raise ValueError(f"there would be no figure at all: {lacking}; name other --metrics too")
