"""Trials share what scales do not change, and give the pipeline's own pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from instructrestore.model.instruction.parser import parse
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.model.restoring.trials import Trials
from tests.dataengine.photos.test_photo_file import scene

FIRST = parse("make the dog clear, make the cat clear")
OTHER = parse("make the dog clear with 0.5, make the cat clear with 0.9 and keep other parts with 1.2")


@pytest.fixture(scope="module")
def pipe(tiny_base: Path) -> InstructRestorePipeline:
    made = InstructRestorePipeline.from_pretrained(tiny_base)
    made.set_progress_bar_config(disable=True)
    return made


def given_masks() -> list[np.ndarray]:
    masks = np.zeros((2, 64, 192), np.float32)
    masks[0, :, :60] = masks[1, 20:, 100:] = 1
    return list(masks)


@pytest.mark.parametrize(
    ("width", "masks", "asked"),
    [
        (96, False, {"guidance_scale": 3.0, "controlnet_every": 2, "rest": "keep"}),
        (192, False, {"tile": 128, "overlap": 32, "guidance_scale": 1.0}),
        (192, True, {"tile": 128, "overlap": 32, "mask": "hard", "guidance_scale": 2.0, "upscale": 1.5}),
    ],
)
def test_a_trial_is_the_pipeline_s_own(
    pipe: InstructRestorePipeline, width: int, masks: bool, asked: dict[str, Any]
) -> None:
    settings = SamplingSettings(num_inference_steps=2, **asked)
    photo, own = scene(64, width, 3), given_masks() if masks else None
    trials = Trials(pipe, photo, FIRST, settings, 7, own)
    for instruction in (OTHER, FIRST):
        tried = trials(instruction, "pt")
        generator = torch.Generator("cpu").manual_seed(7)
        called = pipe(
            photo, instruction, masks=[own] if own else None, settings=settings, generator=generator, output_type="pt"
        )
        assert torch.equal(torch.as_tensor(tried.images), torch.as_tensor(called.images))
        assert np.array_equal(tried.masks[0], called.masks[0])
        assert (tried.instructions, tried.reports) == (called.instructions, called.reports)


def test_the_controlnet_s_first_pass_is_made_once(
    pipe: InstructRestorePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    forward = pipe.controlnet.forward
    monkeypatch.setattr(pipe.controlnet, "forward", lambda *args, **more: passes.append(1) or forward(*args, **more))
    trials = Trials(pipe, scene(64, 96, 3), FIRST, SamplingSettings(num_inference_steps=1, guidance_scale=1), 0)
    different = [torch.as_tensor(trials(each, "pt").images) for each in (FIRST, OTHER)]
    assert len(passes) == 1
    assert not torch.equal(*different)
