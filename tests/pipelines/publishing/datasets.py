"""Small data sets with their cards, as a build leaves them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from instructrestore.dataengine.reporting import card, statistics
from instructrestore.shards.files import replacing
from instructrestore.shards.index import INDEX_SCHEMA, Dataset
from instructrestore.shards.write import ShardWriter, finish_dataset, shard_name
from tests.shards.samples import sample


def licensed_dataset(folder: Path, shards: list[list[str]], first: int = 0) -> Dataset:
    """A data set of PNG shards, each with a photo for every licence of its list; numbered from `first` on."""
    folder.mkdir(parents=True)
    entries, tables, number = [], [], first
    for place, licences in enumerate(shards):
        name = shard_name("png", place)
        with replacing(folder / name) as file:
            writer = ShardWriter(name, file)
            for licence in licences:
                made, photo = sample(number)
                writer.add(replace(made, photo=replace(made.photo, licence=licence)), photo)
                number += 1
            entries.append(writer.close())
        tables.append(pa.Table.from_pylist(writer.rows, INDEX_SCHEMA))
    finish_dataset(folder, "made-up", entries, tables, {"preset": "none"})
    dataset = Dataset(str(folder))
    card.write_card(folder, dataset.card, statistics.of_dataset(dataset))
    return Dataset(str(folder))
