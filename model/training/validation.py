"""Validation: losses, the IoU of predicted masks, whether they follow the text, and restored examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from instructrestore.model.networks.autoencoder import pixels_a_cell
from instructrestore.model.networks.region_controlnet import RegionControlNet
from instructrestore.model.training.batch import Preparation
from instructrestore.model.training.crops import Crop
from instructrestore.model.training.held_out_photos import HeldOutExample, restore_held_out
from instructrestore.model.training.learning import networks_of
from instructrestore.model.training.settings import TrainingSettings
from instructrestore.model.training.worker import TrainingWorker

MOST_REGIONS = 10  # of a photo, for the best mask without text


@dataclass(frozen=True)
class Scores:
    """Means over `regions` fixed crops of `photos` photos, and over the settings' `validated_timesteps`.

    loss, noise, mask: equation 1 and its two parts.
    iou: of the predicted mask, cut at 0.5, with the region's, at latent size (0..1, higher is better).
    iou_of_sharing: the same over the regions that share their photo with another; iou_swapped: over these, where the
    text names the photo's next region instead. None where no photo shows two.
    iou_without_text: of the best mask that does not know which region is meant: the same for all of a photo, a union
    of some of its regions.
    What is said of masks is None in a run that learns none.
    """

    photos: int
    regions: int
    loss: float
    noise: float
    mask: float | None
    iou: float | None
    iou_of_sharing: float | None
    iou_swapped: float | None
    iou_without_text: float | None


@dataclass(frozen=True)
class Validation:
    """held_out: of photos that were never trained on. training: the same of photos that were, where asked for."""

    held_out: Scores
    training: Scores | None
    restored: list[HeldOutExample]


def is_due(step: int, settings: TrainingSettings) -> bool:
    """Whether a run that holds photos out is validated after so many steps."""
    return step == settings.steps or step % settings.validation.every == 0


class ValidationCrops:
    """The fixed crops (see `fixed_crops`) that a network is validated on."""

    def __init__(self, crops: Sequence[Crop]) -> None:
        assert crops
        self.crops = crops
        self.swapped, self.sharing = _with_next_caption(crops)
        self._without_text: dict[int, list[float]] = {}

    def iou_without_text(self, cell: int) -> list[float]:
        """Each crop's IoU with its photo's best mask that ignores the text, in latent cells of so many pixels."""
        if cell not in self._without_text:
            self._without_text[cell] = _without_text(self.crops, cell)
        return self._without_text[cell]


class Validator:
    """Scores a network on the same crops at every call."""

    def __init__(self, held_out: ValidationCrops, training: ValidationCrops | None, settings: TrainingSettings) -> None:
        self.held_out, self.training, self.settings = held_out, training, settings

    @torch.no_grad()
    def __call__(self, network: RegionControlNet, prepare: Preparation, worker: TrainingWorker) -> Validation:
        """network: in the precision and on the device that it runs in. Each worker scores its part of the photos."""
        held_out = scores(self.held_out, network, prepare, worker)
        training = scores(self.training, network, prepare, worker) if self.training else None
        restored = []
        if worker.leads and self.settings.validation.restored:
            restored = restore_held_out(self.held_out.crops, network, prepare)
        return Validation(held_out, training, restored)


@torch.no_grad()
def scores(judged: ValidationCrops, network: RegionControlNet, prepare: Preparation, worker: TrainingWorker) -> Scores:
    """The scores over all crops; a worker computes those of every `worker.ranks`-th photo."""
    own = [number for number, crop in enumerate(judged.crops) if crop.position % worker.ranks == worker.rank]
    step = prepare.settings.micro_batch or prepare.settings.batch // worker.ranks
    networks = networks_of(network, prepare.base.unet, prepare)
    # Columns: total, noise and mask loss, IoU, IoU with the next region's text; a row for each crop.
    table = torch.zeros(len(own), 5, device=worker.device)
    masks, timesteps = prepare.settings.learns_masks, prepare.settings.validated_timesteps
    for timestep in timesteps:
        for at in range(0, len(own), step):
            part = own[at : at + step]
            batch = prepare([judged.crops[number] for number in part], timestep)
            target = batch.mask > 0.5
            found, logits = networks(batch)
            table[at : at + step, :3] += torch.stack([found.total, found.noise, found.mask])
            if not masks:
                continue
            table[at : at + step, 3] += mask_iou(logits > 0, target)
            swapped = networks.mask_logits(prepare.with_captions(batch, [judged.swapped[number] for number in part]))
            table[at : at + step, 4] += mask_iou(swapped > 0, target)
    table /= len(timesteps)
    sharing = torch.tensor([judged.sharing[number] for number in own], dtype=torch.bool, device=worker.device)
    sums = torch.cat([table.sum(0), table[sharing, 3:].sum(0), sharing.sum()[None]])
    total, noise, mask, iou, _, of_sharing, swapped_iou, shared = worker.sum(sums).tolist()
    count = len(judged.crops)
    return Scores(
        photos=len({crop.position for crop in judged.crops}),
        regions=count,
        loss=total / count,
        noise=noise / count,
        mask=mask / count if masks else None,
        iou=iou / count if masks else None,
        iou_of_sharing=of_sharing / shared if masks and shared else None,
        iou_swapped=swapped_iou / shared if masks and shared else None,
        iou_without_text=float(np.mean(judged.iou_without_text(pixels_a_cell(prepare.base.vae)))) if masks else None,
    )


def mask_iou(predicted: Tensor, target: Tensor) -> Tensor:
    """Intersection over union of (B, 1, h, w) bool masks, (B,) float32; 1 where both are empty."""
    both = (predicted & target).flatten(1).sum(1).float()
    either = (predicted | target).flatten(1).sum(1).float()
    return torch.where(either > 0, both / either.clamp(min=1), torch.ones_like(both))


def _with_next_caption(crops: Sequence[Crop]) -> tuple[list[Crop], list[bool]]:
    """The crops with the caption of their photo's next region, and which of them share their photo."""
    swapped: list[Crop] = []
    shares: list[bool] = []
    for _, group in groupby(crops, key=lambda crop: crop.position):
        own = list(group)
        others = own[1:] + own[:1]
        swapped += [
            replace(crop, caption=other.caption, bokeh=other.bokeh) for crop, other in zip(own, others, strict=True)
        ]
        shares += [len(own) > 1] * len(own)
    return swapped, shares


def _without_text(crops: Sequence[Crop], cell: int) -> list[float]:
    """Each region's IoU with the mask that is best for its photo's regions together, sought among their unions."""
    known: list[float] = []
    for _, group in groupby(crops, key=lambda crop: crop.position):
        masks = torch.stack([torch.from_numpy(crop.mask) for crop in group])[:, None].float()
        own = F.avg_pool2d(masks, cell) > 0.5  # (R, 1, h, w)
        first = own[:MOST_REGIONS]
        best = torch.zeros(len(own))
        for chosen in range(1, 1 << len(first)):
            union = first[[bool(chosen >> bit & 1) for bit in range(len(first))]].any(0, keepdim=True)
            found = mask_iou(union.expand_as(own), own)
            best = found if found.sum() > best.sum() else best
        known += best.tolist()
    return known
