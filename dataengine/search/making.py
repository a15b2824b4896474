"""The vectors of a data set are made, shard by shard: what a kill leaves is gone on from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from instructrestore.dataengine.running.lock import locked
from instructrestore.dataengine.search.space import Space, folder_name
from instructrestore.dataengine.search.vector_table import (
    SCHEMA,
    ShardVectors,
    VectorRecord,
    VectorTable,
    part_place,
    read_part,
    read_record,
    shard_rows,
    write_part,
    write_record,
)
from instructrestore.shards.checksums import sha256
from instructrestore.shards.errors import DamagedFile
from instructrestore.shards.files import sweep
from instructrestore.shards.index import Dataset
from instructrestore.shards.paths import place_of, read

BATCH = 64  # photos encoded between two looks at the progress


def vectors_beside(dataset: str, named: str | None = None) -> Path:
    """Where a data set's vectors lie: run/dataset -> run/dataset.vectors, or the folder that is named.

    Raises ValueError for a data set in a store, beside which nothing can be mapped into memory.
    """
    if named is None and "://" in dataset:
        raise ValueError(f"{dataset} is not on this machine: name a local folder for its vectors with --vectors")
    return Path(named or f"{os.path.abspath(dataset)}.vectors")


def dataset_identity(dataset: Dataset) -> str:
    """The sha256 of dataset.json: names one version of a data set."""
    return sha256(read(place_of(f"{dataset.path}/dataset.json")))


def open_vectors(dataset: Dataset, space: Space, vectors: Path) -> VectorTable:
    """Raises ValueError where they are not there, or of another version of the data set."""
    return VectorTable(vectors / folder_name(space), dataset, dataset_identity(dataset))


def make_vectors(
    dataset: Dataset,
    space: Space,
    vectors: Path,
    progress: Callable[[int], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> VectorTable:
    """Makes what is not there yet of a data set's vectors in one space.

    progress: told the number of photos that are done more. say: told of photos that are left out, a line each.
    Vectors of shards that this version of the data set no longer has are removed at the end. Raises ValueError where
    another process is making them.
    """
    folder = vectors / folder_name(space)
    identity = dataset_identity(dataset)
    folder.mkdir(parents=True, exist_ok=True)
    shards = shard_rows(dataset)
    with locked(folder):
        sweep(folder)
        if _is_whole(folder, identity):
            progress(len(dataset.index))
            return VectorTable(folder, dataset, identity)
        rows_with_vectors = regions = 0
        for shard, first, photos in shards:
            place = part_place(folder, shard)
            part = _made(place, space, (first, photos), say)
            if part is None:
                _make(dataset, space, place, (first, photos), progress, say)
                part = read_part(place, space.dimension, first, photos)
            else:
                progress(photos)
            rows_with_vectors += int((part.regions < 0).sum())
            regions += int((part.regions >= 0).sum())
        record = VectorRecord(
            schema_version=SCHEMA,
            kind=space.kind,
            model=space.model,
            revision=space.revision,
            dimension=space.dimension,
            dataset=identity,
            shards=tuple(shard for shard, _, _ in shards),
            photos=rows_with_vectors,
            regions=regions,
            lost=len(dataset.index) - rows_with_vectors,
        )
        write_record(folder, record)
        kept = {part_place(folder, shard).name for shard, _, _ in shards}
        for stale in folder.glob("*.arrow"):
            if stale.name not in kept:
                stale.unlink()
    return VectorTable(folder, dataset, identity)


def _is_whole(folder: Path, identity: str) -> bool:
    record = read_record(folder)
    return (
        record is not None
        and record.dataset == identity
        and all(part_place(folder, shard).is_file() for shard in record.shards)
    )


def _made(place: Path, space: Space, span: tuple[int, int], say: Callable[[str], None]) -> ShardVectors | None:
    """The vectors of a shard that were made before; None where there are none that are whole."""
    if not place.is_file():
        return None
    try:
        return read_part(place, space.dimension, *span)
    except DamagedFile:
        say(f"{place} was damaged: it is made again")
        return None


def _make(
    dataset: Dataset,
    space: Space,
    place: Path,
    span: tuple[int, int],
    progress: Callable[[int], None],
    say: Callable[[str], None],
) -> None:
    first, photos = span
    lost: list[str] = []
    found = []
    for start in range(first, first + photos, BATCH):
        rows = range(start, min(start + BATCH, first + photos))
        found += space.photos(dataset, rows, lost)
        progress(len(rows))
    for line in lost:
        say(f"left out: {line}")
    write_part(place, space.dimension, first, found)
