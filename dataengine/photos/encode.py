"""From annotated rows to shards: the bytes that are stored for a photo, and the sink that writes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from instructrestore.dataengine.photos import photo_file
from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.running.part_files import Outcome, PartFile, PartSummary, read_outcomes_of, write_part
from instructrestore.dataengine.running.stage import Task
from instructrestore.shards.checksums import CHECKSUMS, is_as_written
from instructrestore.shards.files import replacing
from instructrestore.shards.index import ShardEntry
from instructrestore.shards.paths import Place, remove, sizes
from instructrestore.shards.sample import AnnotatedPhoto
from instructrestore.shards.write import ShardWriter, shard_name

REVISION = "2"  # raised when the same photo gets another file or record in a shard
PUBLISHED = (
    "dataset.json",
    "index.parquet",
    "README.md",
    "croissant.json",
    CHECKSUMS,
)  # what declares a data set complete


class ShardSettings(BaseModel):
    """How photos are divided into shards."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    photos_per_shard: int = Field(
        default=256, ge=1, le=100_000, description="Photos in a shard; the last shard has the remainder."
    )


@dataclass(frozen=True)
class EncodedPhoto:
    """A photo as it goes into a shard."""

    sample: AnnotatedPhoto
    data: bytes


class Encode:
    """The stage: keeps the original bytes if they are upright sRGB in any decoder, otherwise makes a lossless PNG."""

    def __call__(self, rows: Sequence[Row]) -> list[EncodedPhoto]:
        return [self._encode(row) for row in rows]

    def _encode(self, row: Row) -> EncodedPhoto:
        assert row.photo
        data = photo_file.read_source(row)
        decoded = photo_file.decode(data, row.photo.width * row.photo.height)
        sample = AnnotatedPhoto(row.photo, row.regions)
        return EncodedPhoto(sample, data if decoded.as_is else photo_file.encode(decoded.rgb))


@dataclass(frozen=True)
class StoredPhoto:
    """What a shard's part file keeps of a photo: its row in the index and, for the first photo, the shard's entry."""

    index: dict[str, Any]
    entry: ShardEntry | None = None


_written = TypeAdapter(StoredPhoto)


class ShardSink:
    """Writes a shard photo by photo, commits it, and then commits the part file that says it is done."""

    def __init__(self, task: Task, rows: TypeAdapter[Any]) -> None:
        self._task = task
        self._rows = rows
        self._outcomes: list[Outcome[Any]] = []
        self._stack = ExitStack()
        assert task.target
        name = shard_name(str(task.slices[0].family), task.part)
        file = self._stack.enter_context(replacing(task.target / name))
        self._writer = ShardWriter(name, file)

    def add(self, outcome: Outcome[Any]) -> None:
        encoded = outcome.row
        if isinstance(encoded, EncodedPhoto):
            self._writer.add(encoded.sample, encoded.data)
            outcome = replace(outcome, row=StoredPhoto(self._writer.rows[-1]))
        elif outcome.kind == "failed":
            outcome = replace(outcome, row=None)
        self._outcomes.append(outcome)

    def commit(self) -> tuple[PartFile, PartSummary]:
        entry = self._writer.close()
        self._stack.close()
        for place, outcome in enumerate(self._outcomes):
            if outcome.row:
                self._outcomes[place] = replace(outcome, row=StoredPhoto(outcome.row.index, entry))
                break
        task = self._task
        return write_part(task.folder, task.part, task.input, task.attempt, self._outcomes, self._rows)

    def abandon(self) -> None:
        self._writer.abandon()
        with suppress(OSError):  # on a full disk, closing the file fails like the write before it
            self._stack.__exit__(InterruptedError, InterruptedError(), None)


class DatasetShards:
    """The shards in a data set's folder, as what a stage writes beside its parts (`checkpoints.Outputs`)."""

    def __init__(self, dataset: Place) -> None:
        self._dataset = dataset

    def lost(self, files: Sequence[PartFile]) -> list[PartFile]:
        """Of shards that are no longer there as they were written."""
        there = sizes(self._dataset)
        entries = map(entry_of, written(files))
        return [
            file
            for file, entry in zip(files, entries, strict=True)
            if entry
            and not (there.get(entry.name) == entry.bytes and is_as_written(self._dataset / entry.name, entry.sha256))
        ]

    def withdraw(self) -> None:
        """Takes the data set's card away: until all shards are written it is no data set."""
        remove([self._dataset / name for name in PUBLISHED])


def entry_of(photos: Sequence[StoredPhoto]) -> ShardEntry | None:
    """The `dataset.json` entry of the shard that consists of these photos; None if there are none."""
    return next((photo.entry for photo in photos if photo.entry), None)


def written(files: Sequence[PartFile]) -> Iterator[list[StoredPhoto]]:
    """For each shard's part file, the records of its photos, in order."""
    for outcomes in read_outcomes_of([file.path for file in files], _written):
        yield [outcome.row for outcome in outcomes if outcome.row]
