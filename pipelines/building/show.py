"""`instructrestore show`: one photo of a data set with its regions in colour, as a PNG."""

from __future__ import annotations

from pathlib import Path

from instructrestore.dataengine.photos import photo_file
from instructrestore.dataengine.reporting.drawing import draw
from instructrestore.shards.files import replacing
from instructrestore.shards.index import Dataset


def show(dataset: str, key: str, out: str | None = None) -> Path:
    """Writes the photo whose key is, or begins with, `key`, and returns where.

    out: a file, or a folder that exists; by default KEY.png in the current folder.
    Raises ValueError where there is no such photo or data set, or nowhere to write to.
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
