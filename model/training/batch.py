"""From crops to what equation 1 is computed of: everything before the trained networks, without gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from instructrestore.model.degradation.chain import Degradation
from instructrestore.model.degradation.filtering import sharpen
from instructrestore.model.instruction.instruction import control_text, unet_text
from instructrestore.model.networks.texts import encode_texts
from instructrestore.model.restoring.checkpoint import Base
from instructrestore.model.restoring.latents import check_scheduler
from instructrestore.model.training.crops import Crop, stack
from instructrestore.model.training.settings import TrainingSettings
from instructrestore.shards.order import sample_seed


@dataclass(frozen=True)
class Batch:
    """B samples on the networks' device.

    lq: (B, 3, S, S) float32 in [0, 1]: the sharpened photo, degraded.
    latents: (B, 4, S/8, S/8) float32, scaled: a draw from the VAE's posterior of the sharpened photo. noise: the same
    shape.
    noisy: the latents with the noise of `timesteps`, (B,) of integers.
    control_states, unet_states: (B, 77, D), the texts' hidden states.
    mask: (B, 1, S/8, S/8) float32: the region's share of each latent pixel, all 1 where the text was dropped.
    """

    lq: Tensor
    latents: Tensor
    noise: Tensor
    noisy: Tensor
    timesteps: Tensor
    control_states: Tensor
    unet_states: Tensor
    mask: Tensor


class Preparation:
    """Crops to batches, with the base's frozen networks.

    What is random about a sample (text drop, degradation, posterior, noise, timestep) is drawn from its own seed on
    the CPU, so that neither batch mates nor the number of workers change it.
    """

    def __init__(self, base: Base, settings: TrainingSettings, bokeh_control_text: str) -> None:
        self.base, self.settings, self.bokeh_control_text = base, settings, bokeh_control_text
        self.degradation = Degradation(settings.degradation)
        self.device = torch.device(base.unet.device)
        scheduler: Any = base.scheduler
        check_scheduler(scheduler)
        if scheduler.config["prediction_type"] != "epsilon":
            raise ValueError(
                f"the base predicts {scheduler.config['prediction_type']} and not the noise: take Stable Diffusion "
                "2.1-base, the one for 512 px"
            )
        self.timestep_count = len(scheduler.alphas_cumprod)
        self.alphas_cumprod = scheduler.alphas_cumprod.to(self.device)

    @torch.no_grad()
    def __call__(self, crops: Sequence[Crop], timestep: int | None = None) -> Batch:
        """timestep: the same for all, for validation, where no text is dropped; None: drawn for each."""
        hq, lq = self.pairs(crops)
        generators = [Generator().manual_seed(sample_seed(crop.seed, crop.position, "diffusion")) for crop in crops]
        drawn = [int(torch.randint(self.timestep_count, (), generator=generator)) for generator in generators]
        timesteps = self._moved(torch.tensor([timestep] * len(crops) if timestep is not None else drawn))
        drops = self.settings.text_drop if timestep is None else 0
        dropped = [float(torch.rand((), generator=generator)) < drops for generator in generators]

        latents = self._latents(hq, generators)
        noise = self._normal(latents, generators)
        signal = self.alphas_cumprod[timesteps].sqrt()[:, None, None, None]
        noisy = signal * latents + (1 - signal**2).sqrt() * noise

        masks = self._moved(stack(crops)[1]).float()
        target = F.avg_pool2d(masks, hq.shape[-1] // latents.shape[-1])
        target = torch.maximum(target, self._moved(torch.tensor(dropped).float())[:, None, None, None])
        states = self.text_states([*self._control_texts(crops, dropped), *self._unet_texts(crops, dropped)])
        control, unet = states[: len(crops)], states[len(crops) :]
        return Batch(lq, latents, noise, noisy, timesteps, control, unet, target)

    @torch.no_grad()
    def pairs(self, crops: Sequence[Crop]) -> tuple[Tensor, Tensor]:
        """HQ photos, sharpened, and their LQ versions, each (B, 3, S, S) float32 in [0, 1]."""
        hq = self._moved(stack(crops)[0]).float().div_(255).contiguous()
        # The LQ photo is made of the sharpened one, as in Real-ESRGAN; the sharpened one is also the target.
        hq = sharpen(hq) if self.settings.sharpen else hq
        return hq, self.degradation(hq, [sample_seed(crop.seed, crop.position, "degradation") for crop in crops])

    @torch.no_grad()
    def with_captions(self, batch: Batch, crops: Sequence[Crop]) -> Batch:
        """The batch with the control texts of other crops."""
        return replace(batch, control_states=self.text_states(self._control_texts(crops, [False] * len(crops))))

    def text_states(self, texts: Sequence[str]) -> Tensor:
        """(B, 77, D)."""
        return encode_texts(self.base.tokenizer, self.base.text_encoder, texts, self.device)

    def _latents(self, hq: Tensor, generators: Sequence[Generator]) -> Tensor:
        encoded: Any = self.base.vae.encode((hq * 2 - 1).to(self.base.vae.dtype))
        posterior = encoded.latent_dist
        mean, deviation = posterior.mean.float(), posterior.std.float()
        drawn = mean + deviation * self._normal(mean, generators)
        return drawn * self.base.vae.config["scaling_factor"]

    def _normal(self, like: Tensor, generators: Sequence[Generator]) -> Tensor:
        return self._moved(torch.stack([torch.randn(like.shape[1:], generator=each) for each in generators]))

    def _moved(self, tensor: Tensor) -> Tensor:
        """On the networks' device; from pinned memory, so that nothing waits for the copy."""
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def _control_texts(self, crops: Sequence[Crop], dropped: Sequence[bool]) -> list[str]:
        return [
            "" if drop else control_text(crop.caption, crop.bokeh, self.bokeh_control_text)
            for crop, drop in zip(crops, dropped, strict=True)
        ]

    def _unet_texts(self, crops: Sequence[Crop], dropped: Sequence[bool]) -> list[str]:
        return [
            "" if drop else unet_text([crop.caption], crop.bokeh) for crop, drop in zip(crops, dropped, strict=True)
        ]
