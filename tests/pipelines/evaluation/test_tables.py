from __future__ import annotations

import numpy as np
import pytest

from instructrestore.pipelines.evaluation.tables.layout import build_table, table_numbers
from instructrestore.pipelines.evaluation.tables.published import PUBLISHED
from instructrestore.pipelines.evaluation.tables.statistics import mean_interval
from instructrestore.pipelines.evaluation.tables.table import Cell, Table
from tests.pipelines.evaluation.scores_by_hand import LQ, SEESR, Scores, evaluated, ours

SWEEP: Scores = {
    (ours(s1), scope, "psnr"): [base + s1, base + 2 * s1]
    for s1 in (0.8, 1.1, 0.5, 0.9, 0.7)
    for scope, base in (("target", 25.0), ("remaining", 30.0))
}
PIXELS = {"metrics": {"regions": "pixels", "blur_detector": "sharpness"}}


def layout(table: Table) -> str:
    """The columns in one line, as the paper's heads read."""
    groups: dict[str, list[str]] = {}
    for column in table.columns:
        groups.setdefault(column.group, []).append(column.of.title)
    return " | ".join(f"{group}: {' '.join(titles)}" for group, titles in groups.items())


def labels(table: Table, origin: str) -> list[str]:
    return [row.label for row in table.rows if row.origin == origin]


def test_columns_and_rows_are_the_papers() -> None:
    general, bokeh = evaluated(SWEEP), evaluated({(ours(1.0), "full", "psnr"): [27.0]}, bokeh=True)
    methods = ["Real-ESRGAN", "StableSR", "DiffBIR", "PASD", "SeeSR", "SUPIR", "OSEDiff", "InstructRestore"]

    two, three, four = build_table(general, 2), build_table(general, 3), build_table(bokeh, 4)

    assert layout(two) == "Target: PSNR SSIM LPIPS CLIPIQA MUSIQ MANIQA | Remaining: PSNR SSIM"
    assert layout(three) == "Target: PSNR SSIM CLIPIQA MUSIQ MANIQA | Full: PSNR SSIM LPIPS CLIPIQA MUSIQ MANIQA"
    assert layout(four) == "Background: PSNR SSIM Bokeh IoU | Full: PSNR SSIM LPIPS"
    assert labels(two, "quoted") == ["s1 = 0.5", "s1 = 0.7", "s1 = 0.9", "s1 = 1.1"]
    assert labels(three, "quoted") == labels(four, "quoted") == methods
    assert two.rows[-1].cells[0] == Cell(30.73) and four.rows[-1].cells[2] == Cell(0.8482)
    for table in (two, three, four):
        assert all(len(row.cells) == len(table.columns) for row in table.rows)


def test_table_2_is_the_sweep_by_s1_and_table_3_the_papers_own_scale() -> None:
    report = evaluated({**SWEEP, (LQ, "target", "psnr"): [20.0, 21.0], (SEESR, "target", "psnr"): [26.0, 27.0]})

    assert table_numbers(report) == (2, 3)
    assert labels(build_table(report, 2), "computed") == ["s1 = 0.5", "s1 = 0.7", "s1 = 0.9", "s1 = 1.1"]
    three = build_table(report, 3)
    assert labels(three, "computed") == ["InstructRestore", "SeeSR", "LQ"]  # LQ last, though it was first
    assert three.title.endswith("InstructRestore at s1 = 0.8 and s2 = 1")
    assert three.rows[0].method == "InstructRestore s1=0.8 s2=1"


def test_a_cell_is_the_mean_of_the_methods_own_photos_with_its_interval() -> None:
    values = [27.0, 28.5, 26.1, 29.9]
    report = evaluated({(ours(0.8), "full", "psnr"): [*values, None], (SEESR, "full", "psnr"): [20.0] * 5})

    table = build_table(report, 3, quoted=False)

    low, high = mean_interval(np.array(values)) or (None, None)
    assert table.rows[0].cells == (Cell(sum(values) / 4, low, high, 4),)
    assert low is not None and high is not None and low < 27.875 < high
    assert any("not over the same photos" in note for note in table.notes)


def test_the_order_of_scoring_changes_nothing() -> None:
    report = evaluated(SWEEP)
    shuffled = evaluated(SWEEP)
    shuffled.scores[:] = shuffled.scores.sample(frac=1, random_state=1).to_numpy()

    assert build_table(report, 2) == build_table(shuffled, 2)


def test_without_the_papers_rows_empty_columns_are_left_out() -> None:
    table = build_table(evaluated(SWEEP), 2, quoted=False)

    assert layout(table) == "Target: PSNR | Remaining: PSNR"
    assert labels(table, "quoted") == []
    assert not any("paper" in note for note in table.notes)


def test_mask_iou_comes_last_where_it_was_computed() -> None:
    report = evaluated(
        {(ours(0.8), "target", "mask_iou"): [0.5, 0.75], (LQ, "full", "psnr"): [20.0, 21.0]},
    )

    table = build_table(report, 3)

    assert layout(table).endswith(" | Mask: Mask IoU")
    ours_row, lq, *quoted = [row.cells[-1] for row in table.rows]
    assert ours_row is not None and ours_row.mean == 0.625
    assert lq is None and quoted == [None] * 8


def test_several_rows_of_the_model_keep_their_scales_the_papers_first() -> None:
    report = evaluated({(ours(1, s2), "full", "psnr"): [27.0] for s2 in (0.5, 1.0)}, bokeh=True)

    table = build_table(report, 4)

    assert labels(table, "computed") == ["InstructRestore s1=1 s2=1", "InstructRestore s1=1 s2=0.5"]


def test_a_table_that_cannot_be_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="hand100 gives no Table 2, only 3"):
        build_table(evaluated({(LQ, "full", "psnr"): [20.0]}), 2)
    with pytest.raises(ValueError, match="no Table 3, only 4"):
        build_table(evaluated({(LQ, "full", "psnr"): [20.0]}, bokeh=True), 3)
    assert table_numbers(evaluated({key: v for key, v in SWEEP.items() if key[0].s1 != 0.8})) == (2,)


def test_notes_say_what_keeps_figures_from_comparing() -> None:
    failed = {"SeeSR": {"no file": 1, "another size": 2}}
    scores = {(SEESR, "remaining", "bokeh_iou"): [0.5], (SEESR, "remaining", "psnr"): [100.0]}

    noted = "\n".join(build_table(evaluated(scores, bokeh=True, failed=failed, configuration=PIXELS), 4).notes)
    zeroed = {"metrics": {"regions": "zeroed", "blur_detector": "d-dffnet"}}
    quiet = "\n".join(build_table(evaluated(scores, bokeh=True, configuration=zeroed), 4).notes)

    assert "SeeSR: no result for 3 photos (no file: 1; another size: 2)" in noted
    assert "sharpness detector" in noted and "--regions zeroed is closer to it, but not the same" in noted
    assert "counts as 100 dB" in noted
    assert "sharpness" not in quiet and "--regions" not in quiet and "no result" not in quiet
    assert "with everything else black" in quiet and "still do not match" in quiet
    assert "0.6999" not in "".join(build_table(evaluated(scores, bokeh=True, configuration=PIXELS), 4, False).notes)


def test_notes_say_over_how_many_photos_each_column_is() -> None:
    whole = {(ours(s1), "target", "psnr"): [25.0 + s1] * 5 for s1 in (0.5, 0.7)}
    rest = {(ours(s1), "remaining", "psnr"): [30.0, 31.0, 32.0, None, None] for s1 in (0.5, 0.7)}
    small = {(ours(s1), "target", "ssim"): [0.5, 0.5, None, 0.5, 0.5] for s1 in (0.5, 0.7)}

    def noted(*scores: Scores) -> str:
        report = evaluated({key: values for of in scores for key, values in of.items()})
        return build_table(report, 2, quoted=False).notes[0]

    assert noted(whole) == "Computed rows: means over 5 photos of hand100, with 95% bootstrap intervals."
    assert "means over 5 photos of hand100 (Remaining: over 3), with" in noted(whole, rest)
    assert "means over 5 photos of hand100 (Target SSIM: over 4; Remaining: over 3), with" in noted(whole, small, rest)
    assert "means over 3 of the 5 photos of hand100, with" in noted(rest)


def test_a_photo_that_lacks_a_figure_for_all_methods_alike_makes_no_rows_of_other_photos() -> None:
    alike = {
        (ours(0.8), "target", "psnr"): [25.0, None, 26.0],  # of the second nothing but the full photo's
        (ours(0.8), "full", "psnr"): [25.0, 24.0, 26.0],
        (SEESR, "full", "psnr"): [25.0, 24.0, 26.0],
        (LQ, "target", "psnr"): [25.0, None, 26.0],
    }
    other = {**alike, (LQ, "target", "psnr"): [25.0, 24.0, None]}  # as many, but others

    def said(scores: Scores) -> bool:
        return any("not over the same photos" in note for note in build_table(evaluated(scores), 3).notes)

    assert not said(alike) and said(other)


def test_what_failed_says_of_the_means_only_where_there_are_some() -> None:
    failed = {"SeeSR": {"no file": 1}, "LQ": {"damaged": 2}}
    scores = {(SEESR, "full", "psnr"): [25.0, None], (LQ, "full", "psnr"): [None, None]}

    noted = build_table(evaluated(scores, failed=failed), 3).notes

    assert "SeeSR: no result for 1 photo (no file: 1); its means are over the other photos." in noted
    assert "LQ: no result for 2 photos (damaged: 2)." in noted


def test_table_2_states_the_sweeps_figures_beside_the_papers() -> None:
    notes = build_table(evaluated(SWEEP), 2).notes

    assert any(note.startswith("Locality 1.00 [1.00, 1.00]") and note.endswith("give 0.33.") for note in notes)
    assert any(
        note.startswith("Instruction following 1.00 [1.00, 1.00]") and note.endswith("give 1.00.") for note in notes
    )


def test_an_evaluation_without_any_figure_still_has_its_table() -> None:
    reasons = {"out of memory": 2}
    report = evaluated({(ours(0.8), "full", "psnr"): [None, None]}, failed={"InstructRestore s1=0.8 s2=1": reasons})

    table = build_table(report, 3, quoted=False)

    assert table.columns == () and labels(table, "computed") == ["InstructRestore"]
    assert any("no result for 2 photos (out of memory: 2)" in note for note in table.notes)


def test_a_method_without_any_figure_keeps_its_row() -> None:
    report = evaluated({(ours(0.8), "full", "psnr"): [27.0], (SEESR, "full", "psnr"): [None]})

    table = build_table(report, 3)

    assert labels(table, "computed") == ["InstructRestore", "SeeSR"]
    assert table.rows[1].cells == (None,) * len(PUBLISHED[3].columns)
