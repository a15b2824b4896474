"""The options of `instructrestore train` and `distill`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_DATA, _MODEL, _RUN = "Data", "Model", "Running"

HELP = """Train on data sets: shards in, a checkpoint that `restore` loads out.

After Ctrl-C, a crash or a lost machine, run it again: it resumes as if nothing had happened. \
`restore --checkpoint` takes OUT/checkpoints/step-N; OUT/metrics.jsonl, OUT/tensorboard and OUT/pictures show the \
progress.

instructrestore train run/dataset --preset tiny --out tiny

instructrestore train general/dataset --base BASE --out stage1 --workers 8

instructrestore train general/dataset --mix bokeh/dataset:0.75 --preset stage2 --base BASE --init-from stage1
"""

DISTILL_HELP = """Train a student that restores in one or two steps as its teacher does in many, with the same control.

Everything else is as in `train`: data sets, the run's folder, going on when it is run again. `restore --checkpoint \
OUT` takes the student's own steps, unless --steps says otherwise.

instructrestore distill run/dataset --base small --out student

instructrestore distill general/dataset --base BASE --checkpoint stage1 --out student --workers 8
"""

DatasetPath = Annotated[str, typer.Argument(metavar="DATASET", help="A data set's folder, or its fsspec URI.")]
Out = Annotated[Path, typer.Option(help="The run's folder: checkpoints, metrics, pictures.")]
Mix = Annotated[
    list[str] | None,
    typer.Option(
        metavar="DATASET:SHARE",
        rich_help_panel=_DATA,
        help="Another data set and its exact share of the run; DATASET gets the rest. Repeatable.",
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        rich_help_panel=_DATA, help="Where each machine caches shards of remote data sets. Default: in ~/.cache."
    ),
]
CacheGib = Annotated[
    float, typer.Option("--cache-gib", min=0.1, rich_help_panel=_DATA, help="Size limit of that cache, GiB.")
]
Base = Annotated[
    str | None,
    typer.Option(
        envvar="INSTRUCTRESTORE_BASE",
        rich_help_panel=_MODEL,
        help="Stable Diffusion 2.1-base: a folder or hub id. The presets tiny and small-* make their own, small ships.",
    ),
]
BaseRevision = Annotated[
    str | None, typer.Option(rich_help_panel=_MODEL, help="Branch, tag or commit of a base on the hub.")
]
InitFrom = Annotated[
    str | None,
    typer.Option(
        metavar="CHECKPOINT",
        rich_help_panel=_MODEL,
        help="A trained ControlNet with its mask decoder to start from, or a run's folder (its last checkpoint). "
        "Default: the base's UNet and a new mask decoder.",
    ),
]
InitRevision = Annotated[
    str | None, typer.Option(rich_help_panel=_MODEL, help="Branch, tag or commit of --init-from on the hub.")
]
Preset = Annotated[
    str,
    typer.Option(help="Settings to start from: stage1, stage2 (the paper's), tiny, small, small-base, small-masks."),
]
Teacher = Annotated[
    str | None,
    typer.Option(
        metavar="CHECKPOINT",
        rich_help_panel=_MODEL,
        help="The teacher: a trained checkpoint, or a run's folder (its last one). Default: the base's own ControlNet.",
    ),
]
TeacherRevision = Annotated[
    str | None, typer.Option(rich_help_panel=_MODEL, help="Branch, tag or commit of --checkpoint on the hub.")
]
StudentPreset = Annotated[
    str | None,
    typer.Option(help="Settings to start from: distil, or with the base small small-distil, each where it fits."),
]
Config = Annotated[Path | None, typer.Option(help="A TOML file of settings that override the preset's.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="One setting, as in optimizer.learning_rate=1e-4."),
]
Workers = Annotated[
    int,
    typer.Option(
        min=1,
        rich_help_panel=_RUN,
        help="Number of processes, each with a GPU if there are any; more than 1 run on Ray.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(metavar="RAY", rich_help_panel=_RUN, help="Address of a Ray cluster (auto inside a Ray job)."),
]
Device = Annotated[
    str | None, typer.Option(rich_help_panel=_RUN, help="A torch device. Default: a GPU if there is one.")
]
Resume = Annotated[
    str,
    typer.Option(rich_help_panel=_RUN, help="auto: resume the run in OUT. never: refuse if there is one."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", rich_help_panel=_RUN, help="Say what the run would do, without doing it.")
]
Measure = Annotated[
    int | None,
    typer.Option(
        min=2,
        metavar="STEPS",
        rich_help_panel=_RUN,
        help="With --dry-run: take so many steps, and say what all of them will take.",
    ),
]
Price = Annotated[
    float | None,
    typer.Option(
        min=0, metavar="AN_HOUR", rich_help_panel=_RUN, help="With --measure: what an hour of a worker costs."
    ),
]
