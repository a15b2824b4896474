from __future__ import annotations

import time
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from instructrestore.pipelines.evaluation.tables.comparisons import compare_methods
from instructrestore.pipelines.evaluation.tables.photo_scores import PhotoScores
from instructrestore.pipelines.evaluation.tables.statistics import (
    RESAMPLES,
    holm,
    mean_interval,
    resampled_means,
    signed_rank_p,
)
from instructrestore.pipelines.evaluation.tables.sweep import measure_sweep
from tests.pipelines.evaluation.scores_by_hand import LQ, SEESR, evaluated, ours


@pytest.mark.parametrize("photos", [2, 7, 100])
@pytest.mark.parametrize("skewed", [False, True])
def test_interval_of_a_mean_is_scipys_bca(photos: int, skewed: bool) -> None:
    rng = np.random.default_rng(photos)
    values = rng.lognormal(0, 1, photos) if skewed else rng.normal(30, 2, photos)
    scipys = stats.bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, method="BCa", rng=np.random.default_rng(20250331)
    ).confidence_interval

    assert mean_interval(values) == pytest.approx((scipys.low, scipys.high), rel=1e-9)


def test_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        low, high = mean_interval(rng.exponential(1, 60)) or (np.nan, np.nan)
        covered += low <= 1 <= high

    assert 0.88 < covered / 300 < 0.98  # 0.95 of endless photos


def test_interval_where_photos_say_nothing_of_their_spread() -> None:
    assert mean_interval(np.array([27.0])) is None
    assert mean_interval(np.full(5, 27.3)) == (pytest.approx(27.3), pytest.approx(27.3))


def test_interval_does_not_hang_on_how_many_resamples_are_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(50, 3))
    once = resampled_means(values)
    monkeypatch.setattr("instructrestore.pipelines.evaluation.tables.statistics._AT_ONCE", 1000)

    np.testing.assert_array_equal(resampled_means(values), once)


def test_a_hundred_photos_of_sixty_figures_take_a_second_or_two() -> None:
    values = np.random.default_rng(0).normal(size=(60, 100))
    begin = time.process_time()
    for figure in values:
        mean_interval(figure)

    assert time.process_time() - begin < 2


@pytest.mark.parametrize(
    "values", [[0.3, -0.1, 0.7, 0.2, 0.9, 0.5, -0.4], [0.0, 0.5, 0.1, -0.2, 0.9, 0.0, 0.3, 0.8, -0.3]]
)
def test_signed_rank_is_what_counting_all_signs_gives(values: list[float]) -> None:
    differences = np.array(values)
    ranks = stats.rankdata(abs(differences))[differences != 0]  # those of zeros take the lowest, and are left out
    differences = differences[differences != 0]
    seen = ranks[differences > 0].sum()
    every = [float(ranks @ np.array(signs)) for signs in product([0, 1], repeat=len(ranks))]
    far = min(np.mean([total >= seen for total in every]), np.mean([total <= seen for total in every]))

    assert signed_rank_p(np.array(values)) == pytest.approx(2 * far)


def test_signed_rank_of_too_few_of_equal_and_of_opposite_photos() -> None:
    assert signed_rank_p(np.array([1.0, 2.0, 3.0, 4.0, 5.0])) is None
    assert signed_rank_p(np.zeros(20)) == 1.0
    some = np.array([0.0, 0.0, 0.5, 0.1, 0.2, 0.9, 0.3, 0.8])
    p = signed_rank_p(some)
    assert p is not None and p == signed_rank_p(-some) and p < 0.05


def test_holm_by_hand() -> None:
    # Sorted: .01 * 4, .02 * 3, .03 * 2, .04 * 1; then none below the one before it.
    assert holm([0.04, None, 0.01, 0.03, 0.02]) == pytest.approx([0.06, None, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_never_lowers_keeps_the_order_and_is_at_most_bonferroni(ps: list[float]) -> None:
    adjusted = [p for p in holm(ps) if p is not None]

    assert len(adjusted) == len(ps)
    for p, raised in zip(ps, adjusted, strict=True):
        assert p <= raised <= min(1, p * len(ps)) or raised == pytest.approx(p)
    order = np.argsort(ps, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


def test_comparison_points_to_the_better_method_whatever_the_direction_and_uses_common_photos() -> None:
    report = evaluated(
        {
            (LQ, "full", "psnr"): [20.0, 21.0, 22.0, 23.0, 24.0, 25.0, 99.0],
            (ours(0.8), "full", "psnr"): [21.0, 22.5, 23.0, 24.5, 25.0, 26.5, None],
            (ours(0.8), "full", "lpips"): [0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2],
            (LQ, "full", "lpips"): [0.3, 0.31, 0.32, 0.33, 0.34, 0.35, 0.36],
        }
    )

    psnr, lpips = compare_methods(report, 3)

    assert (psnr.method, psnr.other, psnr.metric) == ("InstructRestore s1=0.8 s2=1", "LQ", "psnr")
    assert psnr.photos == 6 and psnr.difference == pytest.approx(1.25)  # the seventh photo has no pair
    assert (psnr.low, psnr.high) == pytest.approx(mean_interval(np.array([1, 1.5, 1, 1.5, 1, 1.5])))
    assert lpips.photos == 7 and lpips.difference == pytest.approx(0.13)  # less is better, so above 0 is better
    assert psnr.p is not None and lpips.p == pytest.approx(2 / 2**7)
    assert [psnr.p_adjusted, lpips.p_adjusted] == holm([psnr.p, lpips.p])
    assert lpips.significant


def test_a_sweep_is_compared_step_by_step_and_few_photos_get_no_test() -> None:
    report = evaluated({(ours(s1), "target", "psnr"): [25 + s1, 26 + s1] for s1 in (1.1, 0.5, 0.9, 0.7)})

    steps = compare_methods(report, 2)

    assert [(step.other[-11:-5], step.method[-11:-5]) for step in steps] == [
        ("s1=0.5", "s1=0.7"),
        ("s1=0.7", "s1=0.9"),
        ("s1=0.9", "s1=1.1"),
    ]
    assert [step.difference for step in steps] == pytest.approx([0.2, 0.2, 0.2])
    assert not any(step.significant or step.p is not None for step in steps)


def test_sweep_figures_by_hand() -> None:
    report = evaluated(
        {
            (ours(0.5), "target", "psnr"): [24.0, 26.0, 30.0],
            (ours(0.7), "target", "psnr"): [25.0, 27.0, None],
            (ours(0.9), "target", "psnr"): [26.0, 26.5, 30.0],
            (ours(0.5), "remaining", "psnr"): [30.0, 31.0, 30.0],
            (ours(0.7), "remaining", "psnr"): [30.5, 31.0, 30.0],
            (ours(0.9), "remaining", "psnr"): [30.0, 31.0, 30.0],
            (ours(0.8), "target", "psnr"): [0.0, 0.0, 0.0],  # Table 3's, no part of the sweep
            (ours(0.5, 0.7), "target", "psnr"): [0.0, 0.0, 0.0],
        }
    )

    sweep = measure_sweep(report, PhotoScores(report))

    assert sweep is not None and sweep.locality is not None
    assert sweep.scales == (0.5, 0.7, 0.9)
    assert sweep.locality.mean == pytest.approx(0.25 / 1.25)  # means inside 25, 26, 26.25; outside 30.5, 30.75, 30.5
    assert sweep.locality.photos == 2
    assert sweep.following.mean == pytest.approx((1 + 1 / 3) / 2)  # second photo: two pairs rise, one falls
    assert sweep.published_locality == pytest.approx(0.34 / 1.02)
    assert sweep.published_following == 1


def test_interval_of_locality_is_that_of_resampled_photos() -> None:
    rng = np.random.default_rng(3)
    target = 25 + rng.normal(size=(40, 1)) + np.array([0, 0.4, 0.9]) + 0.3 * rng.normal(size=(40, 3))
    rest = 30 + rng.normal(size=(40, 1)) + np.array([0, 0.1, 0.3]) + 0.3 * rng.normal(size=(40, 3))
    scores = {}
    for place, s1 in enumerate((0.5, 0.7, 0.9)):
        scores[ours(s1), "target", "psnr"] = target[:, place].tolist()
        scores[ours(s1), "remaining", "psnr"] = rest[:, place].tolist()
    report = evaluated(scores)
    other = np.random.default_rng(99)
    drawn = [other.integers(0, 40, 40) for _ in range(4000)]
    ratios = [np.ptp(rest[of].mean(0)) / np.ptp(target[of].mean(0)) for of in drawn]

    sweep = measure_sweep(report, PhotoScores(report))

    assert sweep is not None and sweep.locality is not None
    assert (sweep.locality.low, sweep.locality.high) == pytest.approx(np.quantile(ratios, [0.025, 0.975]), abs=0.02)


def test_no_sweep_of_one_scale_of_a_bokeh_set_or_of_a_target_that_stands_still() -> None:
    one = evaluated({(ours(0.8), "target", "psnr"): [25.0], (SEESR, "target", "psnr"): [26.0]})
    bokeh = evaluated({(ours(s1), "target", "psnr"): [25.0] for s1 in (0.5, 1.0)}, bokeh=True)
    still = evaluated(
        {(ours(s1), scope, "psnr"): [25.0, 26.0] for s1 in (0.5, 0.7) for scope in ("target", "remaining")}
    )

    assert measure_sweep(one, PhotoScores(one)) is None
    assert measure_sweep(bokeh, PhotoScores(bokeh)) is None
    found = measure_sweep(still, PhotoScores(still))
    assert found is not None and found.locality is None and found.following.mean == 0
