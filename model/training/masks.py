"""Training of the mask decoder alone: crops in, all that they show and some names that they do not, masks asked for.

For a `TextMaskDecoder`, which looks at the photo itself: neither noise nor the base take part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from instructrestore.model.instruction.instruction import control_text
from instructrestore.model.networks.region_controlnet import RegionControlNet
from instructrestore.model.networks.text_mask_decoder import CELL, TextMaskDecoder, joined, text_vectors
from instructrestore.model.networks.texts import encode_texts
from instructrestore.model.restoring.checkpoint import BaseNetworks
from instructrestore.model.training.batch import Preparation
from instructrestore.model.training.crops import Crop
from instructrestore.model.training.objective import Losses
from instructrestore.model.training.settings import TrainingSettings
from instructrestore.pretrained.backbone import class_names, load_backbone
from instructrestore.shards.reading.order import sample_seed

LEAST_SHOWN = 0.003  # of a crop that a region covers, to be asked for
MOST_SHOWN = 5  # regions of a crop that are asked for
# Weights beside Dice's of what is asked for.
OF_CELLS, OF_CERTAINTY, OF_NAMES, OF_PRESENCE = 0.5, 0.3, 0.5, 0.25
AREA_POWER = 0.5  # a name's cells count as (its share of the crop) ** -AREA_POWER
SMOOTHING = 0.05  # of the names' cross-entropy
TEXTS = 50  # encoded together
SHOWN_WEIGHT = 4.0  # of a name that is there, in the presence's cross-entropy


@dataclass(frozen=True)
class MaskBatch:
    """B crops and Q texts asked of each, the crop's own region first; h, w: S / CELL.

    lq: (B, 3, S, S) float32 in [0, 1]. texts: (B, Q, D), vectors. masks: (B, Q, h, w) float32, shares of each cell, 0
    for what the photo does not show. asked: (B, Q) float32, 0 for texts that fill the batch up. mask: (B, 1, h, w), the
    first's. names: (B, N, h, w), the share of each name that the decoder tells apart.
    """

    lq: Tensor
    texts: Tensor
    masks: Tensor
    asked: Tensor
    names: Tensor

    @property
    def mask(self) -> Tensor:
        return self.masks[:, :1]


class MaskPreparation(Preparation):
    """Crops, with their neighbours, to batches."""

    def __call__(self, crops: Sequence[Crop], timestep: int | None = None) -> Any:
        """A MaskBatch. timestep: of validation, where the crop's own region alone is asked for; None in training."""
        known: list[str] = list(self.controlnet["mask_names"])
        _, lq = self.pairs(crops)
        asked = [self._asked(crop, known) if timestep is None else [(crop.caption, crop.mask)] for crop in crops]
        most, size = max(map(len, asked)), lq.shape[-1]
        masks = np.zeros((len(crops), most, size, size), np.float32)
        names = np.zeros((len(crops), len(known), size // CELL, size // CELL), np.float32)
        for number, (crop, texts) in enumerate(zip(crops, asked, strict=True)):
            for place, (_, mask) in enumerate(texts):
                masks[number, place] = mask
            for subject, mask in [(crop.subject, crop.mask), *((each.subject, each.mask) for each in crop.neighbours)]:
                if subject in known:
                    own = names[number, known.index(subject)]
                    np.maximum(own, _cells(mask), out=own)
        vectors = [self._vectors([text for text, _ in texts]) for texts in asked]
        return MaskBatch(
            lq,
            torch.stack([F.pad(each, (0, 0, 0, most - len(each))) for each in vectors]),
            F.avg_pool2d(self._moved(torch.from_numpy(masks)), CELL),
            self._moved(torch.tensor([[float(place < len(texts)) for place in range(most)] for texts in asked])),
            self._moved(torch.from_numpy(names)),
        )

    def with_captions(self, batch: Any, crops: Sequence[Crop]) -> Any:
        """The batch with the texts of other crops."""
        return replace(batch, texts=torch.stack([self._vectors([crop.caption]) for crop in crops]))

    def _asked(self, crop: Crop, known: Sequence[str]) -> list[tuple[str, np.ndarray]]:
        """Texts and their masks (S, S): the crop's region, others that it shows, and what its photo does not show."""
        rng = np.random.default_rng(sample_seed(crop.seed, crop.position, "asked"))
        shown = [each for each in crop.neighbours if each.mask.mean() >= LEAST_SHOWN]
        chosen = rng.permutation(len(shown))[: MOST_SHOWN - 1]
        subjects = {crop.subject, *(each.subject for each in crop.neighbours)}
        others = [name for name in known if name not in subjects]
        absent = rng.permutation(len(others))[: self.settings.absent]
        nothing = np.zeros_like(crop.mask)
        return [
            (crop.caption, crop.mask),
            *((shown[number].caption, shown[number].mask) for number in chosen),
            *((caption_of(others[number]), nothing) for number in absent),
        ]

    def _vectors(self, captions: Sequence[str]) -> Tensor:
        """(texts, D). The wish for bokeh asks for the same region as the one without."""
        return text_vectors(self.text_states([control_text(caption, False) for caption in captions]))


class MaskNetworks(nn.Module):
    """The mask decoder before its losses."""

    def __init__(self, decoder: TextMaskDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, batch: MaskBatch) -> tuple[Losses, Tensor]:
        """The losses (nothing is denoised: `noise` is 0) and the logits (B, 1, h, w) of each crop's own region."""
        seen = self.decoder.look(batch.lq)
        where, certain = self.decoder.asked(seen.names, seen.presence, batch.texts)
        loss = _of_asked(where, certain, batch) + _of_names(seen.names, seen.presence, batch.names)
        return Losses(torch.zeros_like(loss), loss, loss), joined(where, certain)[:, :1]

    def mask_logits(self, batch: Any) -> Tensor:
        """The mask alone, (B, 1, h, w)."""
        seen = self.decoder.look(batch.lq)
        return joined(*self.decoder.asked(seen.names, seen.presence, batch.texts))[:, :1]


def begin_mask_decoder(
    controlnet: RegionControlNet, base: BaseNetworks, names: Sequence[str], settings: TrainingSettings
) -> RegionControlNet:
    """The ControlNet with a new TextMaskDecoder that tells these names apart, from the run's seed.

    Raises ValueError where the package with the classifier's weights is not installed, or damaged.
    """
    keys = RegionControlNet._get_init_keys(RegionControlNet)
    config = {key: value for key, value in controlnet.config.items() if key in keys}
    own = {"mask_decoder_type": "TextMaskDecoder", "mask_channels": settings.mask_channels, "mask_names": list(names)}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)
        changed = RegionControlNet(**config | own)
    kept = {name: value for name, value in controlnet.state_dict().items() if not name.startswith("mask_decoder.")}
    changed.load_state_dict(kept, strict=False)
    decoder = changed.mask_decoder
    assert isinstance(decoder, TextMaskDecoder)
    decoder.backbone.load_state_dict(load_backbone().state_dict())
    with torch.no_grad():
        decoder.learn_names(_vectors(base, class_names()), _vectors(base, names))
    return changed.to(controlnet.device)  # pyright: ignore[reportArgumentType]


def _vectors(base: BaseNetworks, names: Sequence[str]) -> Tensor:
    texts = [control_text(caption_of(name), False) for name in names]
    parts = [texts[first : first + TEXTS] for first in range(0, len(texts), TEXTS)]
    device = base.text_encoder.device
    return torch.cat([text_vectors(encode_texts(base.tokenizer, base.text_encoder, part, device)) for part in parts])


def caption_of(name: str) -> str:
    """What a name is asked for with."""
    return f"the {name}"


def _cells(mask: np.ndarray) -> np.ndarray:
    """(S, S) bool -> (h, w) float32, the share of each cell."""
    height, width = mask.shape
    return mask.reshape(height // CELL, CELL, width // CELL, CELL).mean((1, 3), dtype=np.float32)


def _of_asked(where: Tensor, certain: Tensor, batch: MaskBatch) -> Tensor:
    """Of what is shown, cross-entropy where anything is annotated, and Dice's; of all, whether it is there."""
    annotated = torch.maximum(batch.names.sum(1, keepdim=True).clamp(max=1), batch.mask)  # (B, 1, h, w)
    shown = batch.asked * (batch.masks.sum((2, 3)) > 0)  # (B, Q)
    entropy = (F.binary_cross_entropy_with_logits(where, batch.masks, reduction="none") * annotated).mean((2, 3))
    found = where.sigmoid() * annotated
    overlap = (2 * (found * batch.masks).sum((2, 3)) + 1) / (found.sum((2, 3)) + batch.masks.sum((2, 3)) + 1)
    of_shown = ((OF_CELLS * entropy + 1 - overlap) * shown).sum() / shown.sum().clamp(min=1)
    there = F.binary_cross_entropy_with_logits(certain, shown, weight=batch.asked, reduction="sum") / batch.asked.sum()
    return of_shown + OF_CERTAINTY * there


def _of_names(logits: Tensor, presence: Tensor, names: Tensor) -> Tensor:
    """Cross-entropy of the cells' names, small regions' cells counting more; and of which names are there at all."""
    areas = names.sum((2, 3))  # (B, N)
    shares = areas / areas.sum(1, keepdim=True).clamp(min=1e-6)
    weights = torch.where(areas > 0, shares.clamp(min=1e-6) ** -AREA_POWER, 0.0)
    logs = logits.log_softmax(1)
    wanted = names / names.sum(1, keepdim=True).clamp(min=1)
    each = -(wanted * (1 - SMOOTHING) + SMOOTHING / names.shape[1] * (names.sum(1, keepdim=True) > 0)) * logs
    counts = torch.einsum("bnhw,bn->bhw", wanted, weights)
    of_cells = (each.sum(1) * counts).sum() / counts.sum().clamp(min=1e-6)
    there = (areas > 0).float()
    of_presence = F.binary_cross_entropy_with_logits(presence, there, weight=1 + (SHOWN_WEIGHT - 1) * there)
    return OF_NAMES * of_cells + OF_PRESENCE * of_presence
