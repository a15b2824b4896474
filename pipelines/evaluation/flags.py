"""The options of `instructrestore evaluate`, as its --help shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from instructrestore.model.metrics.metric import BY_NAME
from instructrestore.model.restoring.settings import SamplingSettings

_METHODS, _METRICS, _SAMPLING = "What is compared", "What is measured", "How it is restored"
_RUNNING = "Where it runs"
# Sampling settings that have an option of their own: fewer than of `restore`, so that all else is as in the paper.
SAMPLING_OPTIONS = {
    "num_inference_steps": "--steps",
    "guidance_scale": "--guidance",
    "tile": "--tile",
    "compat": "--official",
}
_FURTHER = ", ".join(name for name in SamplingSettings.model_fields if name not in (*SAMPLING_OPTIONS, "upscale"))

HELP = """Measure restored photos against their HQ photos, as the paper's Tables 2, 3 and 4 do.

Every LQ photo of a test set is restored by the model, at each scale that the tables need, and by the methods that \
--run names; folders of results that other programs made stand beside them. Run it again after an interruption, or \
with other metrics or methods, and it goes on where it was.

instructrestore evaluate testset --base BASE --checkpoint CHECKPOINT --out evaluation

instructrestore evaluate testset --base BASE --checkpoint CHECKPOINT --results SeeSR=results/seesr --metrics all

instructrestore evaluate testset --results SeeSR=results/seesr --results PASD=results/pasd
"""

TestSetPath = Annotated[
    str, typer.Argument(metavar="TESTSET", help="A test set's folder, as `testset` makes it, or its fsspec URI.")
]
Out = Annotated[Path, typer.Option(help="The folder for tables, scores, the page and all results.")]
Results = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=FOLDER",
        help="Results that another program made: KEY.png a photo, or named as the photo was. Can be repeated.",
        rich_help_panel=_METHODS,
    ),
]
Runs = Annotated[
    list[str] | None,
    typer.Option(
        "--run",
        metavar="NAME[=PLACE]",
        help="Another method to run here, with its weights: real-esrgan=FILE, network=FILE, x4-upscaler=FOLDER or hub "
        "id. Can be repeated.",
        rich_help_panel=_METHODS,
    ),
]
Tables = Annotated[
    list[int] | None,
    typer.Option(
        "--table",
        metavar="2|3|4",
        help="Of the paper; unset: 2 and 3, of a bokeh set 4. Can be repeated.",
        rich_help_panel=_METHODS,
    ),
]
Limit = Annotated[
    int | None, typer.Option(min=1, help="The test set's first so many photos alone.", rich_help_panel=_METHODS)
]
Metrics = Annotated[
    str,
    typer.Option(
        metavar="embedded|all|NAME,...",
        help=f"Those without weights, all, or some of {', '.join(BY_NAME)}.",
        rich_help_panel=_METRICS,
    ),
]
Regions = Annotated[
    str,
    typer.Option(
        metavar="pixels|zeroed",
        help="PSNR and SSIM of a region: over its pixels, or over the photo with all else black.",
        rich_help_panel=_METRICS,
    ),
]
IqaWeights = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER", help="Weights of the learned metrics: pyiqa's files, or a hub id.", rich_help_panel=_METRICS
    ),
]
IqaRevision = Annotated[str | None, typer.Option(help="Of --iqa-weights on the hub.", rich_help_panel=_METRICS)]
BlurDetector = Annotated[
    str,
    typer.Option(
        metavar="sharpness|d-dffnet", help="What finds blurred pixels for the bokeh IoU.", rich_help_panel=_METRICS
    ),
]
DDffnetCode = Annotated[
    str | None,
    typer.Option("--d-dffnet-code", metavar="FOLDER", help="A checkout of D-DFFNet.", rich_help_panel=_METRICS),
]
DDffnetWeights = Annotated[
    str | None,
    typer.Option("--d-dffnet-weights", metavar="FILE", help="Its trained weights.", rich_help_panel=_METRICS),
]
Quoted = Annotated[
    bool,
    typer.Option(
        "--quoted/--no-quoted", help="With the paper's own rows under the computed ones.", rich_help_panel=_METRICS
    ),
]
Baseline = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="An earlier evaluation.json: exit status 1 where a figure is worse by more than its noise.",
        rich_help_panel=_METRICS,
    ),
]
GivenMasks = Annotated[
    bool,
    typer.Option(
        "--given-masks", help="Restore with the regions' own masks, not predicted ones.", rich_help_panel=_SAMPLING
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help=f"Any other setting, as in mask=hard; docs/restoring.md says what each does. There are {_FURTHER}.",
        rich_help_panel=_SAMPLING,
    ),
]
Tile = Annotated[
    int, typer.Option(help="Larger photos are done in tiles of so many pixels.", rich_help_panel=_SAMPLING)
]
Seed = Annotated[
    int,
    typer.Option(
        metavar="NUMBER",
        help="A photo's noise follows from it and the photo, not from scales.",
        rich_help_panel=_SAMPLING,
    ),
]
Batch = Annotated[
    int, typer.Option(min=1, help="So many photos of one size are restored together.", rich_help_panel=_RUNNING)
]
Device = Annotated[
    str | None,
    typer.Option(help="As torch names it: cuda, cuda:1, cpu; unset: a GPU if any.", rich_help_panel=_RUNNING),
]
Dtype = Annotated[
    str, typer.Option(metavar="float32|bfloat16|float16", help="The model's precision.", rich_help_panel=_RUNNING)
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="RAY",
        help="On Ray: local is this machine, auto or HOST:PORT a cluster; unset: in this process.",
        rich_help_panel=_RUNNING,
    ),
]
RetryFailed = Annotated[
    bool,
    typer.Option("--retry-failed", help="Do photos that failed again, and those alone.", rich_help_panel=_RUNNING),
]
