"""Runs in which the base's UNet learns with the ControlNet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.model.training.checkpoints import TrainingCheckpoint
from instructrestore.pipelines.training.training_run import TrainingRun, check_resumable
from tests.pipelines.training.runs import job_of, losses, run, small
from tests.shards.loading import write_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "dataset"
    write_dataset(folder, shards=2, photos=6)
    return folder


def equal(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def last(out: Path, base: Path, dataset: Path) -> TrainingCheckpoint:
    latest = job_of(dataset, out, base, small()).checkpoints.latest()
    assert latest
    return latest


@pytest.mark.parametrize(("kind", "ema"), [("adamw", 0), ("muon", 0.5)])
def test_both_learn_and_a_run_goes_on_where_it_was(
    kind: str, ema: float, dataset: Path, tiny_base: Path, tmp_path: Path
) -> None:
    optimizer = {"kind": kind, "ema": ema, "schedule": "constant"}
    whole = small(train_base=True, control_drop=0.5, optimizer=optimizer, steps=4)
    rows = run(job_of(dataset, tmp_path / "whole", tiny_base, whole))
    for steps in (2, 4):
        parts = small(train_base=True, control_drop=0.5, optimizer=optimizer, steps=steps)
        again = run(job_of(dataset, tmp_path / "parts", tiny_base, parts))
    assert losses(rows) == losses(again)
    one, other = (last(tmp_path / name, tiny_base, dataset) for name in ("whole", "parts"))
    assert equal(one.trained(), other.trained())
    assert all(equal(one.exported(model), other.exported(model)) for model in ("controlnet", "unet"))

    before, after = load_pipeline(tiny_base), load_pipeline(tiny_base, one.folder)
    changed = [not torch.equal(a, b) for a, b in zip(before.unet.parameters(), after.unet.parameters(), strict=True)]
    assert sum(changed) > 0.9 * len(changed)
    assert equal(after.unet.state_dict(), one.exported("unet"))


def test_a_run_from_such_a_checkpoint_begins_with_its_unet(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    run(job_of(dataset, tmp_path / "base", tiny_base, small(train_base=True, steps=2)))
    checkpoint = last(tmp_path / "base", tiny_base, dataset)
    job = job_of(dataset, tmp_path / "next", tiny_base, small(steps=2))
    run(job.__class__(**{**vars(job), "init_from": str(checkpoint.folder)}))
    assert last(tmp_path / "next", tiny_base, dataset).state["base"] != checkpoint.state["base"]


def test_without_the_control_a_sample_teaches_the_unet_alone(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    settings = small(train_base=True, control_drop=0.999999, mask_weight=0, steps=1, optimizer={"weight_decay": 0})
    run(job_of(dataset, tmp_path / "out", tiny_base, settings))
    before, after = load_pipeline(tiny_base), last(tmp_path / "out", tiny_base, dataset)
    control = before.controlnet.state_dict()
    assert all(torch.equal(control[name], value) for name, value in after.exported("controlnet").items())
    assert not torch.equal(before.unet.conv_in.weight, after.exported("unet")["conv_in.weight"])


def test_a_checkpoint_of_an_earlier_program_had_the_defaults(tmp_path: Path) -> None:
    known = small().model_dump(mode="json")
    earlier = {name: value for name, value in known.items() if name not in ("train_base", "control_drop")}
    check_resumable(TrainingCheckpoint(tmp_path, {"step": 1, "settings": earlier}), small())
    with pytest.raises(ValueError, match="another train_base"):
        check_resumable(TrainingCheckpoint(tmp_path, {"step": 1, "settings": earlier}), small(train_base=True))


def test_a_learning_unet_stays_in_float32_where_the_networks_compute_in_another(
    dataset: Path, tiny_base: Path, tmp_path: Path
) -> None:
    settings = small(train_base=True, dtype="bfloat16", steps=1, validation={"every": 1})
    assert losses(run(job_of(dataset, tmp_path / "out", tiny_base, settings)))
    tensors = last(tmp_path / "out", tiny_base, dataset).exported("unet").values()
    assert {tensor.dtype for tensor in tensors} == {torch.float32}


def test_a_run_goes_on_from_the_checkpoint_it_began_with_though_that_run_went_on(
    dataset: Path, tiny_base: Path, tmp_path: Path
) -> None:
    first = {"optimizer": {"schedule": "constant"}, "train_base": True, "validation": {"share": 0}}
    run(job_of(dataset, tmp_path / "first", tiny_base, small(**first, steps=2)))
    began = last(tmp_path / "first", tiny_base, dataset)

    def second(steps: int, init_from: Path | None) -> TrainingRun:
        settings = small(steps=steps, optimizer={"schedule": "constant"}, validation={"share": 0})
        job = job_of(dataset, tmp_path / "second", tiny_base, settings)
        return replace(job, init_from=init_from and str(init_from))

    run(second(2, began.folder))
    run(job_of(dataset, tmp_path / "first", tiny_base, small(**first, steps=3)))
    later = last(tmp_path / "first", tiny_base, dataset)
    assert later.folder != began.folder
    assert len(losses(run(second(3, later.folder)))) == 3
    assert len(losses(run(second(4, None)))) == 4
    with pytest.raises(ValueError, match="with another base: continue with the same --base and --init-from"):
        run(second(5, tiny_base))


def test_a_run_that_learns_no_masks_says_nothing_of_them(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    said: list[str] = []
    rows = run(job_of(dataset, tmp_path / "out", tiny_base, small(steps=3, mask_weight=0)), said=said)
    (scores,) = [row["held_out"] for row in rows if "held_out" in row]
    assert scores["loss"] > 0
    assert {scores[name] for name in ("mask", "iou", "iou_swapped", "iou_without_text")} == {None}
    assert said and not any("IoU" in line for line in said)
