"""Table 2's sweep with a stand-in in the model's place, whose change inside the region alone is known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from instructrestore.model.metrics.metric import METRICS
from instructrestore.model.metrics.settings import MetricSettings
from instructrestore.model.metrics.sweep import following, locality
from instructrestore.pipelines.evaluation.methods.method import SCORE_COLUMNS
from tests.pipelines.evaluation.small_testset import DARKER, STEP, SWEEP, blending, evaluated_by, write_testset

# Y of BT.601 in studio range moves by 219 of 255 for a grey level that all three channels move by.
OF_Y = (65.481 + 128.553 + 24.966) / 255


def psnr_by_hand(grey_levels: float) -> float:
    return 20 * math.log10(255 / (grey_levels * OF_Y))


def test_a_change_inside_the_region_alone_shows_inside_alone(tmp_path: Path) -> None:
    testset = write_testset(tmp_path / "testset", [(64, 72)] * 3 + [(80, 64)] * 2)
    metrics = MetricSettings(metrics=("psnr", "ssim", "mask_iou"))
    evaluated, _ = evaluated_by(testset, tmp_path / "out", groups=[blending(tmp_path / "log")], metrics=metrics)
    assert [method.title for method in evaluated.methods] == ["LQ", *(f"InstructRestore s1={s:g} s2=1" for s in SWEEP)]
    scores = evaluated.scores
    assert tuple(scores.columns) == SCORE_COLUMNS
    model = scores[scores["method"] != "LQ"]
    psnr = model[model["metric"] == "psnr"]
    inside, outside = (
        psnr[psnr["scope"] == scope].pivot(index="key", columns="s1", values="value")
        for scope in ("target", "remaining")
    )
    assert inside.shape == outside.shape == (5, 4)
    for s1 in SWEEP:
        assert inside[s1].to_numpy() == pytest.approx(psnr_by_hand(DARKER - STEP * s1), abs=1e-5)
    assert outside.to_numpy() == pytest.approx(psnr_by_hand(DARKER - STEP), abs=1e-5)
    assert (outside.nunique(axis=1) == 1).all(), "outside, not a bit moves"
    assert locality(inside.to_numpy(), outside.to_numpy()) == 0
    assert following(np.array(SWEEP), inside.to_numpy()) == 1
    unrestored = scores[(scores["method"] == "LQ") & (scores["metric"] == "psnr")]
    assert unrestored["value"].to_numpy() == pytest.approx(psnr_by_hand(DARKER), abs=1e-5)
    assert unrestored["s1"].isna().all()
    found = model[model["metric"] == "mask_iou"]
    assert set(found["scope"]) == {"target"} and (found["value"] == 1).all()
    assert "mask_iou" not in set(scores[scores["method"] == "LQ"]["metric"])


def test_scores_are_in_the_order_of_methods_photos_scopes_and_metrics(tmp_path: Path) -> None:
    testset = write_testset(tmp_path / "testset", [(64, 72), (80, 64), (64, 72)])
    metrics = MetricSettings(metrics=("ssim", "psnr"))
    evaluated, _ = evaluated_by(testset, tmp_path / "out", groups=[blending(tmp_path / "log")], metrics=metrics)
    names = [metric.name for metric in METRICS]
    titles = [method.title for method in evaluated.methods]
    keys = testset.index["key"].to_pylist()
    places = [
        (titles.index(method), keys.index(key), ("full", "target", "remaining").index(scope), names.index(metric))
        for method, key, scope, metric in evaluated.scores[["method", "key", "scope", "metric"]].itertuples(index=False)
    ]
    assert places == sorted(places) and len(set(places)) == 5 * 3 * 3 * 2
    assert evaluated.scores["photo"].iloc[0] == "photo 0.png"
