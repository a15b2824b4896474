"""How many shards each node of a training reads, by arithmetic: no process, no photo.

python -m benchmarks.shard_reads [--shards 4096] [--triplets 1152] [--window 32] [--batch 4096]

A node has 8 ranks; a shard that it has read it keeps until the window is over, as shards/reading/cache.py does. The
order and whose turn a position is are those of a training; the data set is made up.
"""

from __future__ import annotations

from argparse import ArgumentParser
from fractions import Fraction

import numpy as np

from instructrestore.shards.reading.order import Order, OrderSettings
from instructrestore.shards.reading.triplets import Triplets
from instructrestore.shards.reading.turns import first_position

RANKS = 8  # of a node
MICRO_BATCH = 4


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=4096)
    parser.add_argument("--triplets", type=int, default=1152, help="of a shard")
    parser.add_argument("--window", type=int, default=32, help="shards")
    parser.add_argument("--batch", type=int, default=4096)
    options = parser.parse_args()
    count = options.shards * options.triplets
    shards = np.repeat(np.arange(options.shards, dtype=np.int32), options.triplets)
    nothing = np.zeros(count, np.int32)
    triplets = Triplets(
        np.arange(count, dtype=np.int32), nothing, shards, options.shards, nothing.astype("f4"), nothing
    )
    order = Order([triplets], [Fraction(1)], OrderSettings(window_shards=options.window))
    steps = count // options.batch
    of_position = shards[order.epoch(0, 0)][: steps * options.batch]
    print(f"{count:,} triplets, {options.shards:,} shards, windows of {options.window}, {steps:,} steps of an epoch")
    print(f"{'nodes':>6}{'ranks':>7}{'shards a node':>22}{'of all':>9}{'times the data set':>21}{'most at once':>14}")
    for nodes in (1, 2, 8, 32, 64, 128):
        ranks = nodes * RANKS
        numbers = np.arange(steps * (options.batch // ranks // MICRO_BATCH))
        read, held = [], 0
        for node in sorted({0, nodes // 2, nodes - 1}):
            first = np.stack([first_position(numbers, options.batch, MICRO_BATCH, node * RANKS + rank, ranks)
                              for rank in range(RANKS)], axis=1)  # fmt: skip
            positions = (first[..., None] + np.arange(MICRO_BATCH)).ravel()
            window = positions // (options.window * options.triplets)
            seen = np.unique(window * options.shards + of_position[positions])
            read.append(len(seen))
            held = max(held, int(np.bincount(seen // options.shards).max()))
        mean = float(np.mean(read))
        share = mean / options.shards
        print(f"{nodes:>6}{ranks:>7}{mean:>22,.0f}{share:>9.1%}{nodes * share:>21.1f}{held:>14}")


if __name__ == "__main__":
    main()
