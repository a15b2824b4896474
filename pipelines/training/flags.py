"""The options of `instructrestore train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_DATA, _MODEL, _RUN = "Data", "Model", "Running"

HELP = """Train on data sets: shards in, a checkpoint that `restore` loads out.

Run it again and it goes on where it was, after Ctrl-C, a crash or a lost machine, as if nothing had happened. \
OUT/checkpoints/step-N is what `restore --checkpoint` takes; OUT/metrics.jsonl, OUT/tensorboard and \
OUT/pictures show how it goes.

instructrestore train run/dataset --preset tiny --out tiny

instructrestore train general/dataset --base BASE --out stage1 --workers 8

instructrestore train general/dataset --mix bokeh/dataset:0.75 --preset stage2 --base BASE --init-from stage1
"""

DatasetPath = Annotated[str, typer.Argument(metavar="DATASET", help="A data set's folder, or its fsspec URI.")]
Out = Annotated[Path, typer.Option(help="The run's folder: checkpoints, metrics, pictures.")]
Mix = Annotated[
    list[str] | None,
    typer.Option(
        metavar="DATASET:SHARE",
        rich_help_panel=_DATA,
        help="Another data set and its exact share of the run; DATASET gets the rest. Can be repeated.",
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        rich_help_panel=_DATA, help="Where each machine keeps shards of remote data sets; unset: in ~/.cache."
    ),
]
CacheGib = Annotated[float, typer.Option("--cache-gib", min=0.1, rich_help_panel=_DATA, help="At most so many GiB.")]
Base = Annotated[
    str | None,
    typer.Option(
        envvar="INSTRUCTRESTORE_BASE",
        rich_help_panel=_MODEL,
        help="Stable Diffusion 2.1-base: a folder or hub id. The preset tiny makes one of its own.",
    ),
]
BaseRevision = Annotated[str | None, typer.Option(rich_help_panel=_MODEL, help="Of a base on the hub.")]
InitFrom = Annotated[
    str | None,
    typer.Option(
        metavar="CHECKPOINT",
        rich_help_panel=_MODEL,
        help="A trained ControlNet with its mask decoder to begin with, or the folder of a run, whose last checkpoint "
        "is taken; unset: the base's UNet and a new mask decoder.",
    ),
]
InitRevision = Annotated[str | None, typer.Option(rich_help_panel=_MODEL, help="Of --init-from on the hub.")]
Preset = Annotated[str, typer.Option(help="Settings to begin from: stage1, stage2 (the paper's) or tiny.")]
Config = Annotated[Path | None, typer.Option(help="A TOML file of settings, laid over the preset.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="One setting, as in optimizer.learning_rate=1e-4."),
]
Workers = Annotated[
    int,
    typer.Option(min=1, rich_help_panel=_RUN, help="Processes, each with a GPU where there are any; on Ray if > 1."),
]
Address = Annotated[
    str | None, typer.Option(metavar="RAY", rich_help_panel=_RUN, help="A Ray cluster (auto inside a Ray job).")
]
Device = Annotated[
    str | None, typer.Option(rich_help_panel=_RUN, help="As torch names it; unset: a GPU if there is one.")
]
Resume = Annotated[
    str,
    typer.Option(rich_help_panel=_RUN, help="auto: go on where the run in OUT was. never: refuse if there is one."),
]
