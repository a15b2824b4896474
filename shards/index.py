"""A data set on disk: `dataset.json`, `index.parquet` and the shards, and random access through the index.

DATASET/dataset.json       schema version, counts, sha256 of every shard and of the index, the configuration
DATASET/index.parquet      a row per photo: where it is stored, and what is needed to select photos without reading them
DATASET/jpg-000000.tar     plain WebDataset: <key>.jpg and <key>.json; likewise png-... and webp-...
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ConfigDict, TypeAdapter, ValidationError

from instructrestore.shards.errors import first_error
from instructrestore.shards.paths import place_of, reaching
from instructrestore.shards.sample import SCHEMA_VERSION, AnnotatedPhoto, from_json

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

    name: str
    sha256: str
    bytes: int
    photos: int
    regions: int


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
        return json.dumps(asdict(self), indent=2, ensure_ascii=False).encode() + b"\n"


_card = TypeAdapter(DatasetCard)


class Dataset:
    """A data set opened for reading, local or at any fsspec URI.

    Raises ValueError, in one sentence, where the folder is no data set of this schema.
    """

    def __init__(self, path: str) -> None:
        self.path = path.rstrip("/")
        try:
            self._files, self._root = fsspec.url_to_fs(self.path)
        except ImportError as error:
            raise ValueError(f"{path} cannot be reached: {error}") from None
        try:
            text = self._read(f"{self._root}/dataset.json")
        except (FileNotFoundError, NotADirectoryError):
            inner = f"{self.path}/dataset"
            hint = f"; the data set of this run is {inner}" if self._files.exists(f"{self._root}/run.json") else ""
            raise ValueError(f"{path} is not a data set: it has no dataset.json{hint}") from None
        try:
            self.card = _card.validate_json(text)
        except ValidationError as error:
            raise ValueError(f"{path}/dataset.json cannot be read: {first_error(error)}") from None
        if self.card.schema_version != SCHEMA_VERSION:
            raise ValueError(
                f"{path} has schema version {self.card.schema_version}; this program reads {SCHEMA_VERSION}"
            )

    @cached_property
    def index(self) -> pa.Table:
        """`index.parquet`, a row per photo in the shards' order (columns: `INDEX_SCHEMA`)."""
        return self._read_index[0]

    @cached_property
    def _read_index(self) -> tuple[pa.Table, str]:
        """The index and the sha256 of its file."""
        try:
            # Read whole first: Arrow's reading threads must not be waiting on a Python file when the program ends.
            data = self._read(f"{self._root}/index.parquet")
            table = pq.read_table(pa.BufferReader(data))
        except FileNotFoundError:
            raise ValueError(f"{self.path} has no index.parquet") from None
        except pa.ArrowInvalid:
            raise ValueError(f"{self.path}/index.parquet is damaged") from None
        if not table.schema.equals(INDEX_SCHEMA, check_metadata=False):
            raise ValueError(f"{self.path}/index.parquet has other columns than this program reads")
        for name in table["shard"].unique().to_pylist():
            if not name or "/" in name or "\\" in name or name.startswith("."):
                raise ValueError(f"{self.path}/index.parquet names a shard {name!r}, which is no plain file name")
        return table, hashlib.sha256(data).hexdigest()

    def check_files(self) -> None:
        """Checks that the index is the one listed in `dataset.json` and that every shard is there in full size.

        Reads no shard. Raises ValueError, in one sentence, for the first thing that is wrong.
        """
        index, sha256 = self._read_index
        if sha256 != self.card.index_sha256:
            raise ValueError(f"{self.path}/index.parquet is not the index listed in dataset.json: copy both again")
        unknown = set(index["shard"].unique().to_pylist()) - {entry.name for entry in self.card.shards}
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
        """Row `row` of the index as the record and the encoded photo. Raises ValueError for a damaged member."""
        place = {name: self.index[name][row].as_py() for name in self.index.schema.names[:7]}
        shard = f"{self._root}/{place['shard']}"
        record = self._member(shard, place["json_offset"], place["json_bytes"])
        sample = from_json(record)
        if sample.photo.key != place["key"]:
            raise ValueError(f"{place['shard']} holds {sample.photo.key} where the index says {place['key']}")
        return sample, self._member(shard, place["photo_offset"], place["photo_bytes"])

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
