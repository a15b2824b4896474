"""Stable Diffusion's x4 upscaler: not in the paper's tables, but a maintained pipeline of diffusers on the same prior.

Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", 2022; the weights that Stability AI
published as stable-diffusion-x4-upscaler are under CreativeML Open RAIL++-M.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_upscale import StableDiffusionUpscalePipeline
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from transformers import CLIPTextModel, CLIPTokenizer

from instructrestore.model.networks.weight_files import (
    check_weights,
    find_folder,
    fitting,
    load_model,
    quiet,
    read_json,
)
from instructrestore.pipelines.evaluation.methods.photos import PhotoArray, restored, shrunk
from instructrestore.pipelines.evaluation.methods.spec import PIPELINE_FILES, WEIGHTS

SCALE = 4
STEPS = 75  # diffusers' own default, as the next
NOISE_LEVEL = 20  # of the noise added to the small photo, 0 to 350
# No prompt, as usual in comparisons of super-resolution: a caption names one region but would apply to the whole photo.
# Guidance between two empty prompts has no effect and would double the cost.
PROMPT, GUIDANCE = "", 1.0


class X4Upscaler:
    """The pipeline on the LQ photo shrunk by 4, in float32; noise is drawn on the CPU from the photo's seed."""

    def __init__(self, place: str, revision: str | None, device: torch.device, steps: int = STEPS) -> None:
        """place: a folder as `save_pretrained` writes it, or a hub id, whose safetensors are fetched. revision: of a
        hub id. Raises ValueError, in one sentence, if it cannot be loaded."""
        folder = find_folder("upscaler", place, revision, PIPELINE_FILES)
        with quiet():
            self._pipeline = _load(place, folder, device)
        self._steps = steps
        # The small photo's sides must be multiples of the UNet's reductions and of what diffusers would resize to.
        halvings = len(self._pipeline.unet.config.block_out_channels) - 1
        self._multiple = lcm(2**halvings, self._pipeline.vae_scale_factor)

    def __call__(self, lq: Sequence[PhotoArray], seeds: Sequence[int]) -> list[PhotoArray]:
        # One at a time, so that results do not depend on the batch.
        return [self._restore(photo, seed) for photo, seed in zip(lq, seeds, strict=True)]

    def _restore(self, photo: PhotoArray, seed: int) -> PhotoArray:
        output: Any = self._pipeline(
            prompt=[PROMPT],
            image=shrunk(photo, SCALE, self._multiple),
            num_inference_steps=self._steps,
            guidance_scale=GUIDANCE,
            noise_level=NOISE_LEVEL,
            generator=[torch.Generator("cpu").manual_seed(seed)],
            output_type="pt",
        )
        return restored(output.images.cpu(), photo)


def _load(place: str, folder: Path, device: torch.device) -> StableDiffusionUpscalePipeline:
    index = read_json(folder / "model_index.json", f"{place} is not a saved pipeline")
    if index.get("_class_name") != StableDiffusionUpscalePipeline.__name__:
        raise ValueError(f"{place} is a {index.get('_class_name')}, not a {StableDiffusionUpscalePipeline.__name__}")
    for part, file in (("vae", WEIGHTS), ("unet", WEIGHTS), ("text_encoder", "model.safetensors")):
        read_json(folder / part / "config.json", f"{place} is not a whole pipeline")
        check_weights(folder / part, file)
    scheduler = _scheduler(place, folder)
    with fitting(folder / "low_res_scheduler"):
        low_res_scheduler: Any = DDPMScheduler.from_pretrained(folder / "low_res_scheduler", local_files_only=True)
    options = {"torch_dtype": torch.float32}
    vae = load_model(AutoencoderKL, folder / "vae", options)
    unet = load_model(UNet2DConditionModel, folder / "unet", options)
    text_encoder = load_model(CLIPTextModel, folder / "text_encoder", {"dtype": torch.float32})
    tokenizer = _tokenizer(folder, text_encoder.config.vocab_size)
    channels = vae.config.latent_channels + 3
    if unet.config.in_channels != channels or 2 ** (len(vae.config.block_out_channels) - 1) != SCALE:
        raise ValueError(f"{place} does not enlarge x{SCALE} from a small photo: name an x4 upscaler")
    pipeline = StableDiffusionUpscalePipeline(vae, text_encoder, tokenizer, unet, low_res_scheduler, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def _tokenizer(folder: Path, vocabulary: int) -> CLIPTokenizer:
    with fitting(folder / "tokenizer"):
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    if len(tokenizer) != vocabulary:  # from a folder without files, transformers makes one with three tokens
        raise ValueError(
            f"the tokenizer in {folder / 'tokenizer'} has {len(tokenizer)} tokens and the text encoder {vocabulary}: "
            "fetch the pipeline again"
        )
    return tokenizer


def _scheduler(place: str, folder: Path) -> Any:
    """The pipeline's own; only diffusers' classes."""
    config = read_json(folder / "scheduler" / "scheduler_config.json", f"{place} is not a whole pipeline")
    kind = getattr(diffusers, str(config.get("_class_name")), None)
    if not isinstance(kind, type) or not issubclass(kind, SchedulerMixin):
        raise ValueError(f"{place} wants the scheduler {config.get('_class_name')}, which diffusers does not have")
    with fitting(folder / "scheduler"):
        scheduler: Any = kind
        return scheduler.from_config(config)
