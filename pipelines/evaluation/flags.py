"""The options of `instructrestore evaluate`, as its --help shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from instructrestore.model.metrics.metric import BY_NAME
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.pipelines.evaluation.methods.recipe import METHODS_VARIABLE
from instructrestore.pipelines.inference.flags import SAMPLING, unless_named
from instructrestore.pipelines.terminal.estimate_flags import dry_run_option, measure_option, price_option

_METHODS, _METRICS = "What is compared", "What is measured"
_RUNNING = "Where it runs"
# Sampling settings that have an option: fewer than `restore` has, so that all others stay as in the paper.
SAMPLING_OPTIONS = {
    "num_inference_steps": "--steps",
    "guidance_scale": "--guidance",
    "tile": "--tile",
    "compat": "--official",
}
_FURTHER = ", ".join(name for name in SamplingSettings.model_fields if name not in (*SAMPLING_OPTIONS, "upscale"))

HELP = """Measure restored photos against their HQ photos, as the paper's Tables 2, 3 and 4 do.

Every LQ photo of a test set is restored by the model, at each scale that the tables need, and by the methods given \
with --run; --results adds folders of results from other programs. After an interruption, or with other metrics or \
methods, run it again: finished work is kept.

instructrestore evaluate testset --base BASE --checkpoint CHECKPOINT --out evaluation

instructrestore evaluate testset --base BASE --checkpoint CHECKPOINT --results SeeSR=results/seesr --metrics all

instructrestore evaluate testset --results SeeSR=results/seesr --results PASD=results/pasd
"""

TestSetPath = Annotated[
    str, typer.Argument(metavar="TESTSET", help="A test set's folder, made by `testset`, or its fsspec URI.")
]
Out = Annotated[Path, typer.Option(help="The folder for tables, scores, the page and all results.")]
Results = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=FOLDER",
        help="Results of another program: KEY.png for each photo, or the photo's original name. Repeatable.",
        rich_help_panel=_METHODS,
    ),
]
Runs = Annotated[
    list[str] | None,
    typer.Option(
        "--run",
        metavar="NAME[=PLACE]",
        help="Another method to run: real-esrgan-ncnn or span-ncnn, whose weights install; real-esrgan=FILE, "
        "network=FILE, x4-upscaler=FOLDER or hub id, with their weights; command=RECIPE, a program of its own, by a "
        "recipe that ships or a file. Repeatable.",
        rich_help_panel=_METHODS,
    ),
]
MethodsFolder = Annotated[
    Path | None,
    typer.Option(
        "--methods-dir",
        metavar="FOLDER",
        envvar=METHODS_VARIABLE,
        help="Where the checkouts of --run command=RECIPE are. Default: methods.",
        rich_help_panel=_METHODS,
    ),
]
Tables = Annotated[
    list[int] | None,
    typer.Option(
        "--table",
        metavar="2|3|4",
        help="A table of the paper. Default: 2 and 3, for a bokeh set 4. Repeatable.",
        rich_help_panel=_METHODS,
    ),
]
Limit = Annotated[
    int | None, typer.Option(min=1, help="Only the first N photos of the test set.", rich_help_panel=_METHODS)
]
Metrics = Annotated[
    str,
    typer.Option(
        metavar="embedded|all|NAME,...",
        help=f"Those that need no weights, all, or some of {', '.join(BY_NAME)}.",
        rich_help_panel=_METRICS,
    ),
]
Regions = Annotated[
    str,
    typer.Option(
        metavar="pixels|zeroed",
        help="PSNR and SSIM of a region: over its pixels, or over the photo with everything else black.",
        rich_help_panel=_METRICS,
    ),
]
IqaWeights = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        help="Weights of the learned metrics: a folder of pyiqa's files, or a hub id.",
        rich_help_panel=_METRICS,
    ),
]
IqaRevision = Annotated[
    str | None, typer.Option(help="Branch, tag or commit of --iqa-weights on the hub.", rich_help_panel=_METRICS)
]
BlurDetector = Annotated[
    str,
    typer.Option(
        metavar="sharpness|d-dffnet", help="Detector of blurred pixels, for the bokeh IoU.", rich_help_panel=_METRICS
    ),
]
DDffnetCode = Annotated[
    str | None,
    typer.Option("--d-dffnet-code", metavar="FOLDER", help="A checkout of D-DFFNet.", rich_help_panel=_METRICS),
]
DDffnetWeights = Annotated[
    str | None,
    typer.Option("--d-dffnet-weights", metavar="FILE", help="D-DFFNet's trained weights.", rich_help_panel=_METRICS),
]
Quoted = Annotated[
    bool,
    typer.Option(
        "--quoted/--no-quoted", help="Show the paper's own rows below the computed ones.", rich_help_panel=_METRICS
    ),
]
Baseline = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="An earlier evaluation.json: exit status 1 if any figure is worse than there by more than its noise.",
        rich_help_panel=_METRICS,
    ),
]
GivenMasks = Annotated[
    bool,
    typer.Option(
        "--given-masks", help="Restore with the regions' own masks instead of predicted ones.", rich_help_panel=SAMPLING
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help=f"Any other setting, as in mask=hard; docs/restoring.md explains them: {_FURTHER}.",
        rich_help_panel=SAMPLING,
    ),
]
Tile = Annotated[
    int | None,
    typer.Option(
        help=f"Photos larger than this many pixels are restored in tiles of that size. {unless_named('tile')}",
        rich_help_panel=SAMPLING,
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        metavar="NUMBER",
        help="Seed of the noise, which also depends on the photo but not on the scales.",
        rich_help_panel=SAMPLING,
    ),
]
Batch = Annotated[
    int, typer.Option(min=1, help="How many photos of one size to restore together.", rich_help_panel=_RUNNING)
]
Device = Annotated[
    str | None,
    typer.Option(help="A torch device: cuda, cuda:1, cpu. Default: a GPU if there is one.", rich_help_panel=_RUNNING),
]
Dtype = Annotated[
    str,
    typer.Option(metavar="float32|bfloat16|float16|float8", help="The model's precision.", rich_help_panel=_RUNNING),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="RAY",
        help="Run on Ray: local for this machine, auto or HOST:PORT for a cluster. Default: this process.",
        rich_help_panel=_RUNNING,
    ),
]
RetryFailed = Annotated[
    bool,
    typer.Option("--retry-failed", help="Redo the photos that failed, and only those.", rich_help_panel=_RUNNING),
]
DryRun = Annotated[bool, dry_run_option(_RUNNING)]
Measure = Annotated[int | None, measure_option(_RUNNING)]
Price = Annotated[float | None, price_option(_RUNNING)]
