"""A small data set of synthetic photos, for the tests of what people look at."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from instructrestore.shards.files import replacing
from instructrestore.shards.index import INDEX_SCHEMA, Dataset
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import AnnotatedPhoto, Photo, Piece, Region, key_of
from instructrestore.shards.write import ShardWriter, finish_dataset, shard_name


def photo_of(seed: int, width: int, height: int, **known: Any) -> tuple[Photo, NDArray[np.uint8]]:
    """A smooth synthetic photo as its record and (H, W, 3) uint8; `known` sets fields of the record."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    waves = [np.sin(columns / (11 + seed) + k) * np.cos(rows / (17 + 2 * k)) for k in range(3)]
    rgb = np.stack([127 + 60 * wave for wave in waves], -1).astype(np.uint8)
    sha256 = hashlib.sha256(rgb.tobytes() + bytes([seed])).hexdigest()
    fields: dict[str, Any] = {"name": f"photo {seed}.png", "source": "made", "licence": "CC0-1.0", "url": ""}
    fields |= {"quality": 70.0, "quality_metric": "embedded", "format": "png", "group": key_of(sha256)} | known
    photo = Photo(
        key=key_of(sha256),
        sha256=sha256,
        width=width,
        height=height,
        bytes=rgb.nbytes,
        perceptual_hash="0" * 16,
        **fields,
    )
    return photo, rgb


def region_of(photo: Photo, x: int, y: int, w: int, h: int, caption: str, subject: str, bokeh: bool = False) -> Region:
    """A region whose mask is the box XYWH in pixels."""
    array = np.zeros((photo.height, photo.width), bool)
    array[y : y + h, x : x + w] = True
    mask = Mask.from_array(array)
    return Region(caption, subject, mask, bokeh, (Piece(mask, "made", caption, "made", caption, subject),))


def write_dataset(
    folder: Path,
    samples: Sequence[tuple[AnnotatedPhoto, NDArray[np.uint8]]],
    configuration: dict[str, Any] | None = None,
) -> Dataset:
    """Writes the samples, one shard a photo format, with index and dataset.json; the photos are stored losslessly."""
    folder.mkdir(parents=True, exist_ok=True)
    entries, tables = [], []
    for kind in sorted({sample.photo.format for sample, _ in samples}):
        name = shard_name(kind, 0)
        with replacing(folder / name) as file:
            writer = ShardWriter(name, file)
            for sample, rgb in samples:
                if sample.photo.format == kind:
                    encoded = io.BytesIO()
                    Image.fromarray(rgb).save(encoded, kind, lossless=True)
                    writer.add(sample, encoded.getvalue())
            entries.append(writer.close())
        tables.append(pa.Table.from_pylist(writer.rows, schema=INDEX_SCHEMA))
    finish_dataset(folder, "small", entries, tables, configuration or {})
    return Dataset(str(folder))
