"""Whether a model finds the region that it is told to, on degraded photos with panoptic annotations.

python -m benchmarks.finding PANOPTIC.json --base BASE [--checkpoint CHECKPOINT]

PANOPTIC.json is a source as `build` takes it. Each photo is degraded by the release's chain, its seed the photo's place
in the list, and the model is asked for every name of 2% of the photo or more ("make the dog clear"), for as many names
that are not in the photo, and, where the photo shows one of them, for other words of the same meaning. The mask is what
`restore` uses, cut at 0.5; a name is "found" where it has any pixel.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from statistics import mean

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.annotator import DegradedPhoto
from instructrestore.dataengine.annotator.names import coco_names
from instructrestore.dataengine.annotator.panoptic import UNLABELLED
from instructrestore.dataengine.annotator.scores import LEAST_AREA, overlap
from instructrestore.model.instruction.instruction import Instruction, RegionScale
from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.pipelines.annotator.job import panoptic_photos

COMMON = ("person", "sky", "tree", "grass")
TOGETHER = 16  # names that one pass finds
OTHER_WORDS = {
    "person": ("man", "woman", "people"),
    "dog": ("puppy", "hound"),
    "cat": ("kitten",),
    "car": ("automobile",),
    "grass": ("lawn", "meadow"),
    "sky": ("clouds", "heaven"),
    "sea": ("ocean",),
    "couch": ("sofa",),
    "tv": ("television",),
    "boat": ("ship",),
    "motorcycle": ("motorbike",),
    "airplane": ("plane",),
    "mountain": ("hills",),
    "flower": ("blossoms",),
    "road": ("street",),
}


def masks_of(
    pipe: InstructRestorePipeline, photo: NDArray[np.uint8], words: list[str], seed: int
) -> list[NDArray[np.bool_]]:
    masks: list[NDArray[np.bool_]] = []
    for first in range(0, len(words), TOGETHER):
        asked = words[first : first + TOGETHER]
        wish = Instruction(tuple(RegionScale(f"the {word}") for word in asked))
        (found,) = pipe.predict_mask(photo, wish, generator=torch.Generator().manual_seed(seed)).masks
        masks += [mask > 0.5 for mask in found]
    return masks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--base", required=True)
    parser.add_argument("--checkpoint")
    given = parser.parse_args()
    pipe = load_pipeline(given.base, given.checkpoint, device="cpu")
    names, photos = [name.word for name in coco_names()], panoptic_photos(given.source)
    shown: defaultdict[str, list[float]] = defaultdict(list)
    other: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    absent, missed = [], []
    for seed, photo in enumerate(photos):
        labels = photo.labels(photo.segments())
        known = labels != UNLABELLED
        areas = {int(label): float((labels == label).sum() / known.sum()) for label in np.unique(labels[known])}
        wanted = [label for label, area in areas.items() if area >= LEAST_AREA]
        random = np.random.default_rng(seed)
        not_there = [names[n] for n in random.permutation(len(names)) if n not in areas][: len(wanted)]
        words = [names[label] for label in wanted]
        others = [(word, each) for word in words for each in OTHER_WORDS.get(word, ())]
        rgb = DegradedPhoto(**vars(photo), seed=seed).rgb()
        found = masks_of(pipe, rgb, [*words, *not_there, *(each for _, each in others)], seed)
        ious = {
            word: overlap(mask & known, labels == label)
            for word, label, mask in zip(words, wanted, found[: len(words)], strict=True)
        }
        for word, iou in ious.items():
            shown[word].append(iou)
        missed += [not mask.any() for mask in found[: len(words)]]
        absent += [not mask.any() for mask in found[len(words) : len(words) + len(not_there)]]
        for (word, each), mask in zip(others, found[len(words) + len(not_there) :], strict=True):
            truth = labels == wanted[words.index(word)]
            other[f"{word} as {each}"].append((ious[word], overlap(mask & known, truth)))
    every = [iou for own in shown.values() for iou in own]
    print(f"{len(photos)} photos, {len(every)} names of {LEAST_AREA:.0%} or more: mean IoU {mean(every):.4f}")
    for word in COMMON:
        if shown[word]:
            print(f"  {word:10} {mean(shown[word]):.3f} ({len(shown[word])} photos)")
    if common := [iou for word in COMMON for iou in shown[word]]:
        print(f"  all four   {mean(common):.3f}")
    print(f"not found, of what is there {mean(missed):.3f}, of what is not {mean(absent):.3f} ({len(absent)})")
    for words_, pairs in sorted(other.items()):
        print(f"  {words_:24} {mean(a for a, _ in pairs):.3f} -> {mean(b for _, b in pairs):.3f} ({len(pairs)} photos)")


if __name__ == "__main__":
    main()
