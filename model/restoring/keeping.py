"""The rest exactly as it was: the restored region laid into the photo, whose other pixels stay as they are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from instructrestore.model.instruction.instruction import Instruction
from instructrestore.model.restoring.settings import MASK_THRESHOLD, SamplingSettings
from instructrestore.model.restoring.shaping import feathered


def check_keeping(
    settings: SamplingSettings, instructions: Sequence[Instruction], has_scale_maps: bool, protects: bool = False
) -> None:
    """Raises ValueError, in one sentence, where pixels are to stay as they are and something else is asked of them.

    protects: whether there are pixels that must not change, whichever region they lie in.
    """
    if protects and settings.upscale != 1:
        raise ValueError(
            f"protected pixels stay as they are, and an upscale of {settings.upscale:g} moves them: upscale by 1, or "
            "protect nothing"
        )
    if settings.rest == "restored":
        return
    if has_scale_maps:
        raise ValueError("a scale map says nothing of where the region ends, so there is no rest to keep: give a mask")
    if any(each.bokeh for each in instructions):
        raise ValueError(
            "the instruction blurs the other parts, and rest=keep leaves them exactly as they are: ask for one or the "
            "other"
        )


def region_weight(masks: Tensor, given: bool, settings: SamplingSettings) -> Tensor:
    """How much of the restored photo goes into each pixel: masks (R, 1, H, W) in [0, 1] -> (1, H, W) float32.

    1 inside any region, that is where its mask is over 0.5; outside falling by the distance d to it, in pixels, as
    1 - d / (feather + 1); exactly 0 beyond the feather. given: the masks came with the photo; their own grey values
    are the weights then, unless a feather or hard masks are asked for.
    """
    union = masks.detach().cpu().float().amax(0)
    if given and not settings.feather and settings.mask == "soft":
        return union
    return feathered(union[0] > MASK_THRESHOLD, settings.feather)[None]


def restored_share(masks: Tensor, given: bool, protected: Tensor | None, settings: SamplingSettings) -> Tensor:
    """How much of the restored photo goes into each pixel, (1, H, W) float32 in [0, 1], by what is to stay as it was.

    masks, given: as `region_weight` has them, which counts where the rest is kept. protected: (1, H, W) in [0, 1]; 0 of
    the restored photo where it is 1, and around it a transition as around a region: d / (feather + 1) at a distance d.
    """
    share = region_weight(masks, given, settings) if settings.rest == "keep" else torch.ones(masks.shape[-3:])
    return share if protected is None else torch.minimum(share, 1 - region_weight(protected[None], True, settings))


def lay_in(restored: Tensor, photos: Tensor, weights: Tensor) -> Tensor:
    """The photos with the restored ones laid in: (B, 3, H, W) in [0, 1] twice, and weights (B, 1, H, W) in [0, 1].

    Where the weight is 0 a photo's values stay bit for bit, where it is 1 the restored ones do; in between light is
    added up (IEC 61966-2-1), as an eye does it that sees both at once.
    """
    laid = torch.where(weights > 0, restored, photos)
    ramp = ((weights > 0) & (weights < 1)).expand_as(laid)
    share, over, under = weights.expand_as(laid)[ramp], restored[ramp].clamp(0, 1), photos[ramp]
    laid[ramp] = _coded(share * _light(over) + (1 - share) * _light(under))
    return laid


def _light(values: Tensor) -> Tensor:
    return torch.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _coded(light: Tensor) -> Tensor:
    return torch.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
