"""Whether one thing among its like is found by a caption that names it alone, on degraded photos.

python -m benchmarks.instances PANOPTIC.json --base BASE [--checkpoint CHECKPOINT]

PANOPTIC.json is a source as `build` takes it. Each photo is degraded by the release's chain, its seed the photo's place
in the list. Asked for is every thing of 1% of the photo or more, of whose name the photo shows two or more such things,
by up to three captions that `model/referring` makes of the annotated masks and the photo before it was degraded. A
caption is "right" where what is chosen overlaps (IoU) the wanted thing more than any other of its name, "found" where
that IoU is 0.5 or more too; a thing's figure is the mean of its captions. "true pieces": the annotated masks are what
is chosen among, which measures the language alone. "reached": things of which the decoder's mask of the name covers at
least a fifth.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.annotator import DegradedPhoto
from instructrestore.dataengine.annotator.names import THINGS, coco_names
from instructrestore.dataengine.annotator.panoptic import PanopticPhoto
from instructrestore.dataengine.annotator.scores import overlap
from instructrestore.model.instruction.instruction import Instruction, RegionScale
from instructrestore.model.referring.describing import describe
from instructrestore.model.referring.pieces import measured, shrunk
from instructrestore.model.referring.reference import Reference
from instructrestore.model.referring.resolving import resolve
from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.model.restoring.locating import Seen, by_caption, sought
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.pipelines.annotator.job import panoptic_photos
from instructrestore.pipelines.inference.photo_parts import PhotoParts

LEAST = 0.01  # of the photo
LARGE = 0.05
CAPTIONS = 3  # of a thing
TOGETHER = 16  # captions that one pass finds
REACHED = 0.2
WAYS = ("decoder", "segments", "both", "true pieces")


@dataclass(frozen=True)
class Wanted:
    """A thing, the other things of its name, and captions that name it alone."""

    head: str
    number: int
    masks: list[NDArray[np.bool_]]
    captions: list[Reference]


def things(photo: PanopticPhoto) -> tuple[dict[str, list[NDArray[np.bool_]]], dict[str, NDArray[np.bool_]]]:
    """Masks by name: of each thing, and of all that has a name together."""
    segments, names = photo.segments(), [name.word for name in coco_names()]
    single: defaultdict[str, list[NDArray[np.bool_]]] = defaultdict(list)
    together: dict[str, NDArray[np.bool_]] = {}
    for number, label in photo.categories.items():
        mask = segments == number
        if mask.mean() >= LEAST:
            together[names[label]] = together.get(names[label], np.zeros_like(mask)) | mask
            if label < THINGS:
                single[names[label]].append(mask)
    return {name: masks for name, masks in single.items() if len(masks) > 1}, together


def wanted(photo: PanopticPhoto, seed: int) -> Iterator[Wanted]:
    single, together = things(photo)
    random, rgb = np.random.default_rng(seed), photo.rgb()
    others = {name: shrunk(mask) for name, mask in together.items()}
    for head, masks in single.items():
        said = describe(head, measured(masks, rgb), {name: own for name, own in others.items() if name != head})
        for number in range(len(masks)):
            own = [reference for numbers, reference in said if numbers == (number,)]
            plain = [each for each in own if not (each.rank and (each.colour or each.wears or each.relation))] or own
            drawn = [plain[place] for place in random.permutation(len(plain))[:CAPTIONS]]
            if drawn:
                yield Wanted(head, number, masks, drawn)


def found(
    pipe: InstructRestorePipeline, rgb: NDArray[np.uint8], captions: list[str], seed: int
) -> dict[str, NDArray[np.bool_]]:
    masks: dict[str, NDArray[np.bool_]] = {}
    for first in range(0, len(captions), TOGETHER):
        asked = captions[first : first + TOGETHER]
        wish = Instruction(tuple(map(RegionScale, asked)))
        (own,) = pipe.predict_mask(rgb, wish, generator=torch.Generator().manual_seed(seed), locate="decoder").masks
        masks |= zip(asked, own > 0.5, strict=True)
    return masks


def chosen(way: str, reference: Reference, each: Wanted, seen: Seen) -> NDArray[np.bool_]:
    if way == "decoder":
        return seen.found[str(reference)]
    if way != "true pieces":
        return by_caption(str(reference), seen, "segments" if way == "segments" else "both").mask
    other = reference.relation and reference.relation.other
    others = {other: shrunk(seen.found[f"the {other}"])} if other else {}
    numbers = resolve(reference, measured(each.masks, seen.rgb), others).numbers
    return np.logical_or.reduce([each.masks[number] for number in numbers])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--base", required=True)
    parser.add_argument("--checkpoint")
    given = parser.parse_args()
    pipe, parts = load_pipeline(given.base, given.checkpoint, device="cpu"), PhotoParts()
    figures: defaultdict[str, list[tuple[float, float, float]]] = defaultdict(list)
    areas, chances, reached = [], [], []
    photos = 0
    for seed, photo in enumerate(panoptic_photos(given.source)):
        asked = list(wanted(photo, seed))
        if not asked:
            continue
        photos += 1
        rgb = DegradedPhoto(**vars(photo), seed=seed).rgb()
        captions = [str(reference) for each in asked for reference in each.captions]
        heads = [text for caption in captions for text in sought(caption, "both")]
        seen = Seen(rgb, found(pipe, rgb, list(dict.fromkeys([*captions, *heads])), seed), parts(rgb))
        for each in asked:
            mask = each.masks[each.number]
            areas.append(float(mask.mean()))
            chances.append(1 / len(each.masks))
            reached.append(np.count_nonzero(seen.found[f"the {each.head}"] & mask) >= REACHED * np.count_nonzero(mask))
            for way in WAYS:
                scores = []
                for reference in each.captions:
                    got = chosen(way, reference, each, seen)
                    overlaps = [overlap(got, other) for other in each.masks]
                    own = overlaps.pop(each.number)
                    right = own > max(overlaps)
                    scores.append((float(right), float(right and own >= 0.5), own))
                figures[way].append(tuple(np.mean(scores, 0)))
    large = np.array(areas) >= LARGE
    print(f"{photos} photos, {len(areas)} things of {LEAST:.0%} or more, {large.sum()} of them of {LARGE:.0%} or more")
    print(f"by chance right {np.mean(chances):.3f}; reached {np.mean(reached):.3f}")
    print(f"{'':12}{'right':>8}{'found':>8}{'IoU':>8}{'of large ones: right':>24}{'found':>8}{'IoU':>8}")
    for way in WAYS:
        values = np.array(figures[way])
        every, some = values.mean(0), values[large].mean(0)
        print(f"{way:12}" + "".join(f"{v:8.3f}" for v in every) + f"{some[0]:24.3f}{some[1]:8.3f}{some[2]:8.3f}")


if __name__ == "__main__":
    main()
