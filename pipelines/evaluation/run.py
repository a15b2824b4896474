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
from instructrestore.dataengine.running.checkpoints import Execute, complete
from instructrestore.dataengine.running.executor import Executor
from instructrestore.dataengine.running.integrity import digest
from instructrestore.dataengine.running.on_ray.runner import cluster
from instructrestore.dataengine.running.part_files import Outcome, PartFile
from instructrestore.dataengine.running.stage import StageSpec, Task
from instructrestore.model.metrics.metric import BOKEH_IOU, MASK_IOU
from instructrestore.model.metrics.scorer import Scorer
from instructrestore.model.metrics.settings import MetricSettings
from instructrestore.pipelines.evaluation.folder import PART_ROWS, EvaluationFolder
from instructrestore.pipelines.evaluation.gathering import gather, print_summary, scores_of
from instructrestore.pipelines.evaluation.measured_with import measured_with
from instructrestore.pipelines.evaluation.methods.method import LQ, Evaluation, EvaluationPlan, Method
from instructrestore.pipelines.evaluation.methods.restorers import MethodGroup
from instructrestore.pipelines.evaluation.methods.results_folder import GivenResults, find_results
from instructrestore.pipelines.evaluation.outputs import write_outputs
from instructrestore.pipelines.evaluation.restore_stage import REVISION as RESTORING_REVISION
from instructrestore.pipelines.evaluation.restore_stage import MethodSink, MethodStage
from instructrestore.pipelines.evaluation.row import EvaluationRow, rows_of
from instructrestore.pipelines.evaluation.score_stage import ScoreStage, has_networks
from instructrestore.pipelines.evaluation.tables.baseline import check_baseline
from instructrestore.pipelines.inference.worker_share import FAILURES_IN_A_ROW, START_S, share_of
from instructrestore.pipelines.terminal.arguments import check_local
from instructrestore.pipelines.terminal.damage import print_line, say_damaged
from instructrestore.pipelines.terminal.progress import StageProgress
from instructrestore.shards.pairs import TestSet

UNRESTORED = Method(LQ, "runner")
LOCAL = "local"  # the address that is Ray on this machine alone
SCORE_ROW_S = 600.0  # when a worker that measures counts as stalled


@dataclass(frozen=True)
class EvaluationRequest:
    """What is evaluated, and how.

    testset: the folder of a test set, or its address in a store. out: the folder for all that is made.
    groups: methods that are run here. found: results of others. The unrestored photos come first, as the method LQ.
    batch: the most photos of one size that are restored together. limit: the first photos alone, so many of them.
    address: of a Ray cluster, "local" for one of this machine; None: this process. retry_failed: rows that failed are
    done again. tables: of the paper, that are written; (): all that there are figures for. quoted: with the paper's own
    rows. baseline: name and bytes of an earlier evaluation.json that this one is to be compared with.
    """

    testset: str
    out: Path
    metrics: MetricSettings
    groups: Sequence[MethodGroup] = ()
    found: Sequence[GivenResults] = ()
    seed: int = 0
    batch: int = 1
    limit: int | None = None
    address: str | None = None
    retry_failed: bool = False
    tables: Sequence[int] = ()
    quoted: bool = True
    baseline: tuple[str, bytes] | None = None


@dataclass(frozen=True)
class _EvaluationRun:
    """An evaluation at work. source, measured_with: the test set by its content, and what figures follow from
    besides, as plain JSON."""

    asked: EvaluationRequest
    testset: TestSet
    source: dict[str, str]
    measured_with: dict[str, Any]
    folder: EvaluationFolder
    executor: Executor
    console: Console


def run_evaluation(asked: EvaluationRequest, console: Console) -> Evaluation:
    """Evaluates, or goes on evaluating, methods over a test set.

    Raises ValueError for a user's mistake and StopStage where going on is pointless, each with one sentence; what was
    done by then stays and is not done again. A row that cannot be restored or measured is counted.
    """
    testset = TestSet(asked.testset if "://" in asked.testset else os.path.abspath(asked.testset))
    source, measured = source_of(testset), measured_with(asked.metrics)
    _check_applicable(asked.metrics, testset.bokeh, asked.groups)
    rows = rows_of(testset, asked.limit)
    _ = testset.pairs  # that it cannot be read is no fault of each photo
    made = [method for group in asked.groups for method in group.methods]
    methods = (UNRESTORED, *made, *(each.method for each in asked.found))
    _check_titles(methods)
    configuration = _configuration(asked, source, measured)
    if asked.baseline:
        name, earlier = asked.baseline
        plan = EvaluationPlan(testset.card.name, len(rows), testset.bokeh, methods, configuration)
        check_baseline(earlier, name, plan)
    check_local(asked.out)
    folder = EvaluationFolder(asked.out, source)
    results = {each.method: find_results(each.folder, testset, rows) for each in asked.found}
    results[UNRESTORED] = [Outcome(row.key, "ok", row) for row in rows]
    ray = partial(cluster, None if asked.address == LOCAL else asked.address, None) if asked.address else None
    with folder.lock() as check, Executor(ray, partial(StageProgress, console), FAILURES_IN_A_ROW, check) as executor:
        run = _EvaluationRun(asked, testset, source, measured, folder, executor, console)
        say_damaged(testset, console)
        restored = {method: folder.note_found(method, outcomes) for method, outcomes in results.items()}
        for group in asked.groups:
            restored |= _restore(group, rows, run)
        scored = _score({method: restored[method] for method in methods}, run)
        figures, failed = gather(restored, scored, len(rows))
        evaluated = Evaluation(
            testset.card.name, len(rows), testset.bokeh, methods, scores_of(figures), failed, configuration
        )
        folder.write_scores(evaluated.scores)
        print_summary(evaluated, asked.out, console)
        write_outputs(evaluated, figures, testset, asked.out, asked.tables, asked.quoted, console)
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


def _restore(group: MethodGroup, rows: Sequence[EvaluationRow], run: _EvaluationRun) -> dict[Method, list[PartFile]]:
    """The results of its methods, as committed parts; what is not there is made."""
    asked, batch = run.asked, group.batch or run.asked.batch
    known = digest(RESTORING_REVISION, photo_file.REVISION, group.follows_from, asked.seed, run.source)
    tasks = {
        method: run.folder.plan(method, [replace(row, s1=method.s1, s2=method.s2) for row in rows], known, batch)
        for method in group.methods
    }

    def execute(spec: StageSpec, todo: Sequence[Task]) -> None:
        if has_networks(asked.metrics):  # what they lack is said now, not after hours of restoring
            Scorer(asked.metrics.model_copy(update={"device": "cpu"}))
        given = share_of(group.device, group.weights_bytes, run.executor.cluster())
        build = partial(MethodStage, run.testset.path, run.folder.path, group, given.device, asked.seed, given.threads)
        megapixels = [row.width * row.height / 1e6 for row in rows]
        fields = given.stage_fields(megapixels, group.steps, PART_ROWS, batch)
        fields["part_limit_s"] += PART_ROWS * group.call_s
        fields["row_limit_s"] += group.call_s
        run.executor(replace(spec, build=build, **fields), todo)

    spec = StageSpec(
        name=group.name,
        build=MethodStage,  # `execute` knows its arguments
        identity=known,
        row_type=EvaluationRow,
        result_type=EvaluationRow,
        sink=MethodSink,
        batch=batch,
    )
    return _complete(spec, tasks, execute, run)


def _score(restored: dict[Method, list[PartFile]], run: _EvaluationRun) -> dict[Method, list[PartFile]]:
    """The figures of all results, as committed parts; what is not there is measured."""
    known = digest(photo_file.REVISION, run.measured_with, run.source)
    tasks = {method: run.folder.to_score(method, files, known) for method, files in restored.items()}

    def execute(spec: StageSpec, todo: Sequence[Task]) -> None:
        metrics, gpus = run.asked.metrics, 0
        cluster = run.executor.cluster()
        if cluster and has_networks(metrics) and metrics.device != "cpu" and cluster.resources()[1]:
            gpus, metrics = 1, metrics.model_copy(update={"device": "cuda"})  # Ray shows each worker its own GPU alone
        at_once = 1 if cluster or has_networks(metrics) else torch.get_num_threads()
        build = partial(ScoreStage, run.testset.path, run.folder.path, metrics, at_once)
        run.executor(replace(spec, build=build, gpus=gpus), todo)

    spec = StageSpec(
        name="measure",
        build=ScoreStage,  # `execute` knows its arguments
        identity=known,
        row_type=EvaluationRow,
        result_type=EvaluationRow,
        batch=PART_ROWS,
        part_limit_s=START_S + PART_ROWS * SCORE_ROW_S,
        row_limit_s=START_S + SCORE_ROW_S,
    )
    return _complete(spec, tasks, execute, run)


def _complete(
    spec: StageSpec, tasks: dict[Method, list[Task]], execute: Execute, run: _EvaluationRun
) -> dict[Method, list[PartFile]]:
    """The committed part of every task, by method. Parts of other evaluations of the test set stay in the folder."""
    planned = [task for own in tasks.values() for task in own]

    def said(spec: StageSpec, todo: Sequence[Task]) -> None:
        print_line(f"{spec.name}: {len(todo):,} of {len(planned):,} parts to do", run.console)
        execute(spec, todo)

    retry_failed = run.asked.retry_failed
    found = complete(
        spec,
        planned,
        said,
        retry_failed=retry_failed,
        outputs=run.folder,
        shared=True,
        say=lambda line: print_line(line, run.console),
    )
    files = iter(found)
    return {method: [next(files) for _ in own] for method, own in tasks.items()}


def _configuration(asked: EvaluationRequest, source: dict[str, str], measured: dict[str, Any]) -> dict[str, Any]:
    """What the figures follow from, for people and programs: no path of this machine is in it."""
    made = [{"methods": [method.title for method in group.methods], **group.record} for group in asked.groups]
    return {"testset": source, "seed": asked.seed, "metrics": measured, "made": made}


def _check_applicable(metrics: MetricSettings, bokeh: bool, groups: Sequence[MethodGroup]) -> None:
    """Raises ValueError where none of the metrics has a figure for what is evaluated, or no photo could be restored."""
    if bokeh and any(group.record.get("settings", {}).get("rest") == "keep" for group in groups):
        raise ValueError("in a bokeh set the other parts are to be blurred: leave out --set rest=keep")
    finds = any(method.kind == "model" for group in groups for method in group.methods if not group.given_masks)
    needs = {MASK_IOU.name: (finds, "masks that the model predicts"), BOKEH_IOU.name: (bokeh, "a bokeh set")}
    if not any(needs.get(name, (True, ""))[0] for name in metrics.metrics):
        lacking = " and ".join(f"{name} is of {needs[name][1]}" for name in metrics.metrics)
        raise ValueError(f"there would be no figure at all: {lacking}; name other --metrics too")
