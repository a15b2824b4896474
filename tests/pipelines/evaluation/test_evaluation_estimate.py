"""`evaluate --dry-run`: evaluations of one photo and of a few say what all of them take, and nothing of them stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from instructrestore.model.metrics.settings import MetricSettings
from instructrestore.pipelines.evaluation.estimate import EvaluationTimes, print_plan
from instructrestore.pipelines.evaluation.run import EvaluationRequest
from tests.pipelines.evaluation.small_testset import blending, calls, write_testset


def test_two_evaluations_tell_the_beginning_from_each_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    testset = write_testset(tmp_path / "testset", [(64, 72)] * 6)
    group = blending(tmp_path / "log", scales=(0.5,))
    request = EvaluationRequest(testset.path, tmp_path / "out", MetricSettings(metrics=("psnr",)), [group])
    console = Console(width=200)
    with console.capture() as said:
        print_plan(request, 3, 1.0, console)
    text = said.get()
    assert "6 photos; methods besides the LQ photos: InstructRestore" in text
    assert "measured: the first photo, then the first 3" in text and text.endswith("nothing was written\n")
    assert len(calls(tmp_path / "log")) == 4
    assert list((tmp_path / "temporary").iterdir()) == [] and not (tmp_path / "out").exists()
    with console.capture() as said:
        print_plan(request, None, None, console)
    assert "--measure 3" in said.get() and len(calls(tmp_path / "log")) == 4


def test_each_further_photo_is_the_difference() -> None:
    assert EvaluationTimes(photos=3, one_s=5.0, all_s=9.0, bytes=0).photo_s == 2.0
    assert EvaluationTimes(photos=3, one_s=5.0, all_s=4.0, bytes=0).photo_s == 0.0
