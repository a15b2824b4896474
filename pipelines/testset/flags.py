"""The options of `instructrestore testset`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HELP = """Make a test set for `evaluate`: HQ and LQ photos with one region each.

The source is a data set, or a CSV with the columns hq, mask, caption and, optionally, lq, bokeh, subject, name, \
licence and url. Each photo gives one crop, around its largest region that fits. A photo without an LQ photo is \
degraded.

instructrestore testset run/dataset --limit 100 --out testset

instructrestore testset pairs.csv --files --out instruct100

instructrestore testset run/dataset --bokeh --out bokeh
"""

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A data set's folder or fsspec URI, or a CSV of photos, masks and captions, with paths relative to the "
        "CSV's folder.",
    ),
]
Out = Annotated[Path, typer.Option(metavar="FOLDER", help="A new folder for the test set.")]
Size = Annotated[int, typer.Option(help="Side of the crops, px: a multiple of 64.")]
Degradation = Annotated[
    str, typer.Option(help="Degradation of photos that have no LQ photo: release (InstructRestore's) or real-esrgan.")
]
Seed = Annotated[
    int, typer.Option(metavar="NUMBER", help="Seed of the degradations, from which each photo's own seed is derived.")
]
Bokeh = Annotated[
    bool,
    typer.Option("--bokeh", help="Make a bokeh set: only regions that are sharp in front of a blurred background."),
]
LeastShare = Annotated[float, typer.Option(help="Smallest share of the crop that a region may take.")]
MostShare = Annotated[float, typer.Option(help="Largest share of the crop that a region may take.")]
Limit = Annotated[
    int | None, typer.Option(min=1, metavar="NUMBER", help="Largest number of photos, evenly spread over the source.")
]
Files = Annotated[
    bool,
    typer.Option(
        "--files",
        help="Also write plain files to OUT/files: lq, hq and masks by key, and lq.csv for `restore`.",
    ),
]
