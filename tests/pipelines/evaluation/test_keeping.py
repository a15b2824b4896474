"""What an evaluation's folder keeps is what was made, and stays: damage is mended, and nothing foreign is touched."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from instructrestore.dataengine.running.outcomes import FailureWatch
from instructrestore.dataengine.running.part_files import Outcome, PartSummary
from instructrestore.dataengine.running.stage import StopStage
from instructrestore.model.metrics.settings import MetricSettings
from instructrestore.pipelines.evaluation.measured_with import measured_with
from instructrestore.pipelines.evaluation.methods.method import OURS, Method
from instructrestore.pipelines.evaluation.methods.restorers import MethodGroup, MethodInput, MethodOutput
from instructrestore.shards.pairs import TestSet
from tests.pipelines.evaluation.small_testset import blending, calls, evaluated_by, write_testset


@pytest.fixture(scope="module")
def testset(tmp_path_factory: pytest.TempPathFactory) -> TestSet:
    """Two parts of photos."""
    return write_testset(tmp_path_factory.mktemp("set") / "testset", [(64, 72)] * 10)


def without_mask(asked: list[MethodInput]) -> list[MethodOutput]:
    return [MethodOutput(each.rgb) for each in asked]


def unmasked(device: str | None) -> object:
    return without_mask


def test_a_result_or_a_mask_that_was_damaged_is_made_again(testset: TestSet, tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    first, _ = evaluated_by(testset, out, groups=[blending(log, (0.5,))])
    names = sorted((out / "results").rglob("*.png"))
    whole = {path: path.read_bytes() for path in names}
    results = [path for path in names if "mask" not in path.name]
    masks = [path for path in names if "mask" in path.name]
    flipped = bytearray(whole[results[0]])
    flipped[len(flipped) // 2] ^= 1
    results[0].write_bytes(flipped)  # of the same size
    masks[1].write_bytes(b"garbage")
    masks[2].write_bytes(whole[masks[3]])  # another photo's
    again, said = evaluated_by(testset, out, groups=[blending(log, (0.5,))])
    assert "restore: " in said
    assert {path: path.read_bytes() for path in names} == whole
    assert again.scores.equals(first.scores) and not again.failed
    assert len(calls(log)) == 10 + 3


def test_a_quick_look_costs_nothing_of_what_was_measured(testset: TestSet, tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    both = MetricSettings(metrics=("psnr", "ssim"))
    evaluated_by(testset, out, groups=[blending(log, (0.5,))], metrics=both)
    evaluated_by(testset, out, groups=[blending(log, (0.5,))], limit=3)
    _, said = evaluated_by(testset, out, groups=[blending(log, (0.5,))], metrics=both)
    assert "parts to do" not in said


def test_another_rule_measures_again_and_restores_nothing(testset: TestSet, tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    pixels, _ = evaluated_by(testset, out, groups=[blending(log, (0.5,))])
    zeroed, said = evaluated_by(
        testset, out, groups=[blending(log, (0.5,))], metrics=MetricSettings(metrics=("psnr",), regions="zeroed")
    )
    assert "measure: 4 of 4 parts to do" in said and "restore: " not in said
    inside = [each.scores[each.scores["scope"] == "target"]["value"].to_numpy() for each in (pixels, zeroed)]
    assert (inside[1] > inside[0] + 1).all()


def test_masks_of_an_earlier_result_go_with_it(testset: TestSet, tmp_path: Path) -> None:
    out = tmp_path / "out"
    evaluated_by(testset, out, groups=[blending(tmp_path / "log", (0.5,))])
    assert len(list((out / "results").rglob("*-mask.png"))) == 10
    method = Method(OURS, "model", 0.5, 1.0)
    evaluated_by(testset, out, groups=[MethodGroup("restore", (method,), unmasked, {"other": 1}, {})])  # type: ignore[arg-type]
    assert not list((out / "results").rglob("*-mask.png"))


def test_a_folder_is_of_one_test_set(testset: TestSet, tmp_path: Path) -> None:
    out = tmp_path / "out"
    evaluated_by(testset, out)
    before = (out / "scores.parquet").read_bytes()
    other = write_testset(tmp_path / "other", [(64, 72)] * 3)
    with pytest.raises(ValueError, match="an evaluation of another test set, small: name another folder"):
        evaluated_by(other, out)
    assert (out / "scores.parquet").read_bytes() == before


def test_a_start_that_ended_before_its_first_file_is_no_obstacle(testset: TestSet, tmp_path: Path) -> None:
    (tmp_path / "out/parts").mkdir(parents=True)
    evaluated, _ = evaluated_by(testset, tmp_path / "out")
    assert evaluated.photos == 10


def test_metrics_that_have_nothing_to_say_are_refused_at_once(testset: TestSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no figure at all: bokeh_iou is of a bokeh set and mask_iou is of masks"):
        evaluated_by(testset, tmp_path / "out", metrics=MetricSettings(metrics=("mask_iou", "bokeh_iou")))
    assert not (tmp_path / "out").exists()


def test_a_store_is_no_folder(testset: TestSet) -> None:
    with pytest.raises(ValueError, match="--out s3://bucket/x is in an object store: name a local folder instead"):
        evaluated_by(testset, Path("s3://bucket/x"))


def test_figures_follow_from_weights_and_not_from_where_they_lie(tmp_path: Path) -> None:
    known = []
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "musiq_koniq_ckpt-e95806b9.pth").write_bytes(content)
        (tmp_path / name / "other.pth").write_bytes(name.encode())
        known.append(measured_with(MetricSettings(metrics=("musiq",), iqa_weights=str(tmp_path / name))))
    assert known[0] == known[1] != known[2]
    plain = [measured_with(MetricSettings(metrics=("psnr",), iqa_weights=place)) for place in ("x/y", "z")]
    assert plain[0] == plain[1] and str(tmp_path) not in str(known)
    hub = [measured_with(MetricSettings(metrics=("lpips",), iqa_revision=revision)) for revision in ("main", "v2")]
    assert hub[0] != hub[1]
    assert "brisque" not in plain[0] and measured_with(MetricSettings(metrics=("brisque",)))["brisque"]
    detectors = []
    for number in range(2):
        (tmp_path / "w.pth").write_bytes(bytes([number]))
        settings = MetricSettings(blur_detector="d-dffnet", d_dffnet_weights=str(tmp_path / "w.pth"))
        detectors.append(measured_with(settings))
    assert detectors[0] != detectors[1] != measured_with(MetricSettings())


def test_a_figure_that_is_no_number_is_a_failure(
    testset: TestSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("instructrestore.model.metrics.scorer.psnr_of_luma", lambda *_: torch.full((1,), torch.nan))
    with pytest.raises(
        StopStage, match="no result could be measured; the most frequent reason: psnr gave no finite number"
    ):
        evaluated_by(testset, tmp_path / "out", metrics=MetricSettings(metrics=("psnr", "ssim")))


@pytest.mark.parametrize(
    ("reason", "detail", "said"),
    [
        ("ValueError", "the steps do not fit: name more", "the steps do not fit: name more"),
        ("OSError: gone", "a file", "OSError: gone"),
    ],
)
def test_too_many_failures_say_what_was_wrong(reason: str, detail: str, said: str) -> None:
    outcomes = [Outcome("a", "ok", None), Outcome("b", "failed", None, reason, detail)]
    summary = PartSummary("of", {}, {reason: 1}, {}, {})
    with pytest.raises(StopStage, match=f"1 rows in a row failed in the x stage, the latest with '{said}'"):
        FailureWatch("x", 1).part(summary, lambda: outcomes)
