"""A data set without some of its photos: a new folder, in which only the shards that held them are written anew."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from instructrestore.shards.index import Dataset, DatasetCard
from instructrestore.shards.rewrite import rewrite_shards, rows_by_shard
from instructrestore.shards.write import TAR_BLOCK, finish_dataset

_TAR_RECORD = 10_240  # bytes: tars are filled up to whole records


def write_without(
    dataset: Dataset, folder: Path, left_out: Collection[int], configuration: Mapping[str, Any]
) -> DatasetCard:
    """Writes the data set without the rows `left_out` of its index into a new local folder.

    Shards as `rewrite_shards` makes them, and errors as it raises them. configuration: of the new `dataset.json`.
    """
    folder.mkdir()
    made = rewrite_shards(dataset, folder, left_out)
    return finish_dataset(folder, dataset.card.name, made.entries, made.tables, dict(configuration))


def sizes_without(dataset: Dataset, left_out: Collection[int]) -> dict[str, int]:
    """The bytes of each shard that `write_without` would leave, by name, from the index alone. Of an older schema they
    are near: its records become longer."""
    members = dataset.index.select(["photo_bytes", "json_bytes"]).to_pandas().to_numpy(np.int64)
    blocks = (TAR_BLOCK * (1 - -members // TAR_BLOCK)).sum(axis=1)  # each member has a header
    found = {}
    for entry, rows in rows_by_shard(dataset):
        kept = [row for row in rows if row not in left_out]
        if len(kept) == len(rows):
            found[entry.name] = entry.bytes
        elif kept:
            ended = int(blocks[kept].sum()) + 2 * TAR_BLOCK
            found[entry.name] = -(-ended // _TAR_RECORD) * _TAR_RECORD
    return found
