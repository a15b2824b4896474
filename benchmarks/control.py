"""How far each scale moves its own part of the photo, and how far the other part (the paper's Table 2, both ways).

python -m benchmarks.control TESTSET... --base BASE [--checkpoint CHECKPOINT]

The region goes through SCALES with the rest at 1, then the rest with the region at 1; with the regions' own masks and
with the model's. PSNR and SSIM (of Y, as `evaluate` measures them) inside and outside the region's own mask, and of the
model's masks also inside and outside what it took for the region ("found, itself"): means over all photos. "moves":
from the least scale to the largest, of what is scaled and of what is not. "rises": at every step of SCALES. With the
model's masks only the photos count in which it found a region.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from instructrestore.dataengine.photos.photo_file import decode
from instructrestore.model.metrics.fidelity import psnr, ssim
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.pipelines.evaluation.methods.restorers import MethodInput, ModelUnderTest
from instructrestore.pipelines.inference.model_source import ModelSource
from instructrestore.shards.pairs import Pair, TestSet

SCALES = (0.5, 0.7, 0.8, 0.9, 1.1)
HALF = 0.5
METRICS = {"PSNR": psnr, "SSIM": ssim}


def pairs_of(places: list[str]) -> Iterator[Pair]:
    for place in places:
        testset = TestSet(place)
        yield from (testset.read_pair(number) for number in range(testset.pairs.num_rows))


def tensor(rgb: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("testsets", nargs="+")
    parser.add_argument("--base", required=True)
    parser.add_argument("--checkpoint")
    given = parser.parse_args()
    loading = ModelSource(base=given.base, checkpoint=given.checkpoint, device="cpu")
    model = ModelUnderTest(loading, loading.anchored().sampling(SamplingSettings()), "cpu")
    # (masks, what is scaled, metric, part) -> a row of figures a photo, one a scale
    figures: defaultdict[tuple[str, str, str, str], list[list[float]]] = defaultdict(list)
    missed = count = 0
    for seed, pair in enumerate(pairs_of(given.testsets)):
        count += 1
        lq, hq, own = decode(pair.lq).rgb, tensor(decode(pair.hq).rgb), pair.region.mask.array()
        for mask in (own, None):
            for scaled in ("region", "rest"):
                results = []
                for scale in SCALES:
                    s1, s2 = (scale, 1.0) if scaled == "region" else (1.0, scale)
                    results += model([MethodInput(lq, pair.region.caption, s1, s2, False, seed, mask)])
                found = results[0].mask
                if found is not None and not (found > HALF).any():
                    missed += scaled == "region"
                    continue
                judged = {"given": own} if found is None else {"found": own, "found, itself": found > HALF}
                for masks, region in judged.items():
                    for part, where in (("region", region), ("rest", ~region)):
                        for metric, measure in METRICS.items():
                            row = [
                                float(measure(tensor(each.rgb), hq, torch.from_numpy(where)[None])) for each in results
                            ]
                            figures[masks, scaled, metric, part].append(row)
    print(f"{count} photos; in {missed} the model found no region\n")
    print("| masks | scaled | metric | at " + ", ".join(map(str, SCALES)) + " | moves | the other | ratio | rises |")
    print("|---|---|---|---|---|---|---|---|")
    for masks in ("given", "found", "found, itself"):
        for scaled, other in (("region", "rest"), ("rest", "region")):
            for metric in METRICS:
                if not figures[masks, scaled, metric, scaled]:
                    continue
                means = np.mean(figures[masks, scaled, metric, scaled], 0)
                beside = np.mean(figures[masks, scaled, metric, other], 0)
                moves, leaks = means[-1] - means[0], beside[-1] - beside[0]
                shown = ", ".join(f"{value:.{3 if metric == 'PSNR' else 4}f}" for value in means)
                digits = 3 if metric == "PSNR" else 4
                rises = "yes" if (np.diff(means) > 0).all() else "no"
                ratio = abs(moves / leaks) if leaks else np.inf
                line = f"{moves:+.{digits}f} | {leaks:+.{digits}f} | {ratio:.1f} | {rises}"
                print(f"| {masks} | {scaled} | {metric} | {shown} | {line} |")


if __name__ == "__main__":
    main()
