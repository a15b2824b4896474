"""How quickly a data set of a million photos is browsed: python -m benchmarks.browse FOLDER [PHOTOS]

Makes an index of so many photos in FOLDER (five regions each on the average, with captions that are nearly all
different), then its catalogue, then asks it what the page asks: run it three times, each a process of its own. Says
seconds (of the clock, and of all cores together) and the most memory.
"""

from __future__ import annotations

import hashlib
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from instructrestore.dataengine.catalogue.catalogue import Catalogue
from instructrestore.dataengine.catalogue.query import Query
from instructrestore.shards.files import commit, replacing
from instructrestore.shards.index import INDEX_SCHEMA, Dataset, DatasetCard, ShardEntry
from instructrestore.shards.sample import SCHEMA_VERSION
from instructrestore.shards.write import write_index

PER_SHARD = 1000
QUERIES = {
    "a frequent subject": Query(subject="thing 3"),
    "a rare subject": Query(subject="thing 4321"),
    "words of a caption": Query(caption="blue thing 77"),
    "one area and bokeh": Query(area_from=0.2, area_to=0.3, bokeh=True),
    "quality, source": Query(quality_from=60, quality_to=70, source="source 2"),
    "the worst quality first": Query(order="quality"),
    "a caption, shuffled": Query(caption="old", order="shuffled"),
    "agreement below 10, lowest first": Query(agreement_to=10, order="agreement"),
    "a model in a round": Query(said="noun phrase: model 1 in round 2"),
    "all at once": Query(caption="small", area_from=0.1, quality_from=50, said="mask: segmenter", order="-quality"),
}  # fmt: skip


def make(folder: Path, photos: int) -> None:
    """index.parquet and dataset.json of photos that are nowhere."""
    folder.mkdir(parents=True)
    tables, entries = [], []
    for number, first in enumerate(range(0, photos, PER_SHARD)):
        table = _shard(number, min(PER_SHARD, photos - first))
        tables.append(table)
        entries.append(
            ShardEntry(f"jpg-{number:06d}.tar", "0" * 64, 0, len(table), sum(table["region_count"].to_pylist()))
        )
    with replacing(folder / "index.parquet") as file:
        index_sha256 = write_index(file, tables)
    regions = sum(entry.regions for entry in entries)
    card = DatasetCard(SCHEMA_VERSION, "made", photos, regions, index_sha256, tuple(entries), {})
    commit(folder / "dataset.json", card.to_json())


def _shard(number: int, photos: int) -> pa.Table:
    rng = np.random.default_rng(number)
    counts = rng.integers(1, 10, photos)
    offsets = np.concatenate(([0], np.cumsum(counts)))
    total = int(offsets[-1])
    things = np.minimum(rng.zipf(1.3, total), 50_000)
    colours = np.array(["blue", "red", "old", "small", "shining", "broken", "striped", "wooden"])[
        rng.integers(0, 8, total)
    ]
    places = rng.integers(0, 100_000, total)
    names = [f"thing {thing}" for thing in things]
    captions = [
        f"the {colour} {name} beside place {place}" for colour, name, place in zip(colours, names, places, strict=True)
    ]

    def lists(values: pa.Array) -> pa.Array:
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)

    keys = [hashlib.sha256(f"{number} {row}".encode()).hexdigest()[:20] for row in range(photos)]
    places_of = np.arange(photos) * 500_000
    columns = {
        "shard": pa.array([f"jpg-{number:06d}.tar"] * photos), "key": pa.array(keys),
        "format": pa.array(["jpg"] * photos),
        "photo_offset": pa.array(places_of + 512), "photo_bytes": pa.array(np.full(photos, 400_000)),
        "json_offset": pa.array(places_of + 450_000), "json_bytes": pa.array(np.full(photos, 9_000)),
        "width": pa.array(rng.integers(600, 4000, photos), pa.int32()),
        "height": pa.array(rng.integers(600, 4000, photos), pa.int32()),
        "quality": pa.array(rng.uniform(0, 100, photos)), "group": pa.array(keys),
        "source": pa.array([f"source {each}" for each in rng.integers(0, 5, photos)]),
        "licence": pa.array([f"licence {each}" for each in rng.integers(0, 4, photos)]),
        "url": pa.array([f"https://photos.example/{key}" for key in keys]),
        "region_count": pa.array(counts, pa.int32()),
        "captions": lists(pa.array(captions)), "subjects": lists(pa.array(names)),
        "areas": lists(pa.array(rng.beta(1, 6, total))), "bokeh": lists(pa.array(rng.random(total) < 0.1)),
    }  # fmt: skip
    return pa.table(columns, schema=INDEX_SCHEMA)


def take_made_records(catalogue: Catalogue) -> None:
    """Agreement and provenance of regions that no record has."""
    regions = catalogue.dataset.card.regions
    rng = np.random.default_rng(0)
    parts = [
        ("mask: segmenter", "description: captioner", f"noun phrase: model {model} in round {number}")
        for model in range(3) for number in (1, 2, 3)
    ]  # fmt: skip
    agreement = pa.array(rng.uniform(0, 100, regions).astype(np.float32))
    said = pa.array(rng.integers(0, len(parts), regions), pa.int32())
    catalogue.take_records(pa.table({"agreement": agreement, "said": said}), parts)


def timed(what: str, work: Callable[[], object]) -> object:
    start, cpu = time.perf_counter(), time.process_time()
    result = work()
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what:40} {wall:8.3f} s, CPU {cpu:8.3f} s   at most {peak:6.0f} MiB so far", flush=True)
    return result


def main(folder: Path, photos: int) -> None:
    if not (folder / "dataset").exists():
        timed("make the index", lambda: make(folder / "dataset", photos))
        print("made: run it again for its catalogue")
        return
    dataset = Dataset(str(folder / "dataset"))
    if not (folder / "catalogue").exists():
        catalogue = timed("make the catalogue", lambda: Catalogue(dataset, folder / "catalogue"))
        assert isinstance(catalogue, Catalogue)
        timed("take what the records say", lambda: take_made_records(catalogue))
        print("made: run it again for the times of a catalogue that is there")
        return

    def first_screen() -> Catalogue:
        catalogue = Catalogue(dataset, folder / "catalogue")
        assert len(catalogue.photos(catalogue.rows(Query())[:100].tolist())) == 100
        catalogue.facets("source", 100)
        catalogue.subjects("", 0, 100)
        return catalogue

    catalogue = timed("open, first 100 photos, subjects", first_screen)
    assert isinstance(catalogue, Catalogue)
    for name, query in QUERIES.items():
        rows = timed(name, lambda query=query: catalogue.rows(query))
        assert isinstance(rows, np.ndarray)
        timed(
            f"    100 in the middle of {len(rows)}",
            lambda rows=rows: catalogue.photos(rows[len(rows) // 2 :][:100].tolist()),
        )
    timed("subjects with 99 in them", lambda: catalogue.subjects("99", 0, 100))
    key = catalogue.photos([photos // 2])[0].key
    timed("the place of a photo by its key", lambda: catalogue.place(key))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)
