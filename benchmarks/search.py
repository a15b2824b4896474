"""Seconds that questions take over a million regions, with made vectors; nothing is encoded and no photo is read.

python -m benchmarks.search 1000000 384 FOLDER     regions, numbers of a vector, and where some 1 to 4 GB are put
python -m benchmarks.search graph 20000 384        for comparison: usearch's graph (HNSW), how quickly it is built
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from usearch.index import Index

from instructrestore.dataengine.search.making import dataset_identity
from instructrestore.dataengine.search.nearest import nearest
from instructrestore.dataengine.search.oddities import duplicates, oddities
from instructrestore.dataengine.search.space import Vectors, of_length_1
from instructrestore.dataengine.search.vector_table import (
    SCHEMA,
    VectorRecord,
    VectorTable,
    part_place,
    shard_rows,
    write_part,
    write_record,
)
from instructrestore.shards.index import INDEX_SCHEMA, Dataset, ShardEntry
from instructrestore.shards.write import finish_dataset, shard_name

REGIONS_A_PHOTO, PER_SHARD, SUBJECTS = 4, 256, 2000
REPEATS = 5


def make_dataset(folder: Path, regions: int) -> Dataset:
    """An index without shards: 4 regions a photo, 256 photos a shard, subjects as frequent as words are."""
    photos = regions // REGIONS_A_PHOTO
    subjects = _subjects(photos * REGIONS_A_PHOTO)
    offsets = np.arange(0, photos * REGIONS_A_PHOTO + 1, REGIONS_A_PHOTO, dtype=np.int32)

    def lists(values: Any, kind: pa.DataType) -> pa.Array:
        return pa.ListArray.from_arrays(offsets, pa.array(values, kind))

    shards = [shard_name("jpg", row // PER_SHARD) for row in range(photos)]
    keys = [f"{row:020x}" for row in range(photos)]
    words = [f"thing{subject}" for subject in subjects.tolist()]
    columns: dict[str, Any] = {name: [""] * photos for name in ("source", "licence", "url")}
    columns |= {name: [0] * photos for name in ("photo_offset", "photo_bytes", "json_offset", "json_bytes")}
    columns |= {"shard": shards, "key": keys, "group": keys, "format": ["jpg"] * photos, "quality": [70.0] * photos}
    columns |= {"width": [640] * photos, "height": [480] * photos, "region_count": [REGIONS_A_PHOTO] * photos}
    columns["captions"] = lists([f"the {word}" for word in words], pa.string())
    columns["subjects"] = lists(words, pa.string())
    columns["areas"] = lists(np.full(len(words), 0.1), pa.float64())
    columns["bokeh"] = lists(np.zeros(len(words), bool), pa.bool_())
    table = pa.table({name: columns[name] for name in INDEX_SCHEMA.names}, schema=INDEX_SCHEMA)
    names = list(dict.fromkeys(shards))
    counts = [min(PER_SHARD, photos - number * PER_SHARD) for number in range(len(names))]
    entries = [
        ShardEntry(name, f"{number:064x}"[::-1], 0, count, count * REGIONS_A_PHOTO)
        for number, (name, count) in enumerate(zip(names, counts, strict=True))
    ]
    finish_dataset(folder, "made", entries, [table], {})
    return Dataset(str(folder))


def _subjects(count: int) -> np.ndarray:
    return np.minimum(np.random.default_rng(1).zipf(1.3, count) - 1, SUBJECTS - 1)


def made(centres: Vectors, subjects: np.ndarray, seed: int) -> Vectors:
    """Vectors around their subject's."""
    noise = np.random.default_rng(seed).standard_normal((len(subjects), centres.shape[1]), dtype=np.float32)
    return of_length_1(centres[subjects] + 0.8 * noise)


def make_table(dataset: Dataset, folder: Path, dimension: int) -> VectorTable:
    centres = of_length_1(np.random.default_rng(0).standard_normal((SUBJECTS, dimension), dtype=np.float32))
    centres *= np.sqrt(dimension)
    subjects = _subjects(len(dataset.index) * REGIONS_A_PHOTO)
    shards = shard_rows(dataset)
    for number, (shard, first, photos) in enumerate(shards):
        some = subjects[first * REGIONS_A_PHOTO : (first + photos) * REGIONS_A_PHOTO]
        vectors = made(centres, some, number).reshape(photos, REGIONS_A_PHOTO, dimension)
        whole = np.concatenate([of_length_1(vectors.mean(1))[:, None], vectors], 1)
        write_part(part_place(folder, shard), dimension, first, enumerate(whole, first))
    record = VectorRecord(
        schema_version=SCHEMA,
        kind="pictures",
        model="made",
        revision="1",
        dimension=dimension,
        dataset=dataset_identity(dataset),
        shards=tuple(shard for shard, _, _ in shards),
        photos=len(dataset.index),
        regions=len(subjects),
        lost=0,
    )
    write_record(folder, record)
    return VectorTable(folder, dataset, record.dataset)


def timed(what: str, ask: Callable[[], object], repeats: int = REPEATS) -> None:
    """The first time, then the median of the others (least to most)."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - begin)
    rest = seconds[1:] or seconds
    print(f"{what}: first {seconds[0]:.2f} s, then {statistics.median(rest):.2f} s ({min(rest):.2f}-{max(rest):.2f})")


def questions(regions: int, dimension: int, folder: Path) -> None:
    begin = time.perf_counter()
    (folder / "data").mkdir(parents=True)
    (folder / "vectors").mkdir()
    dataset = make_dataset(folder / "data", regions)
    table = make_table(dataset, folder / "vectors", dimension)
    bytes_ = sum(path.stat().st_size for path in (folder / "vectors").iterdir())
    print(f"{regions:,} regions of {len(dataset.index):,} photos made in {time.perf_counter() - begin:.0f} s: "
          f"{bytes_ / 2**20:.0f} MiB")  # fmt: skip
    timed("open the data set and its index", lambda: len(Dataset(dataset.path).index), 3)
    query = table.of_photo(len(dataset.index) // 2)
    timed("20 nearest regions", lambda: nearest(table, query[1], 20))
    timed("20 nearest photos", lambda: nearest(table, query[0], 20, photos=True))
    timed("20 oddest of a subject", lambda: oddities(table, "thing3", 20), 2)
    if len(dataset.index) <= 50_000:
        timed("pairs of photos", lambda: duplicates(table, 0.95, 20), 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory, pages of the mapped files among it: {peak:.2f} GiB")


def graph(count: int, dimension: int) -> None:
    centres = np.random.default_rng(0).standard_normal((SUBJECTS, dimension), dtype=np.float32)
    vectors = made(centres, _subjects(count), 0)
    index = Index(ndim=dimension, metric="ip", dtype="f16")
    begin = time.perf_counter()
    index.add(np.arange(count), vectors, threads=2)
    seconds = time.perf_counter() - begin
    print(f"usearch's graph of {count:,}: built in {seconds:.1f} s, {count / seconds:,.0f} a second")


if __name__ == "__main__":
    if sys.argv[1] == "graph":
        graph(int(sys.argv[2]), int(sys.argv[3]))
    else:
        questions(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
