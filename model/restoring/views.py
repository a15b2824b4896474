"""The inputs of the networks: whole photos or tiles of them, each with the texts and regions that concern it.

A view has one ControlNet row a region (equation 3 and its extension to several regions: modulation.py) and one
UNet row; guidance adds one of each with empty text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from instructrestore.model.instruction.instruction import Instruction
from instructrestore.model.networks.modulation import region_weights, scale_maps, shared_equally
from instructrestore.model.networks.region_controlnet import RegionControl
from instructrestore.model.networks.text_mask_decoder import SeenNames
from instructrestore.model.networks.texts import Texts
from instructrestore.model.networks.tiling import Tile
from instructrestore.model.restoring.careful import HeldCloser
from instructrestore.model.restoring.settings import MASK_THRESHOLD

# A tile gets the caption of a region that covers at least this share of it, or that lies in it with at least this
# share of its own area. The region's scale holds in any case.
SHARE_OF_TILE, SHARE_OF_REGION = 0.01, 0.25


@dataclass(frozen=True)
class RegionMaps:
    """The maps of a photo's R regions, at latent size, where they are fixed before the first step.

    masks: (R, 1, h, w) in [0, 1]; (0, 1, 1, 1) where a scale map took their place.
    maps: (R, 1, h, w), what the features of each region's text are multiplied by (modulation.scale_maps).
    own: (R, 1, h, w), the part of it that is the region's own, s_r w_r.
    """

    masks: Tensor
    maps: Tensor
    own: Tensor


def maps_of_masks(masks: Tensor, instruction: Instruction, hard: bool, held: HeldCloser | None = None) -> RegionMaps:
    """masks: (R, 1, h, w) in [0, 1], given or predicted. hard: cut at 0.5. held: what is held closer."""
    count, device = len(masks), masks.device
    scales = torch.tensor([region.scale for region in instruction.regions], device=device).view(-1, 1, 1, 1)
    others = torch.full((count, 1, 1, 1), instruction.others, device=device)
    weights = region_weights((masks > MASK_THRESHOLD).float() if hard else masks, [count])
    lift = held and held.lift(instruction.others).expand(count, -1, -1, -1)
    return RegionMaps(masks, scale_maps(weights, scales, others, [count], lift), scales * weights)


def maps_of_scales(scale_map: Tensor, instruction: Instruction) -> RegionMaps:
    """scale_map: (1, h, w), in place of masks and scales."""
    maps = shared_equally(scale_map.expand(len(instruction.regions), -1, -1, -1), [len(instruction.regions)])
    return RegionMaps(torch.zeros(0, 1, 1, 1), maps, maps)


@dataclass(frozen=True)
class _Plan:
    """A view before its tensors are made. regions: those whose captions it gets."""

    photo: int
    tile: Tile
    regions: tuple[int, ...]


@dataclass
class Views:
    """V views that go through the networks together, with all that is the same in every step.

    plans: which part of which photo each view is, and the regions whose captions it gets.
    condition: (V, C, h, w), embedded LQ photos.
    control_texts: (rows, T, D). unet_texts: (V, T, D). empty_text: (1, T, D), or None where nothing is guided.
    scales: s_r, (rows, 1, 1, 1). others: s2, (rows, 1, 1, 1).
    lift: (rows, 1, h, w), what s2 is raised by where something is held closer; None: nothing is.
    maps: (rows, 1, h, w), what the rows' features are multiplied by; None: it follows from masks decoded in each step.
    guided: False for views of empty text, for which guidance changes nothing.

    seen: what the mask decoder sees in the photos, where it decodes masks and has features of its own.
    masks: (rows, 1, h, w), the latest decoded ones. rows: the view of each row. kept: the latest ControlNet pass,
    where it is used in several steps. again: the views will be run again from the same latents; then `first`, the
    ControlNet pass of the first step, is kept for it.
    """

    plans: Sequence[_Plan]
    condition: Tensor
    control_texts: Tensor
    unet_texts: Tensor
    empty_text: Tensor | None
    scales: Tensor
    others: Tensor
    lift: Tensor | None
    maps: Tensor | None
    guided: bool
    seen: SeenNames | None = field(init=False, repr=False, default=None)
    masks: Tensor | None = field(init=False, repr=False, default=None)
    kept: RegionControl | None = field(init=False, repr=False, default=None)
    again: bool = field(init=False, repr=False, default=False)
    first: RegionControl | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        count = len(self.plans)
        assert count == len(self.condition) == len(self.unet_texts)
        device = self.condition.device
        self.rows = torch.tensor([view for view in range(count) for _ in range(self.counts[view])], device=device)
        self.guided = self.guided and self.empty_text is not None
        if self.empty_text is not None:
            empty = self.empty_text.expand(count, -1, -1)
            self.guided_control_texts = torch.cat([empty, self.control_texts])
            self.guided_unet_texts = torch.cat([empty, self.unet_texts])
            self.guided_rows = torch.cat([torch.arange(count, device=device), self.rows])

    @property
    def places(self) -> list[tuple[int, Tile]]:
        """Of each view, the photo's number and where in its latent it lies."""
        return [(plan.photo, plan.tile) for plan in self.plans]

    @property
    def counts(self) -> list[int]:
        """ControlNet rows of each view, one a region; `rows` in all."""
        return [max(1, len(plan.regions)) for plan in self.plans]

    def rescale(
        self,
        instructions: Sequence[Instruction],
        known: Sequence[RegionMaps | None],
        held: Sequence[HeldCloser | None],
    ) -> None:
        """Takes the scales of each photo's instruction, which is otherwise the one the views were planned for.

        known, held: as in `plan_views`, with the maps of these scales.
        """
        device = self.condition.device
        self.scales, self.others, self.lift, self.maps = _scales(self.plans, instructions, known, held, device)


def plan_views(
    texts: Sequence[Texts],
    tiles: Sequence[Tile],
    known: Sequence[RegionMaps | None],
    guided: bool,
    batch: int | None,
    embed_condition: Callable[[int, Tile], Tensor],
    encode_texts: Callable[[Sequence[str]], Mapping[str, Tensor]],
    held: Sequence[HeldCloser | None] | None = None,
) -> list[Views]:
    """All views of B photos of one size, in groups that go through the networks together.

    texts: of each photo. tiles: of a photo's latent. known: of each photo; None: its masks are decoded in each step,
    which is possible for a photo in one tile only. guided: with classifier-free guidance. batch: the most views in
    a group; None: all. embed_condition: (photo, tile) to (1, C, tile height, tile width). encode_texts: texts to
    their states (T, D). held: of each photo what is held closer in it.
    """
    held = held or [None] * len(texts)
    plans = [_plan(photo, tile, own, known[photo]) for photo, own in enumerate(texts) for tile in tiles]
    wanted = {texts[plan.photo].unet(plan.regions) for plan in plans}
    wanted |= {texts[plan.photo].control(region) for plan in plans for region in plan.regions}
    states = encode_texts(sorted(wanted | {""} if guided else wanted))
    alike: dict[tuple[bool, bool], list[_Plan]] = {}
    for plan in plans:
        alike.setdefault((bool(plan.regions), known[plan.photo] is None), []).append(plan)
    groups = []
    for same in alike.values():
        size = batch or len(same)
        for start in range(0, len(same), size):
            groups.append(_views(same[start : start + size], texts, known, held, guided, states, embed_condition))
    return groups


def views_of_photos(
    condition: Tensor, control_texts: Tensor, unet_texts: Tensor, empty_text: Tensor | None, maps: Tensor
) -> Views:
    """Whole photos of one region each, whose maps are known: everything as `Views` has it, a row a photo."""
    plans = [_Plan(photo, Tile(0, 0, *maps.shape[-2:]), (0,)) for photo in range(len(maps))]
    ones = torch.ones(len(maps), 1, 1, 1, device=maps.device)
    guided = empty_text is not None
    return Views(plans, condition, control_texts, unet_texts, empty_text, ones, ones, None, maps, guided)


def _plan(photo: int, tile: Tile, texts: Texts, known: RegionMaps | None) -> _Plan:
    regions = range(len(texts.instruction.regions))
    if known is None or not len(known.masks) or (tile.height, tile.width) == tuple(known.masks.shape[-2:]):
        return _Plan(photo, tile, tuple(regions))
    found = known.masks > MASK_THRESHOLD
    here, all_of_it = (maps.sum(dim=(1, 2, 3)) for maps in (tile.crop(found), found))
    touches = (here >= SHARE_OF_TILE * tile.height * tile.width) | (here >= (SHARE_OF_REGION * all_of_it).clamp(min=1))
    return _Plan(photo, tile, tuple(region for region, touched in enumerate(touches.tolist()) if touched))


def _views(
    plans: Sequence[_Plan],
    texts: Sequence[Texts],
    known: Sequence[RegionMaps | None],
    held: Sequence[HeldCloser | None],
    guided: bool,
    states: Mapping[str, Tensor],
    embed_condition: Callable[[int, Tile], Tensor],
) -> Views:
    control_texts = []
    for plan in plans:
        own = texts[plan.photo]
        control_texts += [states[own.control(region)] for region in plan.regions] or [states[""]]
    condition = torch.cat([embed_condition(plan.photo, plan.tile) for plan in plans])
    instructions = [own.instruction for own in texts]
    scales, others, lift, maps = _scales(plans, instructions, known, held, condition.device)
    return Views(
        plans=plans,
        condition=condition,
        control_texts=torch.stack(control_texts),
        unet_texts=torch.stack([states[texts[plan.photo].unet(plan.regions)] for plan in plans]),
        empty_text=states[""][None] if guided else None,
        scales=scales,
        others=others,
        lift=lift,
        maps=maps,
        guided=bool(plans[0].regions),
    )


def _scales(
    plans: Sequence[_Plan],
    instructions: Sequence[Instruction],
    known: Sequence[RegionMaps | None],
    held: Sequence[HeldCloser | None],
    device: torch.device,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """`scales`, `others`, `lift` and `maps` of the views: all in them that follows from the instructions' scales."""
    scales, others, lifts, maps = [], [], [], []
    for plan in plans:
        instruction, of_photo = instructions[plan.photo], known[plan.photo]
        scales += [instruction.regions[region].scale for region in plan.regions] or [instruction.others]
        rows = max(1, len(plan.regions))
        others += [instruction.others] * rows
        closer = held[plan.photo]
        size = (rows, 1, plan.tile.height, plan.tile.width)
        lift = plan.tile.crop(closer.lift(instruction.others)) if closer else torch.zeros(1, device=device)
        lifts.append(lift.expand(size))
        if of_photo is not None:
            maps.append(_row_maps(of_photo, plan))
    s, s2 = (torch.tensor(values, device=device).view(-1, 1, 1, 1) for values in (scales, others))
    return s, s2, torch.cat(lifts) if any(held) else None, torch.cat(maps) if maps else None


def _row_maps(known: RegionMaps, plan: _Plan) -> Tensor:
    """The maps of the captions that a tile gets; what its other regions add goes to the mean of their features."""
    maps = plan.tile.crop(known.maps)
    if len(plan.regions) == len(maps):
        return maps
    total = maps.sum(0, keepdim=True)
    if not plan.regions:
        return total
    own = plan.tile.crop(known.own)[list(plan.regions)]
    return own + (total - own.sum(0, keepdim=True)) / len(own)
