"""A run's folder: what lies where, the manifest of its photos, and the lock of the one build that works on it.

RUN/run.json               schema of the folder
RUN/settings.toml          the settings that reproduce the run
RUN/manifest/              the photos as the sources listed them, in parts fixed for good
RUN/stages/<nn-stage>/     a Parquet file per part: the checkpoint (part_files.py)
RUN/tables/                results over the whole data set: duplicates, noun phrases (side_table.py)
RUN/answers/               answers of the grammar or language model, by (model, revision, prompt), round
RUN/dataset/               the data set: shards, index.parquet, dataset.json, README.md
RUN/report.html
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
_sources = TypeAdapter(SourcePhoto)


@dataclass(frozen=True)
class ManifestPart:
    """A part of the manifest: some 64 photos, and the hash of what the sources say of them."""

    part: int
    where: Slice
    content: str


class RunFolder:
    """The folder of a run, which need not be there yet.

    Raises ValueError where it is something else, or made by another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path = path.absolute()  # workers have other current folders
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

    def create(self) -> None:
        """Makes the folders that are not there yet."""
        self.path.mkdir(parents=True, exist_ok=True)
        marker = self.path / "run.json"
        if not marker.exists():  # first of all, so that the folder is known for a run whatever happens next
            commit(marker, json.dumps({"schema": RUN_SCHEMA}).encode())
        for folder in (self.manifest, self.stages, self.tables, self.answers, self.dataset):
            folder.mkdir(exist_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Held by the one build that works here; makes the folders, and sweeps away what killed builds left.

        Raises ValueError where another build holds it. The lock goes with its process, however that ends.
        """
        self.create()
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

    def known(self) -> dict[str, int]:
        """The photos in the manifest: by URI, a hash of what the sources said of each."""
        return {
            uri: _fingerprint(_rows.validate_json(row).origin)
            for path in sorted(self.manifest.glob("*.parquet"))
            for batch in pq.ParquetFile(path).iter_batches(columns=["name", "row"])
            for uri, row in zip(batch["name"].to_pylist(), batch["row"].to_pylist(), strict=True)
        }

    def append(self, photos: Iterable[SourcePhoto], photos_per_part: int) -> Appended:
        """Puts photos that the manifest does not have into new parts.

        An append that is interrupted leaves the manifest as it was. Raises ValueError where a source says other
        things of a photo than it did when the photo came in: a run's photos are fixed.
        """
        self.create()
        counts = Counter[str]()
        known = self.known()
        number = len(list(self.manifest.glob("*.parquet")))
        fresh = _fresh(known, photos, counts)
        part = list(islice(fresh, photos_per_part))
        if part:
            with replacing(self.manifest / f"{number:06d}.parquet") as file:
                hashes: list[str] = []
                with pq.ParquetWriter(file, PART_SCHEMA, compression="zstd") as writer:
                    waiting: list[dict[str, Any]] = []
                    while part:
                        hashes.append(digest([row["row"].decode() for row in part]))
                        waiting += part
                        part = list(islice(fresh, photos_per_part))
                        if len(waiting) >= GROUP_ROWS or not part:
                            writer.write_table(pa.Table.from_pylist(waiting, schema=PART_SCHEMA))
                            waiting = []
                    stored = json.dumps({"size": photos_per_part, "hashes": hashes})
                    writer.add_key_value_metadata({_PARTS_KEY.decode(): stored})
        return Appended(counts["new"], counts["twice"], len(known) - counts["known"])


@dataclass(frozen=True)
class Appended:
    """new: photos that came in. twice: listings of a photo that was listed before, the first one counting. gone:
    photos of earlier builds that the sources list no more; they stay."""

    new: int
    twice: int
    gone: int


def _fresh(known: dict[str, int], photos: Iterable[SourcePhoto], counts: Counter[str]) -> Iterator[dict[str, Any]]:
    """The manifest's rows of photos that are not known."""
    seen: set[str] = set()
    for photo in photos:
        if photo.uri in seen:
            counts["twice"] += 1
            continue
        seen.add(photo.uri)
        if photo.uri not in known:
            counts["new"] += 1
            yield _manifest_row(photo)
            continue
        counts["known"] += 1
        if known[photo.uri] != _fingerprint(photo):
            raise ValueError(
                f"the sources say other things of {photo.name} than when it came into this run (its annotations, "
                "licence or exclusion): build into another folder"
            )


def _fingerprint(photo: SourcePhoto) -> int:
    """A hash of what a source says of a photo; what the source and the photo in it are called is no part of that."""
    said = _sources.dump_json(replace(photo, name="", source=""))
    return int.from_bytes(hashlib.blake2b(said, digest_size=8).digest(), "big")


def _manifest_row(photo: SourcePhoto) -> dict[str, Any]:
    return {
        "name": photo.uri,
        "outcome": "ok",
        "reason": "",
        "detail": "",
        "attempts": 0,
        "row": _rows.dump_json(Row(photo)),
    }
