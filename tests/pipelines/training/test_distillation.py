"""Students: what they begin as, what they learn, that their runs go on, and how their checkpoints are sampled."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from instructrestore.model.networks.checkpoint_record import FILES
from instructrestore.model.networks.region_controlnet import RegionControlNet
from instructrestore.model.restoring.checkpoint import BaseNetworks, load_base, load_controlnet, load_pipeline
from instructrestore.model.training.batch import TrainingBatch
from instructrestore.model.training.crops import Crop
from instructrestore.model.training.distillation import DistillationPreparation, StudentNetworks, begin_student
from instructrestore.model.training.low_rank import merged
from instructrestore.model.training.objective import freeze
from instructrestore.model.training.settings import TrainingSettings, distil
from instructrestore.pipelines.building.presets import with_values
from instructrestore.pipelines.inference.model_source import ModelSource
from instructrestore.pipelines.training.command import TrainingOptions
from tests.pipelines.training.runs import SMALL, job_of, run
from tests.shards.loading import write_dataset

EXACT: dict[str, Any] = {"dtype": "float32", "sharpen": False}


def student(**values: Any) -> TrainingSettings:
    """The preset for SD 2.1, small enough for the tiny base."""
    own = {"steps": 2, "batch": 1, "scaled": 1, "distillation": {"teacher_steps": 2, "rank": 2}, "mask_channels": 64}
    chosen = {**own, **EXACT, "checkpoint_every": 1, "validation": {"share": 0}}
    return with_values(with_values(with_values(distil(), SMALL), chosen), values)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "dataset"
    write_dataset(folder, shards=1, photos=3)
    return folder


@pytest.fixture
def teacher(tiny_base: Path) -> tuple[BaseNetworks, RegionControlNet]:
    base = load_base(str(tiny_base), device="cpu")
    return base, load_controlnet(str(tiny_base), base, device="cpu")


@pytest.fixture(scope="module")
def crop() -> Crop:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    mask = np.zeros((64, 64), np.bool_)
    mask[:, :32] = True
    return Crop(pixels, mask, "the dog", "dog", False, 7, 0, "key", 0, 0, ())


def test_a_teacher_and_its_student_are_sampled_as_the_pipeline_restores(
    teacher: tuple[BaseNetworks, RegionControlNet], crop: Crop, tiny_base: Path
) -> None:
    """Guidance, start, scale maps: what a batch is taught is what the pipeline makes of the same photo and noise."""
    base, controlnet = teacher
    settings = student(distillation={"hq": 0})
    prepare = DistillationPreparation(base, settings, controlnet)
    batch = prepare([crop])
    assert 0 < float(batch.control.amin()) < float(batch.control.amax())  # one scale in the region, one in the rest
    begin_student(base, controlnet, settings)
    views = prepare.student.views(batch, controlnet, None)
    with torch.no_grad():
        answers = [batch.target, prepare.student(batch, base.unet, controlnet, views)]

    pipe = load_pipeline(tiny_base, device="cpu")
    pipe.set_progress_bar_config(disable=True)
    scales = np.kron(batch.control[0, 0].numpy(), np.ones((8, 8), np.float32))
    asked: tuple[dict[str, Any], ...] = ({}, {"guidance_scale": 1.0})
    for answer, sampling in zip(answers, asked, strict=True):
        steps = 2 if not sampling else 1
        seen: list[torch.Tensor] = []

        def keep(pipe: Any, step: int, timestep: Any, given: dict[str, torch.Tensor]) -> None:
            seen.append(given["latents"])  # noqa: B023 (called at once)

        pipe(batch.lq, "make the dog clear", scale_maps=[scales], latents=batch.noise, num_inference_steps=steps,
             callback_on_step_end=keep, **sampling)  # fmt: skip
        torch.testing.assert_close(seen[-1], answer, rtol=1e-4, atol=1e-4)


def test_before_it_learns_a_student_of_as_many_steps_is_its_teacher(
    teacher: tuple[BaseNetworks, RegionControlNet], crop: Crop
) -> None:
    base, controlnet = replace(teacher[0], sampling={"guidance_scale": 1.0}), teacher[1]
    before = {name: value.clone() for name, value in base.unet.state_dict().items()}
    settings = student(distillation={"steps": 2, "hq": 0})
    freeze(base, settings)
    prepare = DistillationPreparation(base, settings, controlnet)
    begin_student(base, controlnet, settings)
    networks = StudentNetworks(controlnet, base.unet, prepare)
    batch = prepare([crop])
    found, logits = networks(batch)
    assert float(found.noise.detach()) < 1e-10
    assert float(found.mask.detach()) > 0 and torch.equal(logits, networks.mask_logits(batch))
    (found.total + networks(replace(batch, target=batch.target + 1))[0].noise).backward()
    learning = [name for name, parameter in base.unet.named_parameters() if parameter.grad is not None]
    assert learning and all(name.endswith((".weight.0.down", ".weight.0.up")) for name in learning)
    after = merged(base.unet).state_dict()
    assert after.keys() == before.keys() and all(torch.equal(before[name], value) for name, value in after.items())


def test_the_hq_photo_has_a_share_of_the_target_where_nothing_is_scaled(
    teacher: tuple[BaseNetworks, RegionControlNet], crop: Crop
) -> None:
    def target(hq: float, scaled: float) -> TrainingBatch:
        settings = student(scaled=scaled, distillation={"hq": hq})
        return DistillationPreparation(teacher[0], settings, teacher[1])([crop])

    plain, half = target(0, 0), target(0.5, 0)
    torch.testing.assert_close(half.target, (plain.target + plain.latents) / 2)
    assert torch.equal(target(0.5, 1).target, target(0, 1).target)


def test_a_run_goes_on_where_it_was_and_its_checkpoint_takes_one_step(
    dataset: Path, tiny_base: Path, tmp_path: Path
) -> None:
    whole = job_of(dataset, tmp_path / "whole", tiny_base, student(optimizer={"schedule": "constant"}))
    run(whole)
    first, latest = whole.checkpoints.all()
    parts = job_of(dataset, tmp_path / "parts", tiny_base, whole.settings)
    shutil.copytree(first.folder, parts.checkpoints.folder / first.folder.name)
    run(parts)
    again = parts.checkpoints.latest()
    assert again and again.state[FILES] == latest.state[FILES]

    pipe = load_pipeline(tiny_base, latest.folder, device="cpu")
    assert pipe.config["sampling"] == {"num_inference_steps": 1, "guidance_scale": 1.0}
    loading = ModelSource(str(tiny_base), str(latest.folder))
    assert loading.sampling(pipe._resolved(None, {})).num_inference_steps == 1
    own, updates = latest.trained(), latest.exported("unet")
    layer = "mid_block.resnets.0.conv1"
    up, down = (own[f"unet.{layer}.parametrizations.weight.0.{name}"] for name in ("up", "down"))
    before = load_base(str(tiny_base), device="cpu").unet.state_dict()[f"{layer}.weight"]
    torch.testing.assert_close(updates[f"{layer}.weight"], before + (up @ down).view_as(before))
    assert up.any()


def test_what_cannot_be_distilled_is_one_sentence(
    teacher: tuple[BaseNetworks, RegionControlNet], tiny_base: Path, tmp_path: Path
) -> None:
    base, controlnet = teacher
    spaced = type(base.scheduler).from_config({**base.scheduler.config, "timestep_spacing": "leading"})  # pyright: ignore
    with pytest.raises(
        ValueError, match=r"^1 steps of this base begin at timestep \d+ and the teacher's 2 at \d+: give"
    ):
        DistillationPreparation(replace(base, scheduler=spaced), student(), controlnet)
    with pytest.raises(ValueError, match=r"^low-rank updates have no moving average: leave optimizer.ema out"):
        student(optimizer={"ema": 0.9})
    bare = Path(shutil.copytree(tiny_base, tmp_path / "bare", ignore=shutil.ignore_patterns("controlnet")))
    with pytest.raises(ValueError, match=r"^which teacher\? .*bare has no ControlNet of its own: name a trained"):
        TrainingOptions("data", tmp_path / "out", student(), base=str(bare)).training_run()
    assert TrainingOptions("data", tmp_path / "out", student(), base=str(tiny_base)).training_run().init_from
    config = bare / "step-1" / "controlnet" / "config.json"
    shutil.copytree(tiny_base / "controlnet", config.parent)
    config.write_text(json.dumps({**json.loads(config.read_text()), "sampling": {"num_inference_steps": 0}}))
    for load in (load_pipeline, lambda base, checkpoint: ModelSource(str(base), str(checkpoint)).model_sampling()):
        with pytest.raises(ValueError, match=r"^the sampling in .*config.json is unusable: num_inference_steps: input"):
            load(tiny_base, bare / "step-1")
