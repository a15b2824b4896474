"""Time per photo and peak memory of restoring.

python -m benchmarks.sampling tiny                  the tiny base on this machine's CPU
python -m benchmarks.sampling full --device cuda    SD 2.1's sizes with random weights, on a GPU

Every case runs in a process of its own: one restoration to warm up (and compile), then REPEATS timed ones. Prints a
Markdown table: median, minimum and maximum, per photo. Peak memory: of the process on a CPU, of torch's allocator on
a GPU.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.full_size import full_size_pipeline
from benchmarks.own_process import measured
from instructrestore.model.restoring.checkpoint import DTYPES, load_pipeline
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.model.restoring.tiny_base import build_tiny_base

REPEATS = 5
INSTRUCTION = "make the dog clear with 0.6 and keep other parts clear with 1"


@dataclass(frozen=True)
class Case:
    """steps, photos together, side in pixels, dtype, guidance scale, torch.compile's mode or "", channels_last."""

    steps: int = 20
    batch: int = 1
    side: int = 512
    dtype: str = "float32"
    guidance: float = 3.6
    compile: str = ""
    channels_last: bool = False


TINY = [
    Case(),
    Case(steps=10),
    Case(guidance=1),
    Case(batch=4),
    Case(side=256),
    Case(side=1024),
    Case(dtype="bfloat16"),
    Case(channels_last=True),
    Case(compile="default"),
]
FULL = [
    Case(dtype="bfloat16"),
    Case(dtype="bfloat16", channels_last=True),
    Case(dtype="bfloat16", compile="default", channels_last=True),
    Case(dtype="bfloat16", compile="reduce-overhead", channels_last=True),
    Case(dtype="bfloat16", compile="default", channels_last=True, batch=16),
    Case(dtype="bfloat16", batch=16, channels_last=True),
    Case(dtype="bfloat16", steps=10),
    Case(dtype="bfloat16", guidance=1),
    Case(dtype="bfloat16", side=1024),
    Case(dtype="float16"),
    Case(),
]


def pipeline(kind: str, case: Case, device: str) -> InstructRestorePipeline:
    with tempfile.TemporaryDirectory() as folder:
        build_tiny_base(Path(folder) / "base")
        tiny = load_pipeline(f"{folder}/base", dtype=case.dtype, device=device)
    pipe = tiny if kind == "tiny" else full_size_pipeline(tiny.tokenizer, device, DTYPES[case.dtype])
    pipe.set_progress_bar_config(disable=True)
    for network in (pipe.unet, pipe.controlnet, pipe.vae):
        if case.channels_last:
            network.to(memory_format=torch.channels_last)
    if case.compile:
        pipe.unet.compile(mode=case.compile)
        pipe.controlnet.compile(mode=case.compile)
    return pipe


def measure(kind: str, case: Case, device: str) -> dict[str, float]:
    """Seconds a photo (median, least, most) and peak memory in MiB."""
    pipe = pipeline(kind, case, device)
    photos = [torch.rand(3, case.side, case.side)] * case.batch
    gpu = device.startswith("cuda")
    seconds = []
    for _ in range(REPEATS + 1):
        begin = time.perf_counter()
        pipe(photos, INSTRUCTION, num_inference_steps=case.steps, guidance_scale=case.guidance, output_type="pt")
        if gpu:
            torch.cuda.synchronize()
        seconds.append((time.perf_counter() - begin) / case.batch)
    peak = torch.cuda.max_memory_allocated() >> 20 if gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    timed = seconds[1:]
    return {"median": statistics.median(timed), "least": min(timed), "most": max(timed), "peak": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["tiny", "full"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--case", type=int, help="one case alone, by number")
    arguments = parser.parse_args()
    cases = TINY if arguments.kind == "tiny" else FULL
    if arguments.case is not None:
        print(json.dumps(measure(arguments.kind, cases[arguments.case], arguments.device)))
        return
    place = (
        torch.cuda.get_device_name() if arguments.device.startswith("cuda") else f"{torch.get_num_threads()} threads"
    )
    print(f"{arguments.kind} networks on {arguments.device} ({place}), torch {torch.__version__}\n")
    print("| steps | batch | side | dtype | guidance | compile | channels_last | s a photo (min-max) | peak MiB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for number, case in enumerate(cases):
        found = measured("benchmarks.sampling", arguments.kind, "--device", arguments.device, "--case", str(number))
        shown = " | ".join(str(value) for value in asdict(case).values())
        if found is None:
            print(f"| {shown} | failed | |", flush=True)
            continue
        figure = f"{found['median']:.3f} ({found['least']:.3f}-{found['most']:.3f})"
        print(f"| {shown} | {figure} | {found['peak']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
