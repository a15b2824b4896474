"""The vectors of a data set in one space, on disk: a folder of Arrow files that are mapped into memory, not read.

VECTORS/<kind>-<model>-<hash>/vectors.json      whose vectors these are; written last: without it they are not whole
VECTORS/<kind>-<model>-<hash>/<shard>.arrow     of one shard, by the first 16 digits of its sha256: what is done is
                                                done, and a later version of the data set keeps those of equal shards

Columns: row (int64, of the shard's photos), region (int32, -1: the photo as a whole), vector (float16 of length 1).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from instructrestore.dataengine.running.integrity import reading
from instructrestore.dataengine.search.space import WHOLE, Vectors
from instructrestore.shards.errors import DamagedFile, first_error
from instructrestore.shards.files import commit, replacing
from instructrestore.shards.index import Dataset
from instructrestore.shards.parsing import parse_object, read_bounded

RECORD = "vectors.json"
SCHEMA = 1
MAKE_AGAIN = "remove it and run instructrestore index-vectors again"
_SHA256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class VectorRecord(BaseModel):
    """What `vectors.json` says. dataset: sha256 of the data set's dataset.json. lost: photos without vectors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int
    kind: str
    model: str
    revision: str
    dimension: Annotated[int, Field(ge=1, le=65_536)]
    dataset: _SHA256
    shards: tuple[_SHA256, ...]
    photos: int
    regions: int
    lost: int


@dataclass(frozen=True)
class ShardVectors:
    """The vectors of one shard as they lie on disk: first those of its P photos, then those of its regions, each in the
    index's order.

    rows: (N,) int64, of the index. regions: (N,) int32, -1: the photo. vectors: (N, D) float16. photos: P.
    """

    rows: NDArray[np.int64]
    regions: NDArray[np.int32]
    vectors: NDArray[np.float16]

    @property
    def photos(self) -> int:
        return int((self.regions == WHOLE).sum())


def write_part(place: Path, dimension: int, first: int, photos: Iterable[tuple[int, Vectors]]) -> None:
    """Commits a shard's vectors: (row, (1 + R, dimension)) of each photo. first: the index row of the shard's first
    photo; rows are kept from there, so that an equal shard of another version has equal bytes."""
    known = list(photos)
    assert all(found.shape[1] == dimension for _, found in known)
    counts = [len(found) - 1 for _, found in known]
    own = np.array([row - first for row, _ in known], np.int64)
    rows = np.concatenate([own, np.repeat(own, counts)])
    regions = np.concatenate([np.full(len(known), WHOLE), *map(np.arange, counts)]).astype(np.int32)
    vectors = [found[:1] for _, found in known] + [found[1:] for _, found in known]
    flat = np.concatenate([np.empty((0, dimension)), *vectors]).astype(np.float16).ravel()
    batch = pa.record_batch(
        [
            pa.array(rows),
            pa.array(regions),
            pa.FixedSizeListArray.from_arrays(pa.array(flat), dimension),
        ],
        names=["row", "region", "vector"],
    )
    with replacing(place) as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)


def read_part(place: Path, dimension: int, first: int, photos: int) -> ShardVectors:
    """A shard's vectors, mapped. first, photos: the shard's rows of the index. Raises DamagedFile."""
    with reading(place, MAKE_AGAIN):
        table = pa.ipc.open_file(pa.memory_map(str(place))).read_all().combine_chunks()
        table.validate()
        column = table["vector"].chunk(0) if table.num_rows else None
        flat = column.flatten().to_numpy() if column is not None else np.empty(0, np.float16)
        rows = table["row"].to_numpy().astype(np.int64)
        regions = table["region"].to_numpy().astype(np.int32)
        vectors = flat.reshape(-1, dimension)
        sound = len(rows) == len(regions) == len(vectors) and vectors.dtype == np.float16
        if not sound or (len(rows) and (rows.min() < 0 or rows.max() >= photos or regions.min() < WHOLE)):
            raise DamagedFile(place, MAKE_AGAIN)
        if (regions[int((regions == WHOLE).sum()) :] == WHOLE).any():
            raise DamagedFile(place, MAKE_AGAIN)
    return ShardVectors(rows + first, regions, vectors)


def shard_rows(dataset: Dataset) -> list[tuple[str, int, int]]:
    """(sha256, first row of the index, photos) of every shard that has photos, in the index's order."""
    known = {entry.name: entry.sha256 for entry in dataset.card.shards}
    column = dataset.index["shard"].combine_chunks().dictionary_encode()
    codes = column.indices.to_numpy()
    edges = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)] if len(codes) else [0]
    names = column.dictionary.to_pylist()
    found = [(known[names[codes[first]]], first, end - first) for first, end in pairwise(edges)]
    if len({shard for shard, _, _ in found}) < len(found):
        raise ValueError(f"the index of {dataset.path} lists the photos of one shard in several places")
    return found


def part_place(folder: Path, shard: str) -> Path:
    return folder / f"{shard[:16]}.arrow"


def write_record(folder: Path, record: VectorRecord) -> None:
    commit(folder / RECORD, json.dumps(record.model_dump(mode="json"), indent=1).encode() + b"\n")


def read_record(folder: Path) -> VectorRecord | None:
    """None where the vectors are not there, or not whole. Raises DamagedFile."""
    try:
        content = read_bounded(folder / RECORD)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        parse_object(content, str(folder / RECORD))
        record = VectorRecord.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(f"{folder / RECORD} cannot be read: {first_error(error)}; {MAKE_AGAIN}") from None
    if record.schema_version != SCHEMA:
        raise ValueError(f"{folder} has vectors of schema {record.schema_version}; this program reads {SCHEMA}")
    return record


class VectorTable:
    """The vectors of a data set in one space, opened. Raises ValueError where they are not there, or of another version
    of the data set."""

    def __init__(self, folder: Path, dataset: Dataset, dataset_sha256: str) -> None:
        record = read_record(folder)
        if record is None or record.dataset != dataset_sha256:
            what = "there are no such vectors" if record is None else "the vectors are of another version"
            raise ValueError(f"{what} of {dataset.path}: run instructrestore index-vectors {dataset.path}")
        self.folder, self.dataset, self.record = folder, dataset, record

    def parts(self) -> Iterator[ShardVectors]:
        """All vectors, shard by shard, in the index's order. Raises DamagedFile."""
        for shard, first, photos in self._shards:
            yield self._part(shard, first, photos)

    def of_photo(self, row: int) -> Vectors:
        """(1 + R, D) float32: the photo's, then its regions'. Raises ValueError where it has none."""
        part = self._part(*next(each for each in self._shards if each[1] <= row < each[1] + each[2]))
        found = part.vectors[part.rows == row].astype(np.float32)
        if not len(found):
            raise ValueError("that photo has no vectors, since it could not be read when they were made")
        return found

    def _part(self, shard: str, first: int, photos: int) -> ShardVectors:
        place = part_place(self.folder, shard)
        if not place.is_file():
            raise DamagedFile(place, MAKE_AGAIN)
        part = read_part(place, self.record.dimension, first, photos)
        if (part.regions >= self._region_counts[part.rows]).any():
            raise DamagedFile(place, MAKE_AGAIN)
        return part

    @cached_property
    def _region_counts(self) -> NDArray[np.int32]:
        return self.dataset.index["region_count"].to_numpy()

    @cached_property
    def _shards(self) -> list[tuple[str, int, int]]:
        return shard_rows(self.dataset)
