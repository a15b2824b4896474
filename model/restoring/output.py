"""What the pipeline gives back."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from diffusers.utils.outputs import BaseOutput
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from instructrestore.model.instruction.instruction import Instruction
from instructrestore.model.restoring.careful import CarefulArea
from instructrestore.model.restoring.settings import MASK_THRESHOLD, SamplingSettings

logger = logging.getLogger(__name__)


@dataclass
class MaskPrediction(BaseOutput):
    """masks: per photo (R, H, W) float32 in [0, 1], where each region was found. instructions: as understood.
    reports: per photo, in plain sentences, what the caller should know."""

    masks: list[NDArray[np.float32]]
    instructions: list[Instruction]
    reports: list[list[str]]


@dataclass
class RestorationOutput(BaseOutput):
    """images: PIL images, or with output_type "np" an array (B, H, W, 3), with "pt" a tensor (B, 3, H, W), float32 in
    [0, 1]. masks: as in MaskPrediction, as last used; with a scale map (0, H, W). instructions, reports: the same.
    areas: per photo what was held closer (the setting `careful`)."""

    images: list[Image.Image] | NDArray[np.float32] | Tensor
    masks: list[NDArray[np.float32]]
    instructions: list[Instruction]
    reports: list[list[str]]
    areas: list[list[CarefulArea]] = field(default_factory=list)


def as_output(pictures: Tensor, settings: SamplingSettings, output_type: str, protects: bool = False) -> Any:
    """Photos (B, 3, H, W) float32 as output_type says (see RestorationOutput). protects: some pixels stay."""
    if output_type == "pt":
        return pictures.clamp(0, 1)
    if output_type == "np":
        return pictures.clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    # The release rounds a picture but truncates one whose colours it has fixed. Beside kept pixels that would show:
    # it is half a level darker on the average.
    kept = protects or settings.rest == "keep"
    truncate = settings.compat == "official" and settings.colour_fix != "none" and not kept
    return [Image.fromarray(each) for each in to_uint8(pictures, truncate)]


def to_uint8(photos: Tensor, truncate: bool = False) -> NDArray[np.uint8]:
    """Photos (B, 3, H, W) as (B, H, W, 3) uint8, rounded, or truncated as the release's colour fixes do."""
    levels = photos.clamp(0, 1) * 255
    levels = levels.floor() if truncate else levels.round()
    return levels.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def report_masks(masks: Tensor, instruction: Instruction) -> list[str]:
    """A sentence for every predicted mask (R, ...) that is empty or fills the photo: none or all of it above 0.5."""
    reports = []
    for mask, region in zip(masks, instruction.regions, strict=True):
        if not bool((mask > MASK_THRESHOLD).any()):
            reports.append(f"no region found for {region.caption!r}")
        elif bool((mask > MASK_THRESHOLD).all()):
            reports.append(f"the region found for {region.caption!r} fills the whole photo")
    return reports


def warn_of(reports: Sequence[Sequence[str]]) -> None:
    """Every sentence once, to this module's logger."""
    for sentence in dict.fromkeys(sentence for own in reports for sentence in own):
        logger.warning(sentence)
