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

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from instructrestore.dataengine.photos.row import Row, SegmentMask, SourcePhoto
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
from instructrestore.dataengine.running.stage_kinds import Part
from instructrestore.dataengine.running.work_folder import WorkFolder
from instructrestore.dataengine.sources.settings import SourceSettings
from instructrestore.shards.addresses import has_secret
from instructrestore.shards.errors import DamagedFile
from instructrestore.shards.files import commit, replacing
from instructrestore.shards.parsing import parse_object
from instructrestore.shards.paths import Place, names, read_if_there

RUN_SCHEMA = 1
_PARTS_KEY = b"instructrestore.parts"
_rows = TypeAdapter(Row)
_sources = TypeAdapter(SourcePhoto)
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
            for place, content in enumerate(stored["hashes"]):
                start = place * stored["size"]
                rows = Slice(str(path), start, start + stored["size"], content=content)
                found.append(Part(len(found), rows, content))
        return found

    def known(self) -> dict[str, int]:
        """The photos in the manifest: by URI, a hash of what the sources said of each. All of it is compared with the
        hashes of its parts: it cannot be made again. Raises DamagedFile."""
        known: dict[str, int] = {}
        files = self._manifest_files()
        for path, source in zip(files, whole_files(files), strict=True):
            with reading(path, MANIFEST_REMEDY):
                file = pq.ParquetFile(source)
                stored = parse_object(file.metadata.metadata[_PARTS_KEY], str(path))
                hashes: list[str] = []
                waiting: list[bytes] = []
                for batch in file.iter_batches(columns=["name", "row"]):
                    for uri, row in zip(batch["name"].to_pylist(), batch["row"].to_pylist(), strict=True):
                        origin = _rows.validate_json(row).origin
                        if origin.uri != uri:
                            raise DamagedFile(path, MANIFEST_REMEDY)
                        known[uri] = _fingerprint(origin)
                        waiting.append(row)
                        if len(waiting) == stored["size"]:
                            hashes.append(rows_hash(waiting))
                            waiting.clear()
                if [*hashes, *([rows_hash(waiting)] if waiting else [])] != stored["hashes"]:
                    raise DamagedFile(path, MANIFEST_REMEDY)
        return known

    def append(self, photos: Iterable[SourcePhoto], photos_per_part: int) -> Appended:
        """Puts photos that the manifest does not have into new parts.

        An append that is interrupted leaves the manifest as it was. Raises ValueError where a source says other
        things of a photo than it did when the photo came in: a run's photos are fixed; or where two listings of a
        photo contradict each other.
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
                        if counts["signed"]:
                            self.keep_private()
                        hashes.append(rows_hash(row["row"] for row in part))
                        waiting += part
                        part = list(islice(fresh, photos_per_part))
                        if len(waiting) >= GROUP_ROWS or not part:
                            writer.write_table(pa.Table.from_pylist(waiting, schema=PART_SCHEMA))
                            waiting = []
                    stored = json.dumps({"size": photos_per_part, "hashes": hashes})
                    writer.add_key_value_metadata({_PARTS_KEY.decode(): stored})
        return Appended(counts["new"], counts["twice"], len(known) - counts["known"], bool(counts["signed"]))

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


def _fresh(known: dict[str, int], photos: Iterable[SourcePhoto], counts: Counter[str]) -> Iterator[dict[str, Any]]:
    """The manifest's rows of photos that are not known."""
    seen: dict[str, _Listing] = {}
    said: dict[_Listing, _Listing] = {}  # equal ones are one object: photos without annotations mostly say the same
    for photo in photos:
        if first := seen.get(photo.uri):
            first.check(photo)
            counts["twice"] += 1
            continue
        listing = _Listing.of(photo)
        seen[photo.uri] = said.setdefault(listing, listing)
        if photo.uri not in known:
            counts["new"] += 1
            counts["signed"] += any(map(has_secret, _addresses(photo)))
            yield _manifest_row(photo)
            continue
        counts["known"] += 1
        # Manifests of before 0.2 do not know the size that a source states: it is no contradiction that it does.
        if known[photo.uri] != _fingerprint(photo) and (
            photo.annotated_size is None or known[photo.uri] != _fingerprint(replace(photo, annotated_size=None))
        ):
            raise ValueError(
                f"the sources say other things of {photo.name} than when it came into this run (its annotations, "
                "licence or exclusion): build into another folder"
            )


def _addresses(photo: SourcePhoto) -> Iterator[str]:
    yield photo.uri
    yield from (each.mask.uri for each in photo.annotations or () if isinstance(each.mask, SegmentMask))


class _Listing(NamedTuple):
    """What the first listing of a photo says, as far as another one could contradict it."""

    source: str
    excluded: bool
    annotations: int  # a hash; 0: none
    licence: str
    bokeh: bool | None

    @classmethod
    def of(cls, photo: SourcePhoto) -> _Listing:
        drawn = 0
        if photo.annotations:
            said = SourcePhoto("", "", "", annotations=photo.annotations, annotated_size=photo.annotated_size)
            drawn = _hash(_sources.dump_json(said))
        return cls(photo.source, photo.excluded, drawn, photo.licence, photo.bokeh)

    def check(self, photo: SourcePhoto) -> None:
        """Raises ValueError, in one sentence, where a further listing of the photo says what this one does not.

        A photo on an exclude list is left out whatever else is said of it.
        """
        other = _Listing.of(photo)
        twice = f"{photo.name} is listed twice, by {self.source} and by {other.source}"
        if self.excluded:
            return
        if other.annotations and not self.annotations:
            raise ValueError(f"{twice}, and only the second has annotations of it: name that source first")
        if other.annotations and self.annotations != other.annotations:
            raise ValueError(f"{twice}, with different annotations: leave out one of the two")
        if other.licence and self.licence and self.licence != other.licence:
            raise ValueError(f"{twice}, under different licences: leave out one of the two")
        if None not in (other.bokeh, self.bokeh) and self.bokeh != other.bokeh:
            raise ValueError(f"{twice}, once as bokeh and once not: leave out one of the two")


def _fingerprint(photo: SourcePhoto) -> int:
    """A hash of what a source says of a photo; what the source and the photo in it are called is no part of that, nor
    are the annotations of a photo that cannot be used."""
    said = replace(photo, name="", source="", annotations=None if photo.problem else photo.annotations)
    return _hash(_sources.dump_json(said))


def _hash(said: bytes) -> int:
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
