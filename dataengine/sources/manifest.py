"""A CSV or Parquet table of photos: columns uri (required), name, licence, url, label and mask.

A relative URI is relative to the manifest and may not leave its folder. An absolute path or a URI is taken as written:
the purpose of a manifest is to name photos wherever they are.
"""

from __future__ import annotations

from collections.abc import Iterator

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from instructrestore.dataengine.photos.photo_file import UnusablePhoto
from instructrestore.dataengine.photos.row import UNUSABLE, Annotation, SegmentMask, SourcePhoto
from instructrestore.dataengine.sources import places
from instructrestore.dataengine.sources.finder import FileFinder
from instructrestore.dataengine.sources.settings import SourceSettings
from instructrestore.shards.addresses import check_address, masked
from instructrestore.shards.errors import first_line

COLUMNS = ("uri", "name", "licence", "url", "label", "mask")
_SPELLINGS = {"license": "licence", "path": "uri", "file_name": "uri"}


def list_manifest(source: SourceSettings) -> Iterator[SourcePhoto]:
    """The rows of a manifest in its order, read in batches. Raises ValueError, in one sentence, if the table cannot be
    read or has no column `uri`."""
    path = places.absolute(source.path)
    files = FileFinder([places.parent(path)])
    title, row = source.title, 0
    try:
        with fsspec.open(path, "rb") as file:
            for batch in _batches(path, file):
                columns = [_column(batch, name) for name in COLUMNS]
                for uri, name, licence, url, label, mask in zip(*columns, strict=True):
                    row += 1
                    problem, annotations = "", None
                    try:
                        place = _place(files, uri)
                        if mask:
                            annotations = (Annotation(SegmentMask(_place(files, mask), None), label or source.label),)
                    except UnusablePhoto as fault:
                        place, problem = f"{path}#row {row}", fault.reason
                        annotations = (UNUSABLE,) if mask else None
                    yield SourcePhoto(
                        place,
                        name or _name(uri, row),
                        title,
                        licence or source.licence,
                        masked(url),
                        annotations,
                        None,
                        source.exclude,
                        problem,
                    )
    except (pa.ArrowException, UnicodeDecodeError, OverflowError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a fault of the storage; damaged Parquet files raise an OSError without a number
        raise ValueError(f"{source.path} cannot be read as a manifest: {first_line(error)}") from None


def _place(files: FileFinder, uri: str) -> str:
    if not uri:
        raise UnusablePhoto("row without a URI")
    try:
        check_address(uri)
    except ValueError:
        raise UnusablePhoto("address with a password") from None
    if _is_absolute(uri) and "\0" not in uri:
        return uri
    return files.place(uri)


def _name(uri: str, row: int) -> str:
    """The name of a photo without one in the manifest: its path within the manifest's folder, or its last part."""
    return (masked(uri).rpartition("/")[2] if _is_absolute(uri) else uri) or f"row {row}"


def _is_absolute(uri: str) -> bool:
    return uri.startswith("/") or "://" in uri


def _batches(path: str, file: object) -> Iterator[pa.RecordBatch]:
    if path.lower().endswith(".parquet"):
        table = pq.ParquetFile(file)
        names = table.schema_arrow.names
        _check(path, names)
        wanted = [name for name in names if _SPELLINGS.get(name, name) in COLUMNS]
        yield from table.iter_batches(batch_size=16_384, columns=wanted)
    else:
        # Every column is read as text: a name like 0001 must stay as it is, and no block may guess otherwise.
        reader = csv.open_csv(
            file,
            read_options=csv.ReadOptions(block_size=2**22),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types={name: pa.string() for name in (*COLUMNS, *_SPELLINGS)}, strings_can_be_null=False
            ),
        )
        _check(path, reader.schema.names)
        yield from reader


def _check(path: str, names: list[str]) -> None:
    meant = [_SPELLINGS.get(name, name) for name in names]
    for name in COLUMNS:
        if meant.count(name) > 1:
            both = " and ".join(found for found, known in zip(names, meant, strict=True) if known == name)
            raise ValueError(f"the manifest {path} has several columns of one meaning, {both}: leave one of them")
    if "uri" not in meant:
        raise ValueError(f"the manifest {path} has no column uri; its columns are {', '.join(names)}")


def _column(batch: pa.RecordBatch, name: str) -> list[str]:
    """A column as texts; "" for what is missing or null."""
    for place, found in enumerate(batch.schema.names):
        if _SPELLINGS.get(found, found) == name:
            return ["" if value is None else str(value) for value in batch.column(place).to_pylist()]
    return [""] * batch.num_rows
