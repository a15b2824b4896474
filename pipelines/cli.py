"""The command `instructrestore`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from dataengine.row import StopStage
from model.settings import SamplingSettings
from pipelines.restoration import flags
from pipelines.restoration.job import escaped
from pipelines.training import flags as train_flags

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Region-customized photo restoration by instruction.",
)

USER_ERROR = 2
FAULTS_FOUND = 1
INTERRUPTED = 130
DEFAULTS = SamplingSettings.model_validate({})

Preset = Annotated[
    str,
    typer.Option(help="Settings to begin from: embedded (no download, CPU), demo, paper or modern (GPUs and weights)."),
]
Config = Annotated[Path | None, typer.Option(help="A TOML file of settings, laid over the preset.")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="One setting, as in quality_gate.score=55.")
]
Address = Annotated[str | None, typer.Option(metavar="RAY", help="A Ray cluster; unset: this machine.")]
DatasetPath = Annotated[str, typer.Argument(metavar="DATASET", help="A data set's folder, or its fsspec URI.")]


BUILD_HELP = """Photos in, verified training triplets out.

Intake, near-duplicates, quality gate, masks, descriptions, noun phrases, merging, shards, a report. Run it again \
after an interruption, or with more photos, and it goes on where it was.

instructrestore build photos/ --out run

instructrestore build coco:instances_val2017.json?images=val2017 --set masks.segmenter=annotated --out run
"""


@app.command(help=BUILD_HELP)
def build(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE...",
            help="Where photos are: [KIND:]PATH[?OPTION=VALUE&...]. KIND is folder, coco, panoptic, matte, tri-ir, "
            "dataset or manifest; left out, it is found by content (but for mattes). PATH is local or any fsspec URI.",
        ),
    ] = None,
    out: Annotated[
        str,
        typer.Option(
            metavar="FOLDER",
            help="The run's folder, local or in an object store (s3://BUCKET/RUN): the data set, the report, and all "
            "that resuming needs.",
        ),
    ] = "run",
    preset: Preset = "embedded",
    config: Config = None,
    assignments: Assignments = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE", help="Test photos: they and their near-duplicates are left out."),
    ] = None,
    address: Address = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take only so many photos of the sources.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Do failed rows again, and those alone.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
) -> None:
    from dataengine.sources import parse_source
    from pipelines.build import build as run_build
    from pipelines.build import print_plan, print_summary
    from pipelines.presets import read_build_settings, with_values
    from shards.paths import parse_place

    folder = parse_place(out)
    settings = read_build_settings(preset, config, assignments or ())
    wanted = [parse_source(text).anchored() for text in sources or ()]
    unwanted = [parse_source(text).anchored().model_copy(update={"exclude": True}) for text in exclude or ()]
    if wanted:  # in place of the settings' sources, but for what they exclude
        wanted += [source for source in settings.sources if source.exclude]
    if wanted or unwanted:
        settings = settings.model_copy(update={"sources": (*(wanted or settings.sources), *unwanted)})
    if limit:
        settings = with_values(settings, {"limit": limit})
    if address:
        settings = with_values(settings, {"run": {"address": address}})
    console = Console()
    if dry_run:
        print_plan(settings, folder, console)
        return
    try:
        result = run_build(settings, folder, console, retry_failed)
    except KeyboardInterrupt:  # typer would end without a word
        _end("interrupted; run the same command again to go on", INTERRUPTED)
    print_summary(result, console)
    console.print(f"report: {folder / 'report.html'}", highlight=False, markup=False)


@app.command()
def doctor(
    preset: Preset = "embedded",
    config: Config = None,
    assignments: Assignments = None,
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="A run's folder: can it be written, locked, is there room?")
    ] = None,
    address: Address = None,
) -> None:
    """Could a build with these settings run here? Packages, GPUs, weights, servers, licences: a line each, with what
    to do. Nothing is downloaded. Exit status 1 if anything is missing."""
    from pipelines.doctor import doctor as run_doctor
    from pipelines.presets import read_build_settings, with_values
    from shards.paths import parse_place

    settings = read_build_settings(preset, config, assignments or ())
    if address:
        settings = with_values(settings, {"run": {"address": address}})
    if not run_doctor(settings, parse_place(out) if out else None, Console()):
        raise typer.Exit(FAULTS_FOUND)


@app.command()
def verify(dataset: DatasetPath) -> None:
    """Check a data set against itself: hashes, keys, masks, areas, counts. Exit status 1 if anything is wrong."""
    from pipelines.verify import verify as run_verify

    if not run_verify(dataset, Console()):
        raise typer.Exit(FAULTS_FOUND)


@app.command()
def stats(
    dataset: DatasetPath,
    as_json: Annotated[bool, typer.Option("--json", help="All figures as JSON.")] = False,
) -> None:
    """Table 1 of the paper with this data set's row, subject frequencies, histograms, licences, near-duplicates."""
    from pipelines.stats import stats as run_stats

    run_stats(dataset, as_json)


@app.command()
def show(
    dataset: DatasetPath,
    key: Annotated[str, typer.Argument(help="A photo's key, or the beginning of it.")],
    out: Annotated[str | None, typer.Option(help="The PNG to write; unset: KEY.png.")] = None,
) -> None:
    """A photo with its regions in colour and their captions, as a PNG."""
    from pipelines.show import show as run_show

    typer.echo(run_show(dataset, key, out))


@app.command()
def phrase(
    file: Annotated[str, typer.Argument(help="A description a line; - is standard input.")] = "-",
    preset: Preset = "embedded",
    config: Config = None,
    assignments: Assignments = None,
    round_number: Annotated[
        int, typer.Option("--round", min=1, max=10, help="1 asks noun_phrases.small, later rounds noun_phrases.large.")
    ] = 1,
) -> None:
    """Descriptions to noun phrases: a line in, a line of JSON out. To try a model or a prompt before a build."""
    from pipelines.phrase import phrase as run_phrase
    from pipelines.presets import read_build_settings

    run_phrase(file, read_build_settings(preset, config, assignments or ()).noun_phrases, round_number)


RESTORE_HELP = """Restore photos as an instruction says: a region with one strength, the rest with another.

A lower scale lets the model invent more detail, a higher one holds closer to the photo; 0.5 to 1.2 is the useful \
range.

instructrestore restore dog.jpg "make the dog clear with 0.6 and keep other parts clear with 1" --base BASE --out out

instructrestore restore photos/ "make the person clear and keep other parts bokeh blur with 0.8" --base BASE --compare

instructrestore restore photos.csv --base BASE, where the CSV has the columns photo and instruction and, if wanted, \
mask (one a region, separated by ;) and seed

instructrestore restore --shards run/dataset "make {caption} clear with 0.7" --base BASE --out restored
"""


@app.command(help=RESTORE_HELP)
def restore(
    words: flags.Words = None,
    out: flags.Out = Path("restored"),
    base: flags.Base = None,
    checkpoint: flags.Checkpoint = None,
    base_revision: flags.BaseRevision = None,
    checkpoint_revision: flags.CheckpointRevision = None,
    mask: flags.Mask = None,
    scale_map: flags.ScaleMap = None,
    mask_only: flags.MaskOnly = False,
    save_mask: flags.SaveMask = False,
    compare: flags.Compare = False,
    sweep: flags.Sweep = None,
    skip_existing: flags.SkipExisting = False,
    seed: flags.Seed = 0,
    steps: flags.Steps = DEFAULTS.num_inference_steps,
    guidance: flags.Guidance = DEFAULTS.guidance_scale,
    start: flags.Start = DEFAULTS.start,
    upscale: flags.Upscale = DEFAULTS.upscale,
    colour_fix: flags.ColourFix = DEFAULTS.colour_fix,
    official: flags.Official = False,
    assignments: flags.Settings = None,
    device: flags.Device = None,
    dtype: flags.Dtype = "float32",
    batch: flags.Batch = 1,
    tile: flags.Tile = DEFAULTS.tile,
    compile: flags.Compile = False,
    channels_last: flags.ChannelsLast = False,
    cpu_offload: flags.CpuOffload = False,
    shards: flags.Shards = None,
    regions: flags.Regions = None,
    output: flags.Output = None,
    address: flags.Address = None,
    retry_failed: flags.RetryFailed = False,
) -> None:
    from pipelines.restoration.inputs import find_jobs
    from pipelines.restoration.options import checked_seed, parse_sweep, sampling_settings

    for_files = {"--mask": mask, "--scale-map": scale_map, "--mask-only": mask_only, "--save-mask": save_mask,
                 "--compare": compare, "--sweep": sweep, "--skip-existing": skip_existing}  # fmt: skip
    for_shards = {"--regions": regions, "--as": output, "--address": address, "--retry-failed": retry_failed}
    misplaced = [flag for flag, value in (for_files if shards else for_shards).items() if value]
    if misplaced:
        where = "photo files, not for --shards" if shards else "--shards alone"
        raise ValueError(f"{misplaced[0]} is for {where}")
    try_it = "`instructrestore tiny-base FOLDER` makes one to try, without weights"
    if not words and not shards:
        raise ValueError(
            'name one or more photos, last and in quotes what to do, and the model, as in photo.jpg "make the dog '
            f'clear with 0.6" --base FOLDER; {try_it}'
        )
    if not base:
        raise ValueError(f"which model? Name a base with --base or in INSTRUCTRESTORE_BASE; {try_it}")
    checked_seed(seed, "--seed")
    values = {"num_inference_steps": steps, "guidance_scale": guidance, "start": start, "upscale": upscale,
              "tile": tile, "colour_fix": colour_fix, "compat": "official" if official else None}  # fmt: skip
    settings = sampling_settings(values, assignments or ())
    scales = parse_sweep(sweep) if sweep is not None else ()
    chosen, written = regions or "largest", output or "files"
    if chosen not in ("largest", "all") or written not in ("files", "shards"):
        raise ValueError("--regions is largest or all, and --as is files or shards")
    if shards and words and len(words) > 1:
        raise ValueError("with --shards there is nothing to name but the instruction, in quotes")
    instruction = words[0] if shards and words else None
    console = Console()
    jobs = []
    if not shards:
        jobs = find_jobs(words or (), out, seed=seed, masks=mask or (), scale_map=scale_map, say=typer.echo)
    try:
        # torch takes seconds to import: what is wrong with the command line has been said by now
        from model.training.checkpoints import last_of_run
        from pipelines.restoration.loading import Loading

        loading = Loading(
            base=base,
            checkpoint=checkpoint and last_of_run(checkpoint),
            dtype=dtype,
            device=device,
            base_revision=base_revision,
            checkpoint_revision=checkpoint_revision,
            compile=compile,
            channels_last=channels_last,
            cpu_offload=cpu_offload,
        )
        if shards:
            from pipelines.restoration.dataset import restore_dataset

            summary = restore_dataset(
                dataset=shards,
                instruction=instruction,
                out=out,
                loading=loading,
                settings=settings,
                seed=seed,
                regions=chosen,
                output=written,
                address=address,
                batch=batch,
                console=console,
                retry_failed=retry_failed,
            )
            failed = any(summary.failed.values())
        else:
            from pipelines.restoration.files import restore as run_restore
            from pipelines.restoration.restorer import Wanted

            wanted = Wanted(
                save_mask=save_mask, mask_only=mask_only, compare=compare, sweep=scales, skip_existing=skip_existing
            )
            outcome = run_restore(
                jobs=jobs, out=out, loading=loading, settings=settings, wanted=wanted, batch=batch, console=console
            )
            failed = bool(outcome.failed)
    except KeyboardInterrupt:
        again = "run the same command again to go on" if shards else "what is finished stays; --skip-existing goes on"
        _end(f"interrupted; {again}", INTERRUPTED)
    if failed:
        raise typer.Exit(FAULTS_FOUND)


@app.command()
def degrade(
    photos: Annotated[list[str], typer.Argument(metavar="PHOTO...", help="Photos, or folders of photos.")],
    out: Annotated[Path, typer.Option(help="The folder for the results.")] = Path("degraded"),
    seed: Annotated[int, typer.Option(min=0, help="Of the first LQ photo; a seed always gives the same.")] = 0,
    preset: Annotated[str, typer.Option(help="release (InstructRestore's, milder) or real-esrgan.")] = "release",
    count: Annotated[int, typer.Option(min=1, help="LQ photos of each photo, with seeds counting up.")] = 1,
    crop: Annotated[int, typer.Option(help="Use the middle square of so many px; 0: the whole photo.")] = 512,
) -> None:
    """Training pairs of photos: NAME-hq.png (sharpened), NAME-lq-SEED.png, and a sheet that says what was done."""
    from pipelines.degrade import degrade as run_degrade

    try:
        summary = run_degrade(photos, out, seed=seed, preset=preset, count=count, crop=crop, console=Console())
    except KeyboardInterrupt:
        _end("interrupted; what is finished stays", INTERRUPTED)
    if summary.failed:
        raise typer.Exit(FAULTS_FOUND)


@app.command(help=train_flags.HELP)
def train(
    dataset: train_flags.DatasetPath,
    out: train_flags.Out = Path("training"),
    mix: train_flags.Mix = None,
    cache: train_flags.Cache = None,
    cache_gib: train_flags.CacheGib = 64,
    base: train_flags.Base = None,
    base_revision: train_flags.BaseRevision = None,
    init_from: train_flags.InitFrom = None,
    init_revision: train_flags.InitRevision = None,
    preset: train_flags.Preset = "stage1",
    config: train_flags.Config = None,
    assignments: train_flags.Assignments = None,
    workers: train_flags.Workers = 1,
    address: train_flags.Address = None,
    device: train_flags.Device = None,
    resume: train_flags.Resume = "auto",
) -> None:
    if resume not in ("auto", "never"):
        raise ValueError(f"--resume is auto or never, not {resume!r}")
    try:
        from model.training.settings import PRESETS
        from pipelines.presets import read_settings
        from pipelines.training.command import run

        run(
            dataset=dataset,
            mix=mix or (),
            out=out,
            base=base,
            base_revision=base_revision,
            init_from=init_from,
            init_revision=init_revision,
            settings=read_settings(PRESETS, preset, config, assignments or ()),
            workers=workers,
            address=address,
            device=device,
            resume=resume,
            cache=cache,
            cache_gib=cache_gib,
            console=Console(),
        )
    except KeyboardInterrupt:
        _end("interrupted; run the same command again to go on", INTERRUPTED)


@app.command("tiny-base")
def tiny_base(
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder: what --base then names.")],
    seed: Annotated[int, typer.Option(min=0, help="Of the random weights.")] = 0,
) -> None:
    """A whole model of tiny networks, made in seconds: to try everything without weights. It has learnt nothing."""
    if out.exists():
        raise ValueError(f"{out} is there already: name a new folder")
    from model.tiny_base import build_tiny_base

    build_tiny_base(out, seed)
    typer.echo(f"{out}: a Stable Diffusion 2.1 base in miniature, with random weights, for --base {out}")


def main() -> None:
    """Runs the command; a user's mistake ends with one sentence and status 2."""
    try:
        app()
    except (ValueError, StopStage) as error:
        _end(str(error), USER_ERROR)
    except OSError as error:
        _end(f"{error.strerror or error}: {error.filename}" if error.filename else str(error), USER_ERROR)


def _end(sentence: str, status: int) -> NoReturn:
    print(f"instructrestore: {escaped(sentence)}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
