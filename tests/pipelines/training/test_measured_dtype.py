"""`dtype=measured`: bfloat16 where it pays, said when a run begins, and kept when it goes on elsewhere."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from instructrestore.model.networks.devices import gain_of_bfloat16
from instructrestore.model.training.checkpoints import TrainingCheckpoint
from instructrestore.model.training.settings import small, tiny
from instructrestore.pipelines.training import command
from instructrestore.pipelines.training.command import TrainingOptions, with_dtype


@pytest.mark.parametrize(("gain", "dtype"), [(2.6, "bfloat16"), (1.2, "float32"), (0.4, "float32")])
def test_what_is_quicker_is_taken_and_said(
    gain: float, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "gain_of_bfloat16", lambda device: gain)
    out = io.StringIO()
    options = with_dtype(TrainingOptions("data", tmp_path, small(), device="cpu"), None, Console(file=out))
    assert options.settings.dtype == dtype
    assert out.getvalue() == f"{dtype}: on cpu bfloat16 takes {1 / gain:.1f} times as long as float32\n"


def test_a_run_keeps_the_precision_that_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "gain_of_bfloat16", lambda device: pytest.fail("it is known"))
    state = {"step": 3, "settings": {"dtype": "bfloat16"}}
    latest = TrainingCheckpoint(tmp_path, state)
    options = with_dtype(TrainingOptions("data", tmp_path, small(), device="cpu"), latest, Console(file=io.StringIO()))
    assert options.settings.dtype == "bfloat16"


@pytest.mark.parametrize(("device", "dtype"), [("cuda", "bfloat16"), (None, "float32")])
def test_for_workers_on_other_machines_nothing_is_measured(
    device: str | None, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "gain_of_bfloat16", lambda device: pytest.fail("it says nothing of them"))
    options = TrainingOptions("data", tmp_path, small(), device=device, workers=2)
    assert with_dtype(options, None, Console(file=io.StringIO())).settings.dtype == dtype


def test_a_named_precision_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "gain_of_bfloat16", lambda device: pytest.fail("it is named"))
    options = TrainingOptions("data", tmp_path, tiny(), device="cpu")
    assert with_dtype(options, None, Console(file=io.StringIO())) is options


def test_the_measure_is_a_ratio_of_times() -> None:
    assert 0.01 < gain_of_bfloat16(torch.device("cpu")) < 100
