"""The canonical order of a run: position i -> (data set, photo, region), for any i, without walking there.

Each data set walks its own endless sequence of epochs. An epoch is a permutation of the data set's triplets, shuffled
in windows of whole shards, so that a reader far from its data needs few shards at a time. The data sets are mixed in
exact proportions: with 1/4 and 3/4 every window of four positions holds exactly one and three, in an order drawn per
window. All that is random comes from the raw stream of a seeded bit generator, which numpy keeps the same in all its
versions, and from sorting.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from instructrestore.shards.triplets import Place, Triplets, Weighting, relative_weights

MAX_PERIOD = 1000
KEPT_EPOCHS = 2  # the one being walked and its neighbour, for the batch that lies in both


class OrderSettings(BaseModel):
    """What decides the order besides the data sets and their shares."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0, description="Of everything random in the run.")
    window_shards: int = Field(default=32, ge=1, description="Shards whose triplets are shuffled together.")
    weighting: Weighting = Field(default_factory=Weighting, description="How often each triplet comes.")


def sample_seed(seed: int, position: int, purpose: str) -> int:
    """The 64-bit seed of what is random about sample `position` of a run for one purpose ("crop", "noise")."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{position}/{purpose}".encode(), digest_size=8).digest(), "big")


def exact_shares(stated: Sequence[str | Fraction | None]) -> tuple[Fraction, ...]:
    """The data sets' shares of a run, which add up to 1: those without a stated one divide the rest evenly.

    stated: "0.75", "3/4" or None for each data set. Raises ValueError for shares that are no such numbers, do not
    add up, or whose common denominator is over `MAX_PERIOD`.
    """
    known = [None if text is None else _share(text) for text in stated]
    rest, without = 1 - sum((share for share in known if share is not None), Fraction(0)), known.count(None)
    if rest < 0 or (without == 0 and rest != 0):
        raise ValueError(f"the data sets' shares add up to {float(1 - rest):g} and not to 1")
    if without and rest == 0:
        raise ValueError("the stated shares leave nothing for the data set without one: make them smaller")
    shares = tuple(rest / without if share is None else share for share in known)
    if math.lcm(*(share.denominator for share in shares)) > MAX_PERIOD:
        raise ValueError(f"the shares need a common denominator of at most {MAX_PERIOD}: round them")
    return shares


def _share(text: str | Fraction) -> Fraction:
    try:
        share = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"a share is a number such as 0.75 or 3/4, not {text!r}") from None
    if not 0 < share <= 1:
        raise ValueError(f"a share lies above 0 and up to 1; {text} does not")
    return share


class Order:
    """The order of a run over data sets, given by their triplets and shares (as `exact_shares` returns them).

    Raises ValueError for a data set without triplets.
    """

    def __init__(self, tables: Sequence[Triplets], shares: Sequence[Fraction], settings: OrderSettings) -> None:
        assert len(tables) == len(shares) and sum(shares) == 1, shares
        for number, table in enumerate(tables):
            if not len(table):
                raise ValueError(f"data set {number + 1} of the run has no regions to train on")
        self.tables = tuple(tables)
        self.shares = tuple(shares)
        self.settings = settings
        self.period = math.lcm(*(share.denominator for share in shares))
        self._quotas = [int(share * self.period) for share in shares]
        self._unmixed = np.repeat(np.arange(len(tables)), self._quotas)
        weighting = settings.weighting
        self._weights = [relative_weights(table, weighting) if weighting.by != "none" else None for table in tables]
        self._mixed: tuple[int, NDArray[np.int64]] = (-1, self._unmixed)
        self._epochs: list[dict[int, NDArray[np.int32]]] = [{} for _ in tables]

    def place(self, position: int) -> Place:
        """The triplet at a position from 0 on. Takes microseconds within an epoch, a sort at its start."""
        dataset, ordinal = self._locate(position)
        table = self.tables[dataset]
        epoch, number = divmod(ordinal, len(table))
        return table.place(dataset, int(self.epoch(dataset, epoch)[number]))

    def substitute(self, position: int, attempt: int) -> Place:
        """What stands in where the triplet at `position`, and all earlier substitutes (from 0 on), are unusable:
        drawn evenly from the epoch that the position's data set is in."""
        dataset, ordinal = self._locate(position)
        table = self.tables[dataset]
        number = sample_seed(self.settings.seed, position, f"substitute {attempt}") % len(table)
        return table.place(dataset, int(self.epoch(dataset, ordinal // len(table))[number]))

    def epoch(self, dataset: int, epoch: int) -> NDArray[np.int32]:
        """The triplets of a data set's epoch in their order: (N,) numbers into its table of N triplets."""
        kept = self._epochs[dataset]
        if epoch not in kept:
            while len(kept) >= KEPT_EPOCHS:
                del kept[next(iter(kept))]
            kept[epoch] = self._permutation(dataset, epoch)
        return kept[epoch]

    def _locate(self, position: int) -> tuple[int, int]:
        """(data set, ordinal in its endless sequence) of a position."""
        assert position >= 0, position
        window, slot = divmod(position, self.period)
        if self._mixed[0] != window:
            keys = self._keys(self.period, f"mix/{window}")
            self._mixed = (window, self._unmixed[np.argsort(keys, kind="stable")])
        datasets = self._mixed[1]
        dataset = int(datasets[slot])
        return dataset, window * self._quotas[dataset] + int(np.count_nonzero(datasets[:slot] == dataset))

    def _permutation(self, dataset: int, epoch: int) -> NDArray[np.int32]:
        table, weights = self.tables[dataset], self._weights[dataset]
        name = f"{dataset}/{epoch}"
        drawn = np.arange(len(table), dtype=np.int32)
        if weights is not None:
            drawn = np.repeat(drawn, self._copies(weights, name))
        shuffled = np.argsort(self._keys(table.shard_count, f"shards/{name}"), kind="stable")
        window = np.empty(table.shard_count, np.uint64)
        window[shuffled] = np.arange(table.shard_count) // self.settings.window_shards
        keys = self._keys(len(table), f"triplets/{name}")
        # The window in the high bits, chance in the low ones: one sort does both.
        keys = (keys >> np.uint64(20)) | (window[table.shards[drawn]] << np.uint64(44))
        return drawn[np.argsort(keys, kind="stable")]

    def _copies(self, weights: NDArray[np.float64], name: str) -> NDArray[np.int64]:
        """How often each of N triplets comes in an epoch of N: its weight, rounded down or up by chance.

        Systematic sampling over the triplets in random order: the fractions' sum decides, so the total is exact.
        """
        count = len(weights)
        keys = self._keys(count + 1, f"weights/{name}")
        order = np.argsort(keys[:count], kind="stable")
        totals = np.cumsum(weights[order])
        ends = np.floor(totals * (count / totals[-1]) + float(keys[count] >> np.uint64(11)) * 2.0**-53)
        ends[-1] = count
        copies = np.empty(count, np.int64)
        copies[order] = np.diff(ends, prepend=0)
        return copies

    def _keys(self, count: int, purpose: str) -> NDArray[np.uint64]:
        return np.random.PCG64(sample_seed(self.settings.seed, 0, f"order/{purpose}")).random_raw(count)
