"""What restoring with SD 2.1's networks needs under each memory preset.

python -m benchmarks.memory                    estimated, on any machine: without weights, without a GPU
python -m benchmarks.memory --device cuda      measured, with random weights, on a GPU

Estimated: the most memory (peak_memory.py) and, for 20 guided steps, the multiplications in 10^12, for square photos of
SIDES pixels. Measured: every preset that the GPU has room for, and float32 without one, each case in a process of its
own. The allocator gets the preset's gigabytes but for memory.LEFT_FREE_GIB, so that one GPU stands for all smaller
ones; one restoration to warm up, then REPEATS: median, least and most seconds, torch's most memory in tensors and in
all. Both print a Markdown table; photos larger than a tile have a scale map.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time

import torch
from transformers import PreTrainedTokenizerBase

from benchmarks.full_size import full_size_pipeline
from benchmarks.own_process import measured
from benchmarks.peak_memory import DOG, Need, need
from instructrestore.model.networks.devices import DTYPES
from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.model.restoring.memory import GIB, LEFT_FREE_GIB, PRESETS, MemoryPreset, arrange, half_precision
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.model.restoring.tiny_base import build_tiny_base

SIDES, STEPS, REPEATS = (512, 1024, 2048), 20, 3
NO_PRESET = 0


def clip_tokenizer() -> PreTrainedTokenizerBase:
    with tempfile.TemporaryDirectory() as folder:
        build_tiny_base(f"{folder}/base")
        return load_pipeline(f"{folder}/base", device="cpu").tokenizer


def estimated(pipe: InstructRestorePipeline, preset: MemoryPreset, side: int, steps: int = 1) -> Need:
    """pipe: of `full_size_pipeline`, on the meta device, arranged already."""
    settings = SamplingSettings(num_inference_steps=steps, tile_batch=preset.tile_batch)
    return need(pipe, side, settings, preset.cpu_offload)


def print_estimates() -> None:
    pipe = full_size_pipeline(clip_tokenizer(), "meta", torch.bfloat16)
    arrange(pipe, channels_last=True, slice_vae=True)
    print("| photo | TMAC | " + " | ".join(f"{gib} GB, GiB" for gib in PRESETS) + " |")
    print("|---|---|" + "---|" * len(PRESETS))
    for side in SIDES:
        found = [estimated(pipe, preset, side) for preset in PRESETS.values()]
        assert len({each.operations for each in found}) == 1
        once, twice = found[-1].operations, estimated(pipe, PRESETS[max(PRESETS)], side, steps=2).operations
        operations = once + (STEPS - 1) * (twice - once)
        figures = " | ".join(f"{each.peak_gib:.2f}" for each in found)
        print(f"| {side}x{side} | {operations / 1e12:.1f} | {figures} |", flush=True)


def measure(gib: int, side: int) -> dict[str, float]:
    device = torch.device("cuda")
    preset = PRESETS.get(gib)
    dtype = half_precision(device) if preset else "float32"
    pipe = full_size_pipeline(clip_tokenizer(), "cuda", DTYPES[dtype])
    if preset:
        arrange(pipe, **preset.switches(), offload_to=device if preset.cpu_offload else None)
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(device).total_memory / GIB
        torch.cuda.set_per_process_memory_fraction((gib - LEFT_FREE_GIB) / total)
    torch.cuda.reset_peak_memory_stats()
    scales = [torch.ones(side, side).numpy()] if side > SamplingSettings().tile else None
    seconds = []
    for _ in range(REPEATS + 1):
        begin = time.perf_counter()
        pipe(torch.rand(3, side, side), DOG, scale_maps=scales, num_inference_steps=STEPS, output_type="pt")
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    timed = seconds[1:]
    return {
        "median": statistics.median(timed), "least": min(timed), "most": max(timed),
        "tensors": torch.cuda.max_memory_allocated() / GIB, "in all": torch.cuda.max_memory_reserved() / GIB,
    }  # fmt: skip


def print_measurements() -> None:
    if not torch.cuda.is_available():
        print("there is no CUDA GPU here, so nothing is measured; without --device the needs are estimated")
        return
    properties = torch.cuda.get_device_properties(0)
    total = properties.total_memory / GIB
    print(f"{properties.name}, {total:.1f} GiB, torch {torch.__version__}; {STEPS} steps\n")
    print("| preset | photo | s (min-max) | tensors, GiB | in all, GiB |")
    print("|---|---|---|---|---|")
    for gib in (NO_PRESET, *(gib for gib in PRESETS if gib <= round(total))):
        for side in SIDES:
            name = f"{gib} GB" if gib else "none, float32"
            found = measured("benchmarks.memory", "--device", "cuda", "--case", str(gib), str(side))
            if found is None:
                print(f"| {name} | {side}x{side} | failed | | |", flush=True)
                continue
            span = f"{found['median']:.2f} ({found['least']:.2f}-{found['most']:.2f})"
            print(f"| {name} | {side}x{side} | {span} | {found['tensors']:.2f} | {found['in all']:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda"], help="measure there")
    parser.add_argument("--case", type=int, nargs=2, metavar=("GIB", "SIDE"), help="one alone, in this process")
    given = parser.parse_args()
    if given.case:
        print(json.dumps(measure(*given.case)))
    elif given.device:
        print_measurements()
    else:
        print_estimates()


if __name__ == "__main__":
    main()
