"""A run's folder, local or in an object store: what lies where, and the manifest of its photos.

RUN/run.json               schema of the folder
RUN/settings.toml          the settings that reproduce the run
RUN/manifest/              the photos as the sources listed them, in parts fixed for good; left_out.json: the sources'
                           annotations that are part of no photo
RUN/stages/<nn-stage>/     a Parquet file per part: the checkpoint (running/part_files.py)
RUN/tables/                results over the whole data set: duplicates, noun phrases (running/side_table.py); spilled/
                           is what a step of the driver has no memory for, and nothing that counts (running/scratch.py)
RUN/answers/               answers of the grammar or language model, by (model, revision, prompt), round
RUN/dataset/               the data set: shards, index.parquet, dataset.json, README.md
RUN/report.html
RUN/.lock                  held by the one build that works here (running/lock.py)
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter
from pydantic_core import to_json

from instructrestore.dataengine.listing import RunListing
from instructrestore.dataengine.photos.row import Row, SourcePhoto
from instructrestore.dataengine.running.integrity import digest, reading
from instructrestore.dataengine.running.part_files import (
    GROUP_ROWS,
    MANIFEST_REMEDY,
    PART_SCHEMA,
    Slice,
    read_metadata,
    rows_hash,
    whole_files,
)
from instructrestore.dataengine.running.scratch import scratch
from instructrestore.dataengine.running.stage_kinds import Part
from instructrestore.dataengine.running.work_folder import WorkFolder
from instructrestore.dataengine.sources.settings import SourceSettings
from instructrestore.shards.errors import DamagedFile
from instructrestore.shards.files import commit, replacing
from instructrestore.shards.parsing import parse_object
from instructrestore.shards.paths import Place, names, read_if_there

RUN_SCHEMA = 1
_PARTS_KEY = b"instructrestore.parts"
_AS_LISTED = {"outcome": "ok", "reason": "", "detail": "", "attempts": 0}
_rows = TypeAdapter(Row)
_counts = TypeAdapter(dict[str, dict[str, int]])


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
        for path, footer in zip(files, read_metadata(files, MANIFEST_REMEDY), strict=True):
            with reading(path, MANIFEST_REMEDY):
                stored = parse_object(footer.metadata[_PARTS_KEY], str(path))
            name = str(path)
            for place, content in enumerate(stored["hashes"]):
                start = place * stored["size"]
                rows = Slice(name, start, start + stored["size"], content=content)
                found.append(Part(len(found), rows, content))
        return found

    def known(self) -> Iterator[tuple[str, bytes]]:
        """The photos in the manifest: the URI, and the row as JSON. All of it is compared with the hashes of its parts:
        it cannot be made again. Raises DamagedFile."""
        files = self._manifest_files()
        for path, source in zip(files, whole_files(files), strict=True):
            with reading(path, MANIFEST_REMEDY):
                file = pq.ParquetFile(source)
                stored = parse_object(file.metadata.metadata[_PARTS_KEY], str(path))
                hashes: list[str] = []
                waiting: list[bytes] = []
                for batch in file.iter_batches(columns=["name", "row"]):
                    for uri, row in zip(batch["name"].to_pylist(), batch["row"].to_pylist(), strict=True):
                        begins_so = isinstance(uri, str) and row.startswith(_begin(uri))
                        if not begins_so and _rows.validate_json(row).origin.uri != uri:
                            raise DamagedFile(path, MANIFEST_REMEDY)
                        yield uri, row
                        waiting.append(row)
                        if len(waiting) == stored["size"]:
                            hashes.append(rows_hash(waiting))
                            waiting.clear()
                if [*hashes, *([rows_hash(waiting)] if waiting else [])] != stored["hashes"]:
                    raise DamagedFile(path, MANIFEST_REMEDY)

    def append(self, photos: Iterable[SourcePhoto], photos_per_part: int) -> Appended:
        """Puts photos that the manifest does not have into new parts.

        An append that is interrupted leaves the manifest as it was. Raises ValueError where a source says other
        things of a photo than it did when the photo came in: a run's photos are fixed; or where two listings of a
        photo contradict each other.
        """
        self.create()
        number = len(self._manifest_files())
        with scratch(self.tables) as database:
            listing = RunListing(database, self.known, photos, self.keep_private)
            listing.check()
            if listing.new:
                self._write(self.manifest / f"{number:06d}.parquet", listing.fresh(), photos_per_part)
        return Appended(listing.new, listing.twice, listing.gone, bool(listing.new_signed))

    def _write(self, path: Place, photos: Iterator[tuple[str, bytes]], photos_per_part: int) -> None:
        """Commits a file of the manifest. photos: URI and row."""
        hashes: list[str] = []
        with replacing(path) as file, pq.ParquetWriter(file, PART_SCHEMA, compression="zstd") as writer:
            waiting: list[dict[str, Any]] = []
            while part := list(islice(photos, photos_per_part)):
                hashes.append(rows_hash(row for _, row in part))
                waiting += [{**_AS_LISTED, "name": uri, "row": row} for uri, row in part]
                if len(waiting) >= GROUP_ROWS:
                    writer.write_table(pa.Table.from_pylist(waiting, schema=PART_SCHEMA))
                    waiting = []
            if waiting:
                writer.write_table(pa.Table.from_pylist(waiting, schema=PART_SCHEMA))
            stored = json.dumps({"size": photos_per_part, "hashes": hashes})
            writer.add_key_value_metadata({_PARTS_KEY.decode(): stored})

    def keep_private(self) -> None:
        """From now on only its owner can open the folder, which holds signed addresses; a store has its own rules."""
        if isinstance(self.path, Path):
            self.path.chmod(0o700)

    def note_left_out(self, found: Mapping[SourceSettings, Counter[str]]) -> dict[str, int]:
        """Keeps how many annotations of each source are part of no photo, by reason; returns those of all sources of
        this run, those of earlier builds too."""
        path = self.manifest / "left_out.json"
        stored = _left_out(path)
        # By hash: a source's address may hold a signature.
        stored |= {digest(source.kind, source.path, source.exclude): dict(+counts) for source, counts in found.items()}
        commit(path, json.dumps({"hash": digest(stored), "sources": stored}, indent=1, sort_keys=True).encode())
        return dict(sorted(sum(map(Counter[str], stored.values()), Counter[str]()).items()))


def _begin(uri: str) -> bytes:
    """How the row of a photo begins, so that it need not be parsed for its URI."""
    return b'{"origin":{"uri":' + to_json(uri) + b","


def _left_out(path: Place) -> dict[str, dict[str, int]]:
    content = read_if_there(path)
    if content is None:
        return {}
    try:
        stored = parse_object(content, str(path))
        counts = _counts.validate_python(stored.get("sources"))
    except ValueError:
        stored, counts = {}, {}
    if stored.get("hash") != digest(counts):
        raise DamagedFile(path, "remove it and build again with all sources of the run, which settings.toml names")
    return counts


@dataclass(frozen=True)
class Appended:
    """new: photos that came in. twice: listings of a photo that was listed before, the first one counting. gone:
    photos of earlier builds that the sources list no more; they stay. signed: whether addresses of new ones are."""

    new: int
    twice: int
    gone: int
    signed: bool = False
