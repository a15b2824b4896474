"""Masks as people use them: united, cut, grown, inverted and feathered before they say where a region is.

The order is fixed: unite, intersect, subtract, grow, invert, feather. Each is exact:

- unite, intersect and subtract are those of fuzzy sets (Zadeh 1965): max(m, a), min(m, a) and min(m, 1 - a).
- grow by g pixels: every pixel whose Euclidean distance to the nearest pixel of the mask is at most g; by -g: every
  pixel whose distance to the nearest pixel of the photo outside the mask is over g. Both cut greys at 0.5.
- invert: 1 - m.
- feather by f pixels: 1 in the mask, cut at 0.5, and 1 - d / (f + 1) at a distance d of at most f around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from instructrestore.model.instruction.instruction import Instruction
from instructrestore.model.restoring.settings import MASK_THRESHOLD, SamplingSettings


@dataclass(frozen=True)
class MaskEdits:
    """What is united with, intersected with and subtracted from the mask of every region of a photo: (1, H, W) float32
    in [0, 1] each, or None."""

    unite: Tensor | None = None
    intersect: Tensor | None = None
    subtract: Tensor | None = None

    def __bool__(self) -> bool:
        return not (self.unite is None and self.intersect is None and self.subtract is None)

    def __call__(self, masks: Tensor) -> Tensor:
        """masks: (R, 1, H, W) in [0, 1]."""
        if self.unite is not None:
            masks = torch.maximum(masks, self.unite)
        if self.intersect is not None:
            masks = torch.minimum(masks, self.intersect)
        if self.subtract is not None:
            masks = torch.minimum(masks, 1 - self.subtract)
        return masks


def shapes_masks(settings: SamplingSettings, edits: MaskEdits) -> bool:
    """Whether anything is done to a photo's masks. With rest=keep the feather is the transition's, not the masks'."""
    soft = settings.feather and settings.rest == "restored"
    return bool(soft or settings.grow or settings.invert or edits)


def check_shaping(settings: SamplingSettings, instructions: Sequence[Instruction], has_scale_maps: bool) -> None:
    """Raises ValueError, in one sentence, where the settings ask for what cannot be done to masks."""
    asked = {"grow": settings.grow, "invert": settings.invert, "feather": settings.feather}
    name = next((name for name, value in asked.items() if value), "")
    if has_scale_maps and name:
        raise ValueError(f"a scale map says the scale of every pixel, so there is no mask for {name}: give a mask")
    several = max((len(each.regions) for each in instructions), default=1)
    if settings.invert and several > 1:
        raise ValueError(
            f"invert is for one region, and the instruction names {several}: unite their masks and invert that"
        )


def shaped(masks: Tensor, edits: MaskEdits, settings: SamplingSettings) -> Tensor:
    """The masks (R, 1, H, W) float32 in [0, 1] of a photo's regions after all that is asked, at the same size."""
    masks = edits(masks)
    if settings.grow:
        masks = torch.stack([grown(mask[0] > MASK_THRESHOLD, settings.grow).float()[None] for mask in masks])
    if settings.invert:
        masks = 1 - masks
    if settings.feather and settings.rest == "restored":
        masks = torch.stack([feathered(mask[0] > MASK_THRESHOLD, settings.feather)[None] for mask in masks])
    return masks


def grown(inside: Tensor, pixels: int) -> Tensor:
    """A mask (H, W) bool grown by so many pixels, shrunk where they are negative. The photo's edge is no border: what
    lies beyond it counts as neither inside nor outside."""
    if pixels >= 0:
        return distance_to(inside) <= pixels
    return distance_to(~inside) > -pixels


def feathered(inside: Tensor, pixels: int) -> Tensor:
    """(H, W) bool -> float32: 1 inside, 1 - d / (pixels + 1) at a distance d of at most `pixels`, 0 beyond."""
    distance = distance_to(inside)
    return torch.where(distance <= pixels, 1 - distance / (pixels + 1), 0)


def distance_to(inside: Tensor) -> Tensor:
    """(H, W) bool -> float32: each pixel's Euclidean distance to the nearest one that is True, in pixels; infinite
    where none is."""
    if not inside.any():
        return torch.full(tuple(inside.shape), torch.inf)
    outside = (~inside).cpu().numpy().astype(np.uint8)
    return torch.from_numpy(cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE))
