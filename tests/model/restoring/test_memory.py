"""Memory presets: which one a GPU gets, and that what they switch on changes nothing but rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor, nn

from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.model.restoring.memory import PRESETS, arrange, find_preset, preset_within
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.model.restoring.settings import SamplingSettings

DOG = "make the dog clear with 0.5 and keep other parts clear with 1"
STEPS, ROUNDING = 3, 1e-4


def loaded(base: Path, **options: Any) -> InstructRestorePipeline:
    pipe = load_pipeline(base, device="cpu", **options)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def pipe(tiny_base: Path) -> InstructRestorePipeline:
    return loaded(tiny_base)


@pytest.fixture(scope="module")
def usual(pipe: InstructRestorePipeline) -> Tensor:
    return restored(pipe)


def restored(pipe: InstructRestorePipeline, **options: Any) -> Tensor:
    """A photo of 192x256 pixels in six tiles, as (3, H, W)."""
    from skimage.data import astronaut

    photo = torch.from_numpy(astronaut()).permute(2, 0, 1)[:, 0:192, 96:352] / 255
    mask = torch.zeros(192, 256)
    mask[40:150, 60:180] = 1
    images = pipe(
        photo, DOG, masks=[[mask]], num_inference_steps=STEPS, tile=128, overlap=32, output_type="pt",
        generator=torch.Generator().manual_seed(0), **options,
    ).images  # fmt: skip
    assert isinstance(images, Tensor)
    return images[0]


def rows_of(network: nn.Module, rows: list[int]) -> Any:
    """A hook that notes how many rows go through a network."""
    return network.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))


@pytest.mark.parametrize(
    ("total_gib", "gib"),
    [(3.81, 4), (5.8, 4), (7.6, 8), (10.75, 8), (11.76, 12), (15.7, 12), (23.64, 24), (39.4, 24), (139.8, 24)],
)
def test_a_gpu_gets_the_largest_preset_that_it_holds(total_gib: float, gib: int) -> None:
    """Drivers state up to half a gigabyte less than is on the box: GTX 1650, 1660, RTX 2070, 2080 Ti, 3060, ..."""
    chosen = preset_within("auto", total_gib)
    assert chosen.gib == gib
    assert preset_within(gib, total_gib) == preset_within(str(gib), total_gib) == chosen


def test_a_preset_that_does_not_fit_is_one_sentence(tiny_base: Path) -> None:
    with pytest.raises(ValueError, match=r"^the GPU has 7\.8 GiB of memory, too little for the preset of 12: take auto$"):
        preset_within("12", 7.8)
    with pytest.raises(ValueError, match=r"^the GPU has 2\.0 GiB of memory and the least preset needs 4: take --device"):
        preset_within("auto", 2.0)
    for unknown in ("6", "most", 6, ""):
        with pytest.raises(ValueError, match="^unknown memory preset .*: choose one of auto, 4, 8, 12, 24, none$"):
            find_preset(unknown, torch.device("cpu"))
    with pytest.raises(ValueError, match="^unknown memory preset '16'"):
        load_pipeline(tiny_base, device="cpu", memory="16")


def test_a_cpu_runs_as_without_a_preset(tiny_base: Path, usual: Tensor) -> None:
    pipe = loaded(tiny_base, memory=4)
    assert (pipe.dtype, pipe.on_this_machine) == (torch.float32, {})
    assert torch.equal(restored(pipe), usual)


@pytest.mark.parametrize("gib", PRESETS)
def test_what_a_preset_switches_on_changes_only_rounding(tiny_base: Path, usual: Tensor, gib: int) -> None:
    pipe, preset = loaded(tiny_base), PRESETS[gib]
    arrange(pipe, **preset.switches(), offload_to="cpu" if preset.cpu_offload else None)
    together: list[int] = []
    hook = rows_of(pipe.unet, together)
    found = restored(pipe)
    hook.remove()
    assert (found - usual).abs().max() < ROUNDING
    assert max(together) == 2 * min(preset.tile_batch, 6), "both halves of the guidance of so many tiles"
    assert pipe.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert pipe.vae.use_slicing  # pyright: ignore[reportAttributeAccessIssue]


def test_what_is_asked_counts_before_the_machine(tiny_base: Path, tmp_path: Path) -> None:
    pipe = loaded(tiny_base)
    arrange(pipe, tile_batch=5)
    assert pipe._resolved(None, {}).tile_batch == 5
    assert pipe._resolved(None, {"tile_batch": 2}).tile_batch == 2
    assert pipe._resolved(SamplingSettings(tile_batch=1), {}).tile_batch == 1
    pipe.save_pretrained(tmp_path)
    assert "tile_batch" not in (tmp_path / "model_index.json").read_text("utf-8")


def test_guidance_of_one_leaves_the_half_without_text_out(pipe: InstructRestorePipeline, usual: Tensor) -> None:
    """And gives what guidance by 1 is: noise without + 1 * (noise with - noise without)."""
    for guidance, halves in ((3.6, 2), (1.0, 1)):
        rows: dict[str, list[int]] = {"unet": [], "controlnet": []}
        hooks = [
            pipe.unet.register_forward_pre_hook(lambda _, inputs, own=rows["unet"]: own.append(len(inputs[0]))),
            pipe.controlnet.register_forward_pre_hook(lambda _, inputs, own=rows["controlnet"]: own.append(len(inputs[2]))),
        ]
        whole = restored(pipe, guidance_scale=guidance, guidance_until=1.0)
        for hook in hooks:
            hook.remove()
        assert set(rows["unet"]) == set(rows["controlnet"]) == {halves}
        if guidance == 1:
            assert (restored(pipe, guidance_scale=1 + 1e-9) - whole).abs().max() < ROUNDING


def test_kept_features_are_scaled_anew_in_each_step(pipe: InstructRestorePipeline, usual: Tensor) -> None:
    """The ControlNet runs in every second step alone, and the result stays near that with every step."""
    passes: list[int] = []
    hook = pipe.controlnet.register_forward_pre_hook(lambda *_: passes.append(1))
    kept = restored(pipe, controlnet_every=2)
    hook.remove()
    assert len(passes) == 6 * 2, "six tiles in the steps 0 and 2 of three"
    error = (kept.clamp(0, 1) - usual.clamp(0, 1)).square().mean()
    assert 0 < error
    assert -10 * error.log10() > 40, "dB"
    late = restored(pipe, controlnet_every=STEPS, modulate_from=1)
    assert not torch.equal(late, restored(pipe, controlnet_every=STEPS)), "the first step's features, scaled later"


def test_attention_is_torchs_fused_one(pipe: InstructRestorePipeline) -> None:
    for network in (pipe.unet, pipe.controlnet):
        kinds = {type(each) for each in network.attn_processors.values()}
        assert kinds == {AttnProcessor2_0}
