"""Distillation: a student learns to give in one or two steps what its teacher gives in many.

Both begin with the same noise and are run by the sampler that restores photos, so a student is trained as it is used
and has, before it has learnt, its teacher's own function. The student's answer is drawn to the teacher's (Luhman &
Luhman 2021) and, by a share, to the HQ photo's latents; a second term compares how much detail there is around each
cell, of which squared errors alone leave too little. The UNet learns by low-rank updates and the ControlNet at the
first timestep alone, as in OSEDiff (Wu et al. 2024) and PiSA-SR (Sun et al. 2025); the scale maps are the teacher's, at
every cell (`scaled`), so that a student's scales mean what its teacher's do.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from instructrestore.model.networks.devices import DTYPES
from instructrestore.model.networks.model_folder import quiet
from instructrestore.model.networks.region_controlnet import RegionControlNet
from instructrestore.model.restoring.checkpoint import BaseNetworks, joined_sampling
from instructrestore.model.restoring.latents import first_latents, set_timesteps
from instructrestore.model.restoring.sampling import Sampler
from instructrestore.model.restoring.settings import SamplingSettings, resolve
from instructrestore.model.restoring.views import Views, views_of_photos
from instructrestore.model.training.batch import Preparation, TrainingBatch
from instructrestore.model.training.crops import Crop
from instructrestore.model.training.low_rank import add_updates
from instructrestore.model.training.objective import Losses, losses, squared_error
from instructrestore.model.training.settings import DistillationSettings, TrainingSettings
from instructrestore.shards.reading.order import sample_seed

AROUND = 5  # cells: the window in which detail is compared
FAINT = 1e-4  # added to energies, so that the root's gradient is bounded


def student_sampling(settings: DistillationSettings) -> dict[str, Any]:
    """What a student's ControlNet records: how it is sampled, wherever no option says otherwise. Its teacher's guidance
    is in what it has learnt."""
    return {"num_inference_steps": settings.steps, "guidance_scale": 1.0}


class FewSteps:
    """The sampler of restoration over photos whose maps are given, from the latents that a batch calls noisy."""

    def __init__(self, scheduler: Any, settings: SamplingSettings) -> None:
        self.scheduler, self.settings = copy.deepcopy(scheduler), settings
        set_timesteps(self.scheduler, settings)
        self.first = int(self.scheduler.timesteps[0])

    def start(self, noise: Tensor, lq_latents: Tensor | None) -> Tensor:
        """The latents to begin with, like `noise`."""
        set_timesteps(self.scheduler, self.settings)
        return first_latents(self.scheduler, noise, lq_latents, self.settings.start_timestep)

    def views(self, batch: TrainingBatch, controlnet: RegionControlNet, empty_text: Tensor | None) -> Views:
        """empty_text: (1, T, D), for guidance."""
        return views_of_photos(
            condition=controlnet.embed_condition(batch.lq.to(controlnet.dtype)),
            control_texts=batch.control_states.to(controlnet.dtype),
            unet_texts=batch.unet_states.to(controlnet.dtype),
            empty_text=None if empty_text is None else empty_text.to(controlnet.dtype),
            maps=batch.control,
        )

    def __call__(
        self, batch: TrainingBatch, unet: UNet2DConditionModel, controlnet: RegionControlNet, views: Views
    ) -> Tensor:
        """The last latents, (B, C, h, w) float32."""
        set_timesteps(self.scheduler, self.settings)  # anew: a scheduler remembers the steps of another run
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(0)
        sampler = Sampler(unet, controlnet, self.settings, overlap=0)
        return sampler.run(batch.noisy, [views], self.scheduler, {}, lambda step, timestep, noise, latents: latents)


class DistillationPreparation(Preparation):
    """Crops to batches whose `noisy` is where sampling begins and whose `target` is what the teacher makes of it."""

    def __init__(self, base: BaseNetworks, settings: TrainingSettings, controlnet: RegionControlNet) -> None:
        """base, controlnet: the teacher, as it is before the student learns; it is copied."""
        super().__init__(base, settings, controlnet.config)
        chosen, dtype = settings.distillation, DTYPES[settings.dtype]
        sampling = joined_sampling(base.sampling, controlnet)
        self.student = FewSteps(base.scheduler, resolve(None, student_sampling(chosen), sampling))
        self.teacher = FewSteps(base.scheduler, resolve(None, {"num_inference_steps": chosen.teacher_steps}, sampling))
        if self.student.first != self.teacher.first:
            raise ValueError(
                f"{chosen.steps} steps of this base begin at timestep {self.student.first} and the teacher's "
                f"{chosen.teacher_steps} at {self.teacher.first}: give its scheduler the timestep_spacing trailing"
            )
        with quiet():
            self.networks: list[Any] = [copy.deepcopy(network) for network in (base.unet, controlnet)]
            for network in self.networks:
                network.requires_grad_(False).eval().to(dtype=dtype)

    @torch.no_grad()
    def __call__(self, crops: Sequence[Crop], timestep: int | None = None) -> TrainingBatch:
        """timestep: of validation, where no text is dropped and no map scaled; sampling has its own timesteps."""
        batch = super().__call__(crops, timestep)
        settings, residual = self.teacher.settings, self.controlnet["residual"]
        origin = torch.zeros_like(batch.latents) if residual else self._posterior(batch.lq)[0]
        start = self.teacher.start(batch.noise, origin if settings.start == "lq" else None)
        batch = replace(batch, noisy=start, timesteps=torch.full_like(batch.timesteps, self.teacher.first))
        unet, controlnet = self.networks
        guided = settings.guidance_scale != 1
        empty = self.text_states([""]) if guided else None
        taught = self.teacher(batch, unet, controlnet, self.teacher.views(batch, controlnet, empty))
        # What HQ latents are of a scaled sample is known where they count from the LQ photo (`scaled`).
        share = (batch.control == 1).all(1).all(1).all(1) | torch.tensor(residual, device=start.device)
        hq = self.settings.distillation.hq * share.float()[:, None, None, None]
        return replace(batch, target=taught + hq * (batch.latents - taught))


class StudentNetworks(nn.Module):
    """The student before its losses; one module, so that DistributedDataParallel sees a step whole."""

    def __init__(self, controlnet: RegionControlNet, unet: UNet2DConditionModel, prepare: DistillationPreparation):
        super().__init__()
        self.controlnet, self.unet = controlnet, unet
        self.settings, self.sampler = prepare.settings, prepare.student

    def forward(self, batch: TrainingBatch) -> tuple[Losses, Tensor]:
        """The losses (`noise`: of the answer and of its detail) and the mask logits (B, 1, h, w); zeros where the masks
        have no weight."""
        chosen, mask_weight = self.settings.distillation, self.settings.mask_weight
        views, logits = self.sampler.views(batch, self.controlnet, None), None
        if mask_weight > 0:
            views.first, logits = self._first(batch, views)
        given = self.sampler(batch, self.unet, self.controlnet, views)
        detail = chosen.detail * squared_error(roughness(given), roughness(batch.target), batch.weights)
        if logits is None:
            of_answer = squared_error(given, batch.target, batch.weights) + detail
            return Losses(of_answer, torch.zeros_like(of_answer), of_answer), torch.zeros_like(batch.mask)
        found = losses(given, batch.target, logits, batch.mask, mask_weight, batch.weights)
        return replace(found, noise=found.noise + detail, total=found.total + detail), logits

    def mask_logits(self, batch: TrainingBatch) -> Tensor:
        """The mask alone, (B, 1, h, w)."""
        return self._first(batch, self.sampler.views(batch, self.controlnet, None))[1]

    def _first(self, batch: TrainingBatch, views: Views) -> tuple[Any, Tensor]:
        """The ControlNet's pass of the first step, which decodes the masks too."""
        scheduler = self.sampler.scheduler
        set_timesteps(scheduler, self.sampler.settings)
        control = self.controlnet(
            scheduler.scale_model_input(batch.noisy, scheduler.timesteps[0]),
            batch.timesteps,
            views.control_texts,
            views.condition,
            mask_rows=len(batch.noisy),
            seen=self.controlnet.see(batch.lq),
        )
        assert control.mask_logits is not None
        return control, control.mask_logits


def begin_student(base: BaseNetworks, controlnet: RegionControlNet, settings: TrainingSettings) -> None:
    """Makes the teacher its own student: with updates that learn where the UNet itself does not, and with its steps
    recorded in the ControlNet's configuration."""
    chosen = settings.distillation
    if not settings.train_base:
        add_updates(base.unet, chosen.rank, sample_seed(settings.seed, 0, "updates"))
    controlnet.register_to_config(sampling=student_sampling(chosen))


def roughness(latents: Tensor) -> Tensor:
    """(B, C, h, w) float32: the root of the mean square around each cell, of every channel."""
    return (F.avg_pool2d(latents.float().square(), AROUND, 1, AROUND // 2, count_include_pad=False) + FAINT).sqrt()
