"""A space whose vectors are known, for tests of what is done with vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from instructrestore.dataengine.search.space import Vectors, of_length_1
from instructrestore.shards.index import Dataset


class MadeSpace:
    """Vectors by (row, region), region -1 being the photo, from a function; counts the photos it was asked for."""

    kind = "pictures"
    model = "made"
    revision = "1"

    def __init__(self, vector: Callable[[int, int], Sequence[float]], dimension: int) -> None:
        self._vector, self.dimension = vector, dimension
        self.asked: list[int] = []
        self.unreadable: set[int] = set()

    def photos(self, dataset: Dataset, rows: Sequence[int], lost: list[str]) -> list[tuple[int, Vectors]]:
        found = []
        for row in rows:
            self.asked.append(row)
            if row in self.unreadable:
                lost.append(f"row {row} is damaged")
                continue
            regions = dataset.index["region_count"][row].as_py()
            vectors = np.array([self._vector(row, region) for region in range(-1, regions)], np.float32)
            found.append((row, of_length_1(vectors)))
        return found

    def text(self, query: str) -> Vectors:
        raise ValueError("made vectors know no texts")
