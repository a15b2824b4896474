"""What a caller asked for, checked: photos of one size, an instruction each, masks or scale maps where given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from instructrestore.model.instruction.instruction import Instruction
from instructrestore.model.instruction.parser import parse
from instructrestore.model.restoring.photos import MaskInput, PhotoInput, mask_tensor, photo_tensor, scale_map_tensor


@dataclass(frozen=True)
class Request:
    """B photos to be restored together, on the CPU.

    photos: (B, 3, H, W) float32 in [0, 1]. instructions: one a photo. masks: per photo (R, 1, H, W) float32 in [0, 1],
    None where they are to be predicted. scale_maps: (B, 1, H, W) float32, or None.
    """

    photos: Tensor
    instructions: list[Instruction]
    masks: list[Tensor | None]
    scale_maps: Tensor | None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the photos as they came."""
        return self.photos.shape[-2], self.photos.shape[-1]


def read_request(
    photos: PhotoInput | Sequence[PhotoInput],
    instructions: str | Instruction | Sequence[str | Instruction],
    masks: Sequence[Sequence[MaskInput] | None] | None = None,
    scale_maps: Sequence[MaskInput] | None = None,
) -> Request:
    """The request. Raises ValueError, in one sentence, for what cannot be used."""
    tensors = [photo_tensor(photo) for photo in _as_list(photos)]
    if not tensors:
        raise ValueError("there is no photo to restore")
    sizes = sorted({(tensor.shape[2], tensor.shape[1]) for tensor in tensors})
    if len(sizes) > 1:
        listed = ", ".join(f"{width}x{height}" for width, height in sizes)
        raise ValueError(f"photos that are restored together must have one size; these are {listed}")
    size = tuple(tensors[0].shape[-2:])
    asked: Any = [instructions] if isinstance(instructions, (str, Instruction)) else instructions
    if not isinstance(asked, (list, tuple)) or not all(isinstance(each, (str, Instruction)) for each in asked):
        raise ValueError("an instruction is a text or an Instruction; there is one for all photos, or a list of them")
    if len(asked) == 1:
        asked = list(asked) * len(tensors)
    _check_count("instruction", asked, tensors)
    parsed = [each if isinstance(each, Instruction) else parse(each) for each in asked]
    if masks is not None and scale_maps is not None:
        raise ValueError("give masks or scale maps, not both: a scale map says everything that masks and scales say")
    per_photo: list[Tensor | None] = [None] * len(tensors)
    if masks is not None:
        _check_count("list of masks", masks, tensors)
        per_photo = [_masks(own, instruction, size) for own, instruction in zip(masks, parsed, strict=True)]
    maps = None
    if scale_maps is not None:
        _check_count("scale map", scale_maps, tensors)
        maps = torch.stack([scale_map_tensor(each, size) for each in scale_maps])
    return Request(torch.stack(tensors), parsed, per_photo, maps)


def _as_list(photos: PhotoInput | Sequence[PhotoInput]) -> Sequence[Any]:
    if isinstance(photos, (list, tuple)):
        return photos
    if isinstance(photos, Tensor) and photos.ndim == 4:
        return list(photos)
    return [photos]


def _check_count(what: str, given: Any, photos: Sequence[Tensor]) -> None:
    if not isinstance(given, (list, tuple)):
        raise ValueError(f"there must be one {what} for each photo, in a list")
    if len(given) != len(photos):
        raise ValueError(f"there must be one {what} for each photo: {len(given)} for {len(photos)} photos")


def _masks(masks: Sequence[MaskInput] | None, instruction: Instruction, size: Sequence[int]) -> Tensor | None:
    if masks is None:
        return None
    if not isinstance(masks, (list, tuple)):
        raise ValueError("the masks of a photo come as a list, one mask for each region of its instruction")
    regions = len(instruction.regions)
    if len(masks) != regions:
        raise ValueError(
            f"there must be one mask for each region: {len(masks)} given, and the instruction names {regions}"
        )
    return torch.stack([mask_tensor(mask, size) for mask in masks])
