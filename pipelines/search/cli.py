"""The commands that look for regions and follow them back. Import what they need when they run, so that --help is
quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from instructrestore.pipelines.terminal.console import PlainConsole
from instructrestore.pipelines.terminal.ending import GO_ON, INTERRUPTED, end

INDEX_HELP = """Make the vectors that `search` looks through, in DATASET.vectors beside a data set.

Of captions, which say what is meant (all-MiniLM-L6-v2, a CPU), and of pictures, which say what it looks like: by the \
image classifier that installs, or with --model by a SigLIP, CLIP or DINOv2 from the hub. Run it again after an \
interruption, or for a new version of the data set, and only what is not there is made.

instructrestore index-vectors run/dataset

instructrestore index-vectors run/dataset --by pictures --model google/siglip-base-patch16-256 --revision COMMIT
"""
SEARCH_HELP = """Find regions of a data set by what they mean or look like.

instructrestore search run/dataset "a red boat at dusk" --out boats.png

instructrestore search run/dataset --like 8f3a2c#2               # regions that look like the photo's second one

instructrestore search run/dataset --outliers sky                # skies that look like something else

instructrestore search run/dataset --duplicates                  # photos that show the same twice
"""
TRACE_HELP = """Say where a region of a data set is from: its photo, what each stage did with it, who said what, and \
where it lies.

instructrestore trace run/dataset 8f3a2c#2

instructrestore trace run/dataset --at 12345 --training stage1   # what sample 12345 of a training run was
"""

DatasetPath = Annotated[str, typer.Argument(metavar="DATASET", help="The folder or fsspec URI of a data set.")]
By = Annotated[
    Literal["captions", "pictures"] | None,
    typer.Option(help="What is compared: captions (what is meant) or pictures (what it looks like)."),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL", help="A SigLIP, CLIP or DINOv2, hub id or folder, in place of the one that installs."
    ),
]
Revision = Annotated[str, typer.Option(help="Of --model: a commit, which makes results repeatable, or a branch.")]
Vectors = Annotated[
    str | None, typer.Option(metavar="FOLDER", help="Where the vectors lie. Default: DATASET.vectors, beside it.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON in place of text.")]


def index_vectors(
    dataset: DatasetPath,
    by: By = None,
    model: Model = None,
    revision: Revision = "main",
    vectors: Vectors = None,
) -> None:
    from instructrestore.pipelines.search.commands import index

    try:
        index(dataset, by, model, revision, vectors, PlainConsole())
    except KeyboardInterrupt:
        end(GO_ON, INTERRUPTED)


def search(
    dataset: DatasetPath,
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="What is looked for, in words.")] = None,
    like: Annotated[
        str | None,
        typer.Option(metavar="KEY[#REGION]", help="What is near a region (its number from 1, or its id) or a photo."),
    ] = None,
    outliers: Annotated[
        str | None,
        typer.Option(metavar="SUBJECT", help="Its regions that look like another subject's; '*': of all subjects."),
    ] = None,
    duplicates: Annotated[
        bool, typer.Option("--duplicates", help="Pairs of photos that show the same, beside the perceptual hash's.")
    ] = False,
    by: By = None,
    photos: Annotated[bool, typer.Option("--photos", help="Find whole photos in place of regions.")] = False,
    subject: Annotated[str | None, typer.Option(help="Only regions of this subject.")] = None,
    top: Annotated[int, typer.Option(min=1, max=10_000, help="How many to show.")] = 20,
    least: Annotated[
        float | None, typer.Option(min=-1, max=1, help="With --duplicates: the cosine from which photos are the same.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="A contact sheet of the first 60, regions outlined.")
    ] = None,
    as_json: Json = False,
    model: Model = None,
    revision: Revision = "main",
    vectors: Vectors = None,
) -> None:
    from instructrestore.pipelines.search.commands import SearchQuestion, find

    question = SearchQuestion(text, like, outliers, duplicates, by, photos, subject, top, least, model, revision)
    find(dataset, question, vectors, out, as_json, PlainConsole())


def trace(
    dataset: DatasetPath,
    region: Annotated[
        str | None,
        typer.Argument(metavar="KEY[#REGION]", help="A photo's key, or its beginning; a region's number or id."),
    ] = None,
    at: Annotated[
        int | None, typer.Option(min=0, metavar="POSITION", help="With --training: the sample at this position.")
    ] = None,
    training: Annotated[
        Path | None, typer.Option(metavar="RUN", help="The folder of a training run on this data set.")
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="The build's folder. Default: the one that DATASET lies in.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The judgements. Default: DATASET.judgements.jsonl.")
    ] = None,
    as_json: Json = False,
) -> None:
    from instructrestore.pipelines.search.tracing import trace as run_trace

    run_trace(dataset, region, at, training, run, log, as_json, PlainConsole())
