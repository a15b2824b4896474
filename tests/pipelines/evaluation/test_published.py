from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrestore.model.metrics.fidelity import ssim
from instructrestore.model.metrics.scorer import Scorer
from instructrestore.model.metrics.settings import MetricSettings
from instructrestore.pipelines.evaluation.tables.published import PUBLISHED, SCALES, SWEEP

SCOPES = {"background": "remaining"}  # Table 4's word for it


def test_every_figure_is_the_papers(data_folder: Path) -> None:
    path = data_folder.parent / "paper_tables.csv"
    if not path.is_file():
        pytest.skip(f"the paper's tables are not at {path}")
    papers = {}
    with path.open() as file:
        for line in csv.DictReader(file):
            if line["table"] != "1":
                scope = SCOPES.get(line["scope"], line["scope"])
                papers[int(line["table"]), line["row"], scope, line["metric"]] = float(line["value"])

    typed = {}
    for number, table in PUBLISHED.items():
        for label, figures in table.rows.items():
            row = label.replace("Real-ESRGAN", "RealESRGAN").replace(" = ", "=")
            for column, figure in zip(table.columns, figures, strict=True):
                typed[number, row, column.scope, column.metric] = figure

    assert typed == papers


def test_scales_of_the_sweep_are_the_labels_of_table_2() -> None:
    assert [f"s1 = {s1:g}" for s1 in SWEEP] == list(PUBLISHED[2].rows)
    assert SCALES[3] not in [(s1, 1.0) for s1 in SWEEP]


def test_the_papers_ssim_excludes_a_mean_over_pixels_and_leaves_some_of_black_surroundings() -> None:
    """What the notes under Tables 2 to 4 say."""
    ssim_of = {of.scope: place for place, of in enumerate(PUBLISHED[3].columns) if of.metric == "ssim"}
    target, full = (PUBLISHED[3].rows["InstructRestore"][ssim_of[scope]] for scope in ("target", "full"))
    before, after = (PUBLISHED[2].rows[label][-1] for label in ("s1 = 0.7", "s1 = 0.9"))
    assert PUBLISHED[2].columns[-1].metric == "ssim" and PUBLISHED[2].columns[-1].scope == "remaining"
    rest = (before + after) / 2  # at Table 3's s1 = 0.8

    assert before < rest < after
    assert target + rest - 1 == pytest.approx(0.744, abs=5e-4)
    assert full == 0.6999 < target + before - 1  # whichever of the neighbours
    assert target + rest - 1 - full == pytest.approx(0.044, abs=5e-4)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.05, 0.95), noise=st.floats(0, 0.5))
def test_over_pixels_the_full_ssim_is_no_less_than_target_plus_rest_less_1(
    seed: int, share: float, noise: float
) -> None:
    """The argument of the notes: for each photo, so for the means too."""
    rng = np.random.default_rng(seed)
    hq = torch.from_numpy(rng.random((1, 3, 24, 28), np.float32))
    changed = rng.normal(0, noise, hq.shape) * (rng.random((24, 28)) < 0.5)
    results = (hq + torch.from_numpy(changed.astype(np.float32))).clamp(0, 1)
    region = torch.zeros(1, 24, 28, dtype=torch.bool)
    region[:, :, : min(22, max(6, round(28 * share)))] = True  # both sides hold middles of windows

    full, target, rest = (float(ssim(results, hq, of)) for of in (None, region, ~region))

    assert min(target, rest) - 1e-12 <= full <= max(target, rest) + 1e-12
    assert full >= target + rest - 1 - 1e-12


def test_with_black_surroundings_the_full_ssim_is_target_plus_rest_less_1_but_for_the_border() -> None:
    rng = np.random.default_rng(7)
    hq = torch.from_numpy(rng.random((1, 3, 64, 64), np.float32))
    results = (hq + 0.2 * torch.from_numpy(rng.normal(size=hq.shape).astype(np.float32))).clamp(0, 1)
    region = torch.zeros(1, 64, 64, dtype=torch.bool)
    region[:, :, :32] = True
    apart = hq.clone(), results.clone()
    for photo in apart:
        photo[..., 22:42] = 0  # black on both sides of the border: no window sees the two parts

    def gap(first: torch.Tensor, second: torch.Tensor) -> float:
        scorer = Scorer(MetricSettings(metrics=("ssim",), regions="zeroed", device="cpu"))
        (figures,) = scorer(first, second, region, False, [None])
        return figures["target", "ssim"] + figures["remaining", "ssim"] - 1 - figures["full", "ssim"]

    assert gap(*apart) == pytest.approx(0, abs=1e-9)
    assert 1e-4 < abs(gap(results, hq)) < 0.2
