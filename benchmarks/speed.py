"""Seconds and memory of restoring one photo with the small model, beside other methods in the same run.

python -m benchmarks.speed [METHOD...]

Every case runs in a process of its own, with torch's number of threads: it loads the method, restores once, then
REPEATS times. The methods other than the small model take the photo shrunk by 4. Prints a Markdown table: the median
with minimum and maximum, the seconds before the first photo is done, the process's peak memory, and of the small model
the multiplications of one photo, in thousand millions, as counted by torch.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.own_process import measured
from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.pipelines.evaluation.methods.ncnn_files import NCNN
from instructrestore.pipelines.evaluation.methods.ncnn_network import NcnnNetwork

SMALL, REPEATS = "small", 3
SIZES = ((512, 512), (1024, 768))
WISH = "make the person clear with 1 and keep other parts clear with 0.5"

Restore = Callable[[NDArray[np.uint8]], object]


def loaded(method: str) -> Restore:
    if method != SMALL:
        network = NcnnNetwork(NCNN[method])
        return lambda photo: network([photo], [0])
    pipe = load_pipeline(SMALL, device="cpu")
    pipe.set_progress_bar_config(disable=True)
    return lambda photo: pipe(photo, WISH, generator=torch.Generator().manual_seed(0))


def measure(method: str, width: int, height: int) -> dict[str, float]:
    begin = time.perf_counter()
    restore = loaded(method)
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 16, width // 16, 3))
    photo = np.kron(coarse, np.ones((16, 16, 1))).astype(np.uint8)
    restore(photo)
    first, seconds = time.perf_counter() - begin, []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        restore(photo)
        seconds.append(time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    operations = 0.0
    if method == SMALL:
        with FlopCounterMode(display=False) as counter:
            restore(photo)
        operations = counter.get_total_flops() / 2e9
    return {
        "median": statistics.median(seconds), "least": min(seconds), "most": max(seconds), "first": first,
        "peak": peak, "operations": operations,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", default=[SMALL, *NCNN])
    parser.add_argument("--size", help="WIDTHxHEIGHT, of one method alone, in this process")
    given = parser.parse_args()
    if given.size:
        print(json.dumps(measure(given.methods[0], *map(int, given.size.split("x")))))
        return
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}\n")
    print("| method | photo | s (min-max) | s, first | peak MiB | GMAC |")
    print("|---|---|---|---|---|---|")
    for method in given.methods:
        for width, height in SIZES:
            found = measured("benchmarks.speed", method, "--size", f"{width}x{height}")
            if found is None:
                print(f"| {method} | {width}x{height} | failed | | | |", flush=True)
                continue
            span = f"{found['median']:.2f} ({found['least']:.2f}-{found['most']:.2f})"
            work = f"{found['operations']:.0f}" if found["operations"] else ""
            line = f"{span} | {found['first']:.1f} | {found['peak']:.0f} | {work}"
            print(f"| {method} | {width}x{height} | {line} |", flush=True)


if __name__ == "__main__":
    main()
