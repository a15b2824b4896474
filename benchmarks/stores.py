"""What an object store is asked, and what its latency costs: moto's S3 server in this process, 30 ms a request put in.

python -m benchmarks.stores list [PHOTOS]        listing a folder of photos
python -m benchmarks.stores build [PHOTOS]       a build in the store: requests and seconds, by where they go
python -m benchmarks.stores stream [PHOTOS]      an epoch of a data set in the store
python -m benchmarks.stores crashes [EVERY]      a build killed at every EVERY-th request, gone on with, compared

A build is one process without Ray. `--latency S` is another latency.
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
from tests.pipelines.building.store_builds import PHOTOS, RUN, build, check_whole, clear, objects, store_with_photos
from tests.shards.loading import name_of, order_of

PHOTOS_PER_PART, PHOTOS_PER_SHARD = 8, 16


def table(requests: Iterable[Request]) -> None:
    """Requests by folder and kind."""
    found = Counter((_folder(request.name), request.kind) for request in requests)
    for folder in sorted({folder for folder, _ in found}):
        kinds = {kind: count for (of, kind), count in sorted(found.items()) if of == folder}
        print(f"  {folder:28}{sum(kinds.values()):6}   {', '.join(f'{count} {kind}' for kind, count in kinds.items())}")


def _folder(name: str) -> str:
    inside = re.sub(rf"^{RUN}/(stages/)?", "", name)
    return "photos" if name.startswith(PHOTOS) else inside.split("/")[0]


def listing(store: ObjectStore, count: int) -> None:
    """Empty objects, put into moto by hand; no other client is that quick."""
    from moto.s3.models import s3_backends  # noqa: PLC0415

    backend = s3_backends["123456789012"]["aws"]
    for number in range(count):
        backend.put_object("bucket", f"many/{number:09d}.jpg", b"")
    store.begin()
    started = time.monotonic()
    found = sum(1 for _ in list_photos(parse_source("s3://bucket/many"), Counter()))
    print(f"{found:,} photos listed: {len(store.requests)} requests, {time.monotonic() - started:.1f} s")
    table(store.requests)


def builds(store: ObjectStore, latency_s: float) -> None:
    for each in (0, latency_s):
        clear()
        store.latency_s = each
        for what in ("build", "again, nothing to do"):
            started = time.monotonic()
            assert build(store, None, PHOTOS_PER_PART, PHOTOS_PER_SHARD) == 0
            seconds = time.monotonic() - started
            print(f"{what}, latency {each * 1000:g} ms: {len(store.requests)} requests, {seconds:.1f} s", flush=True)
            if each:
                table(store.requests)
        store.latency_s = 0


def stream(store: ObjectStore, latency_s: float) -> None:
    assert build(store, None, PHOTOS_PER_PART, PHOTOS_PER_SHARD) == 0
    store.latency_s = latency_s
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
            print(f"epoch {epoch}: {count} batches, {shards} shards, {len(store.requests)} requests, {seconds:.2f} s")


def crashes(store: ObjectStore, every: int) -> int:
    assert build(store) == 0
    requests, expected = list(store.requests), objects()
    print(f"an undisturbed build: {len(requests)} requests, {len(expected)} objects", flush=True)
    same, tried, left = 0, 0, Counter[str]()
    for last in range(0, len(requests), every):
        clear()
        killed = build(store, last)
        found = objects()
        check_whole(found)
        left.update(set(found) - set(expected))
        again = build(store)
        tried += 1
        same += (killed, again) == (-9, 0) and objects() == expected
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
    photos = {"list": 0, "crashes": 4}.get(options.what, options.count or 32)
    with tempfile.TemporaryDirectory() as folder, store_with_photos(Path(folder) / "photos", photos) as store:
        if options.what == "crashes":
            return crashes(store, options.count or 1)
        if options.what == "list":
            store.latency_s = options.latency
            listing(store, options.count or 10_000)
        elif options.what == "build":
            builds(store, options.latency)
        else:
            stream(store, options.latency)
    return 0


if __name__ == "__main__":
    sys.exit(main())
