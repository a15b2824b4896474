"""The command `instructrestore restore`. Imports what it needs when it runs, so that --help is quick."""

from __future__ import annotations

from pathlib import Path

import typer

from instructrestore.pipelines.inference import flags as model_flags
from instructrestore.pipelines.restoration import flags
from instructrestore.pipelines.terminal.arguments import check_estimate
from instructrestore.pipelines.terminal.console import PlainConsole
from instructrestore.pipelines.terminal.ending import FAULTS_FOUND, INTERRUPTED, end
from instructrestore.pipelines.understanding import flags as wish_flags

HELP = """Restore photos as an instruction says: a region with one strength, the rest with another.

A lower scale lets the model invent more detail, a higher one stays closer to the photo; the useful range is 0.5 to 1.2.

instructrestore restore dog.jpg "make the dog clear with 0.6 and keep other parts clear with 1" --out out

instructrestore restore photos/ "make the person clear and keep other parts bokeh blur with 0.8" --compare

instructrestore restore photos.csv --base BASE --checkpoint CHECKPOINT, where the CSV has the columns photo, \
instruction and, optionally, mask (one per region, separated by ;) and seed

instructrestore restore dog.jpg "make the dog clear" --rest keep --feather 8

instructrestore restore photos "make the sky clear with 0.7" --mask skies --grow 4 --protect faces

instructrestore restore dog.jpg "nur den Hund etwas schärfer" --language-model http://127.0.0.1:8000/v1
instructrestore restore dog.jpg "make the dog clear" --auto natural

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
    unite: flags.Unite = None,
    intersect: flags.Intersect = None,
    subtract: flags.Subtract = None,
    grow: flags.Grow = None,
    invert: flags.Invert = False,
    protect: flags.Protect = None,
    scale_map: flags.ScaleMap = None,
    scale_range: flags.ScaleRange = None,
    point: flags.Point = None,
    box: flags.BoxOption = None,
    locate: flags.Locate = None,
    segments: flags.Segments = "embedded",
    mask_only: flags.MaskOnly = False,
    save_mask: flags.SaveMask = False,
    compare: flags.Compare = False,
    sweep: flags.Sweep = None,
    skip_existing: flags.SkipExisting = False,
    format: flags.Format = "png",
    seed: flags.Seed = 0,
    auto: flags.Auto = None,
    seeds: flags.Seeds = None,
    steps: model_flags.Steps = None,
    guidance: model_flags.Guidance = None,
    start: flags.Start = None,
    upscale: flags.Upscale = None,
    colour_fix: flags.ColourFix = None,
    rest: flags.Rest = None,
    feather: flags.Feather = None,
    careful: flags.Careful = None,
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
    language_model: wish_flags.LanguageModel = None,
    language_model_name: wish_flags.LanguageModelName = None,
    yes: wish_flags.Yes = False,
) -> None:
    check_estimate(dry_run, measure, price)
    from instructrestore.pipelines.inference.options import parse_places, parse_range, parse_sweep, sampling_settings
    from instructrestore.pipelines.pictures.output_file import checked_format
    from instructrestore.pipelines.restoration.inputs import find_jobs
    from instructrestore.pipelines.restoration.mask_files import AskedMasks
    from instructrestore.pipelines.terminal.arguments import checked_seed
    from instructrestore.pipelines.understanding.confirming import confirm, reader_named

    for_files = {"--mask": mask, "--unite": unite, "--intersect": intersect, "--subtract": subtract,
                 "--protect": protect, "--scale-map": scale_map, "--scale-range": scale_range,
                 "--point": point, "--box": box, "--locate": locate, "--segments": segments != "embedded",
                 "--mask-only": mask_only, "--save-mask": save_mask,
                 "--compare": compare, "--sweep": sweep, "--skip-existing": skip_existing,
                 "--auto": auto is not None, "--format": format != "png", "--language-model": language_model,
                 "--memory": memory != "none"}  # fmt: skip
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
    if seeds is not None and auto is None:
        raise ValueError("--seeds are tried to find the best result: say with --auto what is best")
    values = {"num_inference_steps": steps, "guidance_scale": guidance, "start": start, "upscale": upscale,
              "tile": tile, "colour_fix": colour_fix, "locate": locate, "rest": rest, "feather": feather,
              "grow": grow, "invert": invert or None, "careful": careful,
              "compat": "official" if official else None}  # fmt: skip
    settings = sampling_settings(values, assignments or ())
    kind = checked_format(format)
    scales = parse_sweep(sweep) if sweep is not None else ()
    points = [(x, y) for x, y in parse_places(point or (), 2, "--point")]
    boxes = [(x, y, width, height) for x, y, width, height in parse_places(box or (), 4, "--box")]
    chosen, written = regions or "largest", output or "files"
    if chosen not in ("largest", "all") or written not in ("files", "shards"):
        raise ValueError("--regions must be largest or all, and --as must be files or shards")
    if shards and words and len(words) > 1:
        raise ValueError("with --shards only the instruction is named, in quotes")
    instruction = words[0] if shards and words else None
    console = PlainConsole()
    read = reader_named(language_model, language_model_name, yes)
    jobs = []
    if not shards:
        asked_masks = AskedMasks(
            masks=tuple(mask or ()),
            unite=tuple(unite or ()),
            intersect=tuple(intersect or ()),
            subtract=tuple(subtract or ()),
            protect=tuple(protect or ()),
            scale_map=scale_map,
            scale_range=parse_range(scale_range) if scale_range is not None else None,
        )
        jobs = find_jobs(
            words or (), out, seed=seed, asked=asked_masks, points=points, boxes=boxes, say=typer.echo, format=kind,
            read=read,
        )  # fmt: skip
        confirm(read.by_model, yes, typer.echo)
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
            from instructrestore.pipelines.inference.segment_models import chosen_segments
            from instructrestore.pipelines.restoration.files import RestoreOptions
            from instructrestore.pipelines.restoration.files import restore as run_restore

            outputs = OutputSettings(
                save_mask=save_mask, mask_only=mask_only, compare=compare, sweep=scales, skip_existing=skip_existing,
                format=kind, auto=auto, seeds=1 if seeds is None else seeds,
            )  # fmt: skip
            options = RestoreOptions(loading, settings, outputs, batch, chosen_segments(segments, device))
            outcome = run_restore(jobs, out, options, console)
            failed = bool(outcome.failed)
    except KeyboardInterrupt:
        again = "run the same command again to continue"
        if not shards:
            again = "finished photos are kept; add --skip-existing to continue"
        end(f"interrupted; {again}", INTERRUPTED)
    if failed:
        raise typer.Exit(FAULTS_FOUND)
