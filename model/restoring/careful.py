"""Faces and lettering that are held closer to the photo than the rest, where the instruction does not name them.

Small faces and letters are where a diffusion prior invents. The scale of equation 3 that holds there is raised,

    s1 M + s2 (1 - M)   ->   s1 M + (1 - M) (s2 + C max(0, careful_scale - s2) max(0, 1 - 2 M))

with C the areas found in the LQ photo: where M is 0.5 or more, nothing changes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from instructrestore.model.instruction.instruction import Instruction
from instructrestore.model.restoring.request import Request
from instructrestore.model.restoring.settings import CarefulKind, SamplingSettings
from instructrestore.pretrained.faces import FaceFinder
from instructrestore.pretrained.lettering import LetteringFinder

Finder = Callable[[NDArray[np.uint8]], list[NDArray[np.float32]]]
MARGIN = 0.1  # of its size, by which an area is larger than what was found
# An instruction with one of these words in a caption names what they stand for.
WORDS: dict[CarefulKind, frozenset[str]] = {
    "faces": frozenset({"face", "faces", "head", "heads", "portrait", "portraits"}),
    "text": frozenset(
        {"text", "texts", "lettering", "letter", "letters", "word", "words", "writing", "inscription", "inscriptions"}
        | {"sign", "signs", "label", "labels", "number", "numbers", "logo", "logos"}
    ),
}
_ONE: dict[CarefulKind, str] = {"faces": "face", "text": "line of text"}
_MANY: dict[CarefulKind, str] = {"faces": "faces", "text": "lines of text"}
_ONE_AT_A_TIME = Lock()  # the networks keep their input


@dataclass(frozen=True)
class CarefulArea:
    """kind: "faces" or "text". corners: of a rectangle around it, four (x, y) in pixels of the LQ photo."""

    kind: CarefulKind
    corners: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class HeldCloser:
    """Where a photo is held closer: areas (1, 1, h, w) in [0, 1] at latent size, and the scale there."""

    areas: Tensor
    scale: float

    def lift(self, others: float) -> Tensor:
        """What the scale of the other parts is raised by, (1, 1, h, w)."""
        return self.areas * max(0.0, self.scale - others)


def check_careful(settings: SamplingSettings, instructions: Sequence[Instruction], has_scale_maps: bool) -> None:
    """Raises ValueError, in one sentence, where nothing can be held closer, or what finds it is not installed."""
    if not settings.careful:
        return
    if has_scale_maps:
        raise ValueError("a scale map says the scale of every pixel, so nothing is held closer: leave out careful")
    if any(each.bokeh for each in instructions):
        raise ValueError(
            "the instruction blurs the other parts, and careful holds them closer: ask for one or the other"
        )
    for kind in settings.careful:
        _finder(kind)


def careful_areas(request: Request, settings: SamplingSettings) -> list[list[CarefulArea]]:
    """Per photo what is to be held closer, of the kinds that are asked for and that its instruction does not name."""
    found: list[list[CarefulArea]] = []
    for photo, instruction in zip(request.photos, request.instructions, strict=True):
        kinds: list[CarefulKind] = [kind for kind in settings.careful if not named(kind, instruction)]
        rgb = (photo * 255).round().byte().permute(1, 2, 0).numpy()
        found.append([area for kind in kinds for area in _found(kind, rgb, settings.careful_size)])
    return found


def named(kind: CarefulKind, instruction: Instruction) -> bool:
    """Whether a caption has a word for faces, or for lettering."""
    return any(WORDS[kind] & set(re.findall(r"\w+", caption.casefold())) for caption in instruction.captions)


def drawn(areas: Sequence[CarefulArea], size: Sequence[int]) -> Tensor:
    """(1, H, W) float32 of a photo's (height, width): 1 in the areas, 0 elsewhere."""
    mask = np.zeros(tuple(size), np.uint8)
    for area in areas:
        cv2.fillConvexPoly(mask, np.array(area.corners, np.int32), 1)
    return torch.from_numpy(mask).float()[None]


def report_of(areas: Sequence[CarefulArea], settings: SamplingSettings) -> list[str]:
    """A sentence on what was held closer; none where nothing was asked for."""
    return [f"held closer: {counted(areas)}"] if settings.careful else []


def counted(areas: Sequence[CarefulArea]) -> str:
    """As in "2 faces, 1 line of text"; "nothing" where there is nothing."""
    counts: Counter[CarefulKind] = Counter(area.kind for area in areas)
    texts = [f"{count} {_ONE[kind] if count == 1 else _MANY[kind]}" for kind, count in counts.items()]
    return ", ".join(texts) or "nothing"


def record_of(areas: Sequence[CarefulArea]) -> list[dict[str, Any]]:
    """For the results' files."""
    return [{"kind": area.kind, "corners": [list(corner) for corner in area.corners]} for area in areas]


def _found(kind: CarefulKind, rgb: NDArray[np.uint8], share: float) -> list[CarefulArea]:
    """What is smaller than this share of the photo's short side: a face by its long side, a line by its height."""
    with _ONE_AT_A_TIME:
        rectangles = _finder(kind)(rgb)
    areas = []
    for corners in rectangles:
        sides = [float(np.linalg.norm(corners[1] - corners[0])), float(np.linalg.norm(corners[2] - corners[1]))]
        if (max(sides) if kind == "faces" else min(sides)) < share * min(rgb.shape[:2]):
            areas.append(CarefulArea(kind, _grown(corners, MARGIN * min(sides))))
    return areas


def _grown(corners: NDArray[np.float32], margin: float) -> tuple[tuple[int, int], ...]:
    """A rectangle larger by a margin on every side, in whole pixels."""
    along, down = (
        side / max(float(np.linalg.norm(side)), 1e-6) for side in (corners[1] - corners[0], corners[3] - corners[0])
    )
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    moved = [corner + margin * (x * along + y * down) for corner, (x, y) in zip(corners, signs, strict=True)]
    return tuple((round(float(x)), round(float(y))) for x, y in moved)


@cache
def _finder(kind: CarefulKind) -> Finder:
    return FaceFinder() if kind == "faces" else LetteringFinder()
