from __future__ import annotations

import torch
from diffusers import DDIMScheduler

from instructrestore.model.restoring.small_base import SCHEDULER
from instructrestore.model.training.batch import TARGETS


def test_what_is_predicted_is_what_diffusers_means_by_it() -> None:
    generator = torch.Generator().manual_seed(0)
    latents, noise = torch.randn(2, 3, 4, 8, 8, generator=generator, dtype=torch.float64)
    timesteps = torch.tensor([0, 400, 998])  # the last has no photo to find in predicted noise
    of_ddim = {name: value for name, value in SCHEDULER.items() if name != "solver_order"} | {"clip_sample": False}
    for kind, target in TARGETS.items():
        scheduler = DDIMScheduler(**{**of_ddim, "prediction_type": kind})
        signal = scheduler.alphas_cumprod.double()[timesteps].sqrt()[:, None, None, None]
        spread = (1 - signal**2).sqrt()
        predicted = target(latents, noise, signal, spread)
        if kind == "v_prediction":
            velocity = scheduler.get_velocity(latents, noise, timesteps)
            torch.testing.assert_close(predicted, velocity, atol=1e-4, rtol=1e-4)
        # The scheduler finds the clean latents in a perfect prediction.
        noisy = scheduler.add_noise(latents, noise, timesteps)
        scheduler.set_timesteps(10)
        for number, timestep in enumerate(timesteps):
            own = slice(number, number + 1)
            found = scheduler.step(predicted[own], int(timestep), noisy[own]).pred_original_sample
            torch.testing.assert_close(found, latents[own], atol=1e-3, rtol=1e-3)
    assert set(TARGETS) == {"epsilon", "sample", "v_prediction"}
