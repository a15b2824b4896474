from __future__ import annotations

import csv
from pathlib import Path

import pytest

from pipelines.evaluation.tables.published import PUBLISHED, SCALES, SWEEP

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


def test_the_papers_region_figures_fit_black_surroundings_and_no_mean_over_pixels() -> None:
    """What the note under Tables 2 to 4 says."""
    ssim = {of: PUBLISHED[3].columns.index(of) for of in PUBLISHED[3].columns if of.metric == "ssim"}
    target, full = (PUBLISHED[3].rows["InstructRestore"][place] for place in ssim.values())
    before, after = (PUBLISHED[2].rows[label][-1] for label in ("s1 = 0.7", "s1 = 0.9"))
    rest = (before + after) / 2  # at Table 3's s1 = 0.8

    assert rest == pytest.approx(0.907, abs=5e-4)
    assert full < min(target, rest)
    assert target + rest - 1 == pytest.approx(0.74, abs=5e-3)
    assert abs(target + rest - 1 - full) < min(target, rest) - full
