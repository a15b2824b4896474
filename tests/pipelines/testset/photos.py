"""Photos with masks, and a CSV or a data set of them, for tests of test sets."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from instructrestore.dataengine.photos.intake import describe
from instructrestore.dataengine.photos.photo_file import DecodedPhoto
from instructrestore.dataengine.photos.row import SourcePhoto
from instructrestore.shards.files import replacing
from instructrestore.shards.index import INDEX_SCHEMA
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import AnnotatedPhoto, Piece, Region
from instructrestore.shards.write import ShardWriter, finish_dataset, shard_name

Box = tuple[int, int, int, int]  # XYWH


def texture(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """A photo (H, W, 3) with structure at several sizes."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    return np.clip(smooth + rng.integers(-12, 13, (height, width, 1)), 0, 255).astype(np.uint8)


def inside(box: Box, width: int, height: int) -> NDArray[np.bool_]:
    left, top, across, down = box
    mask = np.zeros((height, width), np.bool_)
    mask[top : top + down, left : left + across] = True
    return mask


def save(pixels: NDArray[np.uint8] | NDArray[np.bool_], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = pixels.astype(np.uint8) * 255 if pixels.dtype == np.bool_ else pixels
    Image.fromarray(grey).save(path)
    return path


def write_csv(path: Path, rows: Sequence[Mapping[str, str]]) -> str:
    """A CSV with the columns of its first row; returns where, as it would be typed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return str(path)


def row_of(
    folder: Path, number: int, width: int = 160, height: int = 128, box: Box = (50, 30, 60, 50)
) -> dict[str, str]:
    """A photo and its mask in a folder, as a row of its CSV."""
    save(texture(number, width, height), folder / f"hq/{number}.png")
    save(inside(box, width, height), folder / f"masks/{number}.png")
    return {"hq": f"hq/{number}.png", "mask": f"masks/{number}.png", "caption": "the red dog"}


def region(caption: str, box: Box, width: int, height: int, bokeh: bool = False) -> Region:
    mask = Mask.from_array(inside(box, width, height))
    subject = caption.split()[-1]
    pieces = (Piece(mask, "embedded 1", caption, "embedded", caption, subject),)
    return Region(caption, subject, mask, bokeh, pieces)


def write_dataset(folder: Path, photos: Sequence[tuple[NDArray[np.uint8], Sequence[Region]]]) -> str:
    """A data set of PNG photos with the regions given; returns where, as it would be typed."""
    folder.mkdir(parents=True)
    name = shard_name("png", 0)
    with replacing(folder / name) as file:
        writer = ShardWriter(name, file)
        for number, (rgb, regions) in enumerate(photos):
            data = io.BytesIO()
            Image.fromarray(rgb).save(data, "PNG")
            origin = SourcePhoto("", f"photo {number}.png", "made up", "CC0-1.0", f"https://example.org/{number}")
            photo = describe(origin, data.getvalue(), DecodedPhoto(rgb, "png", as_is=True))
            writer.add(AnnotatedPhoto(photo, tuple(regions)), data.getvalue())
        entry = writer.close()
    finish_dataset(folder, "made-up", [entry], [pa.Table.from_pylist(writer.rows, INDEX_SCHEMA)], {})
    return str(folder)


def pixels(data: bytes) -> NDArray[np.uint8]:
    """An encoded photo as (H, W, 3) uint8."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))
