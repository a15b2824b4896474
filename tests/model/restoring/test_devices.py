"""Offloading, compiling, and GPUs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from torch import Tensor

from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.model.restoring.memory import GIB, PRESETS, half_precision
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from tests import numerics

STEPS = 3
DOG = "make the dog clear with 0.5 and keep other parts clear with 1"


def loaded(base: Path, **options: Any) -> InstructRestorePipeline:
    pipe = load_pipeline(str(base), **options)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def restored(pipe: InstructRestorePipeline, **options: Any) -> Tensor:
    photo = torch.rand(3, 128, 128, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    images = pipe(photo, DOG, num_inference_steps=STEPS, generator=generator, output_type="pt", **options).images
    assert isinstance(images, Tensor)
    return images.cpu()


def test_every_use_of_a_network_passes_its_hook(tiny_base: Path) -> None:
    """diffusers' offloading moves a network to the GPU in hooks before its forward; a way around them would fail."""
    pipe = loaded(tiny_base, device="cpu")
    uses: Counter[str] = Counter()

    class Count(ModelHook):
        def __init__(self, name: str) -> None:
            self.name = name

        def pre_forward(self, module: Any, *args: Any, **kwargs: Any) -> Any:
            uses[self.name] += 1
            return args, kwargs

    for name in ("vae", "text_encoder", "unet", "controlnet"):
        add_hook_to_module(getattr(pipe, name), Count(name))
    restored(pipe)
    embedding = seeing = 1
    assert uses == {"vae": 2, "text_encoder": 1, "unet": STEPS, "controlnet": STEPS + embedding + seeing}


@pytest.mark.compiled
@pytest.mark.timeout(3600)
def test_compiled_is_as_eager(tiny_base: Path) -> None:
    pipe = loaded(tiny_base, device="cpu")
    eager = restored(pipe)
    with numerics.nudged(pipe.text_encoder, pipe.vae, pipe.unet, pipe.controlnet):
        bound = numerics.between(eager, restored(pipe))
    pipe.unet.compile()
    pipe.controlnet.compile()
    assert (restored(pipe) - eager).abs().max() <= bound


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_gpu_restores_as_the_cpu_does(tiny_base: Path, dtype: str) -> None:
    on_cpu = restored(loaded(tiny_base, device="cpu"))
    on_gpu = restored(loaded(tiny_base, device="cuda", dtype=dtype))
    assert (on_gpu - on_cpu).abs().max() < (1e-3 if dtype == "float32" else 3e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("memory", ["auto", *PRESETS])
def test_a_memory_preset_restores_as_the_cpu_does(tiny_base: Path, memory: str | int) -> None:
    total = torch.cuda.get_device_properties(0).total_memory / GIB
    if memory != "auto" and int(memory) > round(total):
        pytest.skip(f"this GPU has {total:.1f} GiB")
    sparing = loaded(tiny_base, device="cuda", memory=memory)
    assert (restored(sparing) - restored(loaded(tiny_base, device="cpu"))).abs().max() < 3e-2
    assert sparing.dtype == (torch.bfloat16 if half_precision(torch.device("cuda")) == "bfloat16" else torch.float16)


@pytest.mark.gpu
def test_offloaded_is_as_resident(tiny_base: Path) -> None:
    pipe = loaded(tiny_base, device="cpu")
    pipe.enable_model_cpu_offload()
    assert torch.equal(restored(pipe), restored(loaded(tiny_base, device="cuda")))
    assert pipe.unet.device.type == "cpu"
