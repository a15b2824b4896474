"""From crops to what equation 1 is computed of: everything before the trained networks, without gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Generator, Tensor

from instructrestore.model.degradation.chain import Degradation
from instructrestore.model.degradation.filtering import sharpen
from instructrestore.model.instruction.instruction import control_text, unet_text
from instructrestore.model.networks.texts import encode_texts
from instructrestore.model.restoring.checkpoint import BaseNetworks
from instructrestore.model.restoring.latents import check_scheduler
from instructrestore.model.training.crops import Crop, stack
from instructrestore.model.training.settings import TrainingSettings
from instructrestore.shards.reading.order import sample_seed

KEPT_TEXTS = 1024  # whose states are kept: 0.3 GB of SD 2.1's

MOST_WEIGHT = 5.0  # of a sample; least: its inverse
MOST_SCALE = 1.2  # that a sample is restored by

# What a UNet predicts, of (latents, noise, signal, spread), by its scheduler's `prediction_type`; the noisy latents are
# signal * latents + spread * noise.
TARGETS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "epsilon": lambda latents, noise, signal, spread: noise,
    "sample": lambda latents, noise, signal, spread: latents,
    "v_prediction": lambda latents, noise, signal, spread: signal * noise - spread * latents,
}


@dataclass(frozen=True)
class TrainingBatch:
    """B samples on the networks' device.

    lq: (B, 3, S, S) float32 in [0, 1]: the sharpened photo, degraded.
    latents: (B, C, h, w) float32, scaled: a draw from the VAE's posterior of the sharpened photo (SD 2.1: C = 4, h and
    w S/8), less the LQ photo's latents for a `residual` ControlNet. noise: the same shape.
    noisy: the latents with the noise of `timesteps`, (B,) of integers.
    control_states, unet_states: (B, T, D), the texts' hidden states (SD 2.1: 77 tokens of 1024).
    target: what the UNet is to predict, by its scheduler's `prediction_type`: the noise, the latents ("sample") or
    the velocity.
    mask: (B, 1, h, w) float32: the region's share of each latent pixel, all 1 where the text was dropped.
    control: (B, 1, h, w) float32, what the ControlNet's features are multiplied by (equation 2): 1; a sample's own
    scales (`scaled`); 0 where the UNet is to do without it.
    weights: (B,) float32, of the samples' errors (`even_photos`); None: all count the same.
    """

    lq: Tensor
    latents: Tensor
    noise: Tensor
    noisy: Tensor
    target: Tensor
    timesteps: Tensor
    control_states: Tensor
    unet_states: Tensor
    mask: Tensor
    control: Tensor
    weights: Tensor | None = None


class Preparation:
    """Crops to batches, with the base's VAE and text encoder, which are always frozen.

    What is random about a sample (text drop, degradation, posterior, noise, timestep) is drawn from its own seed on
    the CPU, so that neither batch mates nor the number of workers change it.
    """

    def __init__(self, base: BaseNetworks, settings: TrainingSettings, controlnet: Mapping[str, Any]) -> None:
        """controlnet: the configuration of the RegionControlNet to be trained."""
        self.base, self.settings, self.controlnet = base, settings, controlnet
        self.degradation = Degradation(settings.degradation)
        self.device = torch.device(base.unet.device)
        self._states: dict[str, Tensor] = {}
        scheduler: Any = base.scheduler
        check_scheduler(scheduler)
        self.prediction_type = scheduler.config["prediction_type"]
        if self.prediction_type not in TARGETS:
            raise ValueError(
                f"the base predicts {self.prediction_type}, which is none of {', '.join(TARGETS)}: take another base"
            )
        if settings.scaled and not controlnet["residual"] and settings.learns != "student":
            raise ValueError("scaled is for a ControlNet that counts from the LQ photo (residual): leave it out")
        self.timestep_count = len(scheduler.alphas_cumprod)
        if settings.least_timestep >= self.timestep_count:
            raise ValueError(f"least_timestep={settings.least_timestep}: the base has {self.timestep_count} timesteps")
        self.alphas_cumprod = scheduler.alphas_cumprod.to(self.device)

    def with_unet(self, unet: UNet2DConditionModel | None) -> Preparation:
        """With another UNet in the base; None: itself."""
        changed = copy.copy(self)
        changed.base = replace(self.base, unet=unet or self.base.unet)
        return changed

    @torch.no_grad()
    def __call__(self, crops: Sequence[Crop], timestep: int | None = None) -> TrainingBatch:
        """timestep: the same for all, for validation, where no text is dropped; None: drawn for each."""
        hq, lq = self.pairs(crops)
        generators = [Generator().manual_seed(sample_seed(crop.seed, crop.position, "diffusion")) for crop in crops]
        drawn = [self._timestep(generator) for generator in generators]
        timesteps = self._moved(torch.tensor([timestep] * len(crops) if timestep is not None else drawn))
        drops = self.settings.text_drop if timestep is None else 0
        dropped = [float(torch.rand((), generator=generator)) < drops for generator in generators]

        latents = self._latents(hq, generators)
        masks = self._moved(stack(crops)[1]).float()
        target = F.avg_pool2d(masks, hq.shape[-1] // latents.shape[-1])
        target = torch.maximum(target, self._moved(torch.tensor(dropped).float())[:, None, None, None])
        if self.controlnet["residual"]:
            latents = latents - self._posterior(lq)[0]
        weights = None
        if self.settings.even_photos:
            energy = latents.square().mean((1, 2, 3))
            weights = 1 / energy.clamp(1 / MOST_WEIGHT, MOST_WEIGHT)
        controlled = torch.ones_like(target)
        if self.settings.scaled and timestep is None:
            controlled = self._scale_maps(target, generators)
            latents = latents * controlled if self.controlnet["residual"] else latents
        noise = self._normal(latents, generators)
        signal = self.alphas_cumprod[timesteps].sqrt()[:, None, None, None]
        spread = (1 - signal**2).sqrt()
        noisy = signal * latents + spread * noise
        predicted = TARGETS[self.prediction_type](latents, noise, signal, spread)

        states = self.text_states([*self._control_texts(crops, dropped), *self._unet_texts(crops, dropped)])
        control, unet = states[: len(crops)], states[len(crops) :]
        if left := self.settings.control_drop if timestep is None else 0:
            kept = [float(torch.rand((), generator=generator)) >= left for generator in generators]
            controlled = controlled * self._moved(torch.tensor(kept).float())[:, None, None, None]
        return TrainingBatch(
            lq, latents, noise, noisy, predicted, timesteps, control, unet, target, controlled, weights
        )

    @torch.no_grad()
    def pairs(self, crops: Sequence[Crop]) -> tuple[Tensor, Tensor]:
        """HQ photos, sharpened, and their LQ versions, each (B, 3, S, S) float32 in [0, 1]."""
        hq = self._moved(stack(crops)[0]).float().div_(255).contiguous()
        # The LQ photo is made of the sharpened one, as in Real-ESRGAN; the sharpened one is also the target.
        hq = sharpen(hq) if self.settings.sharpen else hq
        return hq, self.degradation(hq, [sample_seed(crop.seed, crop.position, "degradation") for crop in crops])

    @torch.no_grad()
    def with_captions(self, batch: TrainingBatch, crops: Sequence[Crop]) -> TrainingBatch:
        """The batch with the control texts of other crops."""
        return replace(batch, control_states=self.text_states(self._control_texts(crops, [False] * len(crops))))

    def text_states(self, texts: Sequence[str]) -> Tensor:
        """(B, T, D)."""
        return torch.stack([self._text_state(text) for text in texts])

    def _text_state(self, text: str) -> Tensor:
        """(T, D), from memory where it was asked for not long ago. Each text is encoded by itself: its batch mates,
        which depend on where a run was resumed, would change its last digits."""
        if (state := self._states.pop(text, None)) is None:
            state = encode_texts(self.base.tokenizer, self.base.text_encoder, [text], self.device)[0]
        self._states[text] = state  # the latest used stands last
        if len(self._states) > KEPT_TEXTS:
            self._states.pop(next(iter(self._states)))
        return state

    def _scale_maps(self, regions: Tensor, generators: Sequence[Generator]) -> Tensor:
        """regions: (B, 1, h, w). The same shape: a scale in the region and one in the rest for the share of samples
        that is `scaled`, else 1."""
        maps = []
        for region, generator in zip(regions, generators, strict=True):
            drawn, inside, outside = torch.rand(3, generator=generator).tolist()
            scaled = MOST_SCALE * (outside + (inside - outside) * region)
            maps.append(scaled if drawn < self.settings.scaled else torch.ones_like(region))
        return torch.stack(maps)

    def _timestep(self, generator: Generator) -> int:
        last = self.timestep_count - 1
        if (share := self.settings.last_timestep) and float(torch.rand((), generator=generator)) < share:
            return last
        return int(torch.randint(self.settings.least_timestep, self.timestep_count, (), generator=generator))

    def _latents(self, hq: Tensor, generators: Sequence[Generator]) -> Tensor:
        mean, deviation = self._posterior(hq)
        return mean + deviation * self._normal(mean, generators)

    def _posterior(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the latents, scaled."""
        encoded: Any = self.base.vae.encode((photos * 2 - 1).to(self.base.vae.dtype))
        posterior, scaling = encoded.latent_dist, self.base.vae.config["scaling_factor"]
        return posterior.mean.float() * scaling, posterior.std.float() * scaling

    def _normal(self, like: Tensor, generators: Sequence[Generator]) -> Tensor:
        return self._moved(torch.stack([torch.randn(like.shape[1:], generator=each) for each in generators]))

    def _moved(self, tensor: Tensor) -> Tensor:
        """On the networks' device; from pinned memory, so that nothing waits for the copy."""
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def _control_texts(self, crops: Sequence[Crop], dropped: Sequence[bool]) -> list[str]:
        return [
            "" if drop else control_text(crop.caption, crop.bokeh, self.controlnet["bokeh_control_text"])
            for crop, drop in zip(crops, dropped, strict=True)
        ]

    def _unet_texts(self, crops: Sequence[Crop], dropped: Sequence[bool]) -> list[str]:
        return [
            "" if drop else unet_text([crop.caption], crop.bokeh) for crop, drop in zip(crops, dropped, strict=True)
        ]
