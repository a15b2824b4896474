"""The command `instructrestore restore`. Imports what it needs when it runs, so that --help is quick."""

from __future__ import annotations

from pathlib import Path

import typer

from instructrestore.pipelines.inference import flags as model_flags
from instructrestore.pipelines.restoration import flags
from instructrestore.pipelines.terminal.arguments import check_estimate
from instructrestore.pipelines.terminal.console import PlainConsole
from instructrestore.pipelines.terminal.ending import FAULTS_FOUND, INTERRUPTED, end

HELP = """Restore photos as an instruction says: a region with one strength, the rest with another.

A lower scale lets the model invent more detail, a higher one stays closer to the photo; the useful range is 0.5 to 1.2.

instructrestore restore dog.jpg "make the dog clear with 0.6 and keep other parts clear with 1" --out out

instructrestore restore photos/ "make the person clear and keep other parts bokeh blur with 0.8" --compare

instructrestore restore photos.csv --base BASE --checkpoint CHECKPOINT, where the CSV has the columns photo, \
instruction and, optionally, mask (one per region, separated by ;) and seed

instructrestore restore dog.jpg "make the dog clear" --rest keep --feather 8

instructrestore restore --shards run/dataset "make {caption} clear with 0.7" --base BASE --out restored
"""


def restore(
    words: flags.Words = None,
    out: flags.Out = Path("restored"),
    base: model_flags.Base = None,
    checkpoint: model_flags.Checkpoint = None,
    base_revision: model_flags.BaseRevision = None,
    checkpoint_revision: model_flags.CheckpointRevision = None,
    mask: flags.Mask = None,
    scale_map: flags.ScaleMap = None,
    mask_only: flags.MaskOnly = False,
    save_mask: flags.SaveMask = False,
    compare: flags.Compare = False,
    sweep: flags.Sweep = None,
    skip_existing: flags.SkipExisting = False,
    format: flags.Format = "png",
    seed: flags.Seed = 0,
    steps: model_flags.Steps = None,
    guidance: model_flags.Guidance = None,
    start: flags.Start = None,
    upscale: flags.Upscale = None,
    colour_fix: flags.ColourFix = None,
    rest: flags.Rest = None,
    feather: flags.Feather = None,
    official: model_flags.Official = False,
    assignments: flags.Settings = None,
    device: flags.Device = None,
    memory: flags.Memory = "none",
    dtype: flags.Dtype = None,
    batch: flags.Batch = 1,
    tile: flags.Tile = None,
    compile: flags.Compile = False,
    channels_last: flags.ChannelsLast = False,
    cpu_offload: flags.CpuOffload = False,
    shards: flags.Shards = None,
    regions: flags.Regions = None,
    output: flags.Output = None,
    address: flags.Address = None,
    retry_failed: flags.RetryFailed = False,
    dry_run: flags.DryRun = False,
    measure: flags.Measure = None,
    price: flags.Price = None,
) -> None:
    check_estimate(dry_run, measure, price)
    from instructrestore.pipelines.inference.options import parse_sweep, sampling_settings
    from instructrestore.pipelines.pictures.output_file import checked_format
    from instructrestore.pipelines.restoration.inputs import find_jobs
    from instructrestore.pipelines.terminal.arguments import checked_seed

    for_files = {"--mask": mask, "--scale-map": scale_map, "--mask-only": mask_only, "--save-mask": save_mask,
                 "--compare": compare, "--sweep": sweep, "--skip-existing": skip_existing,
                 "--format": format != "png", "--memory": memory != "none"}  # fmt: skip
    for_shards = {"--regions": regions, "--as": output, "--address": address, "--retry-failed": retry_failed,
                  "--dry-run": dry_run}  # fmt: skip
    misplaced = [flag for flag, value in (for_files if shards else for_shards).items() if value]
    if misplaced:
        where = "photo files, not with --shards" if shards else "--shards only"
        raise ValueError(f"{misplaced[0]} works with {where}")
    if not words and not shards:
        raise ValueError(
            'name one or more photos, then the instruction in quotes, as in photo.jpg "make the dog clear with 0.6"'
        )
    if checkpoint and not base:
        raise ValueError("--checkpoint needs the base that it was trained for: name it with --base")
    checked_seed(seed, "--seed")
    values = {"num_inference_steps": steps, "guidance_scale": guidance, "start": start, "upscale": upscale,
              "tile": tile, "colour_fix": colour_fix, "rest": rest, "feather": feather,
              "compat": "official" if official else None}  # fmt: skip
    settings = sampling_settings(values, assignments or ())
    kind = checked_format(format)
    scales = parse_sweep(sweep) if sweep is not None else ()
    chosen, written = regions or "largest", output or "files"
    if chosen not in ("largest", "all") or written not in ("files", "shards"):
        raise ValueError("--regions must be largest or all, and --as must be files or shards")
    if shards and words and len(words) > 1:
        raise ValueError("with --shards only the instruction is named, in quotes")
    instruction = words[0] if shards and words else None
    console = PlainConsole()
    jobs = []
    if not shards:
        jobs = find_jobs(
            words or (), out, seed=seed, masks=mask or (), scale_map=scale_map, say=typer.echo, format=kind
        )
    try:
        # torch takes seconds to import; mistakes on the command line have been reported by now
        from instructrestore.pipelines.inference.model_source import ModelSource

        loading = ModelSource.named(
            base,
            checkpoint,
            typer.echo,
            dtype=dtype,
            device=device,
            memory=memory,
            base_revision=base_revision,
            checkpoint_revision=checkpoint_revision,
            compile=compile,
            channels_last=channels_last,
            cpu_offload=cpu_offload,
        )
        if shards:
            from instructrestore.pipelines.restoration.dataset import DatasetRestoration, restore_dataset

            asked = DatasetRestoration(
                shards, out, loading, settings, instruction, seed, chosen, written, address, batch,
                retry_failed=retry_failed,
            )  # fmt: skip
            if dry_run:
                from instructrestore.pipelines.restoration.estimate import print_plan

                print_plan(asked, measure, price, console)
                return
            summary = restore_dataset(asked, console)
            failed = any(summary.failed.values())
        else:
            from instructrestore.pipelines.inference.restorer import OutputSettings
            from instructrestore.pipelines.restoration.files import RestoreOptions
            from instructrestore.pipelines.restoration.files import restore as run_restore

            outputs = OutputSettings(
                save_mask=save_mask, mask_only=mask_only, compare=compare, sweep=scales, skip_existing=skip_existing,
                format=kind,
            )  # fmt: skip
            outcome = run_restore(jobs, out, RestoreOptions(loading, settings, outputs, batch), console)
            failed = bool(outcome.failed)
    except KeyboardInterrupt:
        again = "run the same command again to continue"
        if not shards:
            again = "finished photos are kept; add --skip-existing to continue"
        end(f"interrupted; {again}", INTERRUPTED)
    if failed:
        raise typer.Exit(FAULTS_FOUND)
