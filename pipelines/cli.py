"""The command `instructrestore`: its smaller commands, and the larger ones from their packages' `cli` modules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from instructrestore import __version__
from instructrestore.dataengine.running.stage import StopStage
from instructrestore.pipelines.annotator import cli as annotator
from instructrestore.pipelines.evaluation import cli as evaluation
from instructrestore.pipelines.restoration import cli as restoration
from instructrestore.pipelines.terminal.ending import FAULTS_FOUND, INTERRUPTED, USER_ERROR, end
from instructrestore.pipelines.testset import cli as testset
from instructrestore.pipelines.training import cli as training

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Region-customized photo restoration by instruction.",
)

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


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"instructrestore {__version__}")
        raise typer.Exit


@app.callback()
def instructrestore(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


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
    from instructrestore.pipelines.building.build import build as run_build
    from instructrestore.pipelines.building.build import print_plan, print_summary
    from instructrestore.pipelines.building.presets import build_settings
    from instructrestore.shards.paths import parse_place

    folder = parse_place(out)
    settings = build_settings(sources or (), exclude or (), preset, config, assignments or (), limit, address)
    console = Console()
    if dry_run:
        print_plan(settings, folder, console)
        return
    try:
        result = run_build(settings, folder, console, retry_failed)
    except KeyboardInterrupt:  # typer would end without a word
        end("interrupted; run the same command again to go on", INTERRUPTED)
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
    from instructrestore.pipelines.building.presets import read_build_settings, with_values
    from instructrestore.pipelines.doctor.doctor import doctor as run_doctor
    from instructrestore.shards.paths import parse_place

    settings = read_build_settings(preset, config, assignments or ())
    if address:
        settings = with_values(settings, {"run": {"address": address}})
    if not run_doctor(settings, parse_place(out) if out else None, Console()):
        raise typer.Exit(FAULTS_FOUND)


@app.command()
def verify(dataset: DatasetPath) -> None:
    """Check a data set against itself: hashes, keys, masks, areas, counts. Exit status 1 if anything is wrong."""
    from instructrestore.pipelines.building.verify import verify as run_verify

    if not run_verify(dataset, Console()):
        raise typer.Exit(FAULTS_FOUND)


@app.command()
def stats(
    dataset: DatasetPath,
    as_json: Annotated[bool, typer.Option("--json", help="All figures as JSON.")] = False,
) -> None:
    """Table 1 of the paper with this data set's row, subject frequencies, histograms, licences, near-duplicates."""
    from instructrestore.pipelines.building.stats import stats as run_stats

    run_stats(dataset, as_json)


@app.command()
def show(
    dataset: DatasetPath,
    key: Annotated[str, typer.Argument(help="A photo's key, or the beginning of it.")],
    out: Annotated[str | None, typer.Option(help="The PNG to write; unset: KEY.png.")] = None,
) -> None:
    """A photo with its regions in colour and their captions, as a PNG."""
    from instructrestore.pipelines.building.show import show as run_show

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
    from instructrestore.pipelines.building.phrase import phrase as run_phrase
    from instructrestore.pipelines.building.presets import read_build_settings

    run_phrase(file, read_build_settings(preset, config, assignments or ()).noun_phrases, round_number)


app.command(help=restoration.HELP)(restoration.restore)


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
    from instructrestore.pipelines.degrade import degrade as run_degrade

    try:
        summary = run_degrade(photos, out, seed=seed, preset=preset, count=count, crop=crop, console=Console())
    except KeyboardInterrupt:
        end("interrupted; what is finished stays", INTERRUPTED)
    if summary.failed:
        raise typer.Exit(FAULTS_FOUND)


app.command(help=training.flags.HELP)(training.train)
app.command(name="train-annotator", help=annotator.HELP)(annotator.train_annotator)
app.command("testset", help=testset.flags.HELP)(testset.make)
app.command(help=evaluation.flags.HELP)(evaluation.evaluate)


@app.command("tiny-base")
def tiny_base(
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder: what --base then names.")],
    seed: Annotated[int, typer.Option(min=0, help="Of the random weights.")] = 0,
) -> None:
    """A whole model of tiny networks, made in seconds: to try everything without weights. It has learnt nothing."""
    if out.exists():
        raise ValueError(f"{out} is there already: name a new folder")
    from instructrestore.model.restoring.tiny_base import build_tiny_base

    build_tiny_base(out, seed)
    typer.echo(f"{out}: a Stable Diffusion 2.1 base in miniature, with random weights, for --base {out}")


def main() -> None:
    """Runs the command; a user's mistake ends with one sentence and status 2."""
    try:
        app(prog_name="instructrestore")  # also for `python -m instructrestore`
    except (ValueError, StopStage) as error:
        end(str(error), USER_ERROR)
    except OSError as error:
        end(f"{error.strerror or error}: {error.filename}" if error.filename else str(error), USER_ERROR)


if __name__ == "__main__":
    main()
