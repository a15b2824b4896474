"""How often the kept segments are right, against panoptic annotations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from instructrestore.dataengine.annotator.names import coco_names
from instructrestore.dataengine.annotator.scores import overlap

ENOUGH = 0.5  # intersection over union, for two segments to be one


@dataclass(frozen=True)
class Kept:
    """mask: (H, W) bool. word: what it is called. label: the likeliest name, an index into `coco_names`."""

    mask: NDArray[np.bool_]
    word: str
    label: int


@dataclass
class SegmentScores:
    """Counts over photos; see `figures`."""

    photos: int = 0
    kept: int = 0
    right: int = 0
    right_merged: int = 0
    named: int = 0  # of the kept: its word is the annotation's most common one in the mask, or that one's parent
    annotated_pixels: float = 0.0
    covered_pixels: float = 0.0
    matched: defaultdict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    spurious: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    missed: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, kept: Sequence[Kept], segments: NDArray[np.int32], categories: dict[int, int]) -> None:
        """segments: (H, W) annotated segment numbers; categories: their labels."""
        names = coco_names()
        present = [(number, label) for number, label in categories.items() if (segments == number).any()]
        known = np.isin(segments, [number for number, _ in present])
        covered = np.zeros(segments.shape, np.bool_)
        used: set[int] = set()
        self.photos += 1
        for each in kept:
            self.kept += 1
            covered |= each.mask
            mask = each.mask & known
            inside = np.unique(segments[mask], return_counts=True)
            share = dict(zip(inside[0].tolist(), inside[1].tolist(), strict=True))
            fitting = [n for n, label in present if each.word in (names[label].word, names[label].parent)]
            self.right_merged += fits(each.mask, each.word, segments, categories)
            # The annotation may hold several things of the name where the segment is one of them.
            self.right += any(overlap(mask, segments == number) >= ENOUGH for number in fitting if number in share)
            by_label: defaultdict[int, int] = defaultdict(int)
            for number, pixels in share.items():
                by_label[categories[number]] += pixels
            if by_label:
                most = names[max(by_label, key=lambda label: by_label[label])]
                self.named += each.word in (most.word, most.parent)
            pairs = [(n, overlap(mask, segments == n)) for n, label in present if label == each.label and n in share]
            best = max((pair for pair in pairs if pair[0] not in used), key=lambda pair: pair[1], default=(0, 0.0))
            if best[1] > ENOUGH:
                used.add(best[0])
                self.matched[each.label].append(best[1])
            else:
                self.spurious[each.label] += 1
        for number, label in present:
            self.missed[label] += int(number not in used)
        self.annotated_pixels += float(known.sum()) / known.size
        self.covered_pixels += float((covered & known).sum()) / known.size

    def figures(self) -> dict[str, float]:
        """right: share of the kept with the right word (the annotation's or its parent) at IoU >= 0.5 with one
        annotated segment. right_merged: the same, or with the union of all segments that the word fits, as the data
        engine merges them. named: share whose word is right for most of their pixels. kept: per photo. covered: share
        of the annotated area. pq: panoptic quality, mean over names seen, in COCO's definition but at the photos'
        annotated pixels alone."""
        qualities = []
        for label in set(self.matched) | set(self.spurious) | set(self.missed):
            hits = self.matched.get(label, [])
            weight = len(hits) + (self.spurious.get(label, 0) + self.missed.get(label, 0)) / 2
            if weight:
                qualities.append(sum(hits) / weight)
        kept = max(1, self.kept)
        return {
            "right": self.right / kept,
            "right_merged": self.right_merged / kept,
            "named": self.named / kept,
            "kept": self.kept / max(1, self.photos),
            "covered": self.covered_pixels / max(1e-9, self.annotated_pixels),
            "pq": sum(qualities) / max(1, len(qualities)),
        }


def fits(mask: NDArray[np.bool_], word: str, segments: NDArray[np.int32], categories: dict[int, int]) -> bool:
    """Whether the mask is, to half at least, one annotated segment of the word, a name or a kind, or all of them."""
    names = coco_names()
    numbers = [number for number, label in categories.items() if word in (names[label].word, names[label].parent)]
    known = mask & np.isin(segments, list(categories))
    whole = overlap(known, np.isin(segments, numbers)) >= ENOUGH
    return whole or any(overlap(known, segments == number) >= ENOUGH for number in numbers)
