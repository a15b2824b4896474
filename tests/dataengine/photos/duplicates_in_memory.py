"""Near-duplicates in memory, as they were sought before they went to the disk: what the tables are compared with."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise
from math import comb

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from instructrestore.dataengine.photos.near_duplicates import DISTANCE, EXACT, EXCLUDED, SAME_KEY, Assignment
from instructrestore.shards.sample import key_of

_MAX_EDGES = 4_000_000


def group(hashes: NDArray[np.uint64], distance: int = DISTANCE) -> NDArray[np.int64]:
    """For each photo the index of the first photo of its group.

    hashes: (N,) uint64. Photos belong to one group if a chain of photos joins them, each within `distance` bits of the
    next. Flat photos (hash 0) form groups of one.
    """
    some = np.flatnonzero(hashes)
    values, photo_to_value = np.unique(hashes[some], return_inverse=True)
    label = np.arange(len(values))
    for left, right in _near_pairs(values, distance):
        # Joined batch by batch, so that the pairs of a big cluster are never all in memory.
        edges = coo_matrix((np.ones(len(left), np.bool_), (label[left], label[right])), shape=(len(values),) * 2)
        label = connected_components(edges, directed=False)[1][label]
    _, first, group_of = np.unique(label[photo_to_value], return_index=True, return_inverse=True)
    result = np.arange(len(hashes))
    result[some] = some[first][group_of]
    return result


def _near_pairs(values: NDArray[np.uint64], distance: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Pairs of indices of distinct values within `distance` bits: each pair at least once, in batches.

    If 64 bits are cut into B blocks, two values that differ in at most d bits agree on at least B - d blocks. So
    for every choice of B - d blocks the values are sorted by those blocks alone, and only neighbours that agree on
    them are compared (Manku, Jain, Das Sarma, "Detecting near-duplicates for web crawling", 2007).
    """
    lefts: list[NDArray[np.intp]] = []
    rights: list[NDArray[np.intp]] = []
    for mask in _block_masks(len(values), distance):
        order = np.argsort(values & mask)
        ordered = values[order]
        agreeing = ordered & mask
        start, step = np.arange(len(values) - 1), 1
        while len(start := start[agreeing[start] == agreeing[start + step]]):
            near = start[np.bitwise_count(ordered[start] ^ ordered[start + step]) <= distance]
            lefts.append(order[near])
            rights.append(order[near + step])
            if sum(map(len, lefts)) > _MAX_EDGES:
                yield np.concatenate(lefts), np.concatenate(rights)
                lefts, rights = [], []
            step += 1
            start = start[start < len(values) - step]
    if lefts:
        yield np.concatenate(lefts), np.concatenate(rights)


def _block_masks(count: int, distance: int) -> list[np.uint64]:
    """The masks to sort by, for the number of blocks with the lowest cost, which is that of sorting for each choice of
    blocks and of comparing the pairs that agree by chance."""

    def cost(blocks: int) -> float:
        agreeing_by_chance = count * 2.0 ** (-64 / blocks * (blocks - distance))
        return comb(blocks, distance) * (np.log2(count + 2) + agreeing_by_chance)

    blocks = min(range(distance + 1, distance + 5), key=cost)
    edges = np.linspace(0, 64, blocks + 1).round().astype(int).tolist()
    whole = [((1 << (end - start)) - 1) << start for start, end in pairwise(edges)]
    return [np.uint64(sum(chosen)) for chosen in combinations(whole, blocks - distance)]


def assign(photos: pa.Table, distance: int = DISTANCE) -> list[Assignment]:
    """What happens to every photo of a run, in the order of the table, which decides which photo comes first.

    photos: a row per photo, columns name, sha256, perceptual_hash (16 hex digits), excluded (a test photo) and cut_from
    (the key of the photo that this one is a crop of, or empty).
    Photos in one group with a test photo, or with one that a test photo was cut from, are dropped ("exclude list"),
    then all but the first of equal bytes ("exact duplicate"), and of equal keys ("key of another photo").
    """
    names, sha256 = photos["name"].to_pylist(), photos["sha256"].to_pylist()
    codes = pd.factorize(np.asarray(sha256, object))[0]  # equal bytes, equal code
    first = np.unique(codes, return_index=True)[1]
    hashes = np.array([int(text, 16) for text in photos["perceptual_hash"].to_pylist()], np.uint64)
    group_of = first[group(hashes[first], distance)][codes]
    excluded = np.flatnonzero(photos["excluded"].to_numpy())
    excluder: dict[int, str] = {}  # a group, by its first photo -> how it is related to a test photo
    for row in excluded.tolist():
        excluder.setdefault(int(group_of[row]), f"near-duplicate of {names[row]}")
    cut_from = photos["cut_from"].to_pylist()
    crops = {cut_from[row]: names[row] for row in excluded.tolist() if cut_from[row]}
    for row, digits in enumerate(sha256) if crops else ():
        if (crop := crops.get(key_of(digits))) is not None:
            excluder.setdefault(int(group_of[row]), f"the photo that {crop} was cut from, or a near-duplicate of it")
    listed = set(excluded.tolist())
    result: list[Assignment] = []
    owners: dict[str, int] = {}  # of the keys of photos that are kept
    for row, (code, leader) in enumerate(zip(codes.tolist(), group_of.tolist(), strict=True)):
        group_key = key_of(sha256[leader])
        original = int(first[code])
        if row in listed:
            result.append(Assignment(EXCLUDED, "is on the exclude list", group_key))
        elif leader in excluder:
            result.append(Assignment(EXCLUDED, excluder[leader], group_key))
        elif original != row:
            result.append(Assignment(EXACT, f"same bytes as {names[original]}", group_key))
        elif (owner := owners.setdefault(key_of(sha256[row]), row)) != row:
            result.append(Assignment(SAME_KEY, f"same key as {names[owner]}", group_key))
        else:
            result.append(Assignment("", "", group_key))
    return result
