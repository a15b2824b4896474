"""The command `instructrestore evaluate`. Imports what it needs when it runs, so that --help is quick."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from instructrestore.pipelines.evaluation import flags
from instructrestore.pipelines.evaluation.methods.method import OURS
from instructrestore.pipelines.inference import flags as model_flags
from instructrestore.pipelines.terminal.arguments import check_estimate
from instructrestore.pipelines.terminal.console import PlainConsole
from instructrestore.pipelines.terminal.ending import FAULTS_FOUND, INTERRUPTED, end


def evaluate(
    testset: flags.TestSetPath,
    base: model_flags.Base = None,
    checkpoint: model_flags.Checkpoint = None,
    base_revision: model_flags.BaseRevision = None,
    checkpoint_revision: model_flags.CheckpointRevision = None,
    results: flags.Results = None,
    runs: flags.Runs = None,
    methods: flags.MethodsFolder = None,
    tables: flags.Tables = None,
    limit: flags.Limit = None,
    out: flags.Out = Path("evaluation"),
    metrics: flags.Metrics = "embedded",
    regions: flags.Regions = "pixels",
    iqa_weights: flags.IqaWeights = None,
    iqa_revision: flags.IqaRevision = None,
    blur_detector: flags.BlurDetector = "sharpness",
    d_dffnet_code: flags.DDffnetCode = None,
    d_dffnet_weights: flags.DDffnetWeights = None,
    quoted: flags.Quoted = True,
    baseline: flags.Baseline = None,
    given_masks: flags.GivenMasks = False,
    seed: flags.Seed = 0,
    steps: model_flags.Steps = None,
    guidance: model_flags.Guidance = None,
    official: model_flags.Official = False,
    assignments: flags.Settings = None,
    device: flags.Device = None,
    dtype: flags.Dtype = "float32",
    batch: flags.Batch = 1,
    tile: flags.Tile = None,
    address: flags.Address = None,
    retry_failed: flags.RetryFailed = False,
    dry_run: flags.DryRun = False,
    measure: flags.Measure = None,
    price: flags.Price = None,
) -> None:
    check_estimate(dry_run, measure, price)
    from instructrestore.pipelines.evaluation.methods.spec import parse_method
    from instructrestore.pipelines.evaluation.options import (
        evaluation_settings,
        given_results,
        metric_settings,
        scales_of,
        tables_of,
    )
    from instructrestore.pipelines.evaluation.tables.baseline import compare_with_baseline, print_verdict, read_baseline
    from instructrestore.pipelines.evaluation.tables.report import EVALUATION
    from instructrestore.pipelines.terminal.arguments import checked_seed
    from instructrestore.shards.pairs import TestSet

    if checkpoint and not base:
        raise ValueError("--checkpoint needs the base that it was trained for: name it with --base")
    checked_seed(seed, "--seed")
    values = {"num_inference_steps": steps, "guidance_scale": guidance, "tile": tile,
              "compat": "official" if official else None}  # fmt: skip
    settings = evaluation_settings(values, assignments or ())
    measured = metric_settings(
        metrics, device, regions=regions, iqa_weights=iqa_weights, iqa_revision=iqa_revision,
        blur_detector=blur_detector, d_dffnet_code=d_dffnet_code, d_dffnet_weights=d_dffnet_weights,
    )  # fmt: skip
    found = given_results(results or ())
    ours = bool(base) or not (results or runs)  # where nothing is named, the small model
    if ours and any(each.method.name.casefold() == OURS.casefold() for each in found):
        raise ValueError(f"--results {OURS}: this is the name of the model's own rows: choose another")
    asked = [parse_method(text) for text in runs or ()]
    wanted = tables_of(tables or (), TestSet(testset).bokeh)
    if 2 in (tables or ()) and not ours:
        raise ValueError("Table 2 shows only the model: name it with --base")
    if baseline and os.path.realpath(baseline) == os.path.realpath(out / EVALUATION):
        raise ValueError(f"{baseline} is the file that this evaluation writes: copy it, or name another --out")
    earlier = read_baseline(baseline) if baseline else None
    console = PlainConsole()
    try:
        # torch takes seconds to import; mistakes on the command line have been reported by now
        from instructrestore.pipelines.evaluation.methods.restorers import compared_group, model_group
        from instructrestore.pipelines.evaluation.run import LOCAL, EvaluationRequest, run_evaluation
        from instructrestore.pipelines.inference.model_source import ModelSource

        # lq is always included
        groups = [compared_group(run, device, seed, methods) for run in asked if run.name != "lq"]
        if ours:
            loading = ModelSource.named(
                base,
                checkpoint,
                typer.echo,
                dtype=dtype,
                device=device,
                base_revision=base_revision,
                checkpoint_revision=checkpoint_revision,
            )
            loading.check_runnable(None if address == LOCAL else address)
            groups.insert(0, model_group(loading, settings, scales_of(wanted), given_masks))
        request = EvaluationRequest(
            testset, out, measured, groups, found, seed, batch, limit, address, retry_failed,
            tables=wanted if tables else (),
            quoted=quoted,
            baseline=(str(baseline), earlier) if earlier is not None else None,
        )  # fmt: skip
        if dry_run:
            from instructrestore.pipelines.evaluation.estimate import print_plan

            print_plan(request, measure, price, console)
            return
        evaluated = run_evaluation(request, console)
    except KeyboardInterrupt:
        end("interrupted; run the same command again to continue", INTERRUPTED)
    falls = False
    if earlier is not None:
        verdict = compare_with_baseline((out / EVALUATION).read_bytes(), earlier, str(baseline))
        print_verdict(verdict, console)
        falls = bool(verdict.falls)
    if evaluated.failed or falls:
        raise typer.Exit(FAULTS_FOUND)
