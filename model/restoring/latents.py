"""Between photos and latents, and from noise to the first latents of a schedule."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from instructrestore.model.networks import autoencoder
from instructrestore.model.networks.autoencoder import Autoencoder
from instructrestore.model.restoring.settings import SamplingSettings

Generators = torch.Generator | list[torch.Generator] | None


def draw_noise(shape: Sequence[int], generator: Generators, given: Tensor | None, device: torch.device) -> Tensor:
    """Unit normal noise, float32; `given` where the caller brings it. ValueError if that has another shape."""
    if given is None:
        return randn_tensor(tuple(shape), generator, device, torch.float32)
    if tuple(given.shape) != tuple(shape):
        raise ValueError(f"latents and noise for these photos have the shape {tuple(shape)}, not {tuple(given.shape)}")
    return given.to(device, torch.float32)


def copied(generator: Generators) -> Generators:
    """A generator, or several, that will draw the same."""
    if isinstance(generator, list):
        return [_copy(each) for each in generator]
    return None if generator is None else _copy(generator)


def _copy(generator: torch.Generator) -> torch.Generator:
    copy = torch.Generator(generator.device)
    copy.set_state(generator.get_state())
    return copy


def encode(vae: Autoencoder, photos: Tensor, settings: SamplingSettings) -> tuple[Tensor, Tensor]:
    """Photos (B, 3, H, W) in [0, 1] as the posterior's mean and deviation, each (B, C, h, w) float32, scaled."""
    posterior = autoencoder.encode(vae, (photos * 2 - 1).to(vae.dtype), settings.tile, settings.overlap)
    scaling = vae.config["scaling_factor"]
    return posterior.mean.float() * scaling, posterior.std.float() * scaling


def decode(vae: Autoencoder, latents: Tensor, settings: SamplingSettings) -> Tensor:
    """Scaled latents (B, C, h, w) as photos (B, 3, H, W) float32, not clamped."""
    unscaled = (latents / vae.config["scaling_factor"]).to(vae.dtype)
    return autoencoder.decode(vae, unscaled, settings.tile, settings.overlap).float() / 2 + 0.5


def set_timesteps(scheduler: Any, settings: SamplingSettings) -> None:
    """Gives the scheduler the timesteps of the settings, on the CPU. ValueError where it cannot have them."""
    steps, least = settings.num_inference_steps, settings.least_timestep
    if not least:
        scheduler.set_timesteps(steps, device="cpu")
        return
    if "timesteps" not in inspect.signature(scheduler.set_timesteps).parameters:
        raise ValueError(
            f"{type(scheduler).__name__} chooses its timesteps itself: leave least_timestep out, or take another "
            "scheduler, such as DPMSolverMultistepScheduler"
        )
    last = len(scheduler.alphas_cumprod) - 1
    if steps > last + 1 - least:
        raise ValueError(f"{steps} steps do not fit between timestep {last} and least_timestep={least}")
    # Evenly and with the last timestep first ("trailing": Lin et al. 2023, table 2), over a part of the schedule.
    spaced = [last - step * (last + 1 - least) // steps for step in range(steps)]
    scheduler.set_timesteps(timesteps=spaced, device="cpu")


def first_latents(scheduler: Any, noise: Tensor, lq_latents: Tensor | None, start_timestep: int | None) -> Tensor:
    """What the schedule's first step begins with: noise, or LQ latents with noise added.

    scheduler: its timesteps set, on the CPU. start_timestep: whose noise is added; None: the schedule's first.
    ValueError for one that the scheduler does not know.
    """
    has_index = hasattr(scheduler, "set_begin_index")
    if has_index and start_timestep is None:
        scheduler.set_begin_index(0)
    if lq_latents is None:
        start = noise * scheduler.init_noise_sigma
    else:
        timesteps = scheduler.timesteps[:1] if start_timestep is None else _known_timestep(scheduler, start_timestep)
        start = scheduler.add_noise(lq_latents, noise, timesteps.expand(len(lq_latents)))
    if has_index:
        scheduler.set_begin_index(0)  # else the scheduler looks the first timestep up, on the device
    return start


def noised(scheduler: Any, lq_latents: Tensor, noise: Tensor, timestep: int) -> Tensor:
    """The networks' view of LQ latents at any training timestep, whatever the schedule. ValueError for another."""
    steps = len(scheduler.alphas_cumprod)
    if not isinstance(timestep, int) or not 0 <= timestep < steps:
        raise ValueError(f"a timestep is a whole number from 0 to {steps - 1}, not {timestep!r}")
    signal = scheduler.alphas_cumprod[timestep].item()
    return signal**0.5 * lq_latents + (1 - signal) ** 0.5 * noise


def _known_timestep(scheduler: Any, timestep: int) -> Tensor:
    """Schedulers with sigmas know the noise of their schedule's timesteps alone, and some take another for them."""
    known = scheduler.timesteps.tolist() if hasattr(scheduler, "sigmas") else range(len(scheduler.alphas_cumprod))
    if timestep not in known:
        raise ValueError(
            f"{type(scheduler).__name__} with {len(scheduler.timesteps)} steps has no timestep {timestep} to start "
            "from: leave start_timestep (or compat) out, or choose its timestep_spacing"
        )
    return torch.tensor([timestep])


def check_scheduler(scheduler: Any) -> None:
    """ValueError for a scheduler of another kind of model (flow matching, consistency, ...)."""
    if not all(hasattr(scheduler, name) for name in ("alphas_cumprod", "add_noise", "init_noise_sigma")):
        raise ValueError(
            f"{type(scheduler).__name__} is not for Stable Diffusion's noise: choose UniPC, DDIM, Euler or the like"
        )
