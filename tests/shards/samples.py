"""Made-up samples for the tests of shards."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from instructrestore.shards.files import replacing
from instructrestore.shards.index import INDEX_SCHEMA
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import AnnotatedPhoto, Answer, Photo, Piece, Region, key_of
from instructrestore.shards.write import ShardWriter, finish_dataset, shard_name


def sample(number: int, photo_format: str = "png") -> tuple[AnnotatedPhoto, bytes]:
    """A photo of 24x16 pixels with two regions, and its file."""
    rng = np.random.default_rng(number)
    file = io.BytesIO()
    pixels = Image.fromarray(rng.integers(0, 256, (16, 24, 3), np.uint8))
    pixels.save(file, {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[photo_format])
    data = file.getvalue()
    sha256 = hashlib.sha256(data).hexdigest()
    photo = Photo(
        key=key_of(sha256), sha256=sha256, name=f"photo {number} “é”.jpg", source="made up", licence="CC0-1.0",
        url=f"https://example.org/{number}", width=24, height=16, bytes=len(data), format=photo_format,
        perceptual_hash="0" * 15 + "1",
        group=key_of(sha256), quality=61.25, quality_metric="embedded",
    )  # fmt: skip
    faults = "sentence too_long" if number == 7 else ""  # late, when loaders have made up their minds about types
    return AnnotatedPhoto(photo, (region("the red dog", "dog", 12, 20, faults), region("a wall", "wall", 0, 9))), data


def region(caption: str, subject: str, start: int, stop: int, faults: str = "") -> Region:
    array = np.zeros((16, 24), np.bool_)
    array[:, start:stop] = True
    mask = Mask.from_array(array)
    answer = Answer("grammar", "1", 1, caption, subject, faults)
    piece = Piece(mask, "embedded 1", f"{caption} is here", "embedded", caption, subject, (answer,))
    return Region(caption, subject, mask, bokeh=subject == "dog", pieces=(piece,))


def write_dataset(folder: Path, photos: int = 3) -> list[tuple[AnnotatedPhoto, bytes]]:
    """A data set of made-up samples, a shard of jpg and one of png; returns them in order."""
    folder.mkdir(parents=True, exist_ok=True)
    made, entries, tables = [], [], []
    for first, photo_format in ((0, "jpg"), (photos, "png")):
        name = shard_name(photo_format, 0)
        with replacing(folder / name) as file:
            writer = ShardWriter(name, file)
            for number in range(first, first + photos):
                made.append(sample(number, photo_format))
                writer.add(*made[-1])
            entries.append(writer.close())
            tables.append(pa.Table.from_pylist(writer.rows, INDEX_SCHEMA))
    finish_dataset(folder, "made-up", entries, tables, {"preset": "none"})
    return made
