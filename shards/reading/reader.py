"""From a place in a data set to a training triplet: its record and its photo's bytes."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from instructrestore.shards.index import Dataset
from instructrestore.shards.members import DamagedMember, check_photo
from instructrestore.shards.reading.cache import ShardCache, ShardFiles
from instructrestore.shards.reading.order import sample_seed
from instructrestore.shards.reading.triplets import TripletPlace
from instructrestore.shards.sample import Photo, Region, from_json


class Fault(ValueError):
    """A triplet that cannot be used: a fault of the data, the same at every attempt, which is passed over.

    reason: a short name that is counted ("corrupt photo"). detail: what exactly.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[Fault], tuple[str, str]]:
        return Fault, (self.reason, self.detail)


@dataclass(frozen=True)
class Triplet:
    """A photo, one of its regions, and where in the run they stand.

    photo, region: the record. regions: all of the photo's. data: the photo's file. place: where it was read.
    position: in the canonical order. seed: the run's.
    faults: what was passed over before it, each "REASON: SHARD/KEY (DETAIL)", mostly none.
    """

    photo: Photo
    region: Region
    regions: tuple[Region, ...]
    data: bytes
    place: TripletPlace
    position: int
    seed: int
    faults: tuple[str, ...] = ()

    def seed_of(self, purpose: str) -> int:
        """The 64-bit seed of what is random about this sample for one purpose."""
        return sample_seed(self.seed, self.position, purpose)


class PhotoReader:
    """Reads single photos of a data set, which is checked first; can be handed to other processes.

    Holds of the index only where the members lie, and a checksum of each caption, as arrays: some 80 bytes a photo.
    Raises ValueError, in one sentence, where a shard is missing or of another size, or the index is another.
    """

    def __init__(self, dataset: Dataset, cache: ShardCache | None = None) -> None:
        dataset.check_files()
        self.path = dataset.path
        self.index_sha256 = dataset.card.index_sha256
        self.files = ShardFiles(dataset, cache)
        index = dataset.index
        shards = index["shard"].combine_chunks().dictionary_encode()
        self._shards: list[str] = shards.dictionary.to_pylist()
        self._shard = shards.indices.to_numpy()
        self._keys = np.array(index["key"].to_pylist(), np.bytes_)
        columns = ("photo_offset", "photo_bytes", "json_offset", "json_bytes")
        captions = index["captions"].combine_chunks()
        self._captions = np.fromiter(map(_mark, captions.flatten().to_pylist()), np.uint32)
        self._first = np.cumsum([0, *index["region_count"].to_pylist()])
        self._spans = np.stack([index[name].to_numpy() for name in columns], 1) if len(index) else np.empty((0, 4))

    def where(self, row: int) -> str:
        """SHARD/KEY of a row, for people."""
        return f"{self._shards[self._shard[row]]}/{self._keys[row].decode()}"

    def read(self, row: int, region: int) -> tuple[Photo, Region, tuple[Region, ...], bytes]:
        """The records of a photo, one of its regions and all of them, and the photo's file. Raises Fault.

        Raises OSError where the shard itself cannot be read.
        """
        photo_offset, photo_bytes, json_offset, json_bytes = map(int, self._spans[row])
        spans = (json_offset, json_bytes), (photo_offset, photo_bytes)
        shard = self._shards[self._shard[row]]
        try:
            return self._read(row, region, *self.files.read(shard, *spans))
        except Fault:
            if not self.files.drop_damaged(shard):
                raise
        return self._read(row, region, *self.files.read(shard, *spans))  # of a copy that is fetched anew

    def _read(
        self, row: int, region: int, record: bytes, data: bytes
    ) -> tuple[Photo, Region, tuple[Region, ...], bytes]:
        _, photo_bytes, _, json_bytes = map(int, self._spans[row])
        if len(record) != json_bytes or len(data) != photo_bytes:
            raise Fault("truncated shard")
        try:
            sample = from_json(record)
        except ValueError as error:
            raise Fault("bad record", str(error)) from None
        if sample.photo.key != self._keys[row].decode():
            raise Fault("wrong index", f"the shard holds {sample.photo.key} there")
        if region >= len(sample.regions):
            raise Fault("wrong index", f"the record has {len(sample.regions)} regions")
        if [_mark(each.caption) for each in sample.regions] != self._captions[
            slice(*self._first[row : row + 2])
        ].tolist():
            raise Fault("bad record", "its captions are not those in the index")
        try:
            check_photo(sample, data)
        except DamagedMember as damage:
            raise Fault(damage.reason, damage.detail) from None
        return sample.photo, sample.regions[region], sample.regions, data


def _mark(caption: str) -> int:
    return zlib.crc32(caption.encode())
