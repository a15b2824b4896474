"""A data set of several shards of small JPEG photos, for the tests of the loader."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from instructrestore.shards.files import replacing
from instructrestore.shards.index import INDEX_SCHEMA, Dataset
from instructrestore.shards.reading.order import Order, OrderSettings, exact_shares
from instructrestore.shards.reading.reader import PhotoReader, Triplet
from instructrestore.shards.reading.stream import TripletStream
from instructrestore.shards.reading.triplets import Triplets
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import AnnotatedPhoto, Photo, Piece, Region, key_of
from instructrestore.shards.write import ShardWriter, finish_dataset, shard_name

HEIGHT, WIDTH = 48, 64


def write_dataset(
    folder: Path,
    shards: int = 3,
    photos: int = 4,
    name: str = "a",
    empty: Sequence[int] = (),
    corrupt: range = range(0),
) -> Dataset:
    """`shards` shards of `photos` photos of 64x48 pixels, photo n with n % 3 + 1 regions.

    empty: numbers of photos whose first region is empty. corrupt: numbers of photos whose file is no JPEG.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries, tables = [], []
    for number in range(shards):
        with replacing(folder / shard_name("jpg", number)) as file:
            writer = ShardWriter(shard_name("jpg", number), file)
            for photo in range(number * photos, (number + 1) * photos):
                sample, data = _sample(f"{name}{photo}", photo, photo in empty)
                writer.add(sample, b"no photo at all" if photo in corrupt else data)
            entries.append(writer.close())
            tables.append(pa.Table.from_pylist(writer.rows, INDEX_SCHEMA))
    finish_dataset(folder, name, entries, tables, {})
    return Dataset(str(folder))


def _sample(name: str, number: int, empty: bool) -> tuple[AnnotatedPhoto, bytes]:
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
    file = io.BytesIO()
    coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    photo = Photo(
        key=key_of(sha256), sha256=sha256, name=name, source="made up", licence="CC0-1.0", url="", width=WIDTH,
        height=HEIGHT, bytes=len(file.getvalue()) + 1, format="jpg", perceptual_hash="0" * 16, group=key_of(sha256),
    )  # fmt: skip
    regions = tuple(_region(number, region, empty and region == 0) for region in range(number % 3 + 1))
    return AnnotatedPhoto(photo, regions), file.getvalue()


def _region(photo: int, number: int, empty: bool) -> Region:
    array = np.zeros((HEIGHT, WIDTH), np.bool_)
    if not empty:
        array[8 * number : 8 * number + 24, 4 * (photo % 5) : 30] = True
    mask = Mask.from_array(array)
    subject = ("dog", "cat", "bird")[number]
    caption = f"{subject} {photo} on the left"
    return Region(caption, subject, mask, False, (Piece(mask, "made", caption, "made", caption, subject),))


def name_of(triplet: Triplet) -> tuple[int, int, int, int, tuple[str, ...]]:
    """What tells a sample from all others: the position, the place it was read at, and the faults before it."""
    place = triplet.place
    return triplet.position, place.dataset, place.row, place.region, triplet.faults


def order_of(*datasets: Dataset, shares: Sequence[str | None] | None = None, **settings: object) -> Order:
    return Order(
        [Triplets.of(dataset.index) for dataset in datasets],
        exact_shares(shares or [None] * len(datasets)),
        OrderSettings.model_validate(settings),
    )


def stream_of(*datasets: Dataset, batch: int = 8, **settings: object) -> TripletStream:
    """A stream of `name_of` of each triplet."""
    return TripletStream(
        [PhotoReader(dataset) for dataset in datasets], order_of(*datasets), name_of, batch=batch, **settings
    )  # type: ignore[arg-type]
