"""What an object store is asked, and what its latency costs: moto's S3 server in this process, 30 ms a request put in.

python -m benchmarks.stores list [PHOTOS]        listing a folder of photos
python -m benchmarks.stores build [PHOTOS]       a build in the store: requests and seconds, by where they go
python -m benchmarks.stores stream [PHOTOS]      an epoch of a data set in the store
python -m benchmarks.stores crashes [EVERY]      a build killed at every EVERY-th request, gone on with, compared

A build is one process without Ray. "Late" are the seconds in which at least one request was in its latency: what a busy
machine takes besides is not in them. `--latency S` is another latency.
"""

from __future__ import annotations

import itertools
import logging
import re
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from instructrestore.dataengine.sources import list_photos, parse_source
from instructrestore.shards.index import Dataset
from instructrestore.shards.reading.cache import ShardCache
from instructrestore.shards.reading.reader import PhotoReader
from instructrestore.shards.reading.stream import TripletStream
from tests.object_store import ObjectStore, Request
from tests.pipelines.building.store_builds import PHOTOS, RUN, build, check_whole, objects, store_with_photos
from tests.shards.loading import name_of, order_of

PHOTOS_PER_PART, PHOTOS_PER_SHARD = 8, 16


def table(requests: Iterable[Request]) -> None:
    """Requests by folder and kind."""
    found = Counter((_folder(request.name), request.kind) for request in requests)
    for folder in sorted({folder for folder, _ in found}):
        kinds = {kind: count for (of, kind), count in sorted(found.items()) if of == folder}
        print(f"  {folder:28}{sum(kinds.values()):6}   {', '.join(f'{count} {kind}' for kind, count in kinds.items())}")


def waited(requests: Iterable[Request], latency_s: float) -> float:
    """Seconds in which at least one request was in its latency: those at the same time count once."""
    total, until = 0.0, 0.0
    for came in sorted(request.came for request in requests):
        total += came + latency_s - max(came, until)
        until = came + latency_s
    return total


def _folder(name: str) -> str:
    inside = re.sub(rf"^{RUN}/(stages/)?", "", name)
    return "photos" if name.startswith(PHOTOS) else inside.split("/")[0]


def listing(store: ObjectStore, count: int) -> None:
    for number in range(count):
        store.put(f"many/{number:09d}.jpg", b"")
    store.begin()
    started = time.monotonic()
    found = sum(1 for _ in list_photos(parse_source("s3://bucket/many"), Counter()))
    late = waited(store.requests, store.latency_s)
    print(
        f"{found:,} photos listed: {len(store.requests)} requests, {time.monotonic() - started:.1f} s, {late:.1f} late"
    )
    table(store.requests)


def builds(store: ObjectStore) -> None:
    for what in ("build", "again, nothing to do"):
        started = time.monotonic()
        assert build(store, None, PHOTOS_PER_PART, PHOTOS_PER_SHARD) == 0
        seconds, late = time.monotonic() - started, waited(store.requests, store.latency_s)
        print(f"{what}: {len(store.requests)} requests, {seconds:.1f} s, of which {late:.1f} late", flush=True)
        table(store.requests)


def stream(store: ObjectStore) -> None:
    assert build(store, None, PHOTOS_PER_PART, PHOTOS_PER_SHARD) == 0
    with tempfile.TemporaryDirectory() as cache:
        store.begin()
        started = time.monotonic()
        dataset = Dataset(f"s3://{RUN}/dataset")
        reader = PhotoReader(dataset, ShardCache(Path(cache), 1 << 30))
        opened = time.monotonic()
        print(f"opened: {len(store.requests)} requests, {opened - started:.2f} s")
        table(store.requests)
        for epoch in (1, 2):
            store.begin()
            started = time.monotonic()
            batches = TripletStream([reader], order_of(dataset, seed=3, window_shards=4), name_of, batch=4)
            steps = dataset.card.regions // 4
            count = sum(1 for _ in itertools.islice(batches.micro_batches(), steps))
            seconds = time.monotonic() - started
            shards = len(dataset.card.shards)
            late = waited(store.requests, store.latency_s)
            asked = f"{len(store.requests)} requests, {seconds:.2f} s, {late:.2f} late"
            print(f"epoch {epoch}: {count} batches, {shards} shards, {asked}")


def crashes(store: ObjectStore, every: int) -> int:
    assert build(store) == 0
    requests, expected = list(store.requests), objects(store)
    print(f"an undisturbed build: {len(requests)} requests, {len(expected)} objects", flush=True)
    same, tried, left = 0, 0, Counter[str]()
    for last in range(0, len(requests), every):
        store.remove("run/")
        killed = build(store, last)
        found = objects(store)
        check_whole(store)
        left.update(set(found) - set(expected))
        again = build(store)
        tried += 1
        same += (killed, again) == (-9, 0) and objects(store) == expected
        print(f"killed at {last} ({requests[last].kind} {requests[last].name}): {len(found)} left; {same}/{tried}")
        sys.stdout.flush()
    print(f"{tried} kills, {same} with the same bytes after; left besides what a build makes: {dict(left)}")
    return 0 if same == tried else 1


def main() -> int:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("list", "build", "stream", "crashes"))
    parser.add_argument("count", type=int, nargs="?")
    parser.add_argument("--latency", type=float, default=0.03)
    options = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    photos: int = {"list": 0, "crashes": 4}.get(options.what, options.count or 32)
    with tempfile.TemporaryDirectory() as folder, store_with_photos(Path(folder) / "photos", photos) as store:
        if options.what == "crashes":
            return crashes(store, options.count or 1)
        store.latency_s = options.latency
        if options.what == "list":
            listing(store, options.count or 10_000)
        elif options.what == "build":
            builds(store)
        else:
            stream(store)
    return 0


if __name__ == "__main__":
    sys.exit(main())
