"""A run's folder: what lies where, the manifest of its photos, and the lock of the one build that works on it.

RUN/run.json               schema of the folder
RUN/settings.toml          the settings that reproduce the run
RUN/manifest/              the photos as the sources listed them, in parts fixed for good
RUN/stages/<nn-stage>/     a Parquet file per part: the checkpoint (part_files.py)
RUN/tables/                results over the whole data set: duplicates, descriptions, noun phrases (side_table.py)
RUN/answers/               answers of the grammar or language model, by (model, revision, prompt), round
RUN/dataset/               the data set: shards, index.parquet, dataset.json, README.md
RUN/report.html
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from dataengine.part_files import PART_SCHEMA, Slice, digest
from dataengine.row import Row, SourcePhoto
from shards.files import commit, replacing, sweep

RUN_SCHEMA = 1
GROUP_ROWS = 8192
_PARTS_KEY = b"instructrestore.parts"
_rows = TypeAdapter(Row)


@dataclass(frozen=True)
class ManifestPart:
    """A part of the manifest: some 64 photos, and the hash of what the sources say of them."""

    part: int
    where: Slice
    content: str


class RunFolder:
    """The folder of a run. Raises ValueError where it is something else, or made by another version."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest, self.stages = path / "manifest", path / "stages"
        self.tables, self.answers, self.dataset = path / "tables", path / "answers", path / "dataset"
        self._open()

    def _open(self) -> None:
        marker = self.path / "run.json"
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"{self.path} is a file; --out names a folder")
        if marker.exists():
            try:
                schema = json.loads(marker.read_bytes())["schema"]
            except (ValueError, KeyError, TypeError):
                raise ValueError(f"{marker} is damaged; build into another folder") from None
            if schema != RUN_SCHEMA:
                raise ValueError(
                    f"{self.path} was made with schema {schema} of the run folder and this program writes "
                    f"{RUN_SCHEMA}; build into another folder"
                )
        elif self.path.is_dir() and any(not entry.name.startswith(".") for entry in self.path.iterdir()):
            raise ValueError(f"{self.path} is not empty and no run of this program; build into another folder")
        for folder in (self.path, self.manifest, self.stages, self.tables, self.answers, self.dataset):
            folder.mkdir(parents=True, exist_ok=True)
        if not marker.exists():
            commit(marker, json.dumps({"schema": RUN_SCHEMA}).encode())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Held by the one build that works here; what killed builds left half written is swept away first.

        Raises ValueError where another build holds it. The lock goes with its process, however that ends.
        """
        descriptor = os.open(self.path / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"another build is at work in {self.path}") from None
            for folder in (self.path, self.manifest, self.tables, self.dataset):
                sweep(folder)
            yield
        finally:
            os.close(descriptor)

    def parts(self) -> list[ManifestPart]:
        """The manifest's parts, in order."""
        found: list[ManifestPart] = []
        for path in sorted(self.manifest.glob("*.parquet")):
            stored = json.loads(pq.read_metadata(path).metadata[_PARTS_KEY])
            for place, content in enumerate(stored["hashes"]):
                start = place * stored["size"]
                found.append(ManifestPart(len(found), Slice(str(path), start, start + stored["size"]), content))
        return found

    def known_uris(self) -> Iterator[str]:
        """The URIs of all photos in the manifest."""
        for path in sorted(self.manifest.glob("*.parquet")):
            yield from pq.read_table(path, columns=["name"])["name"].to_pylist()

    def append(self, photos: Iterable[SourcePhoto], photos_per_part: int) -> int:
        """Puts photos that the manifest does not have into new parts; returns how many there were.

        An append that is interrupted leaves the manifest as it was.
        """
        known = set(self.known_uris())
        number = len(list(self.manifest.glob("*.parquet")))
        before = len(known)
        fresh = _not_in(known, photos)
        first = list(islice(fresh, photos_per_part))
        if not first:
            return 0
        with replacing(self.manifest / f"{number:06d}.parquet") as file:
            hashes: list[str] = []
            with pq.ParquetWriter(file, PART_SCHEMA, compression="zstd") as writer:
                waiting: list[dict[str, Any]] = []
                part = first
                while part:
                    rows = [_manifest_row(photo) for photo in part]
                    hashes.append(digest([row["row"].decode() for row in rows]))
                    waiting += rows
                    if len(waiting) >= GROUP_ROWS:
                        writer.write_table(pa.Table.from_pylist(waiting, schema=PART_SCHEMA))
                        waiting = []
                    part = list(islice(fresh, photos_per_part))
                if waiting:
                    writer.write_table(pa.Table.from_pylist(waiting, schema=PART_SCHEMA))
                stored = json.dumps({"size": photos_per_part, "hashes": hashes})
                writer.add_key_value_metadata({_PARTS_KEY.decode(): stored})
        return len(known) - before


def _not_in(known: set[str], photos: Iterable[SourcePhoto]) -> Iterator[SourcePhoto]:
    for photo in photos:
        if photo.uri not in known:
            known.add(photo.uri)
            yield photo


def _manifest_row(photo: SourcePhoto) -> dict[str, Any]:
    return {
        "name": photo.uri,
        "outcome": "ok",
        "reason": "",
        "detail": "",
        "attempts": 0,
        "row": _rows.dump_json(Row(photo)),
    }
