"""The canonical order: permutations, windows of shards, exact proportions, weights; and the split."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrestore.shards.order import Order, OrderSettings, exact_shares, sample_seed
from instructrestore.shards.split import validation_photos
from instructrestore.shards.triplets import Triplets, Weighting, relative_weights


def table(shards: int = 5, photos: int = 6, seed: int = 0) -> Triplets:
    """Triplets of `shards` x `photos` photos with 0 to 4 regions each, of subjects that differ in frequency."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 5, shards * photos).tolist()
    counts[0] = 2
    index = pa.table(
        {
            "shard": pa.chunked_array([[f"jpg-{shard:06d}.tar"] * photos for shard in range(shards)]),
            "region_count": pa.array(counts, pa.int32()),
            "areas": [rng.uniform(0, 0.6, count).tolist() for count in counts],
            "subjects": [[f"s{int(n)}" for n in rng.geometric(0.3, count)] for count in counts],
        }
    )
    return Triplets.of(index)


def places(order: Order, positions: range) -> list[tuple[int, int, int]]:
    found = [order.place(position) for position in positions]
    return [(place.dataset, place.row, place.region) for place in found]


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**40), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_each_epoch_has_every_triplet_once(shards: int, photos: int, seed: int, window: int) -> None:
    triplets = table(shards, photos, seed % 1000)
    order = Order([triplets], exact_shares([None]), OrderSettings(seed=seed, window_shards=window))
    everything = {
        (0, row, region) for row, region in zip(triplets.rows.tolist(), triplets.regions.tolist(), strict=True)
    }
    epochs = [places(order, range(n * len(triplets), (n + 1) * len(triplets))) for n in range(3)]
    for epoch in epochs:
        assert len(epoch) == len(everything)
        assert set(epoch) == everything
    if len(everything) > 8:
        assert epochs[0] != epochs[1] != epochs[2]


def test_shuffles_in_windows_of_whole_shards_that_change() -> None:
    triplets = table(shards=9, photos=8)
    order = Order([triplets], exact_shares([None]), OrderSettings(seed=4, window_shards=2))
    of_epochs = []
    for epoch in range(4):
        shards = triplets.shards[order.epoch(0, epoch)].tolist()
        windows, rest = [], shards
        while rest:
            together = set(dict.fromkeys(rest)) & set(list(dict.fromkeys(rest))[:2])
            size = int(np.isin(triplets.shards, list(together)).sum())
            assert set(rest[:size]) == together  # the two shards' triplets fill the window to the last
            windows.append(frozenset(together))
            rest = rest[size:]
        assert [len(window) for window in windows] == [2, 2, 2, 2, 1]
        assert shards != sorted(shards, key=shards.index)  # shuffled inside of the windows, not shard by shard
        of_epochs.append(windows)
    assert len(set(map(tuple, of_epochs))) == 4


@pytest.mark.parametrize("stated", [("1/4", None), ("0.3", "0.2", None), ("0.125", "7/8"), (None, None, None)])
def test_proportions_are_exact_in_every_window_and_mixed(stated: tuple[str | None, ...]) -> None:
    shares = exact_shares(stated)
    tables = [table(seed=number, shards=2 + number) for number in range(len(shares))]
    order = Order(tables, shares, OrderSettings(seed=7))
    starts = set()
    for window in range(60):
        drawn = [place[0] for place in places(order, range(window * order.period, (window + 1) * order.period))]
        assert [Fraction(drawn.count(number), order.period) for number in range(len(shares))] == list(shares)
        starts.add(tuple(drawn))
    assert len(starts) > 3
    # Each data set walks its own sequence as if it were alone.
    alone = Order([tables[0]], exact_shares([None]), OrderSettings(seed=7))
    mixed = [place for place in places(order, range(40 * order.period)) if place[0] == 0]
    assert mixed == places(alone, range(len(mixed)))


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=12))
@settings(max_examples=25, deadline=None)
def test_random_access_equals_walking(positions: list[int]) -> None:
    tables, shares = [table(seed=1), table(seed=2, shards=1)], exact_shares(["0.25", None])
    weighted = OrderSettings(seed=3, window_shards=2, weighting=Weighting(by="subject"))
    walked = places(Order(tables, shares, weighted), range(max(positions) + 1))
    order = Order(tables, shares, weighted)
    assert [places(order, range(position, position + 1))[0] for position in positions] == [walked[p] for p in positions]


def test_the_order_is_as_it_always_was() -> None:
    order = Order([table(2, 3)], exact_shares([None]), OrderSettings(seed=1, window_shards=1))
    assert order.epoch(0, 0).tolist() == ORDER
    assert sample_seed(1, 2, "crop") == SEED
    assert len({sample_seed(s, p, w) for s in range(9) for p in range(99) for w in ("crop", "noise")}) == 9 * 99 * 2


ORDER = [8, 7, 5, 0, 2, 6, 3, 1, 4]
SEED = 5253065224549637323


@pytest.mark.parametrize(
    ("stated", "complaint"),
    [
        (("0.5", "0.6"), "add up to 1.1"),
        (("0.5", "0.25"), "add up to 0.75"),
        (("1", None), "leave nothing"),
        (("-0.5", None), "above 0"),
        (("1/0", None), "not '1/0'"),
        (("much", None), "not 'much'"),
        (("nan", None), "not 'nan'"),
        (("0.33333", None), "denominator of at most 1000"),
    ],
)
def test_wrong_shares_are_one_sentence(stated: tuple[str | None, ...], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        exact_shares(stated)
    assert "\n" not in str(caught.value)


def test_unstated_shares_divide_the_rest() -> None:
    assert exact_shares([None, "0.75"]) == (Fraction(1, 4), Fraction(3, 4))
    assert exact_shares([None, None, "1/2"]) == (Fraction(1, 4), Fraction(1, 4), Fraction(1, 2))


def test_a_data_set_without_regions_is_refused() -> None:
    empty = Triplets.of(pa.table({"shard": ["a"], "region_count": [0], "areas": [[]], "subjects": [[]]}).cast(SCHEMA))
    with pytest.raises(ValueError, match="data set 2 of the run has no regions"):
        Order([table(), empty], exact_shares([None, None]), OrderSettings())


SCHEMA = pa.schema(
    [("shard", pa.string()), ("region_count", pa.int32()), ("areas", pa.list_(pa.float64())),
     ("subjects", pa.list_(pa.string()))]
)  # fmt: skip


@pytest.mark.parametrize("by", ["area", "subject"])
@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("most", [1.0, 2.5, 8.0])
def test_triplets_come_as_often_as_their_weight(by: str, exponent: float, most: float) -> None:
    triplets = table(shards=12, photos=10)
    weighting = Weighting.model_validate({"by": by, "exponent": exponent, "most": most})
    weights = relative_weights(triplets, weighting)
    assert weights.mean() == pytest.approx(1)
    assert weights.max() <= most
    assert weights.min() > 0
    order = Order([triplets], exact_shares([None]), OrderSettings(seed=5, weighting=weighting))
    total = np.zeros(len(triplets))
    for epoch in range(200):
        counts = np.bincount(order.epoch(0, epoch), minlength=len(triplets))
        assert counts.sum() == len(triplets)
        assert (np.abs(counts - weights) < 1 + 1e-9).all()
        total += counts
    assert np.abs(total / 200 - weights).max() < 0.2  # 5.6 standard deviations of a fraction of 1/2


def test_rare_subjects_are_lifted_and_large_regions_favoured() -> None:
    triplets = table(shards=12, photos=10)
    frequency = np.bincount(triplets.subjects)[triplets.subjects]
    even = relative_weights(triplets, Weighting(by="subject", exponent=1, most=1000))
    sums = np.bincount(triplets.subjects, even)
    assert sums == pytest.approx(np.full(len(sums), len(triplets) / len(sums)))  # every subject equally often
    root = relative_weights(triplets, Weighting(by="subject", most=1000))
    assert root * np.sqrt(frequency) == pytest.approx(np.full(len(root), (root * np.sqrt(frequency))[0]), rel=1e-6)
    area = relative_weights(triplets, Weighting(by="area", exponent=1, most=1000))
    assert area / triplets.areas == pytest.approx(np.full(len(area), (area / triplets.areas)[0]), rel=1e-5)


def index_of(groups: list[str | None]) -> pa.Table:
    return pa.table({"key": [f"k{n}" for n in range(len(groups))], "group": pa.array(groups, pa.string())})


def test_the_split_keeps_groups_together_and_photos_on_their_side() -> None:
    rng = np.random.default_rng(0)
    groups: list[str | None] = [f"g{n}" for n in rng.integers(0, 2000, 6000)]
    validation = validation_photos(index_of(groups), 0.1, seed=3)
    sides = {}
    for group, side in zip(groups, validation.tolist(), strict=True):
        assert sides.setdefault(group, side) == side
    assert np.mean(list(sides.values())) == pytest.approx(0.1, abs=0.03)
    # A subset in another order, as a data set that grew would see it.
    picked = rng.permutation(6000)[:1500]
    again = validation_photos(index_of([groups[n] for n in picked]), 0.1, seed=3)
    assert (again == validation[picked]).all()
    # A larger share only adds, another seed chooses others.
    assert not (validation & ~validation_photos(index_of(groups), 0.2, seed=3)).any()
    assert (validation != validation_photos(index_of(groups), 0.1, seed=4)).any()


def test_photos_without_a_group_are_split_by_their_key() -> None:
    index = pa.table({"key": [f"k{n}" for n in range(400)], "group": pa.array(["", None] * 200, pa.string())})
    assert 20 < validation_photos(index, 0.25).sum() < 180
    assert not validation_photos(index, 0).any()
    with pytest.raises(ValueError, match="at least 0 and less than 1"):
        validation_photos(index, 1)


def test_a_part_of_the_photos_has_their_triplets_alone() -> None:
    index = pa.table(
        {"shard": ["a", "a", "b"], "region_count": [2, 1, 3], "areas": [[0.1, 0.2], [0.3], [0.4, 0.5, 0.6]],
         "subjects": [["x", "y"], ["x"], ["z", "x", "y"]]}
    ).cast(SCHEMA)  # fmt: skip
    part = Triplets.of(index, np.array([True, False, True]))
    assert part.rows.tolist() == [0, 0, 2, 2, 2]
    assert part.regions.tolist() == [0, 1, 0, 1, 2]
    assert part.shards.tolist() == [0, 0, 1, 1, 1]
    assert part.areas == pytest.approx([0.1, 0.2, 0.4, 0.5, 0.6])
    with pytest.raises(ValueError, match="do not fit"):
        Triplets.of(index.set_column(1, "region_count", pa.array([2, 1, 2], pa.int32())))
