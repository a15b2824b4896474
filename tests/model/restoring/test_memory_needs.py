"""What the memory presets need, counted on the meta device at SD 2.1's size: less than they say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks.full_size import full_size_pipeline
from benchmarks.memory import estimated
from benchmarks.peak_memory import FusedAttention, LiveBytes
from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.model.restoring.memory import LEFT_FREE_GIB, PRESETS, arrange
from instructrestore.model.restoring.pipeline import InstructRestorePipeline

MIB = 1 << 20


@pytest.fixture(scope="module")
def full_size(tiny_base: Path) -> InstructRestorePipeline:
    pipe = full_size_pipeline(load_pipeline(tiny_base, device="cpu").tokenizer, "meta", torch.bfloat16)
    arrange(pipe, channels_last=True, slice_vae=True)
    return pipe


def test_live_bytes_are_those_that_something_holds() -> None:
    weight = torch.empty(MIB, device="meta", dtype=torch.int8)
    with LiveBytes([weight]) as live:
        live.resident = weight.nbytes
        one = torch.empty(4 * MIB, device="meta", dtype=torch.int8)
        assert live.now == 4 * MIB
        view = one[: 2 * MIB]  # no memory of its own, and holds the whole
        del one
        assert weight.view(-1)[:5].numel() == 5
        assert live.now == 4 * MIB
        two = view + view  # 2 MiB
        assert live.now == 6 * MIB
        del view
        assert live.now == 2 * MIB
        torch.zeros(8 * MIB, dtype=torch.int8)  # not on the device
        del two
    assert live.now == 0
    assert live.peak == 7 * MIB


def test_attention_holds_no_matrix() -> None:
    rows = torch.empty(1, 2, 1024, 64, device="meta")
    with FusedAttention(), LiveBytes([rows]) as live:
        attended = F.scaled_dot_product_attention(rows, rows, rows)
    assert attended.shape == rows.shape
    assert live.peak < 2 * rows.nbytes < 1024 * 1024 * 2 * 4


def test_a_photo_of_one_tile_fits_into_the_least_preset(full_size: InstructRestorePipeline) -> None:
    found = estimated(full_size, PRESETS[4], 512)
    weights = [each.nbytes for name in ("unet", "controlnet") for each in getattr(full_size, name).parameters()]
    assert sum(weights) / (1 << 30) < found.peak_gib < 4 - LEFT_FREE_GIB


@pytest.mark.slow
@pytest.mark.parametrize("gib", PRESETS)
@pytest.mark.parametrize("side", [1024, 2048])
def test_every_preset_needs_less_than_it_says(full_size: InstructRestorePipeline, gib: int, side: int) -> None:
    assert estimated(full_size, PRESETS[gib], side).peak_gib < gib - LEFT_FREE_GIB
