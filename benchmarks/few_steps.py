"""What a student gives in its few steps beside its teacher in one, two and many: fidelity, looks, control.

python -m benchmarks.few_steps FOLDER... --base BASE [--checkpoint CHECKPOINT] --student STUDENT [--photos N]

The crops of benchmarks.restoring. PSNR (RGB) and BRISQUE at scale 1, means over the crops. Control: what the left
half's PSNR moves by from scale 0.5 to 1.1 while the right half stays at 1, what the right half's does, and their ratio,
of the means; and the same of how far a value changes, in levels of 255. STUDENT: a checkpoint of `instructrestore
distill`, sampled as it records; the teacher is the base, or CHECKPOINT.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.restoring import crops_of, looks, psnr
from instructrestore.model.degradation.chain import Degradation
from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.model.training.checkpoints import last_of_run

STEPS = (1, 2, 4)
LEAST, MOST = 0.5, 1.1


def restored(pipe: InstructRestorePipeline, lq: Tensor, left: float, **sampling: Any) -> Tensor:
    """lq: (B, 3, S, S). The same shape: the left half restored by a scale, the right half by 1."""
    size = lq.shape[-1]
    scales = np.ones((size, size), np.float32)
    scales[:, : size // 2] = left
    images = pipe(
        lq,
        "make the photo clear",
        scale_maps=[scales] * len(lq),
        generator=[torch.Generator().manual_seed(number) for number in range(len(lq))],
        output_type="pt",
        **sampling,
    ).images
    assert isinstance(images, Tensor)
    return images.clamp(0, 1)


def row(name: str, pipe: InstructRestorePipeline, lq: Tensor, hq: Tensor, **sampling: Any) -> str:
    middle = lq.shape[-1] // 2
    whole, low, high = (restored(pipe, lq, left, **sampling) for left in (1.0, LEAST, MOST))
    inside, outside = (
        float((psnr(high[..., part], hq[..., part]) - psnr(low[..., part], hq[..., part])).mean())
        for part in (slice(0, middle), slice(middle, None))
    )
    change = (high - low).abs() * 255
    near, far = float(change[..., :middle].mean()), float(change[..., middle:].mean())
    gain = float((psnr(whole, hq) - psnr(lq, hq)).mean())
    control = (
        f"{inside:+.3f} | {outside:+.3f} | {_ratio(inside, outside)} | {near:.2f} | {far:.2f} | {_ratio(near, far)}"
    )
    return f"| {name} | {gain:+.3f} | {looks(whole).mean():.2f} | {control} |"


def _ratio(there: float, elsewhere: float) -> str:
    return f"{abs(there / elsewhere) if elsewhere else np.inf:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--base", required=True)
    parser.add_argument("--checkpoint")
    parser.add_argument("--student", required=True)
    parser.add_argument("--photos", type=int, default=10)
    parser.add_argument("--size", type=int, default=256)
    given = parser.parse_args()
    teacher, student = (
        load_pipeline(given.base, place and last_of_run(place), device="cpu")
        for place in (given.checkpoint, given.student)
    )
    for pipe in (teacher, student):
        pipe.set_progress_bar_config(disable=True)
    hq = crops_of(given.folders, given.photos, given.size)
    lq = Degradation()(hq, list(range(len(hq))))
    print(f"{len(hq)} crops of {given.size} px, LQ {psnr(lq, hq).mean():.2f} dB, BRISQUE {looks(lq).mean():.1f}")
    print("| | PSNR over LQ, dB | BRISQUE | left, dB | right, dB | ratio | left, levels | right, levels | ratio |")
    print("|---|---|---|---|---|---|---|---|---|")
    for steps in STEPS:
        print(row(f"teacher, {steps}", teacher, lq, hq, num_inference_steps=steps), flush=True)
    print(row("student", student, lq, hq), flush=True)


if __name__ == "__main__":
    main()
