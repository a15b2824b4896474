"""Training of a head on stored views, resumable at any step: the same result however often it was interrupted.

Step i draws its photos, views and dropout from (seed, i) alone. A checkpoint is one safetensors file with the weights,
their running average, and AdamW's two moments; its metadata has the step and the settings. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from instructrestore.dataengine.annotator.network import Head
from instructrestore.dataengine.annotator.panoptic import UNLABELLED, PanopticPhoto
from instructrestore.dataengine.annotator.views import ViewStore
from instructrestore.shards.files import commit
from instructrestore.shards.parsing import parse_object


@dataclass(frozen=True)
class HeadSettings:
    """views: how many of each photo, view 0 among them. smoothing: of the labels. area_power: a name's pixels count
    as (its share of the photo) ** -area_power. average: of the weights' running mean. Learning rates are AdamW's."""

    seed: int = 0
    steps: int = 300
    batch: int = 8
    views: int = 9
    learning_rate: float = 1e-3
    least_learning_rate: float = 5e-5
    warmup: int = 50
    weight_decay: float = 0.05
    channels: int = 96
    dropout: float = 0.3
    smoothing: float = 0.05
    area_power: float = 0.5
    presence: float = 0.5
    average: float = 0.98


CHECKPOINT = "checkpoint.safetensors"


class HeadTrainer:
    """The state of one training: `step` steps done. photos: to train on; their views are made as they are drawn."""

    def __init__(self, settings: HeadSettings, text: Tensor, photos: Sequence[PanopticPhoto], store: ViewStore) -> None:
        self.settings, self.photos, self.store = settings, list(photos), store
        torch.manual_seed(settings.seed)
        self.head = Head(text, settings.channels, settings.dropout)
        self.averaged = Head(text, settings.channels, settings.dropout).eval().requires_grad_(False)
        self.averaged.load_state_dict(self.head.state_dict())
        decayed = [p for p in self.head.parameters() if p.ndim >= 2]
        rest = [p for p in self.head.parameters() if p.ndim < 2]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": rest, "weight_decay": 0.0}],
            lr=settings.learning_rate,
            betas=(0.9, 0.98),
        )
        self.step = 0

    def train_step(self) -> float:
        """One step of the optimizer; the loss."""
        settings = self.settings
        random = np.random.default_rng((settings.seed, self.step))
        torch.manual_seed(int(random.integers(2**62)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        self.optimizer.zero_grad(set_to_none=True)
        self.head.train()
        total = 0.0
        for chosen in random.choice(len(self.photos), settings.batch, replace=len(self.photos) < settings.batch):
            photo, view = self.photos[int(chosen)], int(random.integers(settings.views))
            self.store.make(photo, view)
            features, labels, _ = self.store.read(photo, view)
            logits, presence = self.head(features)
            loss = view_loss(logits, presence, labels, settings) / settings.batch
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(self.head.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        decay = min(settings.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, now in zip(self.averaged.parameters(), self.head.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)
        return total

    def learning_rate(self) -> float:
        """A short warm-up, then a cosine down to the least at the last step."""
        settings = self.settings
        if self.step < settings.warmup:
            return settings.learning_rate * (self.step + 1) / settings.warmup
        done = min(1.0, (self.step - settings.warmup) / max(1, settings.steps - settings.warmup))
        share = 0.5 * (1 + float(np.cos(np.pi * done)))
        return settings.least_learning_rate + (settings.learning_rate - settings.least_learning_rate) * share

    def save(self, folder: Path) -> None:
        tensors = {f"weights.{name}": value for name, value in self.head.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.averaged.state_dict().items()}
        for name, parameter in self.head.named_parameters():
            state = self.optimizer.state.get(parameter, {})
            for moment in ("exp_avg", "exp_avg_sq"):
                if moment in state:
                    tensors[f"{moment}.{name}"] = state[moment]
        metadata = {"step": str(self.step), "settings": json.dumps(asdict(self.settings))}
        tensors = {name: value.contiguous() for name, value in tensors.items()}
        commit(folder / CHECKPOINT, save(tensors, {**metadata, "sha256": _content_sha256(tensors, metadata)}))

    def resume(self, folder: Path) -> bool:
        """Takes up the folder's checkpoint, if there is one. Raises ValueError where it is of other settings."""
        path = folder / CHECKPOINT
        if not path.exists():
            return False
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            written = metadata.pop("sha256", None)  # None: by an earlier program
            if written is not None and written != _content_sha256(tensors, metadata):
                raise ValueError(f"{path} is damaged; remove it to begin again")
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{path} is damaged; remove it to begin again") from error
        theirs = parse_object(metadata["settings"], str(path))
        differs = [k for k, v in asdict(self.settings).items() if theirs.get(k) != v and k != "steps"]
        if differs:
            raise ValueError(f"{path} is of a training with other settings: {', '.join(differs)}")

        def part(prefix: str) -> dict[str, Tensor]:
            return {k[len(prefix) + 1 :]: v for k, v in tensors.items() if k.startswith(f"{prefix}.")}

        self.head.load_state_dict(part("weights"))
        self.averaged.load_state_dict(part("average"))
        self.step = int(metadata["step"])
        first, second = part("exp_avg"), part("exp_avg_sq")
        for name, parameter in self.head.named_parameters():
            if name in first:
                self.optimizer.state[parameter] = {
                    "step": torch.tensor(float(self.step)),
                    "exp_avg": first[name],
                    "exp_avg_sq": second[name],
                }
        return True


def _content_sha256(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Of all that a checkpoint holds, in hex digits."""
    known = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        known.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
    return known.hexdigest()


def view_loss(logits: Tensor, presence: Tensor, labels: Tensor, settings: HeadSettings) -> Tensor:
    """logits: (names, h, w); presence: (names,); labels: (2h, 2w) uint8. Cross-entropy, rare names in the photo counted
    more, and the binary cross-entropy of which names are in the photo at all."""
    wanted = F.pixel_unshuffle(labels[None, None].long(), 2)[0].permute(1, 2, 0)  # (h, w, 4)
    known = wanted != UNLABELLED
    if not bool(known.any()):
        return logits.sum() * 0.0
    counts = torch.bincount(wanted[known], minlength=logits.shape[0]).float()
    shares = torch.cat([counts / counts.sum(), torch.zeros(UNLABELLED + 1 - len(counts))])
    weights = torch.where(known, shares[wanted].clamp(min=1e-6) ** -settings.area_power, 0.0)
    logs = logits.permute(1, 2, 0).log_softmax(-1)
    losses = -logs.gather(-1, wanted.where(known, 0))
    smooth = -logs.mean(-1, keepdim=True)
    losses = losses + settings.smoothing * (smooth - losses)
    there = (counts > 0).float()
    balance = torch.where(there > 0, 4.0, 1.0)
    scene = F.binary_cross_entropy_with_logits(presence, there, weight=balance)
    return (losses * weights).sum() / weights.sum() + settings.presence * scene
