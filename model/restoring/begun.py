"""A restoration before its first step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from instructrestore.model.instruction.instruction import Instruction
from instructrestore.model.networks.texts import Texts
from instructrestore.model.restoring.careful import CarefulArea, HeldCloser
from instructrestore.model.restoring.latents import Generators
from instructrestore.model.restoring.request import Request
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.model.restoring.views import RegionMaps, Views, maps_of_masks


@dataclass
class Begun:
    """B photos ready for the first step. Only `known` and the views' own scales depend on the instructions' scales.

    request, texts, settings, generator: what was asked for. lq: (B, 3, H, W) at the restored size; padded: the same
    continued to what the networks take; both float32 in [0, 1]. known: per photo its region maps, where masks were
    given or found ahead. groups: the views. start: (B, C, h, w), the noisy latents. origin: (B, C, h, w), the LQ
    latents where restored ones count from them. found: whether a photo's masks are predicted; changed: whether they
    were grown, united or the like. areas: per photo what is held closer; held: the same at latent size, None where
    there is nothing.
    """

    request: Request
    texts: Sequence[Texts]
    settings: SamplingSettings
    generator: Generators
    lq: Tensor
    padded: Tensor
    known: list[RegionMaps | None]
    groups: list[Views]
    start: Tensor
    origin: Tensor | None
    found: Sequence[bool]
    changed: Sequence[bool]
    areas: Sequence[Sequence[CarefulArea]]
    held: Sequence[HeldCloser | None]

    def rescale(self, instructions: Sequence[Instruction]) -> None:
        """Takes the scales of each photo's instruction, which else is the one that was begun with; no scale maps."""
        assert self.request.scale_maps is None
        self.request = replace(self.request, instructions=list(instructions))
        hard = self.settings.mask == "hard"
        self.known = [
            None if own is None else maps_of_masks(own.masks, instruction, hard, closer)
            for own, instruction, closer in zip(self.known, instructions, self.held, strict=True)
        ]
        for views in self.groups:
            views.rescale(instructions, self.known, self.held)

    def masks_used(self) -> list[Tensor]:
        """Per photo the masks (R, 1, h, w) that the last run ended with; (0, 1, 1, 1) where a scale map took their
        place."""
        used = {photo: own.masks for photo, own in enumerate(self.known) if own is not None}
        for views in self.groups:
            if views.masks is not None:
                used |= zip((photo for photo, _ in views.places), views.masks.split(views.counts), strict=True)
        return [used[photo] for photo in range(len(self.known))]
