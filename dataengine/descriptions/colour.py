"""The colour describer: describes a region by its colour, texture, size and place alone.

"a large smooth light blue area across the top of the photo", "a small dark brown patch in the lower left of the
photo". It does not recognise things: no model, no download, a few milliseconds a region. It exists so that the whole
engine runs anywhere; captions that name things need a captioner or annotations.

The subject is the colour with the noun: "light blue area". Regions of one subject are merged per photo, and there are
only four head nouns: with "area" as their subject, sky, lawn and lake would become one region. A grammar would rightly
answer "area" for such a phrase, so this describer gives its subject along with the phrase. There are 24 x 4 subjects,
few enough for the frequency ranks of a whole data set to keep them all.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from instructrestore.dataengine.descriptions.ranks import ranks, repeated
from instructrestore.dataengine.noun_phrases.english.noun_phrase import NounPhrase
from instructrestore.pretrained.colour_terms import BASIC, TERMS, ColourTerms

REVISION = "1"
MULTICOLOURED = "multicoloured"

_SIDE = 384  # regions are examined with the photo's long side scaled to this many pixels

# Shares of the photo.
_LARGE, _AREA, _SMALL, _TINY = 0.20, 0.06, 0.02, 0.003
# Mean step from pixel to pixel at that size, in grey levels: below the first a region is smooth, above the second busy.
_SMOOTH, _TEXTURED = 4.0, 13.0
_LONG = 4.0  # ratio of length to width from which a region is a strip
_ROUND = 0.98  # area over that of the ellipse with the same moments: 1 for a disc, 0.955 for a square
_SHADOW = np.array([0.5 if term in ("black", "dark grey") else 1.0 for term in TERMS])


@dataclass(frozen=True)
class _RegionLook:
    """The words for a region: "a" + looks + subject + other colour + place. x, y: its centre, 0..1 of the photo."""

    looks: tuple[str, ...]
    subject: str
    other: str
    place: str
    x: float
    y: float

    def phrase(self, first: str = "", rank: str = "") -> str:
        """first: what distinguishes it from similar ones ("leftmost", "second"); rank: in which order ("from the
        left")."""
        words = " ".join(filter(None, (first, *self.looks, self.subject, rank, self.other, self.place)))
        if first:
            return f"the {words}"
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


class ColourDescriber:
    """Describes the regions of a photo. No two of one photo get the same phrase."""

    def __init__(self) -> None:
        self._colours = ColourTerms()

    def __call__(self, rgb: NDArray[np.uint8], masks: Iterable[NDArray[np.bool_]]) -> list[NounPhrase]:
        """rgb: (H, W, 3) uint8. masks: (H, W) bool each, none empty. Noun phrases in the masks' order."""
        height, width = rgb.shape[:2]
        scale = min(1.0, _SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8) if scale < 1 else rgb
        terms = self._colours(small)
        steps = _steps(small)
        seen = []
        for mask in masks:
            assert mask.shape == (height, width), mask.shape
            assert mask.any(), "an empty mask"
            seen.append(_see(_shrink(mask, size), float(mask.mean()), terms, steps))
        return [NounPhrase(phrase, region.subject) for phrase, region in zip(_told_apart(seen), seen, strict=True)]


def _shrink(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask at (width, height), with at least one pixel, however small the region is."""
    if (mask.shape[1], mask.shape[0]) == size:
        return mask
    shrunk = cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_AREA).astype(np.bool_)
    if not shrunk.any():  # too thin to fill half of any pixel
        cover = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        shrunk = np.asarray(cover >= 0.5 * cover.max(), np.bool_)
    return shrunk


def _steps(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W): how much the grey level changes from pixel to pixel, in levels of 0..255."""
    grey = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
    across = cv2.Scharr(grey, cv2.CV_32F, 1, 0, scale=1 / 32)
    down = cv2.Scharr(grey, cv2.CV_32F, 0, 1, scale=1 / 32)
    return np.hypot(across, down)


def _see(mask: NDArray[np.bool_], share: float, terms: NDArray[np.uint8], steps: NDArray[np.float32]) -> _RegionLook:
    """mask, terms, steps: (h, w), reduced. share: of the photo, 0..1."""
    ys, xs = np.nonzero(mask)
    elongation, fullness = _shape(xs, ys)
    colour, other = _colours(terms[mask])
    if elongation >= _LONG:
        noun = "strip"
    elif share < _TINY:
        noun = "spot"
    else:
        noun = "area" if share >= _AREA else "patch"
    looks = [
        "large" if share >= _LARGE else "small" if _TINY <= share < _SMALL else "",
        _texture(mask, steps),
        "round" if fullness >= _ROUND and elongation < 1.25 and xs.size >= 200 else "",
    ]
    x, y = float((xs.mean() + 0.5) / mask.shape[1]), float((ys.mean() + 0.5) / mask.shape[0])
    return _RegionLook(
        looks=tuple(word for word in looks if word),
        subject=f"{colour} {noun}",
        other=f"mixed with {other}" if other else "",
        place=_place(mask, xs, ys, x, y),
        x=x,
        y=y,
    )


def _colours(terms: NDArray[np.uint8]) -> tuple[str, str]:
    """The colour that names a region, and another that at least a quarter of it has ("" if none has).

    Shadows count half: a tree is green even if most of its pixels are nearly black.
    """
    weights = np.bincount(terms, minlength=len(TERMS)) * _SHADOW
    weights /= weights.sum()
    by_basic: defaultdict[str, float] = defaultdict(float)
    for basic, weight in zip(BASIC, weights, strict=True):
        by_basic[basic] += float(weight)
    ranked = sorted(by_basic, key=lambda basic: -by_basic[basic])
    if by_basic[ranked[0]] < 0.4 and by_basic[ranked[2]] >= 0.15:
        return MULTICOLOURED, ""
    shades = [index for index, basic in enumerate(BASIC) if basic == ranked[0]]
    colour = TERMS[max(shades, key=lambda index: weights[index])]
    return colour, ranked[1] if by_basic[ranked[1]] >= 0.25 else ""


def _texture(mask: NDArray[np.bool_], steps: NDArray[np.float32]) -> str:
    """Smooth or textured, judged by its inside: the region's own outline is not texture."""
    inside = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=1).astype(bool)
    if np.count_nonzero(inside) < 50:
        return ""
    step = float(steps[inside].mean())
    return "smooth" if step < _SMOOTH else "textured" if step > _TEXTURED else ""


def _shape(xs: NDArray[np.int64], ys: NDArray[np.int64]) -> tuple[float, float]:
    """Length over width, and area over that of the ellipse with the same second moments, pixels being squares."""
    x, y = xs - xs.mean(), ys - ys.mean()
    a, b, c = float((x * x).mean()) + 1 / 12, float((x * y).mean()), float((y * y).mean()) + 1 / 12
    middle, spread = (a + c) / 2, math.hypot((a - c) / 2, b)
    longer, shorter = middle + spread, max(middle - spread, 1e-9)
    return math.sqrt(longer / shorter), xs.size / (4 * math.pi * math.sqrt(longer * shorter))


def _place(mask: NDArray[np.bool_], xs: NDArray[np.int64], ys: NDArray[np.int64], x: float, y: float) -> str:
    """Where the region is; x, y: its centre, 0..1."""
    height, width = mask.shape
    across = (xs.max() - xs.min() + 1) / width
    down = (ys.max() - ys.min() + 1) / height
    column = 0 if x < 0.36 else 2 if x > 0.64 else 1
    row = 0 if y < 0.36 else 2 if y > 0.64 else 1
    if across >= 0.85 and down >= 0.85:
        inner = mask[height // 4 : height - height // 4, width // 4 : width - width // 4]
        return "around the edges of the photo" if inner.mean() < 0.25 else "across most of the photo"
    if across >= 0.85 and down <= 0.7:
        return f"across the {('top', 'middle', 'bottom')[row]} of the photo"
    if down >= 0.85 and across <= 0.7:
        side = ("along the left side", "down the middle", "along the right side")[column]
        return f"{side} of the photo"
    places = (
        ("in the upper left", "at the top", "in the upper right"),
        ("on the left", "in the middle", "on the right"),
        ("in the lower left", "at the bottom", "in the lower right"),
    )
    return f"{places[row][column]} of the photo"


def _told_apart(seen: Sequence[_RegionLook]) -> list[str]:
    """A phrase for each region; equal phrases are made distinct by the regions' order across or down."""
    phrases = [region.phrase() for region in seen]
    for indices in repeated(phrases):
        xs, ys = [seen[index].x for index in indices], [seen[index].y for index in indices]
        if max(xs) - min(xs) >= max(ys) - min(ys):
            first, last, order = "leftmost", "rightmost", "from the left"
            indices.sort(key=lambda index: (seen[index].x, index))
        else:
            first, last, order = "topmost", "lowest", "from the top"
            indices.sort(key=lambda index: (seen[index].y, index))
        for index, rank in zip(indices, ranks(len(indices), first, last), strict=True):
            phrases[index] = seen[index].phrase(rank, "" if rank in (first, last) else order)
    return phrases
