"""The options of `instructrestore restore`, as its --help shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.pipelines.inference.options import OPTIONS

_MODEL, _REGIONS, _SAMPLING = "The model", "Regions", "How it is restored"
_RESULTS, _MEANS, _DATASET = "What is written", "Speed and memory", "A whole data set, with Ray"
_FURTHER = ", ".join(name for name in SamplingSettings.model_fields if name not in OPTIONS)

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar='PHOTO... "INSTRUCTION"',
        help="Photo files, folders (with all below them) or one CSV, and last, in quotes, what to do.",
    ),
]
Out = Annotated[
    Path,
    typer.Option(help="The folder for the results: NAME.png for a photo NAME.jpg.", rich_help_panel=_RESULTS),
]
Base = Annotated[
    str | None,
    typer.Option(
        envvar="INSTRUCTRESTORE_BASE",
        help="Stable Diffusion 2.1-base, or a saved InstructRestorePipeline: a folder or a hub id.",
        rich_help_panel=_MODEL,
    ),
]
Checkpoint = Annotated[
    str | None,
    typer.Option(
        help="The trained ControlNet with its mask decoder: a folder, a training run's folder (its last checkpoint is "
        "taken) or a hub id; unset: the base's own.",
        rich_help_panel=_MODEL,
    ),
]
BaseRevision = Annotated[
    str | None, typer.Option(help="Branch, tag or commit of a base on the hub.", rich_help_panel=_MODEL)
]
CheckpointRevision = Annotated[
    str | None, typer.Option(help="Branch, tag or commit of a checkpoint on the hub.", rich_help_panel=_MODEL)
]
Mask = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help="For one photo: where the region is, white on black; nothing is predicted then. Once a region, in "
        "the instruction's order.",
        rich_help_panel=_REGIONS,
    ),
]
ScaleMap = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="For one photo: the scale of every pixel, in place of masks and scales; grey 100 is scale 1, 50 is 0.5.",
        rich_help_panel=_REGIONS,
    ),
]
MaskOnly = Annotated[
    bool,
    typer.Option("--mask-only", help="Only show where the regions are found: one step.", rich_help_panel=_REGIONS),
]
SaveMask = Annotated[
    bool,
    typer.Option("--save-mask", help="NAME-mask.png, one a region, white inside.", rich_help_panel=_RESULTS),
]
Compare = Annotated[
    bool,
    typer.Option("--compare", help="NAME-compare.png: photo, regions, result side by side.", rich_help_panel=_RESULTS),
]
Sweep = Annotated[
    str | None,
    typer.Option(
        metavar="S1,S2,...",
        help="NAME-sweep.png: a sheet of results over the first region's scale, as in 0.5,0.7,0.9,1.1.",
        rich_help_panel=_RESULTS,
    ),
]
SkipExisting = Annotated[
    bool,
    typer.Option(
        "--skip-existing",
        help="Pass over what is there already from the same photo, instruction, settings and weights.",
        rich_help_panel=_RESULTS,
    ),
]
Seed = Annotated[
    int,
    typer.Option(metavar="NUMBER", help="Of the noise, the same for all photos.", rich_help_panel=_SAMPLING),
]
Steps = Annotated[int, typer.Option(help="Denoising steps.", rich_help_panel=_SAMPLING)]
Guidance = Annotated[
    float, typer.Option(help="Classifier-free guidance; 1 is without, and half the work.", rich_help_panel=_SAMPLING)
]
Start = Annotated[
    str,
    typer.Option(
        metavar="lq|noise", help="Begin from the photo with noise, or from noise alone.", rich_help_panel=_SAMPLING
    ),
]
Upscale = Annotated[float, typer.Option(help="Size of the result over that of the photo.", rich_help_panel=_SAMPLING)]
ColourFix = Annotated[
    str,
    typer.Option(
        metavar="wavelet|adain|none", help="How the photo's colours are given back.", rich_help_panel=_SAMPLING
    ),
]
Official = Annotated[
    bool, typer.Option("--official", help="As the release does, not as the paper.", rich_help_panel=_SAMPLING)
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
Device = Annotated[
    str | None, typer.Option(help="As torch names it: cuda, cuda:1, cpu; unset: a GPU if any.", rich_help_panel=_MEANS)
]
Dtype = Annotated[str, typer.Option(metavar="float32|bfloat16|float16", help="Precision.", rich_help_panel=_MEANS)]
Batch = Annotated[
    int,
    typer.Option(min=1, help="So many consecutive photos of one size are done together.", rich_help_panel=_MEANS),
]
Tile = Annotated[int, typer.Option(help="Larger photos are done in tiles of so many pixels.", rich_help_panel=_MEANS)]
Compile = Annotated[
    bool, typer.Option("--compile", help="torch.compile: a slow start, then faster steps.", rich_help_panel=_MEANS)
]
ChannelsLast = Annotated[
    bool, typer.Option("--channels-last", help="A memory layout that some GPUs prefer.", rich_help_panel=_MEANS)
]
CpuOffload = Annotated[
    bool,
    typer.Option("--cpu-offload", help="On the GPU only what works just now: slower.", rich_help_panel=_MEANS),
]
Shards = Annotated[
    str | None,
    typer.Option(
        metavar="DATASET",
        help="Restore a data set's photos in place of files; resumable. The instruction may say {caption}; "
        "unset, it is: make {caption} clear.",
        rich_help_panel=_DATASET,
    ),
]
Regions = Annotated[
    str | None,
    typer.Option(
        metavar="largest|all", help="A photo's largest region (the default), or each one.", rich_help_panel=_DATASET
    ),
]
Output = Annotated[
    str | None,
    typer.Option("--as", metavar="files|shards", help="PNG files (the default), or shards.", rich_help_panel=_DATASET),
]
Address = Annotated[
    str | None,
    typer.Option(metavar="RAY", help="A Ray cluster; unset: this machine.", rich_help_panel=_DATASET),
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Do parts with failed photos again.", rich_help_panel=_DATASET)
]
