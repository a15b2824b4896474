"""From what every pixel may be to a photo's segments: connected, named, each with what it is sure of.

Pixels are first given to kinds ("animal", "ground"; a name without a parent is a kind of its own), for names of one
kind are easily taken for each other and their probabilities add up. A kind's region is then split among its names
where these are told apart, and otherwise stays whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from instructrestore.dataengine.annotator.names import THINGS, coco_names
from instructrestore.shards.rle import BoolArray

LEAST_AREA = 0.005  # of the photo, for a segment
LEAST_SHARE = 0.12  # of its kind's region, for a name to be a segment of its own there
DISTINCT = 0.5  # of its kind's probability, on average where it leads, for a name to be told from its siblings


@dataclass(frozen=True)
class PanopticSegment:
    """mask: (H, W) bool. label: the likeliest name, an index into `coco_names`. name: that name's mean probability in
    the mask, 0..1; kind: that of all names with the same parent."""

    mask: BoolArray
    label: int
    name: float
    kind: float

    @property
    def area(self) -> float:
        """Share of the photo."""
        return float(self.mask.mean())


@cache
def kinds() -> NDArray[np.intp]:
    """(names,): the number of each name's kind."""
    words = [name.parent or name.word for name in coco_names()]
    order = {word: number for number, word in enumerate(dict.fromkeys(words))}
    return np.array([order[word] for word in words], np.intp)


def group(labels: NDArray[np.intp], maps: NDArray[np.float32]) -> list[PanopticSegment]:
    """labels: (K,) the names that are candidates. maps: (H, W, K) float32, their probabilities. Largest first."""
    kind_of = kinds()[labels]
    numbers = np.unique(kind_of)
    by_kind = np.stack([maps[..., kind_of == number].sum(-1) for number in numbers], -1)
    winner = by_kind.argmax(-1)
    segments: list[PanopticSegment] = []
    for position, number in enumerate(numbers):
        region = winner == position
        members = np.flatnonzero(kind_of == number)
        total = by_kind[..., position]
        for member, mask in _split(region, members, maps, total):
            label = int(labels[member])
            parts = _parts(mask)
            if label >= THINGS and len(parts) > 1:  # all the grass of a photo is one segment, as people annotate it
                parts = [np.logical_or.reduce(parts)]
            for part in parts:
                name, kind = float(maps[..., member][part].mean()), float(total[part].mean())
                segments.append(PanopticSegment(part, label, min(1.0, name), min(1.0, kind)))
    return sorted(segments, key=lambda segment: -segment.area)


def _split(
    region: BoolArray, members: NDArray[np.intp], maps: NDArray[np.float32], total: NDArray[np.float32]
) -> list[tuple[int, BoolArray]]:
    """The region of one kind among the names of that kind: (position in maps, mask) each."""
    pixels = int(np.count_nonzero(region))
    if pixels == 0:
        return []
    if len(members) == 1:
        return [(int(members[0]), region)]
    leads = maps[..., members].argmax(-1)
    distinct = []
    for position, member in enumerate(members):
        mask = region & (leads == position)
        if np.count_nonzero(mask) < LEAST_SHARE * pixels:
            continue
        if float(maps[..., member][mask].sum()) >= DISTINCT * float(total[mask].sum()):
            distinct.append(position)
    if len(distinct) < 2:
        sums = maps[region][:, members].sum(0)
        return [(int(members[int(sums.argmax())]), region)]
    among = maps[..., members[distinct]].argmax(-1)
    return [(int(members[position]), region & (among == number)) for number, position in enumerate(distinct)]


def _parts(mask: BoolArray) -> list[BoolArray]:
    """Connected parts of at least `LEAST_AREA`, holes smaller than that filled."""
    least = LEAST_AREA * mask.size
    number, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    large = [label for label in range(1, number) if stats[label, cv2.CC_STAT_AREA] >= least]
    return [_filled(parts == label, least) for label in large]


def _filled(mask: BoolArray, least: float) -> BoolArray:
    _, holes, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    small = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] < least)
    small = small[small > 0]
    return mask | np.isin(holes, small) if small.size else mask
