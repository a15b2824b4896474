"""A contact sheet of what was found: each photo small, its region outlined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from instructrestore.dataengine.photos import photo_file
from instructrestore.dataengine.reporting.drawing import PAPER
from instructrestore.dataengine.search.space import WHOLE
from instructrestore.pipelines.pictures.contact_sheet import LabelledPicture, sheet, tinted
from instructrestore.shards.files import replacing
from instructrestore.shards.index import Dataset
from instructrestore.shards.plain_text import visible_line

CELL = 256  # px, width and height of a picture
MOST_SHOWN = 60
MOST_COLUMNS = 6


@dataclass(frozen=True)
class Shown:
    """row: of the index. region: number from 0, or -1: the photo alone. label: one line."""

    row: int
    region: int
    label: str


def write_sheet(dataset: Dataset, found: Sequence[Shown], out: Path, in_pairs: bool = False) -> None:
    """Writes the first `MOST_SHOWN` as a PNG; in pairs: two that follow each other stand side by side.

    Raises ValueError where there is nothing to show.
    """
    if not found:
        raise ValueError(f"nothing was found, so there is no {out.name}")
    cells = [LabelledPicture(_cell(dataset, each), [(visible_line(each.label), None)]) for each in found[:MOST_SHOWN]]
    columns = min(MOST_COLUMNS, math.ceil(math.sqrt(len(cells))))
    page = sheet(cells, columns=columns + (columns % 2 if in_pairs else 0))
    with replacing(out.absolute()) as file:
        page.save(file, "png")


def _cell(dataset: Dataset, shown: Shown) -> Image.Image:
    """A square picture; empty where the photo is damaged, which its label still names."""
    canvas = Image.new("RGB", (CELL, CELL), PAPER)
    try:
        sample, encoded = dataset.read(shown.row)
        rgb = photo_file.decode(encoded, sample.photo.width * sample.photo.height).rgb
    except ValueError:
        return canvas
    photo = Image.fromarray(rgb)
    photo.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    if shown.region != WHOLE:
        mask = Image.fromarray(sample.regions[shown.region].mask.array())
        small = np.asarray(mask.convert("L").resize(photo.size, Image.Resampling.BOX), np.float32) / 255
        photo = tinted(photo, small[None])
    canvas.paste(photo, ((CELL - photo.width) // 2, (CELL - photo.height) // 2))
    return canvas
