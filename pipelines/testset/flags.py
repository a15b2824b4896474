"""The options of `instructrestore testset`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HELP = """Make a test set: HQ and LQ photos with one region each, which `evaluate` scores restorations on.

Of a data set, or of a CSV with the columns hq, mask and caption and, if wanted, lq, bokeh, subject, name, licence and \
url, each photo gives one crop around its largest fitting region. A photo without an LQ photo is degraded.

instructrestore testset run/dataset --limit 100 --out testset

instructrestore testset pairs.csv --files --out instruct100

instructrestore testset run/dataset --bokeh --out bokeh
"""

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A data set's folder, or its fsspec URI; or a CSV of photos, masks and captions, its paths relative to "
        "its own folder.",
    ),
]
Out = Annotated[Path, typer.Option(metavar="FOLDER", help="A new folder for the test set.")]
Size = Annotated[int, typer.Option(help="Side of the crops, px: a multiple of 64.")]
Degradation = Annotated[
    str, typer.Option(help="What makes LQ photos where none are given: release (InstructRestore's) or real-esrgan.")
]
Seed = Annotated[int, typer.Option(metavar="NUMBER", help="Of the degradations; each photo's follows from it.")]
Bokeh = Annotated[
    bool, typer.Option("--bokeh", help="A bokeh set: only regions that are sharp in front of a blurred background.")
]
LeastShare = Annotated[float, typer.Option(help="Of the crop, that a region must take at least.")]
MostShare = Annotated[float, typer.Option(help="Of the crop, that a region may take at most.")]
Limit = Annotated[
    int | None, typer.Option(min=1, metavar="NUMBER", help="At most so many, evenly spread over the source.")
]
Files = Annotated[
    bool,
    typer.Option(
        "--files",
        help="As plain files too, in OUT/files: lq, hq and masks by key, and lq.csv, which `restore` takes.",
    ),
]
