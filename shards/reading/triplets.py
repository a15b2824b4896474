"""The training triplets of a data set, as arrays: one entry per (photo, region), taken from the index's columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

COMPUTE: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them


@dataclass(frozen=True)
class TripletPlace:
    """A triplet: the number of its data set, its row in that data set's index, its region in that photo."""

    dataset: int
    row: int
    region: int


class Weighting(BaseModel):
    """How often triplets come, relative to each other.

    In a mean of 1 an epoch: a triplet of weight 2.3 comes twice or three times, one of 0.4 in 40% of the epochs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Literal["none", "area", "subject"] = Field(
        default="none",
        description="none: evenly; area: more for large regions; subject: more for rare subjects.",
    )
    exponent: float = Field(
        default=0.5,
        gt=0,
        le=2,
        description="Weights are area^exponent or frequency^-exponent; 1 lets every subject come equally often.",
    )
    most: float = Field(default=8, ge=1, description="No weight is above this.")


@dataclass(frozen=True)
class Triplets:
    """The N triplets of a data set, or of a part of its photos, in the index's order. All arrays are (N,).

    rows: int32, the photo's row in the index. regions: int32, the region's number in its photo.
    shards: int32, the photo's shard, numbered from 0 to shard_count - 1.
    areas: float32, the region's share of its photo, 0..1.
    subjects: int32, equal where the subjects are equal.
    """

    rows: NDArray[np.int32]
    regions: NDArray[np.int32]
    shards: NDArray[np.int32]
    shard_count: int
    areas: NDArray[np.float32]
    subjects: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.rows)

    def place(self, dataset: int, number: int) -> TripletPlace:
        """Triplet `number` as a place in the data set of that number."""
        return TripletPlace(dataset, int(self.rows[number]), int(self.regions[number]))

    @classmethod
    def of(cls, index: pa.Table, chosen: NDArray[np.bool_] | None = None) -> Triplets:
        """The triplets of an index (columns: `INDEX_SCHEMA`), or of its photos (rows,) where `chosen` is true.

        Raises ValueError where the index contradicts itself.
        """
        counts = index["region_count"].to_numpy()
        areas = COMPUTE.list_flatten(index["areas"]).to_numpy().astype(np.float32)
        subjects = _codes(COMPUTE.list_flatten(index["subjects"]))
        if not len(areas) == len(subjects) == int(counts.sum()):
            raise ValueError("the index's region counts do not fit its areas and subjects: build the data set again")
        rows = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        regions = np.arange(len(rows), dtype=np.int32) - np.repeat(np.cumsum(counts) - counts, counts).astype(np.int32)
        shards = _codes(index["shard"])
        shard_count = int(shards.max(initial=-1)) + 1
        if chosen is None:
            return cls(rows, regions, shards[rows], shard_count, areas, subjects)
        kept = chosen[rows]
        rows = rows[kept]
        return cls(rows, regions[kept], shards[rows], shard_count, areas[kept], subjects[kept])


def relative_weights(triplets: Triplets, weighting: Weighting) -> NDArray[np.float64]:
    """The weight of each of N triplets, (N,), of mean 1 and at most `weighting.most`."""
    if weighting.by == "area":
        raw = np.maximum(triplets.areas.astype(np.float64), 1e-6) ** weighting.exponent
    elif weighting.by == "subject":
        raw = np.bincount(triplets.subjects).astype(np.float64)[triplets.subjects] ** -weighting.exponent
    else:
        return np.ones(len(triplets))
    # To a grid, so that the last bit of a machine's power function does not decide what is drawn.
    raw = np.maximum(np.round(raw / raw.max() * 2**32), 1)
    return _clipped_to_mean_1(raw, weighting.most)


def _clipped_to_mean_1(raw: NDArray[np.float64], most: float) -> NDArray[np.float64]:
    """min(scale * raw, most) with the scale that makes the mean 1."""
    largest_first = np.sort(raw)[::-1]
    clipped = np.arange(len(raw))
    below = np.cumsum(largest_first[::-1])[::-1]  # the sum without the `clipped` largest
    scales = (len(raw) - clipped * most) / below
    # The fewest clipped ones with which the largest of the others stays below.
    fits = scales * largest_first <= most * (1 + 1e-12)
    return np.minimum(raw * scales[int(np.argmax(fits))], most)


def _codes(column: pa.ChunkedArray) -> NDArray[np.int32]:
    """Numbers from 0, equal for equal entries, in the order of first appearance."""
    return column.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int32)
