"""The options of `instructrestore restore`, as its --help shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.pipelines.inference.flags import SAMPLING, unless_named
from instructrestore.pipelines.inference.options import OPTIONS
from instructrestore.pipelines.terminal.estimate_flags import dry_run_option, measure_option, price_option

_REGIONS, _RESULTS = "Regions", "What is written"
_SPEED, _DATASET = "Speed and memory", "A whole data set, with Ray"
_FURTHER = ", ".join(name for name in SamplingSettings.model_fields if name not in OPTIONS)

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar='PHOTO... "INSTRUCTION"',
        help="Photo files, folders (with everything in them) or one CSV; last, in quotes, the instruction.",
    ),
]
Out = Annotated[
    Path,
    typer.Option(help="The folder for the results: NAME.png for a photo NAME.jpg.", rich_help_panel=_RESULTS),
]
Format = Annotated[
    str,
    typer.Option(
        metavar="png|jpeg|webp|avif|tiff|original",
        help="Of the restored photos: a TIFF has 16 bits a channel, original is the photo's own format where it is one "
        "of these, with a JPEG's own compression, else png. Masks and sheets are PNGs.",
        rich_help_panel=_RESULTS,
    ),
]
Mask = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE|FOLDER|alpha",
        help="The region, white on black, instead of a predicted mask: one file for all photos, a folder of masks "
        "named like them, or alpha: what is opaque in the photo. Repeat once per region, in the instruction's order.",
        rich_help_panel=_REGIONS,
    ),
]
Unite = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE|FOLDER|alpha", help="Add this mask to that of every region.", rich_help_panel=_REGIONS),
]
Intersect = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE|FOLDER|alpha", help="Keep of every region what lies in this mask.", rich_help_panel=_REGIONS
    ),
]
Subtract = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE|FOLDER|alpha", help="Take this mask away from every region.", rich_help_panel=_REGIONS),
]
Grow = Annotated[
    int | None,
    typer.Option(
        metavar="PIXELS",
        help=f"Make the masks larger, or smaller by a number below 0. {unless_named('grow')}",
        rich_help_panel=_REGIONS,
    ),
]
Invert = Annotated[
    bool,
    typer.Option("--invert", help="Take what is outside the mask for the region.", rich_help_panel=_REGIONS),
]
Protect = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE|FOLDER|alpha",
        help="Where this mask is white, every pixel stays exactly as it was.",
        rich_help_panel=_REGIONS,
    ),
]
ScaleMap = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE|FOLDER",
        help="The scale of every pixel, instead of masks and scales; grey 100 is scale 1, 50 is 0.5.",
        rich_help_panel=_REGIONS,
    ),
]
ScaleRange = Annotated[
    str | None,
    typer.Option(
        metavar="BLACK,WHITE",
        help="The scales of black and of white in the scale map, as in 0.5,1.1; greys lie evenly between.",
        rich_help_panel=_REGIONS,
    ),
]
Point = Annotated[
    list[str] | None,
    typer.Option(
        metavar="X,Y",
        help="For one photo: a pixel of its region, whose segment or part of what the model finds is taken. "
        "Repeat for more.",
        rich_help_panel=_REGIONS,
    ),
]
BoxOption = Annotated[
    list[str] | None,
    typer.Option(
        "--box",
        metavar="X,Y,WIDTH,HEIGHT",
        help="For one photo: a box around its region, whose segment fits it best. Repeat for more.",
        rich_help_panel=_REGIONS,
    ),
]
Locate = Annotated[
    str | None,
    typer.Option(
        metavar="decoder|segments|both",
        help="Where single things are sought, as in 'the left dog': in what the model finds for the whole caption, "
        f"among segments of that name, or among both. {unless_named('locate')}",
        rich_help_panel=_REGIONS,
    ),
]
Segments = Annotated[
    str,
    typer.Option(
        metavar="embedded|auto|MODEL",
        help="What cuts the photo up for --locate, --point and --box: the embedded annotator, SAM 2.1, or an "
        "instance segmenter (Mask2Former, MaskFormer), by hub id or folder. auto: SAM 2.1 where "
        "facebook/sam2.1-hiera-large was downloaded and a GPU is there.",
        rich_help_panel=_REGIONS,
    ),
]
MaskOnly = Annotated[
    bool,
    typer.Option("--mask-only", help="Only predict and show the regions, in one step.", rich_help_panel=_REGIONS),
]
SaveMask = Annotated[
    bool,
    typer.Option(
        "--save-mask", help="Also write NAME-mask.png, one per region, white inside.", rich_help_panel=_RESULTS
    ),
]
Compare = Annotated[
    bool,
    typer.Option(
        "--compare",
        help="Also write NAME-compare.png: photo, regions and result side by side.",
        rich_help_panel=_RESULTS,
    ),
]
Sweep = Annotated[
    str | None,
    typer.Option(
        metavar="S1,S2,...",
        help="Also write NAME-sweep.png: results at several scales of the first region, as in 0.5,0.7,0.9,1.1.",
        rich_help_panel=_RESULTS,
    ),
]
Auto = Annotated[
    str | None,
    typer.Option(
        metavar="natural|faithful|detail",
        help="Find the scales, and restore with them: for the most natural result, for the one nearest to the photo "
        "that is still cleaner, or for most detail.",
        rich_help_panel=SAMPLING,
    ),
]
Seeds = Annotated[
    int | None,
    typer.Option(
        metavar="NUMBER", help="With --auto: try so many seeds, from --seed on. Default: 1.", rich_help_panel=SAMPLING
    ),
]
SkipExisting = Annotated[
    bool,
    typer.Option(
        "--skip-existing",
        help="Skip photos already restored with the same instruction, settings and weights.",
        rich_help_panel=_RESULTS,
    ),
]
Seed = Annotated[
    int,
    typer.Option(metavar="NUMBER", help="Seed of the noise, the same for all photos.", rich_help_panel=SAMPLING),
]
Start = Annotated[
    str | None,
    typer.Option(
        metavar="lq|noise",
        help=f"Start from the photo with noise, or from noise alone. {unless_named('start')}",
        rich_help_panel=SAMPLING,
    ),
]
Upscale = Annotated[
    float | None,
    typer.Option(help=f"Size of the result relative to the photo. {unless_named('upscale')}", rich_help_panel=SAMPLING),
]
ColourFix = Annotated[
    str | None,
    typer.Option(
        metavar="wavelet|adain|none",
        help=f"How the photo's colours are restored. {unless_named('colour_fix')}",
        rich_help_panel=SAMPLING,
    ),
]
Rest = Annotated[
    str | None,
    typer.Option(
        metavar="restored|keep",
        help="Restore the other parts too, or keep every pixel outside the regions exactly as it was. "
        f"{unless_named('rest')}",
        rich_help_panel=SAMPLING,
    ),
]
Feather = Annotated[
    int | None,
    typer.Option(
        metavar="PIXELS",
        help="The width of a soft edge around the masks; with --rest keep and --protect, of the transition to the "
        f"photo. {unless_named('feather')}",
        rich_help_panel=SAMPLING,
    ),
]
Careful = Annotated[
    str | None,
    typer.Option(
        metavar="faces,text",
        help="Hold small faces, lines of text or both closer to the photo where the instruction does not name them; "
        f"their scale is --set careful_scale, {SamplingSettings.model_fields['careful_scale'].default} if not given.",
        rich_help_panel=SAMPLING,
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
Device = Annotated[
    str | None,
    typer.Option(help="A torch device: cuda, cuda:1, cpu. Default: a GPU if there is one.", rich_help_panel=_SPEED),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        metavar="float32|bfloat16|float16|float8",
        help="Precision; float8: weights in 8 bits, computed in half precision. Default: float32, or half precision "
        "with --memory.",
        rich_help_panel=_SPEED,
    ),
]
Memory = Annotated[
    str,
    typer.Option(
        metavar="auto|4|8|12|24|none",
        help="Switch on what Stable Diffusion 2.1 needs on a GPU of so many gigabytes; auto: of this machine's.",
        rich_help_panel=_SPEED,
    ),
]
Batch = Annotated[
    int,
    typer.Option(min=1, help="How many consecutive photos of one size to restore together.", rich_help_panel=_SPEED),
]
Tile = Annotated[
    int | None,
    typer.Option(
        help=f"Photos larger than this many pixels are restored in tiles of that size. {unless_named('tile')}",
        rich_help_panel=_SPEED,
    ),
]
Compile = Annotated[
    bool, typer.Option("--compile", help="torch.compile: slower to start, then faster steps.", rich_help_panel=_SPEED)
]
ChannelsLast = Annotated[
    bool, typer.Option("--channels-last", help="A memory layout that some GPUs prefer.", rich_help_panel=_SPEED)
]
CpuOffload = Annotated[
    bool,
    typer.Option(
        "--cpu-offload", help="Keep only the active part of the model on the GPU: slower.", rich_help_panel=_SPEED
    ),
]
Shards = Annotated[
    str | None,
    typer.Option(
        metavar="DATASET",
        help="Restore a data set's photos instead of files; resumable. The instruction may hold {caption}. Default: "
        "make {caption} clear.",
        rich_help_panel=_DATASET,
    ),
]
Regions = Annotated[
    str | None,
    typer.Option(
        metavar="largest|all",
        help="Each photo's largest region (the default), or all of them.",
        rich_help_panel=_DATASET,
    ),
]
Output = Annotated[
    str | None,
    typer.Option("--as", metavar="files|shards", help="PNG files (the default), or shards.", rich_help_panel=_DATASET),
]
Address = Annotated[
    str | None,
    typer.Option(metavar="RAY", help="Address of a Ray cluster. Default: this machine.", rich_help_panel=_DATASET),
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Redo parts with failed photos.", rich_help_panel=_DATASET)
]
DryRun = Annotated[bool, dry_run_option(_DATASET)]
Measure = Annotated[int | None, measure_option(_DATASET)]
Price = Annotated[float | None, price_option(_DATASET)]
