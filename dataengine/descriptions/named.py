"""The embedded describer that knows what it sees: the annotator's name of a region, with what is certain beside it.

"the light blue sky", "a brown dog on the grass", "the leftmost car": the name, its colour where one colour rules and
the thing is one that people call by a colour, what it stands on or, where nothing is under it, its side of the photo.
The subject is the name. What the annotator does not know gets no description.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from instructrestore.dataengine.descriptions.colour_terms import BASIC, TERMS, ColourTerms
from instructrestore.dataengine.noun_phrases.english.noun_phrase import NounPhrase
from instructrestore.dataengine.noun_phrases.english.words import word_set

if TYPE_CHECKING:
    from instructrestore.dataengine.annotator.naming import NamedSegment

REVISION = "1"  # raised with new weights too

_SIDE = 384  # colours and borders are looked at with the photo's long side at so many pixels
_RULES = 0.6  # share of a region's pixels, from which a colour is its colour
_STANDS = 0.5  # share of what is just under a region, from which it stands on that
_LEFT, _RIGHT = 0.36, 0.64  # of the photo's width, for a region's middle
_LEAST_PIXELS = 30

# Of these there is no "a".
_MASS = word_set(
    "sky grass sea water snow sand gravel dirt pavement road ground floor ceiling wall food fruit furniture paper "
    "cardboard fabric tableware"
) | {"brick wall", "stone wall", "tiled wall", "wooden wall", "wooden floor", "playing field", "sports equipment"}
# People say no one colour of these.
_COLOURLESS = word_set("person food fruit pizza sandwich cake window mirror animal tableware furniture")
_ON = word_set(
    "grass ground pavement road floor sand snow dirt gravel table bed bench sofa counter shelf rug platform"
) | {
    "wooden floor",
    "playing field",
    "dining table",
}
_IN = word_set("sea water river")
_STAND_ON_NOTHING = word_set("tree mountain building")  # or are so large that nobody says so
_ORDINALS = ("second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


@dataclass(frozen=True)
class _Region:
    """colour, relation, side: words, or "" where nothing is certain. x: its middle, 0..1 of the photo's width."""

    word: str
    colour: str
    relation: str
    side: str
    x: float

    def phrase(self, rank: str = "") -> str:
        """rank: what singles it out among its like, "leftmost"."""
        words = " ".join(filter(None, (rank, self.colour, self.word, self.relation or self.side)))
        if rank or self.word in _MASS:
            return f"the {words}"
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


class NamedDescriber:
    """Describes the regions of a photo. Raises ValueError where the weights are not installed or damaged."""

    def __init__(self) -> None:
        from instructrestore.dataengine.annotator.annotator import load_annotator  # noqa: PLC0415  (imports torch)
        from instructrestore.dataengine.annotator.naming import name_segments  # noqa: PLC0415  (the same)

        self._name = name_segments
        self._annotator, self._calibration = load_annotator()
        self._colours = ColourTerms()

    def __call__(self, rgb: NDArray[np.uint8], masks: Iterable[NDArray[np.bool_]]) -> list[NounPhrase | None]:
        """rgb: (H, W, 3) uint8. masks: (H, W) bool each, none empty. In their order; None where nothing is known."""
        known = [self._name([region], self._calibration)[0] for region in self._annotator.regions(rgb, masks)]
        found = [each[0] for each in known if each]
        phrases = iter(describe(rgb, found, self._colours))
        return [next(phrases) if each else None for each in known]


def describe(rgb: NDArray[np.uint8], regions: Sequence[NamedSegment], colours: ColourTerms) -> list[NounPhrase]:
    """Noun phrases of a photo's named regions, no two the same where they can be told apart."""
    scale = min(1.0, _SIDE / max(rgb.shape[:2]))
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    small = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    terms = colours(small)
    masks = [_shrunk(region.segment.mask, size) for region in regions]
    looks = [_look(number, [region.word for region in regions], masks, terms) for number in range(len(regions))]
    return [NounPhrase(phrase, region.word) for phrase, region in zip(_told_apart(looks), regions, strict=True)]


def _look(number: int, words: list[str], masks: list[NDArray[np.bool_]], terms: NDArray[np.uint8]) -> _Region:
    word, mask = words[number], masks[number]
    columns = np.flatnonzero(mask.any(0))
    x = float((np.nonzero(mask)[1].mean() + 0.5) / mask.shape[1]) if columns.size else 0.5
    wide = columns.size and (columns[-1] - columns[0] + 1) > 0.7 * mask.shape[1]
    side = "" if wide else "on the left" if x < _LEFT else "on the right" if x > _RIGHT else ""
    colour = "" if word in _COLOURLESS else _colour(terms[mask])
    relation = "" if word in _MASS or word in _STAND_ON_NOTHING else _stands_on(number, words, masks)
    return _Region(word, colour, relation, side, x)


def _colour(terms: NDArray[np.uint8]) -> str:
    """The colour that rules, lighter and darker shades together; "" where none does."""
    if terms.size < _LEAST_PIXELS:
        return ""
    shares: Counter[str] = Counter()
    counts = np.bincount(terms, minlength=len(TERMS))
    for basic, count in zip(BASIC, counts.tolist(), strict=True):
        shares[basic] += count
    basic, pixels = shares.most_common(1)[0]
    if pixels < _RULES * terms.size:
        return ""
    shades = [index for index, each in enumerate(BASIC) if each == basic]
    term = TERMS[max(shades, key=lambda index: counts[index])]
    return term if counts[TERMS.index(term)] >= _RULES * terms.size else basic


def _stands_on(number: int, words: list[str], masks: list[NDArray[np.bool_]]) -> str:
    """ "on the grass", where most of what lies just under the region is one thing that others stand on."""
    mask = masks[number]
    step = max(2, round(0.02 * mask.shape[0]))
    below = np.zeros_like(mask)
    below[step:] = mask[:-step]
    below &= ~mask
    pixels = int(np.count_nonzero(below))
    if pixels < _LEAST_PIXELS // 2:
        return ""
    for word, other in zip(words, masks, strict=True):
        if word in _ON | _IN and other is not mask and np.count_nonzero(below & other) >= _STANDS * pixels:
            return f"{'on' if word in _ON else 'in'} the {word}"
    return ""


def _told_apart(regions: Sequence[_Region]) -> list[str]:
    phrases = [region.phrase() for region in regions]
    alike: defaultdict[str, list[int]] = defaultdict(list)
    for index, phrase in enumerate(phrases):
        alike[phrase].append(index)
    for indices in alike.values():
        if len(indices) == 1:
            continue
        indices.sort(key=lambda index: (regions[index].x, index))
        for nth, index in enumerate(indices):
            if nth == 0:
                rank = "leftmost"
            elif nth == len(indices) - 1:
                rank = "rightmost"
            else:
                rank = _ORDINALS[nth - 1] if nth <= len(_ORDINALS) else f"number {nth + 1}"
            phrases[index] = regions[index].phrase(rank)
    return phrases


def _shrunk(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    return cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_AREA).astype(np.bool_)
