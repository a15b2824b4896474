"""Held-out regions restored during training: the pictures, and their PSNR against the HQ photo."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from instructrestore.model.instruction.instruction import Instruction, RegionScale
from instructrestore.model.networks.region_controlnet import RegionControlNet
from instructrestore.model.restoring.checkpoint import joined_sampling
from instructrestore.model.restoring.output import logger as reports
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.model.training.batch import Preparation
from instructrestore.model.training.crops import Crop


@dataclass(frozen=True)
class HeldOutExample:
    """A held-out region restored with scale 1. lq, result, hq: (S, S, 3) uint8. mask: (S, S) float32, predicted.

    psnr_inside, psnr_outside: of result and HQ in and out of the true region, dB; nan where there are no pixels.
    """

    caption: str
    lq: NDArray[np.uint8]
    mask: NDArray[np.float32]
    result: NDArray[np.uint8]
    hq: NDArray[np.uint8]
    psnr_inside: float
    psnr_outside: float


def restore_held_out(held_out: Sequence[Crop], network: RegionControlNet, prepare: Preparation) -> list[HeldOutExample]:
    """The first region of each of the first `validation.restored` photos, restored."""
    base, chosen = prepare.base, prepare.settings.validation
    asked = first_of_each_photo(held_out)[: chosen.restored]
    crops = [crop for crop, _ in asked]
    # The scheduler is copied: sampling sets its timesteps.
    scheduler = copy.deepcopy(base.scheduler)
    parts = (base.vae, base.text_encoder, base.tokenizer, base.unet, network, scheduler)
    pipe = InstructRestorePipeline(*parts, joined_sampling(base.sampling, network))
    pipe.set_progress_bar_config(disable=True)
    hq, lq = prepare.pairs(crops)
    with _without_warnings():
        output = pipe(
            lq,
            [instruction for _, instruction in asked],
            num_inference_steps=chosen.steps,
            generator=[torch.Generator().manual_seed(crop.position) for crop in crops],
            output_type="pt",
        )
    assert isinstance(output.images, Tensor)
    results = output.images.float()
    return [
        HeldOutExample(
            crop.caption,
            _picture(lq[number]),
            output.masks[number][0],
            _picture(results[number]),
            _picture(hq[number]),
            _psnr(results[number], hq[number], crop.mask),
            _psnr(results[number], hq[number], ~crop.mask),
        )
        for number, crop in enumerate(crops)
    ]


def first_of_each_photo(held_out: Sequence[Crop]) -> list[tuple[Crop, Instruction]]:
    """The first crop of each photo whose caption an instruction can hold, with that instruction.

    A data set of another's making may have captions of any length, or of nothing that can be seen.
    """
    asked: dict[int, tuple[Crop, Instruction]] = {}
    for crop in held_out:
        with suppress(ValueError):
            instruction = Instruction((RegionScale(crop.caption),), bokeh=crop.bokeh)
            asked.setdefault(crop.position, (crop, instruction))
    return list(asked.values())


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Regions not found yet are not worth a warning here: the IoU shows them."""
    level = reports.level
    reports.setLevel(logging.ERROR)
    try:
        yield
    finally:
        reports.setLevel(level)


def _psnr(result: Tensor, hq: Tensor, where: NDArray[np.bool_]) -> float:
    if not where.any():
        return float("nan")
    place = torch.from_numpy(where).to(result.device)
    error = float((result - hq)[:, place].square().mean())
    return float("inf") if error == 0 else -10 * float(np.log10(error))


def _picture(photo: Tensor) -> NDArray[np.uint8]:
    return (photo.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
