"""What it costs in likeness, and saves in work, to run the ControlNet in every second, third, ... step alone.

python -m benchmarks.reuse FOLDER... [--base BASE] [--photos N] [--size PX] [--steps N] [--guidance S]

Crops and degradation: as in benchmarks.restoring. Each crop is restored with the ControlNet in every step, then with
`controlnet_every` of EVERY. Printed for each: PSNR (RGB) of the result against that with every step, mean and least
over the crops; PSNR against the HQ photo; the model's multiplications of one crop, as torch counts them, as a share;
and the same share for SD 2.1's networks (20 guided steps, 512x512, on the meta device).
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.full_size import full_size_pipeline
from benchmarks.memory import clip_tokenizer
from benchmarks.peak_memory import need
from benchmarks.restoring import crops_of, psnr
from instructrestore.model.degradation.chain import Degradation
from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.model.restoring.small_model import SMALL

EVERY = (1, 2, 3, 4, 5)
WISH = "make the person clear with 0.6 and keep other parts clear with 1"


def share_of_full_size(steps: int = 20) -> dict[int, float]:
    """Multiplications with `controlnet_every`, over those with the ControlNet in every step."""
    pipe = full_size_pipeline(clip_tokenizer(), "meta", torch.bfloat16)

    def counted(count: int, every: int) -> float:
        settings = SamplingSettings(num_inference_steps=count, controlnet_every=every)
        return need(pipe, 512, settings, offloaded=False).operations

    once, twice, reused = counted(1, 1), counted(2, 1), counted(2, 2)
    whole = once + (steps - 1) * (twice - once)
    return {every: 1 - (steps - -(-steps // every)) * (twice - reused) / whole for every in EVERY}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--base", default=SMALL)
    parser.add_argument("--photos", type=int, default=4)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=1.0)
    given = parser.parse_args()
    pipe = load_pipeline(given.base, device="cpu")
    pipe.set_progress_bar_config(disable=True)
    hq = crops_of(given.folders, given.photos, given.size)
    lq = Degradation()(hq, list(range(len(hq))))
    shares = share_of_full_size()
    print(f"{given.base}, {len(hq)} crops of {given.size} px, {given.steps} steps, guidance {given.guidance:g}\n")
    print("| every | PSNR to every step, mean (least) | PSNR to HQ | its operations | SD 2.1's |")
    print("|---|---|---|---|---|")
    reference, whole = None, 0
    for every in EVERY:
        with FlopCounterMode(display=False) as counter:
            images = pipe(
                lq,
                WISH,
                num_inference_steps=given.steps,
                guidance_scale=given.guidance,
                controlnet_every=every,
                generator=[torch.Generator().manual_seed(number) for number in range(len(hq))],
                output_type="pt",
            ).images
        assert isinstance(images, Tensor)
        images = images.clamp(0, 1)
        if reference is None:
            reference, whole = images, counter.get_total_flops()
        likeness = psnr(images, reference)
        shown = "the same" if every == 1 else f"{likeness.mean():.1f} dB ({likeness.min():.1f})"
        share = counter.get_total_flops() / whole
        print(
            f"| {every} | {shown} | {psnr(images, hq).mean():.2f} dB | {share:.0%} | {shares[every]:.0%} |", flush=True
        )


if __name__ == "__main__":
    main()
