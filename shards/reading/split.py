"""Training and validation photos of a data set, apart by near-duplicate group."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

COMPUTE: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them


def validation_photos(index: pa.Table, share: float, seed: int = 0) -> NDArray[np.bool_]:
    """Which photos of an index (columns: `INDEX_SCHEMA`) are for validation: (rows,) bool; the others train.

    A group goes by a hash of its key and the seed alone, so near-duplicates are on one side and a photo stays on its
    side when the data set grows. The share is thus met on average: of few groups, some more or less are chosen.
    Raises ValueError for a share outside 0..1.
    """
    if not 0 <= share < 1:
        raise ValueError(f"the share of validation photos is at least 0 and less than 1, not {share:g}")
    # A photo that no group is known of is one alone.
    alone = COMPUTE.equal(COMPUTE.fill_null(index["group"], ""), "")
    groups = COMPUTE.if_else(alone, index["key"], index["group"]).combine_chunks().dictionary_encode()
    limit = int(share * 2**64)
    chosen = [_hash(group, seed) < limit for group in groups.dictionary.to_pylist()]
    return np.array(chosen, np.bool_)[groups.indices.to_numpy()]


def _hash(group: str, seed: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{group}".encode(), digest_size=8).digest(), "big")
