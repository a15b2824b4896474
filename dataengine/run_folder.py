"""A run's folder, local or in an object store: what lies where, and the manifest of its photos.

RUN/run.json               schema of the folder
RUN/settings.toml          the settings that reproduce the run
RUN/manifest/              the photos as the sources listed them, in parts fixed for good
RUN/stages/<nn-stage>/     a Parquet file per part: the checkpoint (running/part_files.py)
RUN/tables/                results over the whole data set: duplicates, noun phrases (running/side_table.py)
RUN/answers/               answers of the grammar or language model, by (model, revision, prompt), round
RUN/dataset/               the data set: shards, index.parquet, dataset.json, README.md
RUN/report.html
RUN/.lock                  held by the one build that works here (running/lock.py)
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from instructrestore.dataengine.photos.row import Row, SourcePhoto
from instructrestore.dataengine.running.part_files import (
    GROUP_ROWS,
    PART_SCHEMA,
    Slice,
    digest,
    read_metadata,
    whole_files,
)
from instructrestore.dataengine.running.stage_kinds import Part
from instructrestore.dataengine.running.work_folder import WorkFolder
from instructrestore.shards.files import replacing
from instructrestore.shards.paths import Place, names

RUN_SCHEMA = 1
_PARTS_KEY = b"instructrestore.parts"
_rows = TypeAdapter(Row)
_sources = TypeAdapter(SourcePhoto)


class RunLayout:
    """What lies where in the run's folder `path`, which need not be there."""

    def __init__(self, path: Place) -> None:
        self.path = path = path.absolute()  # workers have other current folders
        self.manifest, self.stages = path / "manifest", path / "stages"
        self.tables, self.answers, self.dataset = path / "tables", path / "answers", path / "dataset"


class RunFolder(RunLayout):
    """The folder of a build. Raises ValueError where it is something else, or was made by another version."""

    def __init__(self, path: Place) -> None:
        super().__init__(path)
        self._folder = WorkFolder(self.path, "run.json", RUN_SCHEMA, "a build")

    def create(self) -> None:
        """Makes the folders that are not there yet."""
        self._folder.create(self.manifest, self.stages, self.tables, self.answers, self.dataset)

    @contextmanager
    def lock(self) -> Iterator[Callable[[], None]]:
        """Held by the one build that works here; makes the folders, and sweeps away what killed builds left.

        Gives what raises StopStage if the lock is lost on the way. Raises ValueError where another run holds it.
        """
        with self._folder.lock((self.manifest, self.stages, self.tables, self.answers, self.dataset)) as check:
            yield check

    def _manifest_files(self) -> list[Place]:
        return [self.manifest / name for name in names(self.manifest) if name.endswith(".parquet") and name[0] != "."]

    def parts(self) -> list[Part]:
        """The manifest's parts, in order; a part's content is a hash of what the sources say of its photos."""
        found: list[Part] = []
        files = self._manifest_files()
        for path, footer in zip(files, read_metadata(files), strict=True):
            stored = json.loads(footer.metadata[_PARTS_KEY])
            for place, content in enumerate(stored["hashes"]):
                start = place * stored["size"]
                found.append(Part(len(found), Slice(str(path), start, start + stored["size"]), content))
        return found

    def known(self) -> dict[str, int]:
        """The photos in the manifest: by URI, a hash of what the sources said of each."""
        return {
            uri: _fingerprint(_rows.validate_json(row).origin)
            for source in whole_files(self._manifest_files())
            for batch in pq.ParquetFile(source).iter_batches(columns=["name", "row"])
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
        number = len(self._manifest_files())
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
