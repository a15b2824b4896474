"""ComfyUI's tensors and the pipeline's: IMAGE is (B, H, W, C) and MASK (B, H, W), floats in [0, 1], on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

_PLACEHOLDER = (64, 64)  # Load Image's MASK for a picture without transparency: so large, and 0 everywhere
_SAME_ASPECT = 0.01  # relative


def photos_of(image: Tensor) -> tuple[list[Tensor], list[str]]:
    """An IMAGE as photos (3, H, W), and sentences on what was left out. Raises ValueError for what is not in colour."""
    if image.ndim != 4 or image.shape[-1] not in (3, 4):
        raise ValueError(f"an image is (batch, height, width, 3 colours), not {tuple(image.shape)}: convert it to RGB")
    notes = ["the image's transparency is left out"] if image.shape[-1] == 4 else []
    colours = image[..., :3].float().cpu().clamp(0, 1)  # what comes out of a decoder may lie a little outside
    return list(colours.permute(0, 3, 1, 2)), notes


def image_of(pictures: Sequence[Tensor]) -> Tensor:
    """Pictures (1, 3, H, W) of one size as an IMAGE."""
    return torch.cat(list(pictures)).permute(0, 2, 3, 1).float().cpu().contiguous()


def one_mask(masks: NDArray[np.float32]) -> Tensor:
    """The masks (R, H, W) of a photo's regions as a MASK (1, H, W) of them all."""
    return torch.from_numpy(masks).amax(0, keepdim=True)


def fitted(mask: Tensor, size: Sequence[int], what: str) -> Tensor:
    """A MASK as (N, H, W) at a photo's (height, width), scaled where it has the same aspect.

    what: whose mask it is, in the sentence that ValueError has.
    """
    mask = mask.float().cpu()
    if mask.ndim == 2:
        mask = mask[None]
    if mask.ndim != 3:
        raise ValueError(f"a mask is (batch, height, width), not {tuple(mask.shape)}")
    height, width = mask.shape[-2:]
    if (height, width) == tuple(size):
        return mask.clamp(0, 1)
    if (height, width) == _PLACEHOLDER and not mask.any():
        raise ValueError(
            f"{what} is Load Image's stand-in for a picture without transparency: draw one in the mask editor, or "
            "unlink it and the region is found by its words"
        )
    if abs(width / height / (size[1] / size[0]) - 1) > _SAME_ASPECT:
        raise ValueError(
            f"{what} is {width}x{height} and the image {size[1]}x{size[0]}: crop or scale the mask to the image's shape"
        )
    return F.interpolate(mask[:, None], tuple(size), mode="bilinear", antialias=True)[:, 0].clamp(0, 1)


def masks_by_photo(mask: Tensor, photos: int, regions: int, size: Sequence[int], what: str) -> list[list[Tensor]]:
    """A MASK as the masks (H, W) of each photo's R regions: R of them serve all photos, or there are B x R in order.

    Raises ValueError for any other number; what: as in `fitted`.
    """
    mask = fitted(mask, size, what)
    if len(mask) == regions:
        return [list(mask)] * photos
    if len(mask) == photos * regions:
        return [list(own) for own in mask.split(regions)]
    wanted = f"{regions}" if photos == 1 else f"{regions} for all images, or {photos * regions}, image by image"
    raise ValueError(f"{what} is a batch of {len(mask)}, and wanted are {wanted}")
