"""The pipeline with SD 2.1's networks at full size, without trained weights: for counting and timing."""

from __future__ import annotations

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerBase

from instructrestore.model.networks.region_controlnet import RegionControlNet
from instructrestore.model.restoring.pipeline import InstructRestorePipeline

BLOCKS = {
    "block_out_channels": (320, 640, 1280, 1280),
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "scaling_factor": 0.18215,
}
TEXT_ENCODER = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "hidden_act": "gelu",
    "vocab_size": 49408,
}
NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def full_size_pipeline(tokenizer: PreTrainedTokenizerBase, device: str, dtype: torch.dtype) -> InstructRestorePipeline:
    """Random weights on a device, or none on "meta". tokenizer: any of CLIP's with at most 49,408 tokens."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            pipe = InstructRestorePipeline(
                vae=AutoencoderKL(**VAE),
                text_encoder=CLIPTextModel(CLIPTextConfig(**TEXT_ENCODER)),
                tokenizer=tokenizer,
                unet=UNet2DConditionModel(**BLOCKS),
                controlnet=RegionControlNet(**BLOCKS),
                scheduler=UniPCMultistepScheduler(**NOISE),
            )
    finally:
        torch.set_default_dtype(before)
    pipe.set_progress_bar_config(disable=True)
    return pipe
