"""What `export --to huggingface` wrote, back into shards: every record and every photo as it was.

Only the columns `image` and `record` are read. No stage runs: the records are whole.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from instructrestore.shards.errors import DamagedFile
from instructrestore.shards.files import replacing
from instructrestore.shards.index import INDEX_SCHEMA, MAX_MEMBER_BYTES, DatasetCard, ShardEntry
from instructrestore.shards.members import DamagedMember, check_photo
from instructrestore.shards.new_folder import new_folder
from instructrestore.shards.sample import PHOTO_FORMATS, AnnotatedPhoto, from_json
from instructrestore.shards.write import ShardWriter, finish_dataset, shard_name

_ROWS = 32  # read at once
_COLUMNS = ("image", "record")
_FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}


def import_hugging_face(folder: Path, out: Path, name: str, photos_per_shard: int) -> DatasetCard:
    """Makes a data set of a folder of Parquet files, in a new folder that appears whole or not at all.

    Raises ValueError, in one sentence, for a folder without such files, for rows that are no photo with its record, for
    a photo that is there twice, and for a folder `out` that is there and not empty.
    """
    files = sorted(folder.rglob("*.parquet"))
    if not files:
        raise ValueError(f"{folder} has no Parquet files: name the folder that export --to huggingface wrote")
    with new_folder(out) as unfinished:
        with ExitStack() as stack:
            shards = {each: _Shards(unfinished, each, photos_per_shard, stack) for each in PHOTO_FORMATS}
            keys: set[str] = set()
            for sample, data in _rows(files):
                if sample.photo.key in keys:
                    raise ValueError(f"{folder} has the photo {sample.photo.key} twice")
                keys.add(sample.photo.key)
                shards[sample.photo.format].add(sample, data)
            for each in shards.values():
                each.close()
        made = list(shards.values())
        entries = [entry for each in made for entry in each.entries]
        tables = [table for each in made for table in each.tables]
        card = finish_dataset(unfinished, name, entries, tables, {"imported_from": "huggingface"})
    return card


class _Shards:
    """The shards of one photo format, one after the other."""

    def __init__(self, folder: Path, photo_format: str, photos_per_shard: int, stack: ExitStack) -> None:
        self._folder, self._format, self._size, self._stack = folder, photo_format, photos_per_shard, stack
        self._writer: ShardWriter | None = None
        self._file = ExitStack()
        self.entries: list[ShardEntry] = []
        self.tables: list[pa.Table] = []

    def add(self, sample: AnnotatedPhoto, data: bytes) -> None:
        if self._writer is None:
            shard = shard_name(self._format, len(self.entries))
            self._file = self._stack.enter_context(ExitStack())
            self._writer = ShardWriter(shard, self._file.enter_context(replacing(self._folder / shard)))
            self._stack.callback(self._abandon, self._writer)
        self._writer.add(sample, data)
        if len(self._writer.rows) == self._size:
            self.close()

    def _abandon(self, writer: ShardWriter) -> None:
        if writer is self._writer:  # an error came before its end
            writer.abandon()

    def close(self) -> None:
        if self._writer:
            self.entries.append(self._writer.close())
            self.tables.append(pa.Table.from_pylist(self._writer.rows, INDEX_SCHEMA))
            self._writer = None
            self._file.close()


def _rows(files: list[Path]) -> Iterator[tuple[AnnotatedPhoto, bytes]]:
    for file in files:
        row = 0
        try:
            with pq.ParquetFile(file) as opened:
                if not set(_COLUMNS) <= set(opened.schema_arrow.names):
                    raise ValueError(f"{file} has no columns image and record: export --to huggingface writes them")
                for batch in opened.iter_batches(batch_size=_ROWS, columns=list(_COLUMNS)):
                    for values in batch.to_pylist():
                        row += 1
                        yield _sample(values, f"row {row} of {file}")
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # Arrow's own have no number
                raise
            raise DamagedFile(file, "copy or export it again") from None


def _sample(values: dict[str, Any], where: str) -> tuple[AnnotatedPhoto, bytes]:
    image, record = values["image"], values["record"]
    data = image.get("bytes") if isinstance(image, dict) else None
    if not isinstance(data, bytes) or not isinstance(record, str) or len(data) > MAX_MEMBER_BYTES:
        raise ValueError(f"{where} is no photo with its record")
    try:
        sample = from_json(record.encode("utf-8", "surrogatepass"))
        check_photo(sample, data)
        with Image.open(io.BytesIO(data), formats=[_FORMATS[sample.photo.format]]) as photo:
            size = photo.size
    except DamagedMember as error:
        raise ValueError(f"{where} is damaged: {error.detail}") from None
    except (ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{where} is no photo with its record: {error}") from None
    if size != (sample.photo.width, sample.photo.height) or not sample.regions:
        raise ValueError(f"{where} is no photo with its record: they tell of different sizes, or of no region")
    return sample, data
