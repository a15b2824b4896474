"""What only the records say of a data set's regions: how well captions fit, and who said what in which round.

It is read once, shard by shard, in the index's order; each shard's table is a Parquet file of its own, so that a
program that is ended goes on where it was.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from instructrestore.dataengine.catalogue.catalogue import Catalogue
from instructrestore.dataengine.catalogue.tables import Ended
from instructrestore.shards.files import commit, sweep
from instructrestore.shards.index import Dataset
from instructrestore.shards.members import DamagedMember
from instructrestore.shards.sample import Region

_SCHEMA = pa.schema([("agreement", pa.float32()), ("said", pa.dictionary(pa.int32(), pa.string()))])
_BETWEEN = "\n"  # of the parts of `said` in a table; names of models have none
MAX_PARTS = 64  # of one region: more is no provenance that anybody could choose from


def said_of(region: Region) -> list[str]:
    """Who made the region's masks, who described them and who gave its noun phrases, in which rounds: each once."""
    found: set[str] = set()
    for piece in region.pieces:
        found.add(f"mask: {piece.segmenter}")
        if piece.describer:
            found.add(f"description: {piece.describer}")
        for answer in piece.answers:
            if not answer.faults:
                found.add(f"noun phrase: {answer.model} in round {answer.round}")
    if region.agreement:
        found.add(f"agreement: {region.agreement.model}")
    return sorted(part.replace(_BETWEEN, " ") for part in found)[:MAX_PARTS]


def read_records(catalogue: Catalogue, told: Callable[[int], None], ending: Callable[[], bool]) -> None:
    """Reads the records of all shards that were not read yet, and has the catalogue take them over.

    told: is called with the photos read so far. ending: whether to stop, which raises Ended.
    A record that is damaged leaves its regions without: whoever opens the photo is told.
    Raises OSError where a shard cannot be read or the folder not be written.
    """
    folder = catalogue.folder / "records"
    folder.mkdir(mode=0o700, exist_ok=True)
    sweep(folder)
    files, done = [], 0
    for number, (_, places) in enumerate(groupby(catalogue.places(), key=lambda place: place["shard"])):
        path = folder / f"{number:06d}.parquet"
        photos = list(places)
        if not path.exists():
            commit(path, _encoded(_read(catalogue.dataset, photos, told, done, ending)))
        done += len(photos)
        told(done)
        files.append(path)
    catalogue.take_records(*_together(files))


def _read(
    dataset: Dataset, places: list[dict[str, Any]], told: Callable[[int], None], before: int, ending: Callable[[], bool]
) -> pa.Table:
    agreement: list[float | None] = []
    said: list[str | None] = []
    for number, place in enumerate(places):
        if ending():
            raise Ended
        if number % 32 == 0:
            told(before + number)
        for region in _regions(dataset, place):
            agreement.append(region.agreement.score if region and region.agreement else None)
            said.append(_BETWEEN.join(said_of(region)) if region else None)
    return pa.table(
        {"agreement": pa.array(agreement, pa.float32()), "said": pa.array(said).dictionary_encode()}, _SCHEMA
    )


def _regions(dataset: Dataset, place: Mapping[str, Any]) -> Iterator[Region | None]:
    """A photo's regions; None in the place of each where the record is damaged."""
    try:
        yield from dataset.record_at(place).regions
    except DamagedMember:
        yield from [None] * len(place["captions"] or ())


def _encoded(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _together(files: list[Path]) -> tuple[pa.Table, list[list[str]]]:
    """All tables as one, `said` as places in the list of combinations."""
    known: dict[str, int] = {}
    agreement, said = [], []
    for path in files:
        table = pq.read_table(path, schema=_SCHEMA).combine_chunks()
        column = table["said"].combine_chunks().cast(pa.string()).dictionary_encode()
        places = pa.array([known.setdefault(each, len(known)) for each in column.dictionary.to_pylist()], pa.int32())
        agreement.append(table["agreement"])
        said.append(places.take(column.indices))
    chunks = [chunk for column in agreement for chunk in column.chunks]
    table = pa.table({"agreement": pa.chunked_array(chunks, pa.float32()), "said": pa.chunked_array(said, pa.int32())})
    return table, [combination.split(_BETWEEN) for combination in known]
