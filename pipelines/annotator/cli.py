"""The command `instructrestore train-annotator`. Imports what it needs when it runs, so that --help is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from instructrestore.pipelines.terminal.console import PlainConsole
from instructrestore.pipelines.terminal.ending import INTERRUPTED, end

HELP = """Train the annotator that names what it sees on photos with panoptic annotations.

It is used with masks.segmenter=named and descriptions.describer=named. Run the command again and it continues where \
it stopped. OUT/weights.safetensors takes the place of the weights that ship, in the package's dataengine/annotator; \
OUT/figures.json says how often they are right on the validation photos, which no weight has seen.

instructrestore train-annotator panoptic_train2017.json?images=train2017 \
--validation panoptic_val2017.json?images=val2017 --out annotator
"""
Source = Annotated[str, typer.Argument(help="A panoptic JSON: [panoptic:]PATH[?images=FOLDER&masks=FOLDER].")]
Validation = Annotated[
    str, typer.Option(metavar="SOURCE", help="Panoptic photos to measure with; nothing is trained on them.")
]
Out = Annotated[Path, typer.Option(help="The run's folder: views, checkpoints, the weights, the figures.")]
Heads = Annotated[int, typer.Option(min=1, help="Number of heads, each trained without its own share of the photos.")]
Steps = Annotated[int, typer.Option(min=1, help="Training steps of each head.")]
Batch = Annotated[int, typer.Option(min=1, help="Views in a training step.")]
Views = Annotated[int, typer.Option(min=1, help="Augmented views kept of each photo, 0.6 MB each.")]
Seed = Annotated[int, typer.Option(min=0, help="Of views, weights, and the order of both.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads; more than the idle cores slow it down.")]


def train_annotator(
    source: Source,
    validation: Validation,
    out: Out = Path("annotator"),
    heads: Heads = 4,
    steps: Steps = 300,
    batch: Batch = 8,
    views: Views = 9,
    seed: Seed = 0,
    threads: Threads = 1,
) -> None:
    try:
        from instructrestore.dataengine.annotator.run_training import AnnotatorTraining
        from instructrestore.dataengine.annotator.training import HeadSettings
        from instructrestore.pipelines.annotator.job import run

        settings = AnnotatorTraining(HeadSettings(seed=seed, steps=steps, batch=batch, views=views), heads)
        run(source, validation, out, settings, threads, PlainConsole())
    except KeyboardInterrupt:
        end("interrupted; run the same command again to go on", INTERRUPTED)
