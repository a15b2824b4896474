from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from instructrestore.dataengine.judging.accuracy import estimate, kappa, progress, wilson
from instructrestore.dataengine.judging.judgement import Audit, Judgement
from instructrestore.dataengine.judging.log import LogEntry
from instructrestore.dataengine.judging.sampling import DrawnRegion
from tests.dataengine.judging.judgements import DATASET, KEY, judged


def drawn(count: int, frequency: str = "common", regions: int = 1000, start: int = 0) -> list[DrawnRegion]:
    return [
        DrawnRegion(DATASET, KEY, f"{start + number:016x}", "x", "x", frequency, "under 5%", "1", regions)
        for number in range(count)
    ]


def audits(
    queue: list[DrawnRegion], mask: Callable[[int], bool], caption: Callable[[int], bool], who: str = "Ann"
) -> list[Judgement]:
    return [
        Audit(
            when="2026-01-31T12:00:00Z",
            who=who,
            dataset=DATASET,
            key=KEY,
            region=each.region,
            mask_right=mask(place),
            caption_right=caption(place),
        )
        for place, each in enumerate(queue)
    ]


def entries(judgements: list[Judgement]) -> list[LogEntry]:
    return [LogEntry(number, each) for number, each in enumerate(judgements, 1)]


@pytest.mark.parametrize(
    ("right", "size", "low", "high"),  # published examples: Newcombe (1998), table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval(right: int, size: int, low: float, high: float) -> None:
    assert wilson(right / size, size) == pytest.approx((low, high), abs=5e-5)


def test_cohens_kappa() -> None:
    pairs = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
    assert kappa(pairs) == pytest.approx(0.4)
    assert kappa([(True, True)] * 5) is None
    assert kappa([(True, False), (False, True)]) == pytest.approx(-1)


def test_one_stratum_is_a_plain_share() -> None:
    queue = drawn(263)
    found = estimate(queue, entries(audits(queue, lambda n: n < 81, lambda n: n >= 40)))
    assert found
    assert (found.all.mask.share, found.all.mask.low) == pytest.approx((81 / 263, 0.2553), abs=5e-5)
    assert found.all.both.share == pytest.approx(41 / 263)
    assert (found.drawn, found.judged, found.judges, found.left_out) == (263, 263, 1, 0)


def test_strata_count_by_their_regions_and_not_by_how_many_were_judged() -> None:
    common, rare = drawn(10, regions=9_000), drawn(10, "rare", regions=1_000, start=100)
    found = estimate(
        common + rare,
        entries(audits(common, lambda _: True, lambda _: True) + audits(rare, lambda _: False, lambda n: n < 5)),
    )
    assert found
    assert found.all.mask.share == pytest.approx(0.9)
    assert found.all.caption.share == pytest.approx(0.95)
    by = {(each.of, each.name): each for each in found.strata}
    assert by["subject", "rare"].mask.share == 0 and by["subject", "rare"].caption.share == 0.5
    assert by["subject", "common"].mask.share == 1 and by["subject", "common"].mask.high == 1
    assert (by["area", "under 5%"].regions, by["area", "under 5%"].judged) == (10_000, 20)
    assert by["area", "under 5%"].mask == found.all.mask


def test_what_nobody_judged_is_left_out_and_said() -> None:
    common, rare = drawn(10, regions=9_000), drawn(10, "rare", regions=1_000, start=100)
    assert estimate(common + rare, []) is None
    found = estimate(common + rare, entries(audits(common[:4], lambda _: True, lambda _: True)))
    assert found and (found.judged, found.drawn, found.left_out) == (4, 20, 1_000)
    assert [each.name for each in found.strata if each.of == "subject"] == ["common"]


def test_what_a_judge_said_last_counts_unless_it_was_taken_back() -> None:
    queue = drawn(1)
    said = audits(queue, lambda _: False, lambda _: False) + audits(queue, lambda _: True, lambda _: False)
    found = estimate(queue, entries(said))
    assert found and found.all.mask.share == 1
    found = estimate(queue, entries([*said, judged("undo", of=2)]))
    assert found and found.all.mask.share == 0
    assert progress(queue, entries(said), "Ann") == [True] and progress(queue, entries(said), "Ben") == [False]


def test_two_judges() -> None:
    queue = drawn(50)
    ann = audits(queue, lambda n: n < 25, lambda _: True)
    ben = audits(queue, lambda n: n < 20 or 25 <= n < 35, lambda _: True, who="Ben")
    found = estimate(queue, entries(ann + ben))
    assert found and found.judges == 2
    assert found.all.mask.share == pytest.approx((25 + 30) / 100)
    (pair,) = found.kappas
    assert (pair.judges, pair.regions, pair.agreed) == (("Ann", "Ben"), 50, pytest.approx(0.7))
    assert (pair.mask, pair.caption, pair.both) == (pytest.approx(0.4), None, pytest.approx(0.4))


def test_intervals_hold_the_truth_about_95_times_in_100() -> None:
    """Three strata of unlike sizes and accuracies, sampled 50 times: the intervals are never much too narrow."""
    strata = [("common", 8_000, 0.9, 120), ("less common", 1_500, 0.7, 50), ("rare", 500, 0.4, 30)]
    truth = sum(size * share for _, size, share, _ in strata) / 10_000
    queue = [each for place, (name, size, _, n) in enumerate(strata) for each in drawn(n, name, size, 1000 * place)]
    often = [share for _, _, share, n in strata for _ in range(n)]
    chance = random.Random(1)
    held = 0
    for _ in range(50):
        right = [chance.random() < share for share in often]
        found = estimate(queue, entries(audits(queue, right.__getitem__, right.__getitem__)))
        assert found
        held += found.all.mask.low <= truth <= found.all.mask.high
    assert held >= 45
