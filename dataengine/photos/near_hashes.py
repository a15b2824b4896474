"""Which of very many perceptual hashes are near: each is compared with few others, and they lie on the disk.

If 64 bits are cut into B blocks, two hashes that differ in at most d bits agree on at least B - d blocks. So for every
choice of B - d blocks the hashes are sorted by those blocks alone, and only neighbours that agree on them are compared
(Manku, Jain, Das Sarma, "Detecting near-duplicates for web crawling", 2007). All choices with the same first block are
made of hashes that agree on that block, so these are in memory together, and no others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from instructrestore.dataengine.running.scratch import add, columns_of, fill, number_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Hashes = NDArray[np.uint64]
Block = tuple[int, int]  # the bits [from, to) of a hash

PIECE = 1 << 20  # hashes that are sorted at a time, or as many as agree on a block
_CACHED = 1 << 15  # hashes whose bits are moved at a time
MOST_PAIRS = 4_000_000
_SORTED = 2.0  # what it costs to sort a hash, in comparisons of two
_NEAR = pa.schema([("hash", pa.uint64()), ("label", pa.uint64())])


def label_near(database: DuckDBPyConnection, distance: int) -> None:
    """Makes the table `near`: hash and label (uint64) of every hash that has another one within `distance` bits, of the
    table `hashes`, whose column hash has each once.

    Hashes have one label if a chain of them joins them, each near the next: the smallest hash of the chain.
    In memory are 12 bytes of each hash that is near another one.
    """
    fill(database, "links", (), _NEAR)
    for pair in _near_pairs(database, distance):
        ends, firsts = _joined(*pair)  # so that the pairs of a big cluster, its size squared, are never all kept
        add(database, "links", pa.table([ends, firsts], schema=_NEAR))
    database.execute("CREATE TABLE ends AS SELECT hash FROM links UNION SELECT label FROM links")
    hashes = np.empty(number_of(database, "SELECT count(*) FROM ends"), np.uint64)
    filled = 0
    for (some,) in columns_of(database, "SELECT hash FROM ends ORDER BY hash"):
        hashes[filled : filled + len(some)] = some
        filled += len(some)
    above = np.arange(len(hashes), dtype=np.int32)  # of each hash one that it is joined to, or itself
    for left, right in columns_of(database, "SELECT hash, label FROM links"):
        ends, firsts = _joined(*(_topmost(above, np.searchsorted(hashes, each)) for each in (left, right)))
        above[ends] = firsts
    database.execute("DROP TABLE links")
    database.execute("DROP TABLE ends")
    fill(database, "near", (), _NEAR)
    for start in range(0, len(hashes), PIECE):
        some = np.arange(start, min(start + PIECE, len(hashes)))
        add(database, "near", pa.table([hashes[some], hashes[_topmost(above, some)]], schema=_NEAR))


def _joined(left: NDArray[Any], right: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Of pairs all that occur in them, in order, and of each the first one that a chain of pairs joins it to."""
    ends, places = np.unique(np.concatenate([left, right]), return_inverse=True)
    pairs = places[: len(left)], places[len(left) :]
    graph = coo_matrix((np.ones(len(left), np.bool_), pairs), shape=(len(ends),) * 2)
    label = connected_components(graph, directed=False)[1]
    first = np.unique(label, return_index=True)[1]
    return ends, ends[first[label]]


def _topmost(above: NDArray[np.int32], places: NDArray[np.integer]) -> NDArray[np.integer]:
    while ((higher := above[places]) != places).any():
        places = higher
    return places


def _near_pairs(database: DuckDBPyConnection, distance: int) -> Iterator[tuple[Hashes, Hashes]]:
    """Pairs of hashes within `distance` bits: each pair at least once, in batches."""
    by_first: dict[Block, list[tuple[list[Block], list[Block]]]] = defaultdict(list)
    for chosen, rest in _choices(number_of(database, "SELECT count(*) FROM hashes"), distance):
        by_first[chosen[0]].append((chosen, rest))
    found: list[tuple[Hashes, Hashes]] = []
    for first, choices in by_first.items():
        for hashes in _pieces(database, first):
            for chosen, rest in choices:
                for pair in _near(hashes, chosen, rest, distance):
                    found.append(pair)
                    if sum(len(left) for left, _ in found) > MOST_PAIRS:
                        yield _together(found)
                        found = []
    if found:
        yield _together(found)


def _together(pairs: Sequence[tuple[Hashes, Hashes]]) -> tuple[Hashes, Hashes]:
    return np.concatenate([left for left, _ in pairs]), np.concatenate([right for _, right in pairs])


def _pieces(database: DuckDBPyConnection, block: Block) -> Iterator[Hashes]:
    """All hashes, some PIECE at a time; those that agree on the block are in one piece."""
    begin, end = block
    mask = (1 << (end - begin)) - 1
    waiting: list[Hashes] = []
    most = PIECE
    for (some,) in columns_of(database, f"SELECT hash FROM hashes ORDER BY (hash >> {begin}) & {mask}"):
        waiting.append(some)
        if sum(map(len, waiting)) < most:
            continue
        hashes = np.concatenate(waiting)
        of_block = hashes >> np.uint64(begin) & np.uint64(mask)
        cut = np.flatnonzero(of_block[1:] != of_block[:-1])[-1:].sum() + 1
        if of_block[0] != of_block[-1]:
            yield hashes[:cut]
            hashes = hashes[cut:].copy()
        waiting, most = [hashes], max(PIECE, 2 * len(hashes))
    if waiting:
        yield np.concatenate(waiting)


def _near(
    hashes: Hashes, chosen: Sequence[Block], rest: Sequence[Block], distance: int
) -> Iterator[tuple[Hashes, Hashes]]:
    """The pairs within `distance` bits among those that agree on the chosen blocks."""
    order = [*chosen, *rest]
    ordered = np.concatenate([_moved(hashes[at : at + _CACHED], order) for at in range(0, len(hashes), _CACHED)])
    ordered.sort()
    agreeing = ordered >> np.uint64(64 - sum(end - begin for begin, end in chosen))
    start, step = np.flatnonzero(agreeing[1:] == agreeing[:-1]), 1
    while len(start):
        near = start[np.bitwise_count(ordered[start] ^ ordered[start + step]) <= distance]
        if len(near):
            yield _moved_back(ordered[near], order), _moved_back(ordered[near + step], order)
        step += 1
        start = start[: np.searchsorted(start, len(ordered) - step)]
        start = start[agreeing[start] == agreeing[start + step]]


def _moved(hashes: Hashes, order: Sequence[Block]) -> Hashes:
    """The hashes with their blocks in that order, the first one in the highest bits."""
    moved, at = np.zeros_like(hashes), 64
    for begin, end in order:
        at -= end - begin
        moved |= (hashes >> np.uint64(begin) & np.uint64((1 << (end - begin)) - 1)) << np.uint64(at)
    return moved


def _moved_back(moved: Hashes, order: Sequence[Block]) -> Hashes:
    hashes, at = np.zeros_like(moved), 64
    for begin, end in order:
        at -= end - begin
        hashes |= (moved >> np.uint64(at) & np.uint64((1 << (end - begin)) - 1)) << np.uint64(begin)
    return hashes


def _choices(count: int, distance: int) -> Iterator[tuple[list[Block], list[Block]]]:
    """The blocks that are to agree, and the others, for the number of blocks with the lowest cost, which is that of
    sorting for each choice of blocks and of comparing the pairs that agree by chance."""

    def cost(blocks: int) -> float:
        agreeing_by_chance = count * 2.0 ** (-64 / blocks * (blocks - distance))
        return comb(blocks, distance) * (_SORTED + agreeing_by_chance / 2)

    number = min(range(distance + 1, distance + 5), key=cost)
    blocks = list(pairwise(np.linspace(0, 64, number + 1).round().astype(int).tolist()))
    for chosen in combinations(blocks, number - distance):
        yield list(chosen), [block for block in blocks if block not in chosen]
