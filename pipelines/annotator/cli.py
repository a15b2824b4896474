"""The command `instructrestore train-annotator`. Imports what it needs when it runs, so that --help is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from instructrestore.pipelines.terminal.ending import INTERRUPTED, end

HELP = """Train the embedded annotator on photos with panoptic annotations.

Run it again and it goes on where it was. OUT/weights.safetensors is what the embedded preset reads, OUT/figures.json \
how often it is right on the validation photos, which no weight has seen.

instructrestore train-annotator panoptic_train2017.json?images=train2017 \
--validation panoptic_val2017.json?images=val2017 --out annotator
"""
Source = Annotated[str, typer.Argument(help="A panoptic JSON: [panoptic:]PATH[?images=FOLDER&masks=FOLDER].")]
Validation = Annotated[str, typer.Option(metavar="SOURCE", help="Another one, for the figures alone.")]
Out = Annotated[Path, typer.Option(help="The run's folder: views, checkpoints, the weights, the figures.")]
Heads = Annotated[int, typer.Option(min=1, help="How many, each without its share of the photos.")]
Steps = Annotated[int, typer.Option(min=1, help="Of each head.")]
Batch = Annotated[int, typer.Option(min=1, help="Views a step.")]
Views = Annotated[int, typer.Option(min=1, help="Augmented views kept of each photo, 0.6 MB each.")]
Seed = Annotated[int, typer.Option(min=0, help="Of views, weights, and the order of both.")]
Threads = Annotated[int, typer.Option(min=1, help="No more than idle cores: the products are small.")]


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
        from rich.console import Console

        from instructrestore.dataengine.annotator.run_training import AnnotatorTraining
        from instructrestore.dataengine.annotator.training import TrainingSettings
        from instructrestore.pipelines.annotator.job import run

        settings = AnnotatorTraining(TrainingSettings(seed=seed, steps=steps, batch=batch, views=views), heads)
        run(source, validation, out, settings, threads, Console())
    except KeyboardInterrupt:
        end("interrupted; run the same command again to go on", INTERRUPTED)
