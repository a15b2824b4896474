"""Presets by a GPU's memory: what makes Stable Diffusion 2.1 fit into it, and then fills it.

None of them changes what is computed, only its precision, its order and where it lies: results differ by rounding.
Attention is torch's scaled_dot_product_attention everywhere, with or without a preset; the autoencoder goes through a
large photo in tiles in any case (autoencoder.py). In no preset are torch.compile, which takes minutes before the first
photo, and weights in 8 bits, which change more than rounding does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from instructrestore.model.restoring.pipeline import InstructRestorePipeline

GIB = 1 << 30
# Of every preset's memory: torch's own, cuDNN's workspaces, what lies between allocations, and a screen's.
LEFT_FREE_GIB = 1.0
BFLOAT16_SINCE = (8, 0)  # compute capability of the first NVIDIA GPUs that calculate in it


@dataclass(frozen=True)
class MemoryPreset:
    """What is switched on for a GPU of `gib` gigabytes, in half precision (`half_precision`).

    cpu_offload: the text encoder, the UNet and the autoencoder are on the GPU only while they are used.
    channels_last: the memory layout that tensor cores read.
    slice_vae: the photos of a batch go through the autoencoder one by one.
    tile_batch: tiles of 512 pixels that go through UNet and ControlNet together.
    """

    gib: int
    cpu_offload: bool
    channels_last: bool
    slice_vae: bool
    tile_batch: int

    def switches(self) -> dict[str, Any]:
        """What of it `arrange` takes by name."""
        return {"channels_last": self.channels_last, "slice_vae": self.slice_vae, "tile_batch": self.tile_batch}


# Estimated need at 512x512, 1024x1024 and 2048x2048 pixels: docs/performance.md.
PRESETS = {
    preset.gib: preset
    for preset in (
        MemoryPreset(4, cpu_offload=True, channels_last=True, slice_vae=True, tile_batch=1),
        MemoryPreset(8, cpu_offload=False, channels_last=True, slice_vae=True, tile_batch=4),
        MemoryPreset(12, cpu_offload=False, channels_last=True, slice_vae=True, tile_batch=8),
        MemoryPreset(24, cpu_offload=False, channels_last=True, slice_vae=True, tile_batch=16),
    )
}
NONE, AUTO = "none", "auto"
EIGHT_BITS = "float8"  # a dtype for `load_pipeline`
NEVER_IN_EIGHT_BITS = ("norm", "conv_in", "conv_out", "time_embedding", "controlnet_cond_embedding", "mask_decoder")
NAMES = (AUTO, *map(str, PRESETS), NONE)


def check_memory(memory: str | int) -> None:
    """Raises ValueError for what is no name of a preset, `auto` or `none`."""
    if str(memory) not in NAMES:
        raise ValueError(f"unknown memory preset {memory!r}: choose one of {', '.join(NAMES)}")


def find_preset(memory: str | int, device: torch.device) -> MemoryPreset | None:
    """The preset of a name (`NAMES`; numbers are gigabytes) for a device; None: nothing is switched on.

    auto: the largest that the GPU holds. For what is not CUDA's or ROCm's device it is None whatever the name. Raises
    ValueError for another name, and for more memory than the GPU has.
    """
    check_memory(memory)
    if memory == NONE or device.type != "cuda":
        return None
    total = torch.cuda.get_device_properties(device).total_memory / GIB
    return preset_within(memory, total)


def preset_within(memory: str | int, total_gib: float) -> MemoryPreset:
    """As `find_preset`, for a GPU whose driver states so much memory: up to half a gigabyte less than is on its box."""
    fitting = [preset for preset in PRESETS.values() if preset.gib <= round(total_gib)]
    if not fitting:
        raise ValueError(
            f"the GPU has {total_gib:.1f} GiB of memory and the least preset needs {min(PRESETS)}: take --device cpu"
        )
    if memory == AUTO:
        return fitting[-1]
    asked = PRESETS[int(memory)]
    if asked not in fitting:
        raise ValueError(
            f"the GPU has {total_gib:.1f} GiB of memory, too little for the preset of {asked.gib}: take {AUTO}"
        )
    return asked


def half_precision(device: torch.device) -> str:
    """bfloat16, whose range no activation leaves, unless the GPU does not calculate in it; then float16."""
    without = device.type == "cuda" and torch.cuda.get_device_capability(device) < BFLOAT16_SINCE
    return "float16" if without else "bfloat16"


def keep_in_eight_bits(pipe: InstructRestorePipeline) -> None:
    """UNet's and ControlNet's weights lie in float8 (e4m3) and are widened layer by layer where they are used.

    Not those that are few and matter most: of what enters and leaves, of timesteps, norms, and the mask decoder.
    """
    for network in (pipe.unet, pipe.controlnet):
        network.enable_layerwise_casting(torch.float8_e4m3fn, network.dtype, skip_modules_pattern=NEVER_IN_EIGHT_BITS)


def arrange(
    pipe: InstructRestorePipeline,
    *,
    channels_last: bool = False,
    slice_vae: bool = False,
    tile_batch: int | None = None,
    compile: bool = False,
    offload_to: torch.device | str | None = None,
) -> None:
    """Brings a pipeline's networks into the form in which they run; the last step of loading them.

    compile: UNet and ControlNet, by torch.compile. offload_to: the device that each part is on only while it is used;
    the pipeline's parts are on the CPU then. The rest: as in `MemoryPreset`.
    """
    if channels_last:
        for part in (pipe.unet, pipe.controlnet, pipe.vae):
            part.to(memory_format=torch.channels_last)
    if slice_vae and isinstance(pipe.vae, AutoencoderKL):
        pipe.vae.enable_slicing()
    if tile_batch is not None:
        pipe.on_this_machine = {"tile_batch": tile_batch}
    if compile:
        pipe.unet.compile()
        pipe.controlnet.compile()
    if offload_to is not None:
        pipe.enable_model_cpu_offload(device=offload_to)
