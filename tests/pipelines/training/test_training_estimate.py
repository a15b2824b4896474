"""`train --dry-run`: a few real steps say what all of them take, and nothing of them stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from instructrestore.pipelines.training.command import TrainingOptions
from instructrestore.pipelines.training.estimate import StepTimes, measure, print_plan
from tests.pipelines.training.runs import small
from tests.shards.loading import write_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data", shards=2, photos=5)
    return tmp_path / "data"


def test_steps_a_checkpoint_and_a_validation_are_measured_and_removed(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    settings = small(steps=100, checkpoint_every=10, keep=2)
    options = TrainingOptions(str(dataset), tmp_path / "out", settings, device="cpu")
    console = Console(width=200)
    with console.capture() as said:
        print_plan(options, 3, 2.0, console)
    text = said.get()
    assert "steps: 100 of 100 are left, 4 triplets each" in text
    assert "about 33 of them" in text and "; 33 of them" in text  # validations every 3 steps, each after a checkpoint
    assert "for 3 checkpoints and the one being written" in text
    assert "measured: 3 steps" in text and text.endswith("nothing was written\n")
    assert list((tmp_path / "temporary").iterdir()) == [] and not (tmp_path / "out").exists()


def test_of_several_workers_one_is_measured_with_its_share(dataset: Path, tmp_path: Path) -> None:
    options = TrainingOptions(str(dataset), tmp_path / "out", small(validation={"share": 0}), device="cpu", workers=2)
    times = measure(options, 2, Console(quiet=True))
    assert len(times.ends) == 2 and times.validated is None and times.bytes > 1000


def test_the_first_step_and_the_start_are_told_apart() -> None:
    times = StepTimes(began=10.0, ends=[15.0, 16.0, 17.0], saved=19.0, validated=22.0)
    assert (times.step_s, times.start_s, times.save_s, times.validation_s) == (1.0, 4.0, 2.0, 3.0)


def test_without_measuring_it_says_how_to(dataset: Path, tmp_path: Path) -> None:
    console = Console(width=200)
    with console.capture() as said:
        print_plan(TrainingOptions(str(dataset), tmp_path / "out", small(), device="cpu"), None, None, console)
    assert "--measure 5" in said.get() and "10 photos" in said.get()
