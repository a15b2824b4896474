from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from instructrestore.model.metrics.metric import FOLLOWING, LOCALITY, METRICS
from instructrestore.pipelines.evaluation.methods.method import Evaluation, EvaluationPlan, Method
from instructrestore.pipelines.evaluation.tables import baseline
from instructrestore.pipelines.evaluation.tables.baseline import (
    Verdict,
    check_baseline,
    compare_with_baseline,
    print_verdict,
    read_baseline,
)
from instructrestore.pipelines.evaluation.tables.report import files_of, report_of
from tests.pipelines.evaluation.scores_by_hand import SEESR, evaluated, ours

CONFIGURATION = {"testset": {"name": "hand100", "sha256": "ab"}, "metrics": {"regions": "pixels"}}
METRICS_OF = {
    "revision": "1",
    "regions": "pixels",
    "blur_detector": "sharpness",
    "pyiqa": "0.1.16",
    "iqa_weights": "hub/weights@main",
    "d_dffnet_weights": "12",
    "d_dffnet_code": "34",
}
NOISES = {"psnr": 0.05, "ssim": 0.002, "brisque": 0.5, "lpips": 0.002, "clipiqa": 0.005, "musiq": 0.3, "maniqa": 0.005,
          "bokeh_iou": 0.01, "mask_iou": 0.01}  # fmt: skip
SCALES = (0.5, 0.7, 0.9, 1.1)
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


@pytest.mark.parametrize("metric", METRICS, ids=lambda of: of.name)
def test_every_metric_is_held_against_the_noise_that_the_documentation_states(metric: Any) -> None:
    def of(value: float) -> bytes:
        report = evaluated({(SEESR, "full", metric.name): [value] * 3}, configuration=CONFIGURATION)
        return files_of(report, report_of(report))["evaluation.json"]

    worse, noise = (-1 if metric.better == "higher" else 1), NOISES[metric.name]

    assert not compare_with_baseline(of(0.5 + worse * 0.99 * noise), of(0.5)).falls
    assert compare_with_baseline(of(0.5 + worse * 1.01 * noise), of(0.5)).falls
    assert compare_with_baseline(of(0.5 - worse * 1.01 * noise), of(0.5)).gains


def swept(target: list[float], rest: list[float], scales: tuple[float, ...] = SCALES) -> bytes:
    """A sweep of two photos that agree. target, rest: PSNR, one a scale."""
    scores = {
        (ours(s1), scope, "psnr"): [value] * 2
        for scope, values in (("target", target), ("remaining", rest))
        for s1, value in zip(scales, values, strict=True)
    }
    report = evaluated(scores, configuration=CONFIGURATION)
    return files_of(report, report_of(report))["evaluation.json"]


def control(verdict: Verdict) -> tuple[set[str], set[str]]:
    """Which of the sweep's figures fell, and which became better."""
    falls, gains = ({each.metric for each in of if each.scope == "sweep"} for of in (verdict.falls, verdict.gains))
    return falls, gains


def test_control_is_guarded() -> None:
    good = swept([27.0, 27.5, 27.8, 28.0], [31.0, 31.2, 31.3, 31.33])  # locality 0.33, following 1
    reversed_target = swept([28.0, 27.8, 27.5, 27.0], [31.0, 31.2, 31.3, 31.33])
    global_ = swept([27.0, 27.5, 27.8, 28.0], [31.0, 36.0, 41.0, 46.67])  # moves all the photo: locality 15.67

    verdict = compare_with_baseline(global_, good)
    assert control(verdict) == ({"locality"}, set())
    assert (
        "worse   InstructRestore s1=0.5,0.7,0.9,1.1 s2=1: sweep Locality 0.33 before, 15.67 now, by 15.3, "
        "where 0.05 is noise" in said(verdict).splitlines()
    )
    assert control(compare_with_baseline(good, global_)) == (set(), {"locality"})
    verdict = compare_with_baseline(reversed_target, good)
    assert control(verdict) == ({"following"}, set())
    assert "sweep Instruction following 1 before, -1 now" in said(verdict)
    assert control(compare_with_baseline(good, good)) == (set(), set())


@pytest.mark.parametrize(("by", "falls"), [(0.049, set()), (0.051, {"locality"})])
def test_locality_is_held_against_its_noise(by: float, falls: set[str]) -> None:
    target = [27.0, 27.5, 27.8, 28.0]

    verdict = compare_with_baseline(swept(target, [31, 31, 31, 31.3 + by]), swept(target, [31, 31, 31, 31.3]))

    assert control(verdict)[0] == falls
    assert (LOCALITY.noise, FOLLOWING.noise) == (0.05, 0.05)


def test_a_sweep_that_is_gone_or_stands_still_falls_and_one_of_other_scales_is_no_measure_of_it() -> None:
    good = swept([27.0, 27.5, 27.8, 28.0], [31.0, 31.2, 31.3, 31.33])
    still = swept([27.0] * 4, [31.0] * 4)
    narrow = swept([27.0, 28.0], [31.0, 31.3], scales=(0.5, 1.1))

    assert control(compare_with_baseline(still, good))[0] == {"locality", "following"}
    assert "sweep Locality 0.33 before, no longer measured" in said(compare_with_baseline(still, good))
    gone = compare_with_baseline(narrow, good)
    assert "InstructRestore s1=0.5,0.7,0.9,1.1 s2=1: sweep Locality 0.33 before, no longer measured" in said(gone)


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
    assert "full PSNR over 3 photos before, now over 2" in said(fewer)
    assert not fewer.gains  # though its mean is higher


def test_a_figure_that_is_new_is_passed_over() -> None:
    assert compare_with_baseline(measured(lpips=LPIPS), measured()) == Verdict(1, (), ())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "old.json is not an evaluation.json"),
        (b"\xff\xfe", "old.json is not an evaluation.json"),
        (b"[" * 100_000, "old.json is not an evaluation.json"),
        (b'{"photos": 3}', "old.json is not an evaluation.json: version: field required"),
        (b'{"version": 99}', "old.json has version 99, and this program writes 1"),
        (b'{"version": 1}', "old.json is not an evaluation.json: testset: field required"),
        (edited(measured(), mean=float("nan")), "figures.0.mean: input should be a finite number"),
        (edited(measured(), noise=-1), "figures.0.noise"),
        (edited(measured(lpips=LPIPS), metric="lpips"), "old.json lists a figure twice"),
        (
            measured(configuration={**CONFIGURATION, "testset": {"sha256": "cd"}}),
            "compare evaluations of the same test set",
        ),
        (measured(configuration={**CONFIGURATION, "testset": "ab"}), "does not describe the test set"),
        (measured(configuration={**CONFIGURATION, "metrics": {"regions": "zeroed"}}), "with regions zeroed, this"),
        (measured(bokeh=True), "compare evaluations of the same test set"),
        (measured([27.0, 28.0]), "old.json is of 2 photos, this evaluation of 3"),
        (
            measured(method=ours(0.8)),
            "old.json measured InstructRestore s1=0.8 s2=1, and this evaluation has none of these",
        ),
    ],
)
def test_a_baseline_that_does_not_compare_is_one_sentence(content: bytes, words: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        compare_with_baseline(measured(), content, "old.json")

    assert words in str(caught.value) and "\n" not in str(caught.value)


def beforehand(before: bytes, report: Evaluation) -> None:
    plan = EvaluationPlan(report.testset, report.photos, report.bokeh, report.methods, report.configuration)
    check_baseline(before, "old.json", plan)


def of_metrics(**changes: Any) -> dict[str, Any]:
    metrics = {name: value for name, value in {**METRICS_OF, **changes}.items() if value is not None}
    return {**CONFIGURATION, "metrics": metrics}


@pytest.mark.parametrize("rule", METRICS_OF)
def test_every_rule_of_measuring_has_to_be_the_same(rule: str) -> None:
    before = measured(configuration=of_metrics(**{rule: "another"}))
    after = measured(configuration=of_metrics())

    with pytest.raises(ValueError, match=rf"old\.json was measured with (a different )?{rule}\b.*: use the same"):
        compare_with_baseline(after, before, "old.json")
    assert not compare_with_baseline(before, before).falls
    without = measured(configuration=of_metrics(**{rule: None}))  # nothing there was measured by it
    assert not compare_with_baseline(without, before).falls and not compare_with_baseline(after, without).falls


def test_folders_of_weights_are_compared_by_the_files_that_both_used() -> None:
    def of(**files: str) -> bytes:
        return measured(configuration=of_metrics(iqa_weights=files))

    assert not compare_with_baseline(of(a="1", b="2"), of(a="1")).falls
    assert not compare_with_baseline(of(a="1"), measured(configuration=of_metrics())).falls  # may be the hub's own
    with pytest.raises(ValueError, match=r"with a different iqa_weights: use the same as there$"):
        compare_with_baseline(of(a="1", b="2"), of(a="1", b="3"))


OTHERS = [
    measured(configuration={**CONFIGURATION, "testset": {"sha256": "cd"}}),
    measured(bokeh=True, configuration=CONFIGURATION),
    measured([27.0, 28.0]),
    measured(method=ours(0.8)),
    *(measured(configuration=of_metrics(**{rule: "another"})) for rule in METRICS_OF),
    b"[]",
]


@pytest.mark.parametrize("before", OTHERS)
def test_what_does_not_compare_is_said_before_the_work_in_the_words_of_after_it(before: bytes) -> None:
    report = evaluated({(SEESR, "full", "psnr"): PSNR}, configuration=of_metrics())
    with pytest.raises(ValueError) as after:  # noqa: PT011
        compare_with_baseline(files_of(report, report_of(report))["evaluation.json"], before, "old.json")

    with pytest.raises(ValueError) as caught:  # noqa: PT011
        beforehand(before, report)

    assert str(caught.value) == str(after.value)


def test_what_compares_is_let_through_before_the_work() -> None:
    beforehand(MEASURED, evaluated({(SEESR, "full", "psnr"): PSNR}, configuration=of_metrics()))
    report = evaluated({(ours(s1), "target", "psnr"): [27.0, 28.0] for s1 in SCALES}, configuration=CONFIGURATION)
    sweep = json.loads(swept([27.0, 27.5, 27.8, 28.0], [31.0, 31.2, 31.3, 31.33]))
    sweep["figures"] = [figure for figure in sweep["figures"] if figure["scope"] == "sweep"]  # all that is kept

    beforehand(json.dumps(sweep).encode(), report)


def test_a_file_that_is_absent_a_folder_or_huge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "evaluation.json"
    with pytest.raises(ValueError, match="there is no baseline"):
        read_baseline(file)
    with pytest.raises(ValueError, match="is a folder"):
        read_baseline(tmp_path)
    file.write_bytes(measured())
    assert read_baseline(file) == measured()
    (tmp_path / "table-3.csv").write_text("label,origin")
    with pytest.raises(ValueError, match=r"table-3\.csv is not an evaluation\.json"):
        read_baseline(tmp_path / "table-3.csv")
    monkeypatch.setattr(baseline, "MOST_BYTES", 100)
    with pytest.raises(ValueError, match="so it is not an evaluation"):
        read_baseline(file)
