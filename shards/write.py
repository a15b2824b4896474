"""Samples into a shard, and shards into a data set: the same samples always give the same bytes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from instructrestore.shards.checksums import CHECKSUMS, add_checksums, sha256
from instructrestore.shards.files import commit, replacing
from instructrestore.shards.index import INDEX_SCHEMA, DatasetCard, ShardEntry
from instructrestore.shards.members import index_facts
from instructrestore.shards.paths import Place, remove
from instructrestore.shards.sample import SCHEMA_VERSION, AnnotatedPhoto, to_json

TAR_BLOCK = 512


def shard_name(photo_format: str, number: int) -> str:
    """The file name of a shard. All photos of a shard have one format: loaders that make a column of each file
    ending (HF datasets, Ray Data) want the same ones in every sample."""
    return f"{photo_format}-{number:06d}.tar"


class _HashingStream(io.RawIOBase):
    """Passes bytes on to a file and keeps their sha256 and number."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.size = 0
        self.abandoned = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.abandoned:
            return len(data)
        self._file.write(data)
        self.sha256.update(data)
        self.size += len(data)
        return len(data)


class ShardWriter:
    """Writes samples to one tar with webdataset's own writer, all that varies in its headers fixed."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        self.name = name
        # Where torch is installed it comes along: a second that only writers should wait.
        from webdataset.writer import TarWriter

        self._stream = _HashingStream(file)
        self._tar = TarWriter(
            cast(BinaryIO, self._stream), user="", group="", mode=0o644, mtime=0, encoder=False, compress=False
        )
        self.rows: list[dict[str, Any]] = []

    def add(
        self, sample: AnnotatedPhoto, photo: bytes, further: Mapping[str, bytes] | None = None
    ) -> dict[str, tuple[int, int]]:
        """Adds a sample; `photo` is its file in the record's format, upright and sRGB in any decoder.

        further: more members, by extension. Returns where each member lies, by extension: its first byte, from the
        shard's start, and its size.
        """
        assert sample.regions, sample.photo.key
        photo_format = sample.photo.format
        members = {**(further or {}), photo_format: photo, "json": to_json(sample)}
        assert len(members) == len(further or {}) + 2, sorted(members)
        place = self._tar.tarstream.offset
        offsets = {}
        for extension in sorted(members):  # the order in which the writer writes them
            offsets[extension] = place + TAR_BLOCK
            place += TAR_BLOCK + -(-len(members[extension]) // TAR_BLOCK) * TAR_BLOCK
        self._tar.write({"__key__": sample.photo.key, **members})
        assert self._tar.tarstream.offset == place
        self.rows.append(
            {
                "shard": self.name,
                "photo_offset": offsets[photo_format],
                "photo_bytes": len(photo),
                "json_offset": offsets["json"],
                "json_bytes": len(members["json"]),
                **index_facts(sample),
            }
        )
        return {extension: (offset, len(members[extension])) for extension, offset in offsets.items()}

    def close(self) -> ShardEntry:
        """Ends the tar; the file itself stays open and is its owner's to commit."""
        self._tar.close()
        regions = sum(row["region_count"] for row in self.rows)
        return ShardEntry(self.name, self._stream.sha256.hexdigest(), self._stream.size, len(self.rows), regions)

    def abandon(self) -> None:
        """Lets go of a tar that is not to be finished: its writer would go on writing when it is collected."""
        self._stream.abandoned = True
        self._tar.close()


def write_index(file: BinaryIO, tables: Iterable[pa.Table]) -> str:
    """Writes `index.parquet` of the shards' index tables, in their order; returns its sha256."""
    stream = _HashingStream(file)
    with pq.ParquetWriter(stream, INDEX_SCHEMA, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
    return stream.sha256.hexdigest()


def finish_dataset(
    folder: Place, name: str, entries: Iterable[ShardEntry], tables: Iterable[pa.Table], configuration: dict[str, Any]
) -> DatasetCard:
    """Writes `index.parquet`, then `dataset.json`, which makes the folder a data set, and the checksum of that."""
    entries = tuple(entries)
    with replacing(folder / "index.parquet") as file:
        index_sha256 = write_index(file, tables)
        remove([folder / CHECKSUMS])  # what it says of earlier files is over
    card = DatasetCard(
        schema_version=SCHEMA_VERSION,
        name=name,
        photos=sum(entry.photos for entry in entries),
        regions=sum(entry.regions for entry in entries),
        index_sha256=index_sha256,
        shards=entries,
        configuration=configuration,
    )
    commit(folder / "dataset.json", card.to_json())
    add_checksums(folder, {"dataset.json": sha256(card.to_json()), "index.parquet": card.index_sha256})
    return card
