"""What lies nearest to a vector: exactly, over vectors that are mapped from disk, by usearch's kernels.

No index is made: on two cores the exact search over a million regions takes less than a second, while a graph over them
takes most of an hour (docs/performance.md), and what is exact needs no recall to be stated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from usearch.index import search

from instructrestore.dataengine.search.space import Vectors
from instructrestore.dataengine.search.vector_table import VectorTable


@dataclass(frozen=True)
class Hit:
    """row: of the index. region: number in its photo from 0, or -1: the photo as a whole. score: cosine, -1..1."""

    row: int
    region: int
    score: float


def nearest(
    table: VectorTable, query: Vectors, count: int, *, photos: bool = False, chosen: NDArray[np.bool_] | None = None
) -> list[Hit]:
    """The `count` regions (or photos as a whole) nearest to a vector, the nearest first; equally near ones in the
    index's order.

    query: (D,) float32 of length 1. chosen: which of the index's regions (in its order) or photos are looked at;
    None: all. Raises DamagedFile.
    """
    best: list[Hit] = []
    asked = query.astype(np.float16)
    begin = first_regions(table.dataset.index)
    for part in table.parts():
        span = slice(0, part.photos) if photos else slice(part.photos, None)
        rows, regions, vectors = part.rows[span], part.regions[span], part.vectors[span]
        if chosen is not None:
            kept = np.flatnonzero(chosen[rows] if photos else chosen[begin[rows] + regions])
            rows, regions, vectors = rows[kept], regions[kept], vectors[kept]
        if not len(vectors):
            continue
        found: Any = search(vectors, asked, min(count, len(vectors)), "ip", exact=True)
        best += [
            Hit(int(rows[place]), int(regions[place]), float(1 - distance))
            for place, distance in zip(found.keys, found.distances, strict=True)
        ]
        best = sorted(best, key=lambda hit: (-hit.score, hit.row, hit.region))[:count]
    return best


def first_regions(index: pa.Table) -> NDArray[np.int64]:
    """(photos + 1,): the number of each photo's first region among all regions of the index."""
    return np.cumsum([0, *index["region_count"].to_pylist()])
