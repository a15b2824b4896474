"""What a run has learnt: losses, where it finds regions, whether it reads the text, what it restores."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.crops import Crop
from model.instruction import Instruction, RegionScale
from model.output import logger as reports
from model.pipeline import InstructRestorePipeline
from model.region_controlnet import RegionControlNet
from model.training.batch import Preparation
from model.training.networks import TrainedNetworks
from model.training.settings import MASK_TIMESTEPS, TrainingSettings
from model.training.workers import Worker

MOST_REGIONS = 10  # of a photo, for the best mask without text
LATENT_PIXELS = 8  # a latent pixel's side in the photo


@dataclass(frozen=True)
class Scores:
    """Means over `regions` fixed crops of `photos` photos, and over the timesteps 50, 500 and 999.

    loss, noise, mask: equation 1 and its two parts.
    iou: of the predicted mask, cut at 0.5, with the region's, at latent size (0..1, higher is better).
    iou_of_sharing: the same over the regions that share their photo with another; iou_swapped: over these, where the
    text names the photo's next region instead. None where no photo shows two.
    iou_without_text: of the best mask that does not know which region is meant: the same for all of a photo, a union
    of some of its regions.
    """

    photos: int
    regions: int
    loss: float
    noise: float
    mask: float
    iou: float
    iou_of_sharing: float | None
    iou_swapped: float | None
    iou_without_text: float


@dataclass(frozen=True)
class Restored:
    """A held-out region restored with scale 1. lq, result, hq: (S, S, 3) uint8. mask: (S, S) float32, predicted.

    psnr_inside, psnr_outside: of result and HQ in and out of the true region, dB; nan where there are no pixels.
    """

    caption: str
    lq: NDArray[np.uint8]
    mask: NDArray[np.float32]
    result: NDArray[np.uint8]
    hq: NDArray[np.uint8]
    psnr_inside: float
    psnr_outside: float


@dataclass(frozen=True)
class Validation:
    """held_out: of photos that were never trained on. training: the same of photos that were, where asked for."""

    held_out: Scores
    training: Scores | None
    restored: list[Restored]


class Judged:
    """Fixed crops (see `fixed_crops`) that a network is judged by."""

    def __init__(self, crops: Sequence[Crop]) -> None:
        assert crops
        self.crops = crops
        self.swapped, self.sharing = _with_next_caption(crops)
        self.iou_without_text = _without_text(crops)


class Validator:
    """Judges a network on the same crops at every call."""

    def __init__(self, held_out: Judged, training: Judged | None, settings: TrainingSettings) -> None:
        self.held_out, self.training, self.settings = held_out, training, settings

    @torch.no_grad()
    def __call__(self, network: RegionControlNet, prepare: Preparation, worker: Worker) -> Validation:
        """network: in the precision and on the device that it runs in. Each worker judges its part of the photos."""
        held_out = scores(self.held_out, network, prepare, worker)
        training = scores(self.training, network, prepare, worker) if self.training else None
        restored = []
        if worker.leads and self.settings.validation.restored:
            restored = self._restored(network, prepare)
        return Validation(held_out, training, restored)

    def _restored(self, network: RegionControlNet, prepare: Preparation) -> list[Restored]:
        base, chosen = prepare.base, self.settings.validation
        crops = [next(own) for _, own in groupby(self.held_out.crops, key=lambda crop: crop.position)][
            : chosen.restored
        ]
        if not crops:
            return []
        # The scheduler is copied: sampling sets its timesteps.
        scheduler = copy.deepcopy(base.scheduler)
        pipe = InstructRestorePipeline(base.vae, base.text_encoder, base.tokenizer, base.unet, network, scheduler)
        pipe.set_progress_bar_config(disable=True)
        hq, lq = prepare.pairs(crops)
        with _without_warnings():
            output = pipe(
                lq,
                [Instruction((RegionScale(crop.caption),), bokeh=crop.bokeh) for crop in crops],
                num_inference_steps=chosen.steps,
                generator=[torch.Generator().manual_seed(crop.position) for crop in crops],
                output_type="pt",
            )
        assert isinstance(output.images, Tensor)
        results = output.images.float()
        return [
            Restored(
                crop.caption,
                _picture(lq[number]),
                output.masks[number][0],
                _picture(results[number]),
                _picture(hq[number]),
                _psnr(results[number], hq[number], crop.mask),
                _psnr(results[number], hq[number], ~crop.mask),
            )
            for number, crop in enumerate(crops)
        ]


@torch.no_grad()
def scores(judged: Judged, network: RegionControlNet, prepare: Preparation, worker: Worker) -> Scores:
    """The scores over all crops; a worker computes those of every `worker.ranks`-th photo."""
    own = [number for number, crop in enumerate(judged.crops) if crop.position % worker.ranks == worker.rank]
    step = prepare.settings.micro_batch or prepare.settings.batch // worker.ranks
    networks = TrainedNetworks(network, prepare.base.unet, prepare.settings.mask_weight)
    # Columns: total, noise and mask loss, IoU, IoU with the next region's text; a row for each crop.
    table = torch.zeros(len(own), 5, device=worker.device)
    for timestep in MASK_TIMESTEPS:
        for at in range(0, len(own), step):
            part = own[at : at + step]
            batch = prepare([judged.crops[number] for number in part], timestep)
            target = batch.mask > 0.5
            found, logits = networks(batch)
            table[at : at + step, :3] += torch.stack([found.total, found.noise, found.mask])
            table[at : at + step, 3] += mask_iou(logits > 0, target)
            swapped = networks.mask_logits(prepare.with_captions(batch, [judged.swapped[number] for number in part]))
            table[at : at + step, 4] += mask_iou(swapped > 0, target)
    table /= len(MASK_TIMESTEPS)
    sharing = torch.tensor([judged.sharing[number] for number in own], dtype=torch.bool, device=worker.device)
    sums = torch.cat([table.sum(0), table[sharing, 3:].sum(0), sharing.sum()[None]])
    total, noise, mask, iou, _, of_sharing, swapped_iou, shared = worker.sum(sums).tolist()
    count = len(judged.crops)
    return Scores(
        photos=len({crop.position for crop in judged.crops}),
        regions=count,
        loss=total / count,
        noise=noise / count,
        mask=mask / count,
        iou=iou / count,
        iou_of_sharing=of_sharing / shared if shared else None,
        iou_swapped=swapped_iou / shared if shared else None,
        iou_without_text=float(np.mean(judged.iou_without_text)),
    )


def mask_iou(predicted: Tensor, target: Tensor) -> Tensor:
    """Intersection over union of (B, 1, h, w) bool masks, (B,) float32; 1 where both are empty."""
    both = (predicted & target).flatten(1).sum(1).float()
    either = (predicted | target).flatten(1).sum(1).float()
    return torch.where(either > 0, both / either.clamp(min=1), torch.ones_like(both))


@contextmanager
def _without_warnings() -> Iterator[None]:
    """A region that is not found yet is no news here: the IoU says it."""
    level = reports.level
    reports.setLevel(logging.ERROR)
    try:
        yield
    finally:
        reports.setLevel(level)


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


def _without_text(crops: Sequence[Crop]) -> list[float]:
    """Each region's IoU with the mask that is best for its photo's regions together, sought among their unions."""
    known: list[float] = []
    for _, group in groupby(crops, key=lambda crop: crop.position):
        masks = torch.stack([torch.from_numpy(crop.mask) for crop in group])[:, None].float()
        own = F.avg_pool2d(masks, LATENT_PIXELS) > 0.5  # (R, 1, h, w)
        first = own[:MOST_REGIONS]
        best = torch.zeros(len(own))
        for chosen in range(1, 1 << len(first)):
            union = first[[bool(chosen >> bit & 1) for bit in range(len(first))]].any(0, keepdim=True)
            found = mask_iou(union.expand_as(own), own)
            best = found if found.sum() > best.sum() else best
        known += best.tolist()
    return known


def _psnr(result: Tensor, hq: Tensor, where: NDArray[np.bool_]) -> float:
    if not where.any():
        return float("nan")
    place = torch.from_numpy(where).to(result.device)
    error = float((result - hq)[:, place].square().mean())
    return float("inf") if error == 0 else -10 * float(np.log10(error))


def _picture(photo: Tensor) -> NDArray[np.uint8]:
    return (photo.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
