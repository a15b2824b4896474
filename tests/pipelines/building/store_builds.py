"""Builds into an object store in processes of their own, which end at a chosen request."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pytest
from pydantic import TypeAdapter
from rich.console import Console

from instructrestore.dataengine.running.executor import Executor
from instructrestore.dataengine.running.part_files import PartFile, read_outcomes
from instructrestore.dataengine.sources import parse_source
from instructrestore.pipelines.building import build as building
from instructrestore.pipelines.building.presets import embedded, with_values
from instructrestore.shards.paths import parse_place
from instructrestore.shards.verify import verify
from tests.object_store import ObjectStore
from tests.pipelines.photos import BY_COLOUR, make_photos

RUN = "bucket/run"
PHOTOS = "bucket/photos"
_processes = multiprocessing.get_context("forkserver")


@contextmanager
def store_with_photos(photos: Path, count: int) -> Iterator[ObjectStore]:
    """A store whose bucket has `count` photos; the environment says where it is."""
    make_photos(photos, count)
    _processes.set_forkserver_preload([__name__, "pandas", "webdataset.writer"])
    with ObjectStore() as store, pytest.MonkeyPatch.context() as environment:
        for name, value in store.environment.items():
            environment.setenv(name, value)
        fsspec.filesystem("s3", skip_instance_cache=True).mkdir("bucket")
        for path in sorted(photos.iterdir()):
            store.put(f"photos/{path.name}", path.read_bytes())
        yield store


def build(store: ObjectStore, last: int | None = None, photos_per_part: int = 2, photos_per_shard: int = 1) -> int:
    """Builds in a process that is killed at request number `last`; the process's exit status."""
    sizes = {"photos_per_part": photos_per_part, "shards": {"photos_per_shard": photos_per_shard}}
    process = _processes.Process(target=_build, args=(store.environment, sizes))
    store.begin(last, process.kill)
    process.start()
    process.join()
    store.last = None
    assert process.exitcode is not None
    return process.exitcode


def _build(environment: dict[str, str], sizes: dict[str, Any]) -> None:
    os.environ.update(environment)
    alone: Any = lambda ray, *rest: Executor(None, *rest)  # noqa: E731  (Ray takes longer to start than all else)
    building.Executor = alone
    values = {"sources": [parse_source(f"s3://{PHOTOS}")], "quality_gate": {"short_side": 64, "score": 0.0}}
    settings = with_values(embedded(), {**values, **sizes, **BY_COLOUR})
    building.build(settings, parse_place(f"s3://{RUN}"), Console(file=io.StringIO()))


def objects(store: ObjectStore) -> dict[str, str]:
    """The sha256 of every object of the run, by its name."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in store.objects("run/").items()}


def check_whole(store: ObjectStore) -> None:
    """Raises where something that a crash left is there in part."""
    found = store.objects("run/")
    with tempfile.TemporaryDirectory() as folder:
        for name, data in found.items():
            place = Path(folder) / name.rpartition("/")[2]
            if PartFile.parse(place):
                place.write_bytes(data)
                read_outcomes(place, TypeAdapter(Any))  # compares the rows with the hash in the name
    if "dataset/dataset.json" in found:
        assert verify(f"s3://{RUN}/dataset") == []
