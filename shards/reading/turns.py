"""Whose turn each position of the order is: arithmetic alone, for any number of ranks and workers."""

from __future__ import annotations

from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", int, NDArray[np.int64])


def first_position(number: Number, batch: int, micro_batch: int, rank: int, ranks: int) -> Number:
    """The first position of a rank's micro-batch `number`, counted from 0 at the beginning of the run.

    Step s of the run takes the positions s * batch to (s + 1) * batch - 1; each rank takes an equal slice of them in
    turn, in micro-batches of `micro_batch` positions. Worker w of W takes micro-batches w, w + W, ... from the first
    one of the step at which it begins. batch: of all ranks, a multiple of ranks * micro_batch.
    """
    rank_batch = batch // ranks
    step, part = divmod(number, rank_batch // micro_batch)
    return cast(Number, step * batch + rank * rank_batch + part * micro_batch)
