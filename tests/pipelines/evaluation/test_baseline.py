from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pipelines.evaluation.method import Method
from pipelines.evaluation.tables import baseline
from pipelines.evaluation.tables.baseline import Verdict, compare_with_baseline, print_verdict, read_baseline
from pipelines.evaluation.tables.report import files_of, report_of
from tests.pipelines.evaluation.scores_by_hand import SEESR, evaluated, ours

CONFIGURATION = {"testset": {"name": "hand100", "sha256": "ab"}, "metrics": {"regions": "pixels"}}
PSNR, LPIPS = [27.0, 28.0, 29.0], [0.30, 0.31, 0.32]


def measured(
    psnr: list[float | None] | None = None,
    lpips: list[float] | None = None,
    method: Method = SEESR,
    configuration: dict[str, Any] = CONFIGURATION,
    bokeh: bool = False,
) -> bytes:
    """An evaluation.json of one method."""
    scores = {(method, "full", "psnr"): psnr or PSNR}
    if lpips is not None:
        scores[method, "full", "lpips"] = lpips
    report = evaluated(scores, configuration=configuration, bokeh=bokeh)
    return files_of(report, report_of(report))["evaluation.json"]


def edited(content: bytes, **changes: Any) -> bytes:
    """The file with other values of its first figure, as somebody may edit it."""
    evaluation = json.loads(content)
    evaluation["figures"][0].update(changes)
    return json.dumps(evaluation).encode()


MEASURED = measured()


def said(verdict: Verdict) -> str:
    console = Console(file=io.StringIO(), color_system=None, width=200)
    print_verdict(verdict, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_same_evaluation_passes() -> None:
    verdict = compare_with_baseline(measured(lpips=LPIPS), measured(lpips=LPIPS))

    assert verdict == Verdict(2, (), ())
    assert said(verdict) == "baseline: figures 2 = held 2 + better 0 + worse 0\n"


@pytest.mark.parametrize(("by", "falls"), [(0.049, False), (0.05, False), (0.051, True)])
def test_a_fall_of_psnr_is_held_against_its_noise(by: float, falls: bool) -> None:
    verdict = compare_with_baseline(measured([value - by for value in PSNR]), measured())

    assert bool(verdict.falls) == falls and not verdict.gains


@pytest.mark.parametrize(("by", "falls"), [(0.0019, False), (0.002, False), (0.0021, True)])
def test_of_lpips_more_is_worse(by: float, falls: bool) -> None:
    up = measured(lpips=[value + by for value in LPIPS])
    down = measured(lpips=[value - by for value in LPIPS])
    before = measured(lpips=LPIPS)

    assert bool(compare_with_baseline(up, before).falls) == falls
    assert not compare_with_baseline(down, before).falls
    assert bool(compare_with_baseline(down, before).gains) == falls


@given(
    noise=st.floats(0, 10),
    before=st.floats(-100, 100),
    change=st.floats(-20, 20),
    better=st.sampled_from(["higher", "lower"]),
)
def test_verdict_follows_from_change_noise_and_direction(
    noise: float, before: float, change: float, better: str
) -> None:
    old = edited(MEASURED, mean=before, noise=noise, better=better)
    new = edited(MEASURED, mean=before + change)
    gain = (before + change - before) * (1 if better == "higher" else -1)

    verdict = compare_with_baseline(new, old)

    if abs(abs(gain) - noise) > 1e-6:
        assert (len(verdict.falls), len(verdict.gains)) == (int(gain < -noise), int(gain > noise))
    swapped = compare_with_baseline(old, edited(old, mean=before + change))
    assert len(swapped.falls) == len(verdict.gains) and len(swapped.gains) == len(verdict.falls)


def test_noise_may_be_edited_in_the_file() -> None:
    worse = measured([value - 0.5 for value in PSNR])

    assert compare_with_baseline(worse, measured()).falls
    assert not compare_with_baseline(worse, edited(measured(), noise=0.6)).falls


def test_what_fell_is_told_with_figures() -> None:
    verdict = compare_with_baseline(measured([26.0, 27.0, 28.0], [0.2, 0.2, 0.2]), measured(lpips=LPIPS))

    lines = said(verdict).splitlines()
    assert lines == [
        "worse   SeeSR: full PSNR 28 before, 27 now, by 1, where 0.05 is noise",
        "better  SeeSR: full LPIPS 0.31 before, 0.2 now, by 0.11, where 0.002 is noise",
        "baseline: figures 2 = held 0 + better 1 + worse 1",
    ]


def test_a_figure_that_is_gone_and_one_of_fewer_photos_fall() -> None:
    gone = compare_with_baseline(measured(), measured(lpips=LPIPS))
    fewer = compare_with_baseline(measured([27.0, None, 39.0]), measured())

    assert "full LPIPS 0.31 before, no longer measured" in said(gone)
    assert "full PSNR of 3 photos before, now of 2" in said(fewer)
    assert not fewer.gains  # though its mean is higher


def test_a_figure_that_is_new_is_passed_over() -> None:
    assert compare_with_baseline(measured(lpips=LPIPS), measured()) == Verdict(1, (), ())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "old.json is no evaluation.json"),
        (b"\xff\xfe", "old.json is no evaluation.json"),
        (b"[" * 100_000, "old.json is no evaluation.json"),
        (b'{"photos": 3}', "old.json is no evaluation.json: version: field required"),
        (b'{"version": 99}', "old.json is of version 99, this program writes 1"),
        (b'{"version": 1}', "old.json is no evaluation.json: testset: field required"),
        (edited(measured(), mean=float("nan")), "figures.0.mean: input should be a finite number"),
        (edited(measured(), noise=-1), "figures.0.noise"),
        (edited(measured(lpips=LPIPS), metric="lpips"), "old.json lists a figure twice"),
        (measured(configuration={**CONFIGURATION, "testset": {"sha256": "cd"}}), "compare evaluations of one test set"),
        (measured(configuration={**CONFIGURATION, "testset": "ab"}), "says nothing of the test set"),
        (measured(configuration={**CONFIGURATION, "metrics": {"regions": "zeroed"}}), "with regions zeroed, this"),
        (measured(bokeh=True), "compare evaluations of one test set"),
        (measured([27.0, 28.0]), "old.json is of 2 photos, this evaluation of 3"),
        (measured(method=ours(0.8)), "old.json measured InstructRestore s1=0.8 s2=1, none of which"),
    ],
)
def test_a_baseline_that_does_not_compare_is_one_sentence(content: bytes, words: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        compare_with_baseline(measured(), content, "old.json")

    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_absent_a_folder_or_huge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "evaluation.json"
    with pytest.raises(ValueError, match="there is no baseline"):
        read_baseline(file)
    with pytest.raises(ValueError, match="is a folder"):
        read_baseline(tmp_path)
    file.write_bytes(measured())
    assert read_baseline(file) == measured()
    (tmp_path / "table-3.csv").write_text("label,origin")
    with pytest.raises(ValueError, match=r"table-3\.csv is no evaluation\.json"):
        read_baseline(tmp_path / "table-3.csv")
    monkeypatch.setattr(baseline, "MOST_BYTES", 100)
    with pytest.raises(ValueError, match="so it is no evaluation"):
        read_baseline(file)
