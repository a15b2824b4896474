"""What a caller asked for, checked: photos of one size, an instruction each, masks or scale maps where given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from instructrestore.model.instruction.instruction import MAX_SCALE, Instruction, checked_scale
from instructrestore.model.instruction.parser import parse
from instructrestore.model.restoring.shaping import MaskEdits
from instructrestore.model.restoring.sizes import MIN_SIDE

# A PIL image, an array (H, W, 3) uint8, or a tensor (3, H, W) of floats in [0, 1].
PhotoInput = Image.Image | NDArray[np.uint8] | Tensor
# A PIL image of mode 1 or L, or an array or tensor (H, W): bool, uint8 in [0, 255] or float in [0, 1].
MaskInput = Image.Image | NDArray[Any] | Tensor
# Per photo some masks, or None.
MaskLists = Sequence[Sequence[MaskInput] | None]
_GREY_SPREAD = 8  # levels between the channels of a pixel that still is grey: what lossy formats make of grey


@dataclass(frozen=True)
class Request:
    """B photos to be restored together, on the CPU.

    photos: (B, 3, H, W) float32 in [0, 1]. instructions: one a photo. masks: per photo (R, 1, H, W) float32 in [0, 1],
    None where they are to be predicted. scale_maps: (B, 1, H, W) float32, or None. edits: one a photo, of its masks.
    protected: per photo (1, H, W) float32 in [0, 1], 1 where it must not change, or None.
    """

    photos: Tensor
    instructions: list[Instruction]
    masks: list[Tensor | None]
    scale_maps: Tensor | None
    edits: list[MaskEdits] = field(default_factory=list)
    protected: list[Tensor | None] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the photos as they came."""
        return self.photos.shape[-2], self.photos.shape[-1]


def read_request(
    photos: PhotoInput | Sequence[PhotoInput],
    instructions: str | Instruction | Sequence[str | Instruction],
    masks: MaskLists | None = None,
    scale_maps: Sequence[MaskInput] | None = None,
    scale_range: tuple[float, float] | None = None,
    unite: MaskLists | None = None,
    intersect: MaskLists | None = None,
    subtract: MaskLists | None = None,
    protect: MaskLists | None = None,
) -> Request:
    """The request. scale_range: the scales of black and white in the scale maps. unite, intersect, subtract, protect:
    several masks of a photo count as their union; to intersect with, as their intersection.

    Raises ValueError, in one sentence, for what cannot be used.
    """
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
        maps = torch.stack([scale_map_tensor(each, size, scale_range) for each in scale_maps])
    elif scale_range is not None:
        raise ValueError("a scale range says what black and white mean in a scale map: give one too")
    edits = [
        MaskEdits(*own)
        for own in zip(
            _per_photo("unite", unite, tensors),
            _per_photo("intersect", intersect, tensors),
            _per_photo("subtract", subtract, tensors),
            strict=True,
        )
    ]
    if maps is not None and any(edits):
        raise ValueError("a scale map says the scale of every pixel, so there is no mask to change: give a mask")
    return Request(
        torch.stack(tensors), parsed, per_photo, maps, edits, _per_photo("protect", protect, tensors)
    )  # fmt: skip


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


def _per_photo(what: str, masks: MaskLists | None, photos: Sequence[Tensor]) -> list[Tensor | None]:
    """Each photo's masks as one, (1, H, W): their union, or their intersection where that is asked for."""
    if masks is None:
        return [None] * len(photos)
    _check_count(f"list of masks for {what}", masks, photos)
    together = torch.Tensor.amin if what == "intersect" else torch.Tensor.amax
    found: list[Tensor | None] = []
    for photo, own in zip(photos, masks, strict=True):
        if own is not None and not isinstance(own, (list, tuple)):
            raise ValueError(f"the masks of a photo for {what} come as a list")
        size = tuple(photo.shape[-2:])
        found.append(together(torch.stack([mask_tensor(mask, size) for mask in own]), 0) if own else None)
    return found


def photo_tensor(photo: PhotoInput) -> Tensor:
    """A photo as (3, H, W) float32 in [0, 1] on the CPU. Raises ValueError for what is not a photo of 64 px and up."""
    if isinstance(photo, Image.Image):
        _check_depth(photo)
        photo = np.asarray(photo.convert("RGB"))
    if isinstance(photo, np.ndarray):
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
            raise ValueError(f"a photo as an array is (H, W, 3) uint8, not {photo.shape} {photo.dtype}")
        photo = torch.from_numpy(photo.copy()).permute(2, 0, 1) / 255
    elif not isinstance(photo, Tensor):
        raise ValueError(f"a photo is a PIL image, an array or a tensor, not {type(photo).__name__}")
    if photo.ndim != 3 or photo.shape[0] != 3 or not photo.is_floating_point():
        raise ValueError(f"a photo as a tensor is (3, H, W) of floats, not {tuple(photo.shape)} {photo.dtype}")
    height, width = photo.shape[-2:]
    if min(height, width) < MIN_SIDE:
        raise ValueError(
            f"a photo of {width}x{height} is too small: the shorter side must be at least {MIN_SIDE} pixels"
        )
    photo = photo.float().cpu()
    if not (photo.min() >= 0 and photo.max() <= 1):  # false for NaN too
        raise ValueError("a photo's values lie between 0 and 1; these do not")
    return photo


def mask_tensor(mask: MaskInput, size: Sequence[int]) -> Tensor:
    """A mask as (1, H, W) float32 in [0, 1]. Raises ValueError unless it has the photo's (height, width)."""
    return _map_tensor(mask, size, "mask", 1.0)


def scale_map_tensor(
    scale_map: MaskInput, size: Sequence[int], scale_range: tuple[float, float] | None = None
) -> Tensor:
    """A map of scales as (1, H, W) float32. As an image, or of uint8, grey 100 is scale 1.

    scale_range: the scales of black and white, between which greys lie evenly; then a map of floats is one of greys
    from 0 to 1. Raises ValueError.
    """
    if scale_range is None:
        return _map_tensor(scale_map, size, "scale map", MAX_SCALE, grey_of_one=100)
    return scales_of_greys(_map_tensor(scale_map, size, "scale map", 1.0), scale_range)


def scales_of_greys(greys: Tensor, scale_range: tuple[float, float]) -> Tensor:
    """Greys in [0, 1] as scales in a range, from black to white; exact at both ends. Raises ValueError."""
    if not isinstance(scale_range, (list, tuple)) or len(scale_range) != 2:
        raise ValueError("a scale range is two numbers: the scale of black and that of white")
    black, white = (torch.tensor(checked_scale(scale, "a scale of the range")) for scale in scale_range)
    return torch.lerp(black, white, greys.float())


def _map_tensor(values: Any, size: Sequence[int], what: str, greatest: float, grey_of_one: int = 255) -> Tensor:
    if isinstance(values, Image.Image):
        _check_depth(values)
        values = _grey_values(values, what)
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        values = torch.from_numpy(values.copy())
    if not isinstance(values, Tensor) or values.is_complex():
        raise ValueError(f"a {what} is a grey image, or an array or tensor of real numbers")
    if values.ndim != 2:
        raise ValueError(f"a {what} has one value a pixel, (H, W), not {tuple(values.shape)}")
    if tuple(values.shape) != tuple(size):
        height, width = values.shape
        raise ValueError(f"the {what} is {width}x{height} but its photo {size[1]}x{size[0]}: they must have one size")
    values = values.cpu() / grey_of_one if values.dtype == torch.uint8 else values.float().cpu()
    if not (values.min() >= 0 and values.max() <= greatest):  # false for NaN too
        raise ValueError(f"a {what}'s values lie between 0 and {greatest:g}; these do not")
    return values[None]


def _grey_values(image: Image.Image, what: str) -> NDArray[np.uint8]:
    """(H, W) grey values of an image that has nothing else, so that a cut-out's photo is not taken for a mask."""
    rgba = np.asarray(image.convert("RGBA"))
    if rgba[..., 3].min() < 255:
        raise ValueError(f"a {what} is a grey image, and this one is transparent in places: give its channel 'A' alone")
    if (rgba[..., :3].max(-1) - rgba[..., :3].min(-1) > _GREY_SPREAD).any():
        raise ValueError(f"a {what} is a grey image, and the colours of this one differ from one another")
    return np.asarray(image.convert("L"))


def _check_depth(image: Image.Image) -> None:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        raise ValueError(f"a picture of mode {image.mode} has more than 8 bits a channel: convert it to 8 first")
