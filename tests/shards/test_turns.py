"""The order over 1 to 1,024 readers (ranks x workers): no position twice, none left out, also after a node was lost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from instructrestore.shards.reading.turns import first_position


def taken(first_step: int, steps: int, batch: int, micro_batch: int, ranks: int, workers: int) -> NDArray[np.int64]:
    """The positions that all workers of all ranks take in some steps, one reader after the other."""
    a_step = batch // ranks // micro_batch
    numbers = np.arange(first_step * a_step, (first_step + steps) * a_step)
    found = []
    for rank in range(ranks):
        for worker in range(min(workers, len(numbers))):
            first = first_position(numbers[worker::workers], batch, micro_batch, rank, ranks)
            found.append((first[:, None] + np.arange(micro_batch)).ravel())
    return np.concatenate(found)


def test_every_number_of_readers_takes_each_position_once() -> None:
    for readers in range(1, 1025):
        divisors = [n for n in range(1, readers + 1) if readers % n == 0]
        ranks = divisors[readers % len(divisors)]  # another share of ranks and workers for each
        batch, steps = ranks * 6, 2
        found = np.sort(taken(3, steps, batch, 2, ranks, readers // ranks))
        assert np.array_equal(found, np.arange(3 * batch, (3 + steps) * batch)), (ranks, readers // ranks)


def test_a_node_that_is_lost_leaves_no_gap_and_nothing_twice() -> None:
    """128 nodes of 8 ranks do five steps; one is lost, and 64 nodes go on from the last step that was whole."""
    batch = 4096
    before = taken(0, 5, batch, 2, 1024, 4)
    after = taken(5, 5, batch, 8, 512, 3)
    assert np.array_equal(np.sort(np.concatenate([before, after])), np.arange(10 * batch))
