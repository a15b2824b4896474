"""The small commands that look at a finished data set: `instructrestore verify`, `stats` and `show`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from instructrestore.dataengine.photos import photo_file
from instructrestore.dataengine.reporting import statistics
from instructrestore.dataengine.reporting.drawing import draw
from instructrestore.pipelines.terminal.amounts import counts_text
from instructrestore.pipelines.terminal.console import PlainConsole
from instructrestore.shards.files import replacing
from instructrestore.shards.index import Dataset
from instructrestore.shards.plain_text import visible_line
from instructrestore.shards.verify import verify as find_faults


def verify(path: str, console: Console) -> bool:
    """Prints each fault of a data set, or that it is sound; returns whether it is.

    Raises ValueError if it is no data set.
    """
    card = Dataset(path, checked=False).card
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("verifying", total=len(card.shards))
        faults = find_faults(path, lambda: progress.advance(task))
    for fault in faults:
        console.print(visible_line(fault), markup=False, highlight=False, soft_wrap=True)
    counted = counts_text(photo=card.photos, region=card.regions, shard=len(card.shards))
    verdict = f"{len(faults)} fault{'s' if faults[1:] else ''}" if faults else "sound"
    console.print(f"{path}: {counted}: {verdict}", markup=False, highlight=False, soft_wrap=True)
    return not faults


def stats(dataset: str, as_json: bool = False) -> None:
    """Prints the statistics of a data set as tables, or as JSON. Raises ValueError if it is no data set."""
    opened = Dataset(dataset)
    statistics.check_metric(opened)
    figures = statistics.of_dataset(opened)
    if as_json:
        print(statistics.to_json(figures))
    else:
        PlainConsole().print(statistics.console(figures))


def show(dataset: str, key: str, out: str | None = None) -> Path:
    """Draws a photo with its regions in colour to a PNG, and returns where it is.

    key: the photo's, or the beginning of it. out: a file, or a folder that exists; by default KEY.png in the current
    folder. Raises ValueError if there is no such photo or data set, or nowhere to write to.
    """
    opened = Dataset(dataset)
    sample, encoded = opened.read(opened.find(key))
    rgb = photo_file.decode(encoded, sample.photo.width * sample.photo.height).rgb
    path = Path(out or ".")
    if path.is_dir():
        path = path / f"{sample.photo.key}.png"
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent} to write {path.name} to")
    with replacing(path) as file:
        draw(rgb, sample).save(file, "png", optimize=True)
    return path
