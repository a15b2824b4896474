"""What the networks look at: whole photos or tiles of them, with the texts and regions that concern each.

A view has one ControlNet row a region (equation 3 and its extension to several regions: model.modulation) and one
UNet row; with guidance there is one of each more, with empty text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from model.texts import Texts
from model.tiling import Tile

# A tile that a region covers less than this share of does not get the region's caption.
LEAST_COVER = 0.01


@dataclass
class Views:
    """V views that go through the networks together, with all that is the same in every step.

    places: (number of the photo, where in its latent) of each view.
    counts: ControlNet rows of each view, one a region; `rows` in all.
    condition: (V, C, h, w), embedded LQ photos.
    control_texts: (rows, 77, D). unet_texts: (V, 77, D). empty_text: (1, 77, D), for guidance.
    scales: s_r, (rows, 1, 1, 1). others: s2, (rows, 1, 1, 1).
    guided: False for views of empty text, for which guidance changes nothing.
    masks: M, (rows, 1, h, w); None until they are decoded.
    masks_given: they are the caller's, or the whole photo's, and stay.
    scale_map: (V, 1, h, w), in place of masks and scales.
    rows: the view of each row. kept: the latest modulated residuals, where they are to be used again.
    """

    places: list[tuple[int, Tile]]
    counts: list[int]
    condition: Tensor
    control_texts: Tensor
    unet_texts: Tensor
    empty_text: Tensor
    scales: Tensor
    others: Tensor
    guided: bool = True
    masks: Tensor | None = None
    masks_given: bool = False
    scale_map: Tensor | None = None
    rows: Tensor = field(init=False, repr=False)
    guided_rows: Tensor = field(init=False, repr=False)
    kept: list[Tensor] | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        assert len(self.places) == len(self.counts) == len(self.condition) == len(self.unet_texts)
        rows = [view for view, count in enumerate(self.counts) for _ in range(count)]
        self.rows = torch.tensor(rows, device=self.condition.device)
        with_empty = self.empty_text.expand(len(self.counts), -1, -1)
        self.control_texts = torch.cat([with_empty, self.control_texts])
        self.unet_texts = torch.cat([with_empty, self.unet_texts])
        self.guided_rows = torch.cat([torch.arange(len(self.counts), device=self.rows.device), self.rows])


@dataclass(frozen=True)
class _Plan:
    """A view before its tensors are made. regions: those whose captions it gets."""

    photo: int
    tile: Tile
    regions: tuple[int, ...]


def plan_views(
    texts: Sequence[Texts],
    tiles: Sequence[Tile],
    masks: Sequence[Tensor | None],
    scale_maps: Tensor | None,
    batch: int | None,
    embed_condition: Callable[[int, Tile], Tensor],
    encode_texts: Callable[[Sequence[str]], Mapping[str, Tensor]],
) -> list[Views]:
    """All views of B photos of one size, in groups that go through the networks together.

    texts: of each photo. tiles: of a photo's latent. masks: per photo (R, 1, h, w) at latent size, or None where they
    are to be decoded. scale_maps: (B, 1, h, w), in place of masks. batch: at most so many views a group; None: all.
    embed_condition: (photo, tile) to (1, C, tile height, tile width). encode_texts: texts to their states (77, D).
    """
    plans = [_plan(photo, tile, of_photo, masks[photo]) for photo, of_photo in enumerate(texts) for tile in tiles]
    wanted = {""}
    for plan in plans:
        wanted.add(texts[plan.photo].unet(plan.regions))
        wanted.update(texts[plan.photo].control(region) for region in plan.regions)
    states = encode_texts(sorted(wanted))
    alike: dict[tuple[bool, bool], list[_Plan]] = {}
    for plan in plans:
        alike.setdefault((bool(plan.regions), masks[plan.photo] is not None), []).append(plan)
    groups = []
    for same in alike.values():
        size = batch or len(same)
        for start in range(0, len(same), size):
            groups.append(_views(same[start : start + size], texts, states, masks, scale_maps, embed_condition))
    return groups


def _plan(photo: int, tile: Tile, texts: Texts, mask: Tensor | None) -> _Plan:
    regions = range(len(texts.instruction.regions))
    if mask is None or (tile.height, tile.width) == tuple(mask.shape[-2:]):
        return _Plan(photo, tile, tuple(regions))
    cover = tile.crop(mask).mean(dim=(1, 2, 3)).tolist()
    return _Plan(photo, tile, tuple(region for region in regions if cover[region] >= LEAST_COVER))


def _views(
    plans: Sequence[_Plan],
    texts: Sequence[Texts],
    states: Mapping[str, Tensor],
    masks: Sequence[Tensor | None],
    scale_maps: Tensor | None,
    embed_condition: Callable[[int, Tile], Tensor],
) -> Views:
    device = states[""].device
    control_texts, row_masks, scales, others = [], [], [], []
    for plan in plans:
        instruction = texts[plan.photo].instruction
        mask = masks[plan.photo]
        for region in plan.regions:
            control_texts.append(states[texts[plan.photo].control(region)])
            scales.append(instruction.regions[region].scale)
            if mask is not None:
                row_masks.append(plan.tile.crop(mask[region]))
        if not plan.regions:  # one row of empty text, all of it outside of every region
            control_texts.append(states[""])
            scales.append(instruction.others)
            row_masks.append(torch.zeros(1, plan.tile.height, plan.tile.width, device=device))
        others += [instruction.others] * max(1, len(plan.regions))
    return Views(
        places=[(plan.photo, plan.tile) for plan in plans],
        counts=[max(1, len(plan.regions)) for plan in plans],
        condition=torch.cat([embed_condition(plan.photo, plan.tile) for plan in plans]),
        control_texts=torch.stack(control_texts),
        unet_texts=torch.stack([states[texts[plan.photo].unet(plan.regions)] for plan in plans]),
        empty_text=states[""][None],
        scales=torch.tensor(scales, device=device).view(-1, 1, 1, 1),
        others=torch.tensor(others, device=device).view(-1, 1, 1, 1),
        guided=bool(plans[0].regions),
        masks=torch.stack(row_masks) if row_masks else None,
        masks_given=bool(row_masks),
        scale_map=None
        if scale_maps is None
        else torch.cat([plan.tile.crop(scale_maps[plan.photo : plan.photo + 1]) for plan in plans]),
    )
