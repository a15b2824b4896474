"""Where the things are that captions, points and boxes single out: what of a decoder's mask and of segments is meant.

The mask decoder finds all that a caption's head names ("dog"); segments, the photo cut up by something else, and the
connected parts of that mask are the pieces; the referring part ("the left"), a point or a box chooses among them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from instructrestore.model.referring.parser import parse_reference
from instructrestore.model.referring.pieces import measured, shrunk
from instructrestore.model.referring.reference import Rank, Reference
from instructrestore.model.referring.resolving import resolve
from instructrestore.shards.rle import BoolArray

Locate = Literal["decoder", "segments", "both"]
Point = tuple[float, float]  # x, y in pixels of the upright photo
Box = tuple[float, float, float, float]  # x, y, width, height in pixels

LEAST_PIECE = 0.003  # of the photo, for a part of the decoder's mask
MOSTLY = 0.7  # of a segment in a part of the decoder's mask, from where it belongs to it
MISSED = 0.2  # of a segment in the decoder's mask, up to which that has missed it
NOTABLE = 0.2  # of the largest piece: smaller ones are no things of their own
FITS = 0.5  # IoU of a piece's bounding box and a given one


@dataclass(frozen=True)
class PhotoSegment:
    """A part of a photo. mask: (H, W) bool. names: the words that it may be called by, in lower case; often one."""

    mask: BoolArray
    names: frozenset[str] = frozenset()


class PhotoCutter(Protocol):
    """Cuts photos up; segments may be anything, named or not."""

    def __call__(self, rgb: NDArray[np.uint8], /) -> list[PhotoSegment]:
        """rgb: (H, W, 3) uint8."""
        ...


@dataclass(frozen=True)
class Seen:
    """What is known of a photo. rgb: (H, W, 3) uint8. found: (H, W) bool by caption, by the decoder; what it was not
    asked for is not there. segments: of the photo; () where nothing cuts it up."""

    rgb: NDArray[np.uint8]
    found: Mapping[str, BoolArray]
    segments: Sequence[PhotoSegment] = ()

    @property
    def size(self) -> tuple[int, int]:
        return self.rgb.shape[0], self.rgb.shape[1]


@dataclass(frozen=True)
class FoundRegion:
    """mask: (H, W) bool. report: what the user should know of how it was found, or ""."""

    mask: BoolArray
    report: str = ""


def singled_out(caption: str) -> bool:
    """Whether a caption says more than what kind of thing it means."""
    return parse_reference(caption).refers


def sought(caption: str, locate: Locate) -> list[str]:
    """The captions that the decoder is asked for, to find what `caption` names."""
    reference = parse_reference(caption)
    if not reference.refers or not reference.head:
        return [caption]
    if locate == "segments":
        return []
    return [_the(reference.head), *([_the(reference.relation.other)] if reference.relation else [])]


def by_caption(caption: str, seen: Seen, locate: Locate) -> FoundRegion:
    """The region of a caption that singles something out (`singled_out`)."""
    reference = parse_reference(caption)
    if not reference.head:
        return FoundRegion(_nothing(seen), f"{caption!r} does not say what kind of thing: no region found for it")
    found = pieces_of(reference.head, seen, locate)
    pieces = found if locate == "segments" else divided(found, reference.rank)
    if not pieces:
        return FoundRegion(_nothing(seen), f"no region found for {caption!r}")
    others: dict[str, BoolArray] = {}
    if reference.relation:
        other = reference.relation.other
        others = {other: shrunk(_union(pieces_of(other, seen, locate), seen))}
    chosen = resolve(reference, measured(pieces, seen.rgb), others)
    mask = _union([pieces[number] for number in chosen.numbers], seen)
    certain = chosen.sure and len(pieces) == len(found)
    return FoundRegion(mask, "" if certain else _doubt(caption, reference, len(found)))


def pieces_of(head: str, seen: Seen, locate: Locate) -> list[BoolArray]:
    """The pieces that `head` may name, (H, W) bool each, none empty."""
    named = [each.mask for each in seen.segments if head.lower() in each.names]
    if locate == "segments":
        return named
    found = seen.found.get(_the(head), _nothing(seen))
    if locate == "decoder":
        return parts(found)
    pieces = [piece for part in parts(found) for piece in _cut(part, seen)]
    pieces += [mask for mask in named if np.count_nonzero(mask & found) <= MISSED * np.count_nonzero(mask)]
    least = NOTABLE * max(map(np.count_nonzero, pieces), default=0)
    return [piece for piece in pieces if np.count_nonzero(piece) >= least]


def _cut(part: BoolArray, seen: Seen) -> list[BoolArray]:
    """A part of the decoder's mask by the segments in it, where these are several notable ones; else as it is."""
    least = NOTABLE * np.count_nonzero(part)
    inside = [
        shared
        for each in seen.segments
        if np.count_nonzero(shared := each.mask & part) >= max(least, MOSTLY * np.count_nonzero(each.mask))
    ]
    return inside if len(inside) > 1 else [part]


def divided(pieces: Sequence[BoolArray], rank: Rank | None) -> list[BoolArray]:
    """As many pieces as the rank speaks of at the least: where there are fewer, things that touch were found as one,
    and the largest is halved, again and again, across the rank's direction."""
    made = list(pieces)
    count = 1 if rank is None else 3 if rank.order == "middle" else max(2, rank.number)
    while made and len(made) < count:
        largest = max(made, key=np.count_nonzero)
        halves = _halves(largest, rank.order if rank else None)
        if halves is None:
            break
        made = [piece for piece in made if piece is not largest] + halves
    return made


def _halves(mask: BoolArray, order: str | None) -> list[BoolArray] | None:
    """Of equal areas; None where there is nothing to halve."""
    _, _, wide, high = cv2.boundingRect(mask.astype(np.uint8))
    across = order in ("left", "right", "middle") or (order not in ("top", "bottom") and wide >= high)
    amounts = np.cumsum(mask.sum(0 if across else 1))
    middle = int(np.searchsorted(amounts, amounts[-1] / 2)) + 1
    first = np.zeros_like(mask)
    first[(slice(None), slice(middle)) if across else slice(middle)] = True
    halves = [mask & first, mask & ~first]
    return halves if all(half.any() for half in halves) else None


def parts(mask: BoolArray) -> list[BoolArray]:
    """The connected parts of a mask, the largest first, without what is under `LEAST_PIECE`."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    least = max(1, LEAST_PIECE * mask.size)
    order = sorted(range(1, count), key=lambda label: -int(stats[label, cv2.CC_STAT_AREA]))
    return [labels == label for label in order if stats[label, cv2.CC_STAT_AREA] >= least]


def by_places(caption: str, points: Sequence[Point], boxes: Sequence[Box], seen: Seen, locate: Locate) -> FoundRegion:
    """What holds each point and fits each box: of `caption`'s kind where there is such a piece, else any segment.

    Raises ValueError, in one sentence, for a point that nothing holds. A box that nothing fits is itself the region.
    """
    kind = pieces_of(parse_reference(caption).head or caption, seen, locate)
    every = [each.mask for each in seen.segments]
    chosen, reports = [], []
    for x, y in points:
        held = next((piece for own in (kind, every) for piece in by_size(own) if piece[int(y), int(x)]), None)
        if held is None:
            raise ValueError(f"nothing was found at the point {x:g},{y:g}: draw a box around it, or give its mask")
        chosen.append(held)
    for box in boxes:
        fits = next((piece for own in (kind, every) if (piece := fitting(own, box)) is not None), None)
        if fits is None:
            fits = _inside(box, seen)
            shown = ",".join(f"{value:g}" for value in box)
            reports.append(f"nothing was found that fits the box {shown}: the box itself is the region")
        chosen.append(fits)
    return FoundRegion(_union(chosen, seen), "; ".join(reports))


def check_places(points: Sequence[Point], boxes: Sequence[Box], size: tuple[int, int], regions: int) -> None:
    """Raises ValueError, in one sentence, for what does not lie in a photo of this (height, width), or where the
    instruction names several regions."""
    height, width = size
    if (points or boxes) and regions > 1:
        raise ValueError(
            f"points and boxes say where the one region of an instruction is, and this one names {regions}: name one"
        )
    for point in points:
        _check_numbers(point, 2, "a point is x,y")
        x, y = point
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f"the point {x:g},{y:g} lies outside the photo of {width}x{height}")
    for box in boxes:
        _check_numbers(box, 4, "a box is x,y,width,height")
        x, y, wide, high = box
        if wide < 1 or high < 1:
            raise ValueError(f"a box is at least one pixel wide and high, which {wide:g}x{high:g} is not")
        if x < 0 or y < 0 or x + wide > width or y + high > height:
            raise ValueError(f"the box {x:g},{y:g},{wide:g},{high:g} lies outside the photo of {width}x{height}")


def _check_numbers(given: Sequence[float], count: int, what: str) -> None:
    numbers = isinstance(given, Sequence) and not isinstance(given, str) and len(given) == count
    if not numbers or not all(isinstance(each, Real) and math.isfinite(each) for each in given):
        raise ValueError(f"{what} in pixels of the upright photo, not {given!r}")


def by_size(pieces: Sequence[BoolArray]) -> list[BoolArray]:
    """The smallest first: who points at a thing before another means the one in front."""
    return sorted(pieces, key=np.count_nonzero)


def fitting(pieces: Sequence[BoolArray], box: Box) -> BoolArray | None:
    """The piece, (H, W) bool, whose bounding box fits best, if any fits."""
    overlaps = [_overlap(cv2.boundingRect(piece.astype(np.uint8)), box) for piece in pieces]
    best = int(np.argmax(overlaps)) if overlaps else -1
    return pieces[best] if overlaps and overlaps[best] >= FITS else None


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """IoU of two boxes."""
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    high = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(0.0, wide) * max(0.0, high)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


def _inside(box: Box, seen: Seen) -> BoolArray:
    x, y, wide, high = box
    mask = _nothing(seen)
    mask[int(y) : math.ceil(y + high), int(x) : math.ceil(x + wide)] = True
    return mask


def _nothing(seen: Seen) -> BoolArray:
    return np.zeros(seen.size, np.bool_)


def _union(masks: Sequence[BoolArray], seen: Seen) -> BoolArray:
    return np.logical_or.reduce(masks) if masks else _nothing(seen)


def _the(name: str) -> str:
    return f"the {name}"


def _doubt(caption: str, reference: Reference, pieces: int) -> str:
    if pieces == 1:
        return f"one {reference.head} was found for {caption!r}: it, or a part of it, is the region"
    return f"{pieces} of {reference.head!r} were found, and it is not certain which is {caption!r}"
