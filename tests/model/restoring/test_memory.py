"""Memory presets: which one a GPU gets, and that what they switch on changes nothing but rounding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
IN_TILES, WHOLE = (192, 256), (64, 96)  # height and width; six tiles of 128 pixels


def loaded(base: Path, **options: Any) -> InstructRestorePipeline:
    pipe = load_pipeline(base, device="cpu", **options)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def pipe(tiny_base: Path) -> InstructRestorePipeline:
    return loaded(tiny_base)


def restored(pipe: InstructRestorePipeline, size: tuple[int, int] = WHOLE, **options: Any) -> Tensor:
    """A photo with its region given, as (3, H, W)."""
    from skimage.data import astronaut

    height, width = size
    photo = torch.from_numpy(astronaut()).permute(2, 0, 1)[:, 50 : 50 + height, 150 : 150 + width] / 255
    mask = torch.zeros(height, width)
    mask[height // 5 : 4 * height // 5, width // 4 : 3 * width // 4] = 1
    images = pipe(
        photo, DOG, masks=[[mask]], num_inference_steps=STEPS, tile=128, overlap=32, output_type="pt",
        generator=torch.Generator().manual_seed(0), **options,
    ).images  # fmt: skip
    assert isinstance(images, Tensor)
    return images[0]


@contextmanager
def rows_of(network: nn.Module, place: int = 0) -> Iterator[list[int]]:
    """How many rows the argument at this place has, of every pass through a network inside."""
    rows: list[int] = []
    hook = network.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[place])))
    yield rows
    hook.remove()


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
    with pytest.raises(
        ValueError, match=r"^the GPU has 7\.8 GiB of memory, too little for the preset of 12: take auto$"
    ):
        preset_within("12", 7.8)
    with pytest.raises(
        ValueError, match=r"^the GPU has 2\.0 GiB of memory and the least preset needs 4: take --device"
    ):
        preset_within("auto", 2.0)
    for unknown in ("6", "most", 6, ""):
        with pytest.raises(ValueError, match=r"^unknown memory preset .*: choose one of auto, 4, 8, 12, 24, none$"):
            find_preset(unknown, torch.device("cpu"))
    with pytest.raises(ValueError, match=r"^unknown memory preset '16'"):
        load_pipeline(tiny_base, device="cpu", memory="16")


def test_a_cpu_runs_as_without_a_preset(tiny_base: Path, pipe: InstructRestorePipeline) -> None:
    on_cpu = loaded(tiny_base, memory=4)
    assert (on_cpu.dtype, on_cpu.on_this_machine) == (torch.float32, {})
    assert torch.equal(restored(on_cpu), restored(pipe))


@pytest.fixture(scope="module")
def in_tiles(pipe: InstructRestorePipeline) -> Tensor:
    return restored(pipe, IN_TILES)


@pytest.mark.parametrize("gib", [4, 8, 24])
def test_what_a_preset_switches_on_changes_only_rounding(tiny_base: Path, in_tiles: Tensor, gib: int) -> None:
    pipe, preset = loaded(tiny_base), PRESETS[gib]
    arrange(pipe, **preset.switches(), offload_to="cpu" if preset.cpu_offload else None)
    with rows_of(pipe.unet) as together:
        found = restored(pipe, IN_TILES)
    assert (found - in_tiles).abs().max() < ROUNDING
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


def test_guidance_of_one_leaves_the_half_without_text_out(pipe: InstructRestorePipeline) -> None:
    """And gives what guidance by 1 is: noise without + 1 * (noise with - noise without)."""
    found = {}
    for guidance, halves in ((1 + 1e-9, 2), (1.0, 1)):
        with rows_of(pipe.unet) as of_unet, rows_of(pipe.controlnet, 2) as of_controlnet:
            found[halves] = restored(pipe, guidance_scale=guidance)
        assert set(of_unet) == set(of_controlnet) == {halves}
    assert (found[1] - found[2]).abs().max() < ROUNDING


def test_kept_features_are_scaled_anew_in_each_step(pipe: InstructRestorePipeline) -> None:
    """The ControlNet runs in every second step alone, and the result stays near that with every step."""
    with rows_of(pipe.controlnet) as passes:
        kept = restored(pipe, controlnet_every=2)
    assert len(passes) == 2, "the steps 0 and 2 of three"
    error = (kept.clamp(0, 1) - restored(pipe).clamp(0, 1)).square().mean()
    assert error > 0
    assert -10 * error.log10() > 40, "dB"
    once = restored(pipe, controlnet_every=STEPS)
    assert not torch.equal(restored(pipe, controlnet_every=STEPS, modulate_from=1), once), "its features, scaled later"


def test_weights_in_eight_bits(tiny_base: Path, pipe: InstructRestorePipeline) -> None:
    small = loaded(tiny_base, dtype="float8")
    narrow = [each.nbytes for each in small.unet.parameters() if each.dtype == torch.float8_e4m3fn]
    whole = [each.nbytes for each in pipe.unet.parameters()]
    assert sum(narrow) > 0.9 * sum(whole) / 4, "nearly all weights have a quarter of float32's bytes"
    assert small.unet.conv_in.weight.dtype == small.unet.dtype == torch.bfloat16
    error = (restored(small).clamp(0, 1) - restored(pipe).clamp(0, 1)).square().mean()
    assert -10 * error.log10() > 30, "dB"


def test_attention_is_torchs_fused_one(pipe: InstructRestorePipeline) -> None:
    for network in (pipe.unet, pipe.controlnet):
        kinds = {type(each) for each in network.attn_processors.values()}
        assert kinds == {AttnProcessor2_0}
