"""A request's masks where something singles a region out: a caption, points or boxes (locating.py), photo by photo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from instructrestore.model.instruction.instruction import MAX_REGIONS, Instruction, RegionScale
from instructrestore.model.restoring.locating import (
    Box,
    FoundRegion,
    Locate,
    PhotoCutter,
    Point,
    Seen,
    by_caption,
    by_places,
    check_places,
    singled_out,
    sought,
)
from instructrestore.model.restoring.request import Request
from instructrestore.model.restoring.settings import MASK_THRESHOLD

# A photo's number in the request and captions -> masks (captions, H, W) float32, as the mask decoder finds them.
Find = Callable[[int, Instruction], NDArray[np.float32]]


@dataclass(frozen=True)
class Places:
    """Where the one region of a photo's instruction is. Empty: its caption says it."""

    points: tuple[Point, ...] = ()
    boxes: tuple[Box, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.points or self.boxes)


def read_places(
    request: Request, points: Sequence[Sequence[Point]] | None, boxes: Sequence[Sequence[Box]] | None
) -> list[Places]:
    """One a photo. Raises ValueError, in one sentence, for what cannot be used."""
    count = len(request.photos)
    for what, given in (("points", points), ("boxes", boxes)):
        if given is not None and (not isinstance(given, (list, tuple)) or len(given) != count):
            raise ValueError(f"there must be one list of {what} for each photo, {count} in all")
    pairs = zip(points or [()] * count, boxes or [()] * count, strict=True)
    places = [Places(tuple(own or ()), tuple(around or ())) for own, around in pairs]
    for own, masks, instruction in zip(places, request.masks, request.instructions, strict=True):
        check_places(own.points, own.boxes, request.size, len(instruction.regions))
        if own and (masks is not None or request.scale_maps is not None):
            raise ValueError("give a mask or a scale map, or points and boxes, not both")
    return places


def chosen_masks(
    request: Request, places: Sequence[Places], locate: Locate, segmenter: PhotoCutter | None, find: Find
) -> tuple[list[Tensor | None], list[list[str]]]:
    """Per photo the masks (R, 1, H, W) float32 of its regions, None where nothing is to be chosen; and what the user
    should know. Raises ValueError, in one sentence, for a point that nothing holds."""
    if locate == "segments" and segmenter is None:
        raise ValueError("locate=segments needs a segmenter, which cuts photos up: give one, or take locate=both")
    masks: list[Tensor | None] = []
    reports: list[list[str]] = []
    for number, (instruction, own) in enumerate(zip(request.instructions, places, strict=True)):
        chooses = locate != "decoder" and any(map(singled_out, instruction.captions))
        if request.masks[number] is not None or request.scale_maps is not None or not (own or chooses):
            masks.append(None)
            reports.append([])
            continue
        rgb = (request.photos[number] * 255).round().byte().permute(1, 2, 0).numpy()
        cut = tuple(segmenter(rgb)) if segmenter else ()
        found = _found(number, instruction, locate, find)
        regions = _regions(instruction, own, Seen(rgb, found, cut), locate, found)
        masks.append(torch.from_numpy(np.stack([region.mask for region in regions])).float()[:, None])
        reports.append([region.report for region in regions if region.report])
    return masks, reports


def _regions(
    instruction: Instruction, places: Places, seen: Seen, locate: Locate, found: dict[str, NDArray[np.bool_]]
) -> list[FoundRegion]:
    if places:
        return [by_places(instruction.captions[0], places.points, places.boxes, seen, locate)]
    return [
        by_caption(caption, seen, locate) if singled_out(caption) else FoundRegion(found[caption])
        for caption in instruction.captions
    ]


def _found(number: int, instruction: Instruction, locate: Locate, find: Find) -> dict[str, NDArray[np.bool_]]:
    """What the decoder finds of all that is sought, by caption."""
    captions = list({text.casefold(): text for own in instruction.captions for text in sought(own, locate)}.values())
    found: dict[str, NDArray[np.bool_]] = {}
    for first in range(0, len(captions), MAX_REGIONS):
        asked = Instruction(
            tuple(map(RegionScale, captions[first : first + MAX_REGIONS])), instruction.others, instruction.bokeh
        )
        found |= zip(asked.captions, find(number, asked) > MASK_THRESHOLD, strict=True)
    return found
