"""Whether the scales that `restore --auto` finds serve their aim better than the default, and what that costs.

python -m benchmarks.auto FOLDER... --base BASE [--checkpoint CHECKPOINT] [--photos N] [--size PX] [--aims AIM...]

Crops and LQ photos as in benchmarks.restoring, one seed each. The region of a crop is that of NAMES whose mask, found
in the LQ photo, covers nearest to a third of it. "better": crops in which the aim's figure is better than with scales
of 1; "bound kept": crops whose answer is admitted, or is the default itself. Gains and PSNR are means of the answer
minus the default: against the LQ photo, which bounds it, and against the HQ photo, which the search does not see;
"least" is the worst crop. Seconds are of processor time, a photo.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from torch import Tensor

from benchmarks.restoring import crops_of, psnr
from instructrestore.model.degradation.chain import Degradation
from instructrestore.model.instruction.instruction import Instruction, RegionScale
from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.pipelines.inference.aims import AIMS
from instructrestore.pipelines.inference.best_scales import find_scales

NAMES = ("person", "sky", "tree", "grass", "building", "car", "dog", "cat", "water", "table", "wall", "floor")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--base", required=True)
    parser.add_argument("--checkpoint")
    parser.add_argument("--photos", type=int, default=10)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--aims", nargs="+", choices=list(AIMS), default=list(AIMS))
    given = parser.parse_args()
    pipe = load_pipeline(given.base, given.checkpoint, device="cpu")
    pipe.set_progress_bar_config(disable=True)
    hq = crops_of(given.folders, given.photos, given.size)
    lq = Degradation()(hq, list(range(len(hq))))
    rows: dict[str, list[list[float]]] = {aim: [] for aim in given.aims}
    names = Instruction(tuple(RegionScale(f"the {name}") for name in NAMES))
    for number, (photo, truth) in enumerate(zip(lq, hq, strict=True)):
        found = pipe.predict_mask(photo, names, generator=torch.Generator().manual_seed(number)).masks[0]
        place = int(np.abs((found > 0.5).mean((1, 2)) - 1 / 3).argmin())
        wish, masks = Instruction((names.regions[place],)), [found[place]]
        default = pipe(
            photo, wish, masks=[masks], generator=torch.Generator().manual_seed(number), output_type="pt"
        ).images
        assert isinstance(default, Tensor)
        for aim in given.aims:
            begin = time.process_time()
            best = find_scales(pipe, photo, wish, aim, masks=masks, seed=number, output_type="pt")
            seconds = time.process_time() - begin
            assert isinstance(best.output.images, Tensor)
            mine, usual = best.best.measures, best.default.measures
            gain = AIMS[aim].figure(mine) - AIMS[aim].figure(usual)
            hq_gain = psnr(best.output.images, truth[None]) - psnr(default, truth[None])
            kept = best.best.admitted or best.best == best.default
            rows[aim].append(
                [gain, best.best.score > best.default.score, kept, mine.psnr - usual.psnr, float(hq_gain),
                 len(best.trials), seconds]
            )  # fmt: skip
            region, scales = wish.captions[0], (*best.best.scales, best.best.others)
            print(f"{number} {region} {aim} {scales} {gain:+.2f} {hq_gain.item():+.3f} dB, {seconds:.1f} s", flush=True)
    print(f"\n{len(hq)} crops of {given.size} px\n")
    print("| aim | figure | better | gain | bound kept | PSNR to LQ, least | PSNR to HQ, least | trials | seconds |")
    print("|---|---|---|---|---|---|---|---|---|")
    for aim, figures in rows.items():
        gain, better, kept, lq_gain, hq_gain, trials, seconds = np.array(figures).T
        print(
            f"| {aim} | {AIMS[aim].figure_is} | {better.mean():.0%} | {gain.mean():+.2f} | {kept.mean():.0%} | "
            f"{lq_gain.mean():+.2f}, {lq_gain.min():+.2f} | {hq_gain.mean():+.3f}, {hq_gain.min():+.3f} | "
            f"{trials.mean():.1f} | {np.median(seconds):.1f} |"
        )


if __name__ == "__main__":
    main()
