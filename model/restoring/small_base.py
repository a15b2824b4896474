"""The small model's base before it has learnt: a UNet from a seed in the latents of a wavelet, and MiniLM's sentences.

Everything Stable Diffusion has, at a size that a CPU trains: a UNet of 5 M parameters instead of 866 M, an autoencoder
without weights, and a text encoder whose vectors know that a puppy is a dog. `train --preset small-base` trains it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from transformers import BertTokenizer

from instructrestore.model.networks.model_folder import load_model, quiet
from instructrestore.model.networks.region_controlnet import RegionControlNet
from instructrestore.model.networks.sentence_encoder import SentenceEncoder
from instructrestore.model.networks.wavelet_autoencoder import WaveletAutoencoder
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.pretrained import installed

TOKENS = 64  # of a text; captions have 40 of CLIP's at the most
MASK_CHANNELS = 64
# What an HQ photo's latents differ by from its LQ photo's has a deviation of 0.18 (192 crops of the training photos,
# the release's degradation); the networks see 1.
SCALING = 5.6

UNET: dict[str, Any] = {
    "sample_size": 128,
    "down_block_types": ("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    "block_out_channels": (64, 96, 128),
    "layers_per_block": 1,
    "norm_num_groups": 16,
    "cross_attention_dim": 384,
    "attention_head_dim": (2, 3, 4),  # the number of heads under diffusers' historical name, as in SD 2.1
    "use_linear_projection": True,
}
# The last timestep is noise alone (zero terminal SNR: Lin et al. 2023, section 3.1), and what is predicted is the
# sample: so the first step gives the expected photo, and every further one draws detail out of it.
SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "rescale_betas_zero_snr": True,
    "prediction_type": "sample",
    "timestep_spacing": "trailing",
    "solver_order": 1,  # which is DDIM, at any timesteps
}
# Few steps, and no guidance: the network sees the LQ photo, and its text has little to add to what is there. Its mask
# decoder sees the LQ photo alone, so the mask is the same in every step.
SAMPLING: dict[str, Any] = {"num_inference_steps": 1, "guidance_scale": 1.0, "mask_steps": 1}


def build_small_base(folder: str | Path, seed: int = 0) -> None:
    """Writes a saved InstructRestorePipeline whose UNet and ControlNet are random, `controlnet/` included.

    Raises ValueError where the package with the text encoder is not installed, or damaged.
    """
    source = installed.sentences().checked().parent
    autoencoder = WaveletAutoencoder(levels=2, scaling_factor=SCALING)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        channels = autoencoder.latent_channels
        unet = UNet2DConditionModel(**UNET, in_channels=channels, out_channels=channels).eval()
        for parameter in unet.conv_out.parameters():  # learning begins at the LQ photo
            torch.nn.init.zeros_(parameter)
        cell = autoencoder.pixels_a_cell
        controlnet = RegionControlNet.from_unet(unet, MASK_CHANNELS, pixels_a_cell=cell, residual=True, unshuffled=True)
        encoder = load_model(SentenceEncoder, source, {"dtype": torch.float32})
        tokenizer = BertTokenizer.from_pretrained(str(source), local_files_only=True, model_max_length=TOKENS)
        scheduler: Any = DPMSolverMultistepScheduler(**SCHEDULER)
        parts = (autoencoder, encoder, tokenizer, unet, controlnet.eval(), scheduler)
        pipeline = InstructRestorePipeline(*parts, sampling=SAMPLING)
        pipeline.save_pretrained(Path(folder), safe_serialization=True)
