"""The step loop: noisy latents to restored latents, whole or in tiles.

Nothing here waits for the device. Of diffusers' schedulers some do, in their own step: UniPC copies a few scalars to
the device and, with its corrector of second order, waits for a system of two equations; DDIM, Euler and DPM-Solver++
do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from instructrestore.model.networks.modulation import modulate, region_weights, scale_maps
from instructrestore.model.networks.region_controlnet import RegionControl, RegionControlNet
from instructrestore.model.networks.tiling import Blend
from instructrestore.model.restoring.settings import MASK_THRESHOLD, SamplingSettings
from instructrestore.model.restoring.views import Views


@dataclass
class Sampler:
    """What predicts the noise of a step. overlap: of neighbouring tiles, in latent cells."""

    unet: UNet2DConditionModel
    controlnet: RegionControlNet
    settings: SamplingSettings
    overlap: int

    def run(
        self,
        latents: Tensor,
        groups: Sequence[Views],
        scheduler: Any,
        step_options: dict[str, Any],
        after_step: Callable[[int, Tensor, Tensor, Tensor], Tensor],
    ) -> Tensor:
        """Latents (B, C, h, w) float32 from the schedule's first timestep to its end.

        groups: all views of all photos; each group's views go through the networks together. scheduler: any of
        diffusers', its timesteps set and on the CPU, where its own arithmetic stays. step_options: more arguments for
        its `step`. after_step: given the step's index, its timestep, the predicted noise and the new latents; returns
        the latents to go on with.
        """
        timesteps = scheduler.timesteps.to(latents.device)  # of schedulers of second order more than steps were asked
        guided = self.settings.guidance_until * len(timesteps) if self.settings.guidance_scale != 1 else 0
        for step, timestep in enumerate(scheduler.timesteps):
            scaled = scheduler.scale_model_input(latents, timestep)
            noise = self.predict_noise(scaled, timesteps[step], step, groups, guided=step < guided)
            latents = scheduler.step(noise, timestep, latents, **step_options, return_dict=False)[0]
            latents = after_step(step, timestep, noise, latents)
        return latents

    def predict_noise(
        self, latents: Tensor, timestep: Tensor, step: int, groups: Sequence[Views], guided: bool
    ) -> Tensor:
        """What the base predicts, (B, C, h, w) float32: the noise for SD 2.1; of all photos, their views blended."""
        shape = (1, *latents.shape[1:])
        blends = [Blend(shape, self.overlap, latents.device) for _ in latents]
        for views in groups:
            crops = torch.cat([tile.crop(latents[photo : photo + 1]) for photo, tile in views.places])
            noise = self._noise_of_views(crops.to(self.unet.dtype), timestep, step, views, guided and views.guided)
            for (photo, tile), own in zip(views.places, noise.split(1), strict=True):
                blends[photo].add(tile, own)
        return torch.cat([blend.result() for blend in blends])

    def _noise_of_views(self, latents: Tensor, timestep: Tensor, step: int, views: Views, guided: bool) -> Tensor:
        residuals = self.control(latents, timestep, step, views, guided)
        noise = self.unet(
            torch.cat([latents, latents]) if guided else latents,
            timestep,
            views.guided_unet_texts if guided else views.unet_texts,
            down_block_additional_residuals=residuals[:-1],
            mid_block_additional_residual=residuals[-1],
            return_dict=False,
        )[0].float()
        if not guided:
            return noise
        without, with_text = noise.chunk(2)
        return without + self.settings.guidance_scale * (with_text - without)

    def control(self, latents: Tensor, timestep: Tensor, step: int, views: Views, guided: bool) -> list[Tensor]:
        """The modulated residuals for the UNet: of the rows without text first where `guided`, then of the views."""
        every = self.settings.controlnet_every
        if step % every == 0 or views.kept is None:
            control = self._pass(latents, timestep, step, views, guided)
            views.kept = control if every > 1 else None
        else:
            control = views.kept
        empty = len(views.counts) if guided else 0
        rows = empty + len(views.rows)
        maps = self._maps(views) if step >= self.settings.modulate_from else None
        resize = self.settings.mask_resize
        return [modulate(residual[-rows:], maps, views.counts, resize, empty) for residual in control.residuals]

    def predict_masks(self, latents: Tensor, timestep: Tensor, views: Views) -> Tensor:
        """The masks alone, (rows, 1, h, w), from one pass over noisy latents (V, 4, h, w)."""
        self._pass(latents, timestep, 0, views, guided=False)
        assert views.masks is not None
        return views.masks

    def _pass(self, latents: Tensor, timestep: Tensor, step: int, views: Views, guided: bool) -> RegionControl:
        """One pass of the ControlNet; the masks go into the views. That of step 0 is the same in every run of them."""
        control = views.first if step == 0 else None
        if control is None:
            decode = views.maps is None and (self.settings.mask_steps is None or step < self.settings.mask_steps)
            control = self.controlnet(
                latents,
                timestep,
                views.guided_control_texts if guided else views.control_texts,
                views.condition,
                mask_rows=len(views.rows) if decode else 0,
                views=views.guided_rows if guided else views.rows,
                seen=views.seen,
            )
            if step == 0 and views.again:
                views.first = control
        if control.mask_logits is not None:
            views.masks = control.mask_logits.float().sigmoid()
        return control

    def _maps(self, views: Views) -> Tensor:
        """What the rows' features are multiplied by, (rows, 1, h, w)."""
        if views.maps is not None:
            return views.maps
        assert views.masks is not None
        masks = (views.masks > MASK_THRESHOLD).float() if self.settings.mask == "hard" else views.masks
        return scale_maps(region_weights(masks, views.counts), views.scales, views.others, views.counts, views.lift)
