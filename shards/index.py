"""A data set on disk: `dataset.json`, `index.parquet` and the shards, and random access through the index.

DATASET/dataset.json       schema version, counts, sha256 of every shard and of the index, the configuration
DATASET/checksums.sha256   of dataset.json and the files for people (checksums.py)
DATASET/index.parquet      a row per photo: where it is stored, and what is needed to select photos without reading them
DATASET/jpg-000000.tar     plain WebDataset: <key>.jpg and <key>.json; likewise png-... and webp-...
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from instructrestore.shards.addresses import check_address
from instructrestore.shards.checksums import CHECKSUMS, COPY_AGAIN, is_as_written, parse_checksums, sha256
from instructrestore.shards.errors import DamagedFile, first_error
from instructrestore.shards.members import DamagedMember, check_photo, checked_record
from instructrestore.shards.parsing import MAX_BYTES, parse_object
from instructrestore.shards.paths import place_of, reaching
from instructrestore.shards.plain_text import json_text
from instructrestore.shards.rle import MAX_PIXELS
from instructrestore.shards.sample import READ_VERSIONS, AnnotatedPhoto

_BATCH = 1 << 16  # rows
MAX_MEMBER_BYTES = 1 << 30  # of a photo's file or record in a shard
INDEX_SCHEMA = pa.schema(
    [
        ("shard", pa.string()),  # file name of the shard, relative to the data set
        ("key", pa.string()),
        ("format", pa.string()),  # jpg | png | webp
        ("photo_offset", pa.int64()),  # bytes from the shard's start to the photo's first byte
        ("photo_bytes", pa.int64()),
        ("json_offset", pa.int64()),
        ("json_bytes", pa.int64()),
        ("width", pa.int32()),  # upright, in pixels
        ("height", pa.int32()),
        ("quality", pa.float64()),  # 0..100, null where there was no gate
        ("group", pa.string()),  # key of the first photo of the near-duplicate group
        ("source", pa.string()),
        ("licence", pa.string()),
        ("url", pa.string()),
        ("region_count", pa.int32()),
        ("captions", pa.list_(pa.string())),  # one per region, in the record's order
        ("subjects", pa.list_(pa.string())),
        ("areas", pa.list_(pa.float64())),  # each region's share of the photo, 0..1
        ("bokeh", pa.list_(pa.bool_())),
    ]
)


@dataclass(frozen=True)
class ShardEntry:
    """A shard as `dataset.json` lists it. name: file name; bytes: file size."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern=r"^[^./\\][^/\\]*$")]
    sha256: str
    bytes: Annotated[int, Field(ge=0)]
    photos: Annotated[int, Field(ge=0)]
    regions: Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class DatasetCard:
    """The content of `dataset.json`. configuration: the settings that made the data set, as plain JSON."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    schema_version: int
    name: str
    photos: int
    regions: int
    index_sha256: str
    shards: tuple[ShardEntry, ...]
    configuration: dict[str, Any]

    def to_json(self) -> bytes:
        return json_text(asdict(self), indent=2).encode() + b"\n"


_card = TypeAdapter(DatasetCard)


def are_places(offsets: pa.ChunkedArray, sizes: pa.ChunkedArray) -> bool:
    """Whether these can be the places of a shard's members: what reads them takes their room first."""
    if offsets.null_count or sizes.null_count:
        return False
    starts, lengths = offsets.to_numpy(), sizes.to_numpy()
    return bool((starts >= 0).all() and (lengths >= 0).all() and (lengths <= MAX_MEMBER_BYTES).all())


def _is_bounded(index: pa.Table) -> bool:
    if index["width"].null_count or index["height"].null_count:
        return False
    width, height = (index[name].to_numpy().astype("int64") for name in ("width", "height"))
    return (
        are_places(index["photo_offset"], index["photo_bytes"])
        and are_places(index["json_offset"], index["json_bytes"])
        and bool((width >= 1).all() and (height >= 1).all() and (width * height <= MAX_PIXELS).all())
    )


class Dataset:
    """A data set opened for reading, local or at any fsspec URI.

    checked: whether `dataset.json` must be the one that the checksums beside it list, where there are any.
    checksums: those, by name.
    sha256: of `dataset.json`: names this version of the data set.
    Raises ValueError, in one sentence, where the folder is no data set of this schema.
    """

    def __init__(self, path: str, *, checked: bool = True) -> None:
        check_address(path)
        self.path = path.rstrip("/")
        try:
            self._files, self._root = fsspec.url_to_fs(self.path)
        except ImportError as error:
            raise ValueError(f"{path} cannot be reached: {error}") from None
        try:
            text = self._read(f"{self._root}/dataset.json", start=0, end=MAX_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            inner = f"{self.path}/dataset"
            hint = f"; the data set of this run is {inner}" if self._files.exists(f"{self._root}/run.json") else ""
            raise ValueError(f"{path} is not a data set: it has no dataset.json{hint}") from None
        try:
            parse_object(
                text, f"{path}/dataset.json cannot be read: it", any_number=True
            )  # the configuration is free to hold any
            self.card = _card.validate_json(text, strict=True)
        except ValidationError as error:
            raise ValueError(f"{path}/dataset.json cannot be read: {first_error(error)}") from None
        if self.card.schema_version not in READ_VERSIONS:
            known = " and ".join(map(str, READ_VERSIONS))
            raise ValueError(f"{path} has schema version {self.card.schema_version}; this program reads {known}")
        self.sha256 = sha256(text)
        self.checksums = self._read_checksums()
        if checked and self.checksums and self.checksums["dataset.json"] != self.sha256:
            raise ValueError(
                f"{self.path}/dataset.json is not the one listed in {CHECKSUMS}: copy both again, or remove the list "
                "if the change is meant"
            )

    def _read_checksums(self) -> dict[str, str]:
        try:
            content = self._read(f"{self._root}/{CHECKSUMS}")
        except (FileNotFoundError, NotADirectoryError):  # a data set of version 0.1
            return {}
        known = parse_checksums(content, f"{self.path}/{CHECKSUMS}")
        if "dataset.json" not in known:
            raise DamagedFile(f"{self.path}/{CHECKSUMS}", COPY_AGAIN)
        return known

    @cached_property
    def index(self) -> pa.Table:
        """`index.parquet`, a row per photo in the shards' order (columns: `INDEX_SCHEMA`).

        Raises ValueError, in one sentence, where it is not the one listed in `dataset.json` or cannot be read.
        """
        table, found = self.read_index()
        if found != self.card.index_sha256:
            raise ValueError(f"{self.path}/index.parquet is not the index listed in dataset.json: copy both again")
        return table

    def read_index(self) -> tuple[pa.Table, str]:
        """The index, which may be another than the one listed in `dataset.json`, and the sha256 of its file."""
        try:
            # Read whole first: Arrow's reading threads must not be waiting on a Python file when the program ends.
            data = self._read(f"{self._root}/index.parquet")
            table = pq.read_table(pa.BufferReader(data))
        except FileNotFoundError:
            raise ValueError(f"{self.path} has no index.parquet") from None
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # Arrow's own have no number
                raise
            raise DamagedFile(f"{self.path}/index.parquet", COPY_AGAIN) from None
        self._check_columns(table.schema)
        self._check_rows(table)
        return table, sha256(data)

    def index_batches(self, rows: int) -> Iterator[pa.Table]:
        """The index in pieces of at most so many rows, in order, for who cannot hold all of it. Raises as `index` does;
        for a place or size that no photo has, only once its piece is reached."""
        path = place_of(self.path) / "index.parquet"
        if not isinstance(self._files, LocalFileSystem) or not isinstance(path, Path):
            yield from (pa.Table.from_batches([batch]) for batch in self.index.to_batches(max_chunksize=rows))
            return
        if not is_as_written(path, self.card.index_sha256):
            raise ValueError(f"{self.path}/index.parquet is not the index listed in dataset.json: copy both again")
        try:
            with pq.ParquetFile(str(path)) as file:
                self._check_columns(file.schema_arrow)
                for batch in file.iter_batches(rows):
                    table = pa.Table.from_batches([batch])
                    self._check_rows(table)
                    yield table
        except pa.ArrowException:
            raise DamagedFile(f"{self.path}/index.parquet", COPY_AGAIN) from None

    def places(self, rows: Collection[int]) -> list[dict[str, Any]]:
        """Those rows of the index by column, in the index's order, as `read_at` takes them. Raises as `index_batches`
        does."""
        wanted, found, first = sorted(rows), list[dict[str, Any]](), 0
        for batch in self.index_batches(_BATCH) if wanted else ():
            inside = wanted[bisect_left(wanted, first) : bisect_left(wanted, first + len(batch))]
            found += batch.take(pa.array([row - first for row in inside], pa.int64())).to_pylist() if inside else []
            first += len(batch)
        return found

    def _check_columns(self, schema: pa.Schema) -> None:
        if not schema.equals(INDEX_SCHEMA, check_metadata=False):
            raise ValueError(f"{self.path}/index.parquet has other columns than this program reads")

    def _check_rows(self, table: pa.Table) -> None:
        if not _is_bounded(table):
            raise ValueError(f"{self.path}/index.parquet has places or sizes that no shard and no photo has")
        for name in table["shard"].unique().to_pylist():
            if not name or "/" in name or "\\" in name or name.startswith("."):
                raise ValueError(f"{self.path}/index.parquet names a shard {name!r}, which is no plain file name")

    def check_files(self) -> None:
        """Checks that the index is the one listed in `dataset.json` and that every shard is there in full size.

        Reads no shard. Raises ValueError, in one sentence, for the first thing that is wrong.
        """
        unknown = set(self.index["shard"].unique().to_pylist()) - {entry.name for entry in self.card.shards}
        if unknown:
            raise ValueError(f"{self.path}/index.parquet names {min(unknown)}, which dataset.json does not list")
        # One listing, and a request of their own only for files that it leaves out or gives no size of.
        try:
            listing = self._files.ls(self._root, True)
        except FileNotFoundError:  # a web server need not list a folder
            listing = []
        listed = {str(file["name"]).rsplit("/", 1)[-1]: file.get("size") for file in listing}
        for entry in self.card.shards:
            try:
                size = listed.get(entry.name) or self._files.info(f"{self._root}/{entry.name}").get("size")
            except FileNotFoundError:
                raise ValueError(f"{self.path} lacks its shard {entry.name}: copy it again") from None
            if size is not None and size != entry.bytes:
                raise ValueError(
                    f"{self.path}/{entry.name} has {size} bytes and should have {entry.bytes}: copy it again"
                )

    def read(self, row: int) -> tuple[AnnotatedPhoto, bytes]:
        """Row `row` of the index as the record and the encoded photo, which are compared with the index and with each
        other. Raises DamagedMember, which names the shard, and ValueError where the shard ends too early."""
        return self.read_at(self._place(row))

    def record(self, row: int) -> AnnotatedPhoto:
        """The record alone. Raises as `read` does."""
        return self.record_at(self._place(row))

    def read_at(self, place: Mapping[str, Any]) -> tuple[AnnotatedPhoto, bytes]:
        """`read` for who has the index's row already. place: the row by column (columns: `INDEX_SCHEMA`)."""
        sample = self.record_at(place)
        data = self._member(f"{self._root}/{place['shard']}", place["photo_offset"], place["photo_bytes"])
        try:
            check_photo(sample, data)
        except DamagedMember as damage:
            raise damage.at(f"{self.path}/{place['shard']}", place["key"]) from None
        return sample, data

    def record_at(self, place: Mapping[str, Any]) -> AnnotatedPhoto:
        """The record alone. Raises as `read_at` does."""
        data = self._member(f"{self._root}/{place['shard']}", place["json_offset"], place["json_bytes"])
        try:
            return checked_record(data, place)
        except DamagedMember as damage:
            raise damage.at(f"{self.path}/{place['shard']}", place["key"]) from None

    def _place(self, row: int) -> dict[str, Any]:
        return {name: column[0] for name, column in self.index.slice(row, 1).to_pydict().items()}

    def damaged_shards(self, among: Collection[str] | None = None) -> list[str]:
        """The shards on this machine that are not as `dataset.json` says; every one is read, whole, or those of these
        names. (A store compares the checksums of its objects itself.)"""
        folder = Path(self._root) if isinstance(self._files, LocalFileSystem) else place_of(self.path)
        asked = [entry for entry in self.card.shards if among is None or entry.name in among]
        return [entry.name for entry in asked if not is_as_written(folder / entry.name, entry.sha256)]

    def find(self, key: str) -> int:
        """The index row of the photo whose key is, or begins with, `key`. Raises ValueError if none or several."""
        keys = self.index["key"].to_pylist()
        rows = [row for row, known in enumerate(keys) if known.startswith(key)]
        if len(rows) != 1:
            raise ValueError(f"{len(rows) or 'no'} photos of {self.path} have a key that begins with {key!r}")
        return rows[0]

    def _read(self, file: str, **span: int) -> bytes:
        with reaching(place_of(self.path)):
            return self._files.cat_file(file, **span)

    def _member(self, shard: str, offset: int, size: int) -> bytes:
        data = self._read(shard, start=offset, end=offset + size)
        if len(data) != size:
            raise ValueError(f"{shard.rsplit('/', 1)[-1]} ends before byte {offset + size}")
        return data
