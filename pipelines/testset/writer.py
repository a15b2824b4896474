"""Samples into the shards and tables of a test set."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from instructrestore.model.degradation.settings import PRESETS
from instructrestore.pipelines.testset.plain_files import PlainFiles
from instructrestore.pipelines.testset.sample import EncodedSample
from instructrestore.pipelines.testset.settings import TestSetSettings
from instructrestore.shards.checksums import add_checksums
from instructrestore.shards.files import replacing
from instructrestore.shards.index import INDEX_SCHEMA, ShardEntry
from instructrestore.shards.pairs import LQ_EXTENSION, finish_test_set
from instructrestore.shards.write import ShardWriter, shard_name

PHOTOS_PER_SHARD = 64


class SampleWriter:
    """Samples into shards, a whole shard at a time, and the files that make the folder a test set."""

    def __init__(self, folder: Path, settings: TestSetSettings, files: bool) -> None:
        self._folder, self._settings = folder, settings
        self._files = PlainFiles(folder, settings.bokeh) if files else None
        self._entries: list[ShardEntry] = []
        self._tables: list[pa.Table] = []
        self._pairs: list[dict[str, Any]] = []
        self._shard: ShardWriter | None = None
        self._open = ExitStack()
        self.keys: set[str] = set()

    def __enter__(self) -> SampleWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        if kind is None:
            self._end_shard()
        elif self._shard:
            self._shard.abandon()
            self._open.__exit__(kind, *rest)

    def add(self, sample: EncodedSample) -> None:
        """Adds a sample; its key must be new."""
        assert sample.record.photo.key not in self.keys
        if self._shard is None:
            name = shard_name("png", len(self._entries))
            self._shard = ShardWriter(name, self._open.enter_context(replacing(self._folder / name)))
        offset, size = self._shard.add(sample.record, sample.hq, {LQ_EXTENSION: sample.lq})[LQ_EXTENSION]
        self._pairs.append({**sample.pair, "lq_offset": offset, "lq_bytes": size})
        self.keys.add(sample.record.photo.key)
        if self._files:
            self._files.add(sample)
        if len(self._shard.rows) == PHOTOS_PER_SHARD:
            self._end_shard()

    def finish(self, name: str, facts: dict[str, Any]) -> None:
        """Writes all that belongs to the folder, `dataset.json` last. facts: what it says besides the settings."""
        if self._files:
            self._files.finish()
        facts = {**asdict(self._settings), **facts, "degradation_settings": None}
        if any(pair["degradation"] for pair in self._pairs):
            facts["degradation_settings"] = PRESETS[self._settings.degradation].model_dump(mode="json")
        else:
            facts["degradation"] = ""  # every LQ photo was given
        finish_test_set(self._folder, name, self._entries, self._tables, self._pairs, facts)
        if self._files:
            add_checksums(self._folder, self._files.checksums)

    def _end_shard(self) -> None:
        if self._shard is None:
            return
        self._entries.append(self._shard.close())
        self._tables.append(pa.Table.from_pylist(self._shard.rows, INDEX_SCHEMA))
        self._open.close()
        self._shard = None
