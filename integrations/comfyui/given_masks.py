"""The masks that the pipeline is given: those that are linked, and where only some are, those found for the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .images import masks_by_photo
from .regions import Regions


def given_masks(
    asked: Regions, mask: Tensor | None, photos: Sequence[Tensor], find: Callable[[Tensor], NDArray[np.float32]]
) -> list[list[Tensor] | None]:
    """Per photo the masks (H, W) of its regions, or None where none is linked: restoring finds them all.

    mask: a MASK of all regions, linked beside them. photos: (3, H, W) of one size. find: a photo -> its regions'
    masks (R, H, W), asked only where some regions have a mask and others not. Raises ValueError.
    """
    captions, size = asked.instruction.captions, photos[0].shape[-2:]
    if mask is not None:
        if any(own is not None for own in asked.masks):
            raise ValueError("masks are linked to the regions and to this node: unlink one of them")
        return list(masks_by_photo(mask, len(photos), len(captions), size, "the mask"))
    if all(own is None for own in asked.masks):
        return [None] * len(photos)
    linked = [
        None if own is None else masks_by_photo(own, len(photos), 1, size, f"the mask of {caption!r}")
        for caption, own in zip(captions, asked.masks, strict=True)
    ]
    whole: list[list[Tensor] | None] = []
    for place, photo in enumerate(photos):
        found = find(photo) if None in linked else None
        whole.append([_mask(found, region) if own is None else own[place][0] for region, own in enumerate(linked)])
    return whole


def _mask(found: NDArray[np.float32] | None, region: int) -> Tensor:
    assert found is not None
    return torch.from_numpy(found[region])
