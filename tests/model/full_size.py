"""SD 2.1's networks at full size without weights, on torch's meta device: shapes and operations, no numbers."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel, UniPCMultistepScheduler
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from model.pipeline import InstructRestorePipeline
from model.region_controlnet import RegionControlNet

HEADS = [5, 10, 20, 20]
CHANNELS = [320, 640, 1280, 1280]


def full_size_pipeline(tokenizer: CLIPTokenizer, device: str = "meta") -> InstructRestorePipeline:
    """SD 2.1-base's configurations, random or no weights, and the tokenizer of another base."""
    with torch.device(device):
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
            scaling_factor=0.18215,
        )
        unet = UNet2DConditionModel(
            sample_size=64,
            block_out_channels=CHANNELS,
            attention_head_dim=HEADS,
            cross_attention_dim=1024,
            use_linear_projection=True,
        )
        controlnet = RegionControlNet(
            block_out_channels=CHANNELS, attention_head_dim=HEADS, cross_attention_dim=1024, use_linear_projection=True
        )
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=max(49408, len(tokenizer)),
                hidden_size=1024,
                intermediate_size=4096,
                num_hidden_layers=23,
                num_attention_heads=16,
                hidden_act="gelu",
            )
        )
    scheduler = UniPCMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    )
    pipe = InstructRestorePipeline(vae, text_encoder, tokenizer, unet, controlnet, scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe
