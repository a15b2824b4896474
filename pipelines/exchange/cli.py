"""The commands `instructrestore export` and `import`. Imports what it needs when it runs, so that --help is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from instructrestore.pipelines.terminal.console import PlainConsole
from instructrestore.pipelines.terminal.ending import INTERRUPTED, end

HELP = """Write a data set in the layout of another tool, and say what that layout cannot hold.

LAYOUT is coco (instances with captions, run-length masks), panoptic, label-studio (brush masks), fiftyone, \
huggingface (Parquet with image and masks), yolo-seg or tri-ir. Photos are the shards' own bytes, named by their keys.

instructrestore export run/dataset --to label-studio --out for-label-studio
"""


def export(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="The folder or fsspec URI of a data set.")],
    to: Annotated[str, typer.Option(metavar="LAYOUT", help="The layout to write.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="A new folder, or an empty one.")],
) -> None:
    from instructrestore.pipelines.exchange.export import export as run_export

    try:
        run_export(dataset, to, out, PlainConsole())
    except KeyboardInterrupt:
        end("interrupted; nothing was written", INTERRUPTED)


IMPORT_HELP = """Take back what other tools have of a data set.

Of a folder that `export --to huggingface` wrote, a data set: the same records, the same photos, no stage runs. Other \
layouts come back by `build`, whose sources read them (docs/exchange.md).

instructrestore import for-huggingface --out dataset

With --corrects, of a source of `build` (an export of Label Studio, COCO instances of CVAT), what people changed on \
the photos of a data set, as a file of judgements.

instructrestore import project-1.json --corrects run/dataset --who ann --out corrections.jsonl
"""


def import_(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A folder with Parquet files; with --corrects, a source as of build."),
    ],
    out: Annotated[Path, typer.Option(metavar="PATH", help="A new folder; with --corrects, a new file.")],
    corrects: Annotated[
        str | None, typer.Option(metavar="DATASET", help="The data set that was exported and corrected.")
    ] = None,
    who: Annotated[str, typer.Option(metavar="NAME", help="With --corrects: who corrected it.")] = "",
    same: Annotated[
        float,
        typer.Option(
            min=0.5,
            max=1,
            metavar="IOU",
            help="With --corrects: the overlap from which on a mask counts as unchanged; below 1 for tools that draw "
            "outlines anew.",
        ),
    ] = 1.0,
    photos_per_shard: Annotated[
        int, typer.Option(min=1, max=100_000, metavar="NUMBER", help="Photos in a shard; the last has the remainder.")
    ] = 256,
) -> None:
    from instructrestore.pipelines.exchange.import_ import import_corrections, import_dataset

    try:
        if corrects is None:
            import_dataset(Path(source), out, photos_per_shard, PlainConsole())
        else:
            import_corrections(source, corrects, who, same, out, PlainConsole())
    except KeyboardInterrupt:
        end("interrupted; nothing was written", INTERRUPTED)
