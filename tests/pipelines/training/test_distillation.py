"""Students: what they begin as, what they learn, that their runs go on, and how their checkpoints are sampled."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from instructrestore.model.restoring.checkpoint import load_pipeline, model_sampling
from instructrestore.model.training.checkpoints import TrainingCheckpoint
from instructrestore.model.training.settings import TrainingSettings
from tests.pipelines.training.runs import job_of, losses, run, small
from tests.shards.loading import write_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "dataset"
    write_dataset(folder, shards=2, photos=6)
    return folder


def student(**values: object) -> TrainingSettings:
    chosen = {"learns": "student", "distillation": {"teacher_steps": 2, "rank": 4, "detail": 1, "hq": 0.2}}
    return small(**{**chosen, "steps": 2, "batch": 2, "scaled": 0.5, "text_drop": 0, **values})


def last(out: Path, base: Path, dataset: Path) -> TrainingCheckpoint:
    latest = job_of(dataset, out, base, small()).checkpoints.latest()
    assert latest
    return latest


def test_a_student_goes_on_where_it_was(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    constant = {"optimizer": {"schedule": "constant"}}
    rows = run(job_of(dataset, tmp_path / "whole", tiny_base, student(**constant)))
    for steps in (1, 2):
        again = run(job_of(dataset, tmp_path / "parts", tiny_base, student(**constant, steps=steps)))
    assert losses(rows) == losses(again)
    one, other = (last(tmp_path / name, tiny_base, dataset).trained() for name in ("whole", "parts"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    print(model_sampling(str(tiny_base), checkpoint=str(tmp_path / "whole/checkpoints/step-00000002")))
    load_pipeline(tiny_base, tmp_path / "whole/checkpoints/step-00000002")
