"""The command `instructrestore`: its smaller commands, and the larger ones from their packages' `cli` modules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from instructrestore import __version__
from instructrestore.pipelines.annotator import cli as annotator
from instructrestore.pipelines.app import cli as screen
from instructrestore.pipelines.evaluation import cli as evaluation
from instructrestore.pipelines.exchange import cli as exchange
from instructrestore.pipelines.judging import cli as judging
from instructrestore.pipelines.publishing import cli as publishing
from instructrestore.pipelines.restoration import cli as restoration
from instructrestore.pipelines.search import cli as lookup
from instructrestore.pipelines.terminal.arguments import check_estimate
from instructrestore.pipelines.terminal.console import PlainConsole
from instructrestore.pipelines.terminal.ending import (
    FAULTS_FOUND,
    GO_ON,
    INTERRUPTED,
    USER_ERROR,
    end,
    end_with_traceback,
)
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
    typer.Option(help="Settings to start from: embedded (no download, CPU), demo, paper or modern (GPUs and weights)."),
]
Config = Annotated[Path | None, typer.Option(help="A TOML file of settings, laid over the preset.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A single setting, such as quality_gate.score=55."),
]
Address = Annotated[str | None, typer.Option(metavar="RAY", help="The Ray cluster to run on; by default this machine.")]
DatasetPath = Annotated[str, typer.Argument(metavar="DATASET", help="The folder or fsspec URI of a data set.")]


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


BUILD_HELP = """Turn photos into verified training triplets.

Intake, near-duplicates, quality gate, masks, descriptions, noun phrases, merging, shards, a report. Run it again \
after an interruption, or with more photos, and it continues where it stopped.

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
            "dataset, manifest or label-studio; by default it is detected from the content, except for matte. PATH is "
            "local or any fsspec URI.",
        ),
    ] = None,
    out: Annotated[
        str,
        typer.Option(
            metavar="FOLDER",
            help="The run's folder, local or in an object store (s3://BUCKET/RUN): the data set, the report, and "
            "everything needed to resume.",
        ),
    ] = "run",
    preset: Preset = "embedded",
    config: Config = None,
    assignments: Assignments = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE", help="Photos to leave out, such as test photos, together with their near-duplicates."
        ),
    ] = None,
    address: Address = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="NUMBER", help="Take at most this many photos from the sources.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Retry the failed rows, and nothing else.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, without doing it.")] = False,
    measure: Annotated[
        int | None,
        typer.Option(
            min=2,
            metavar="PHOTOS",
            help="With --dry-run: take so many photos through the stages, and say what all of them will take.",
        ),
    ] = None,
    price: Annotated[
        float | None, typer.Option(min=0, metavar="AN_HOUR", help="With --measure: what an hour of the machine costs.")
    ] = None,
) -> None:
    check_estimate(dry_run, measure, price)
    from instructrestore.pipelines.building.build import build as run_build
    from instructrestore.pipelines.building.build import print_summary
    from instructrestore.pipelines.building.plan import print_plan
    from instructrestore.pipelines.building.presets import build_settings
    from instructrestore.shards.paths import parse_place

    folder = parse_place(out)
    settings = build_settings(sources or (), exclude or (), preset, config, assignments or (), limit, address)
    console = PlainConsole()
    if dry_run:
        print_plan(settings, folder, console, measure, price)
        return
    try:
        result = run_build(settings, folder, console, retry_failed)
    except KeyboardInterrupt:  # typer would end without a word
        end(GO_ON, INTERRUPTED)
    print_summary(result, console)
    console.print(f"report: {folder / 'report.html'}", highlight=False, markup=False)
    if result.defects:
        raise typer.Exit(FAULTS_FOUND)


@app.command()
def doctor(
    preset: Preset = "embedded",
    config: Config = None,
    assignments: Assignments = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="The run's folder, to check that it can be written and locked and has room."
        ),
    ] = None,
    address: Address = None,
    methods: Annotated[
        bool, typer.Option("--methods", help="Look at the methods of `evaluate --run` instead, one line each.")
    ] = False,
    methods_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            envvar="INSTRUCTRESTORE_METHODS",
            help="With --methods: where the checkouts of other methods are. Default: methods.",
        ),
    ] = None,
) -> None:
    """Check whether a build with these settings could run here.

    Packages, GPUs, weights, servers, licences: a line each, with what to do. Nothing is downloaded. Exit status 1 if
    anything is missing.
    """
    if methods:
        from instructrestore.pipelines.doctor.methods import doctor_of_methods

        if not doctor_of_methods(methods_dir, PlainConsole()):
            raise typer.Exit(FAULTS_FOUND)
        return
    from instructrestore.pipelines.building.presets import read_build_settings, with_values
    from instructrestore.pipelines.doctor.doctor import doctor as run_doctor
    from instructrestore.shards.paths import parse_place

    settings = read_build_settings(preset, config, assignments or ())
    if address:
        settings = with_values(settings, {"run": {"address": address}})
    if not run_doctor(settings, parse_place(out) if out else None, PlainConsole()):
        raise typer.Exit(FAULTS_FOUND)


@app.command()
def verify(dataset: DatasetPath) -> None:
    """Check that a data set is consistent: hashes, keys, masks, areas, counts. Exit status 1 if anything is wrong."""
    from instructrestore.pipelines.building.dataset_commands import verify as run_verify

    if not run_verify(dataset, PlainConsole()):
        raise typer.Exit(FAULTS_FOUND)


@app.command()
def stats(
    dataset: DatasetPath,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON.")] = False,
) -> None:
    """Show a data set's statistics: its row of the paper's Table 1, subjects, histograms, licences, near-duplicates."""
    from instructrestore.pipelines.building.dataset_commands import stats as run_stats

    run_stats(dataset, as_json)


@app.command()
def show(
    dataset: DatasetPath,
    key: Annotated[str, typer.Argument(help="The photo's key, or the beginning of it.")],
    out: Annotated[str | None, typer.Option(help="The PNG to write; by default KEY.png.")] = None,
) -> None:
    """Draw a photo of a data set with its regions in colour and their captions, as a PNG."""
    from instructrestore.pipelines.building.dataset_commands import show as run_show

    typer.echo(run_show(dataset, key, out))


@app.command()
def phrase(
    file: Annotated[str, typer.Argument(help="A file with one description per line; - reads standard input.")] = "-",
    preset: Preset = "embedded",
    config: Config = None,
    assignments: Assignments = None,
    round_number: Annotated[
        int,
        typer.Option("--round", min=1, max=10, help="Round 1 asks noun_phrases.small, later ones noun_phrases.large."),
    ] = 1,
) -> None:
    """Turn descriptions into noun phrases, to try a model or a prompt before a build: a line in, a line of JSON out."""
    from instructrestore.pipelines.building.phrase import phrase as run_phrase
    from instructrestore.pipelines.building.presets import read_build_settings

    run_phrase(file, read_build_settings(preset, config, assignments or ()).noun_phrases, round_number)


app.command(help=restoration.HELP)(restoration.restore)
app.command("app", help=screen.HELP)(screen.app)


@app.command()
def degrade(
    photos: Annotated[list[str], typer.Argument(metavar="PHOTO...", help="Photos or folders of photos.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("degraded"),
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the first LQ photo; the same seed gives the same photo.")
    ] = 0,
    preset: Annotated[
        str, typer.Option(help="release (InstructRestore's, the milder one) or real-esrgan.")
    ] = "release",
    count: Annotated[int, typer.Option(min=1, help="LQ photos to make of each photo, with seeds counting up.")] = 1,
    crop: Annotated[
        int, typer.Option(help="Side in pixels of the centre square to use; 0 uses the whole photo.")
    ] = 512,
) -> None:
    """Degrade photos as training does: NAME-hq.png (sharpened), NAME-lq-SEED.png, and a sheet that says how."""
    from instructrestore.pipelines.degrade import degrade as run_degrade

    try:
        summary = run_degrade(photos, out, seed=seed, preset=preset, count=count, crop=crop, console=PlainConsole())
    except KeyboardInterrupt:
        end("interrupted; finished photos are kept", INTERRUPTED)
    if summary.failed:
        raise typer.Exit(FAULTS_FOUND)


app.command(help=training.flags.HELP)(training.train)
app.command(help=training.flags.DISTILL_HELP)(training.distill)
app.command(name="train-annotator", help=annotator.HELP)(annotator.train_annotator)
app.command("testset", help=testset.flags.HELP)(testset.make)
app.command(help=evaluation.flags.HELP)(evaluation.evaluate)
app.command(help=exchange.HELP)(exchange.export)
app.command("import", help=exchange.IMPORT_HELP)(exchange.import_)
app.command(help=judging.REVISE_HELP)(judging.revise)
app.command(help=judging.DIFF_HELP)(judging.diff)
app.command(help=judging.AUDIT_HELP)(judging.audit)
app.command(help=publishing.PUSH_HELP)(publishing.push)
app.command(help=publishing.PULL_HELP)(publishing.pull)
app.command("index-vectors", help=lookup.INDEX_HELP)(lookup.index_vectors)
app.command(help=lookup.SEARCH_HELP)(lookup.search)
app.command(help=lookup.TRACE_HELP)(lookup.trace)


@app.command("tiny-base")
def tiny_base(
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder, to be named with --base.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random weights.")] = 0,
) -> None:
    """Make a whole model of tiny networks in seconds, to try everything without weights. It has learnt nothing."""
    if out.exists():
        raise ValueError(f"{out} already exists: name a new folder")
    from instructrestore.model.restoring.tiny_base import build_tiny_base

    build_tiny_base(out, seed)
    typer.echo(f"{out}: a miniature Stable Diffusion 2.1 base with random weights; use it with --base {out}")


def main() -> None:
    """Runs the command; a user's mistake ends with one sentence and status 2."""
    try:
        app(prog_name="instructrestore")  # also for `python -m instructrestore`
    except SystemExit:
        raise
    except _explained() as error:
        end(str(error), USER_ERROR)
    except _defect() as error:
        end_with_traceback(str(error))
    except OSError as error:
        end(f"{error.strerror or error}: {error.filename}" if error.filename else str(error), USER_ERROR)


def _explained() -> tuple[type[Exception], ...]:
    """The errors whose text is for the user. Only called for an error, so that --help and completion are quick."""
    from instructrestore.dataengine.running.stage import StopStage

    return ValueError, StopStage


def _defect() -> type[Exception]:
    """A fault of this program that stopped a run."""
    from instructrestore.dataengine.running.stage import Defect

    return Defect


if __name__ == "__main__":
    main()
