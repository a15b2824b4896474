"""What the pipeline gives back."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from diffusers.utils.outputs import BaseOutput
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from instructrestore.model.instruction.instruction import Instruction
from instructrestore.model.restoring.photos import to_uint8
from instructrestore.model.restoring.settings import SamplingSettings

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
    [0, 1]. masks: as in MaskPrediction, as last used; with a scale map (0, H, W). instructions, reports: the same."""

    images: list[Image.Image] | NDArray[np.float32] | Tensor
    masks: list[NDArray[np.float32]]
    instructions: list[Instruction]
    reports: list[list[str]]


def as_output(pictures: Tensor, settings: SamplingSettings, output_type: str) -> Any:
    """Photos (B, 3, H, W) float32 as output_type says (see RestorationOutput)."""
    if output_type == "pt":
        return pictures.clamp(0, 1)
    if output_type == "np":
        return pictures.clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    # The release rounds a picture but truncates one whose colours it has fixed.
    truncate = settings.compat == "official" and settings.colour_fix != "none"
    return [Image.fromarray(each) for each in to_uint8(pictures, truncate)]


def warn_of(reports: Sequence[Sequence[str]]) -> None:
    """Every sentence once, to this module's logger."""
    for sentence in dict.fromkeys(sentence for own in reports for sentence in own):
        logger.warning(sentence)
