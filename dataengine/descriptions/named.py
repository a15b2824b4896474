"""The embedded describer that knows what it sees: the annotator's name of a region, with what is certain beside it.

"the light blue sky", "a brown dog on the grass", "the leftmost car": the name, its colour where one colour rules and
the thing is one that people call by a colour, what it stands on or is before, or, where neither is certain, its side of
the photo. The subject is the name. What the annotator does not know gets no description.

Regions of one name will be merged into one, whose caption is the phrase that all of them have (`merge.py`). So each is
described for itself, and all have one noun phrase, of what they have in common: "the red cars".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from instructrestore.dataengine.descriptions.ranks import ranks, repeated
from instructrestore.dataengine.noun_phrases.english.noun_phrase import NounPhrase
from instructrestore.dataengine.noun_phrases.english.words import word_set
from instructrestore.pretrained.colour_terms import BASIC, TERMS, ColourTerms

if TYPE_CHECKING:
    from instructrestore.dataengine.annotator.naming import NamedSegment

REVISION = "2"  # raised with new weights too

_SIDE = 384  # colours and borders are looked at with the photo's long side at so many pixels
_RULES = 0.6  # share of a region's pixels, from which a colour is its colour
_STANDS = 0.5  # share of what is just under a region, from which it stands on that
_SURROUNDS = 0.7  # share of what is around a region, from which it is in front of that
_LEFT, _RIGHT = 0.36, 0.64  # of the photo's width, for a region's middle
_LEAST_PIXELS = 30

# Of these there is no "a".
_MASS = word_set(
    "sky grass sea water snow sand gravel dirt pavement road ground floor ceiling wall food fruit furniture paper "
    "cardboard fabric tableware broccoli skis scissors stairs"
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
_BEHIND = word_set("wall fence building house curtain tree mountain") | {
    "brick wall",
    "stone wall",
    "tiled wall",
    "wooden wall",
}
_STAND_ON_NOTHING = word_set("tree mountain building")  # or are so large that nobody says so
_PLURALS = {
    "person": "people",
    "sheep": "sheep",
    "knife": "knives",
    "shelf": "shelves",
    "computer mouse": "computer mice",
}


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

    def several(self) -> NounPhrase:
        """Of the region as more than one thing."""
        noun = _plural(self.word)
        words = filter(None, ("the", self.colour, noun, self.relation or self.side))
        return NounPhrase(" ".join(words), noun)


@dataclass(frozen=True)
class Wording:
    """description: of the region alone. phrase: of all regions of the photo with its name."""

    description: str
    phrase: NounPhrase


class NamedDescriber:
    """Describes the regions of a photo. Raises ValueError where the weights are not installed or damaged."""

    def __init__(self) -> None:
        from instructrestore.dataengine.annotator.annotator import load_annotator  # noqa: PLC0415  (imports torch)
        from instructrestore.dataengine.annotator.naming import name_segments  # noqa: PLC0415  (the same)

        self._name = name_segments
        self._annotator, self._calibration = load_annotator()
        self._colours = ColourTerms()

    def __call__(self, rgb: NDArray[np.uint8], masks: Iterable[NDArray[np.bool_]]) -> list[Wording | None]:
        """rgb: (H, W, 3) uint8. masks: (H, W) bool each, none empty. In their order; None where nothing is known."""
        known = [self._name([region], self._calibration)[0] for region in self._annotator.regions(rgb, masks)]
        found = [each[0] for each in known if each]
        wordings = iter(describe(rgb, found, self._colours))
        return [next(wordings) if each else None for each in known]


def describe(rgb: NDArray[np.uint8], regions: Sequence[NamedSegment], colours: ColourTerms) -> list[Wording]:
    """Words for a photo's named regions, in their order; no two descriptions the same where they can be told apart.

    rgb: (H, W, 3) uint8. The regions' masks are of its size.
    """
    scale = min(1.0, _SIDE / max(rgb.shape[:2]))
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    small = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    terms = colours(small)
    masks = [_shrunk(region.segment.mask, size) for region in regions]
    words = [region.word for region in regions]
    looks = [_look(mask, word, words, masks, terms) for mask, word in zip(masks, words, strict=True)]
    phrases = {word: _together(word, words, masks, terms) for word in words}
    return [Wording(text, phrases[word]) for text, word in zip(_told_apart(looks), words, strict=True)]


def _together(word: str, words: list[str], masks: list[NDArray[np.bool_]], terms: NDArray[np.uint8]) -> NounPhrase:
    """Of all regions of the word; more than one thing only where they do not touch, for one may be found in pieces."""
    own = [mask for mask, other in zip(masks, words, strict=True) if other == word]
    union = np.logical_or.reduce(own)
    look = _look(union, word, words, masks, terms)
    if len(own) > 1 and word not in _MASS and _apart(union):
        return look.several()
    return NounPhrase(look.phrase(), word)


def _apart(mask: NDArray[np.bool_]) -> bool:
    near = max(3, round(0.02 * max(mask.shape)))
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((near, near), np.uint8))
    return cv2.connectedComponents(grown)[0] > 2


def _look(
    mask: NDArray[np.bool_], word: str, words: list[str], masks: list[NDArray[np.bool_]], terms: NDArray[np.uint8]
) -> _Region:
    """words, masks: of all regions, the mask among them or made of some of them."""
    columns = np.flatnonzero(mask.any(0))
    x = float((np.nonzero(mask)[1].mean() + 0.5) / mask.shape[1]) if columns.size else 0.5
    wide = columns.size and (columns[-1] - columns[0] + 1) > 0.7 * mask.shape[1]
    side = "" if wide else "on the left" if x < _LEFT else "on the right" if x > _RIGHT else ""
    colour = "" if word in _COLOURLESS else _colour(terms[mask])
    if word in _MASS or word in _STAND_ON_NOTHING or word in _BEHIND:
        return _Region(word, colour, "", side, x)
    others = [(name, other & ~mask) for name, other in zip(words, masks, strict=True) if name != word]
    return _Region(word, colour, _stands_on(mask, others) or _before(mask, others), side, x)


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


def _stands_on(mask: NDArray[np.bool_], others: list[tuple[str, NDArray[np.bool_]]]) -> str:
    """ "on the grass", where most of what lies just under the region is one thing that others stand on."""
    step = max(2, round(0.02 * mask.shape[0]))
    below = np.zeros_like(mask)
    below[step:] = mask[:-step]
    below &= ~mask
    pixels = int(np.count_nonzero(below))
    if pixels < _LEAST_PIXELS // 2:
        return ""
    for word, other in others:
        if word in _ON | _IN and np.count_nonzero(below & other) >= _STANDS * pixels:
            return f"{'on' if word in _ON else 'in'} the {word}"
    return ""


def _before(mask: NDArray[np.bool_], others: list[tuple[str, NDArray[np.bool_]]]) -> str:
    """ "in front of the wall", where most of what lies around the region is one thing that can be behind others."""
    width = max(3, round(0.03 * max(mask.shape)) | 1)
    ring = cv2.dilate(mask.astype(np.uint8), np.ones((width, width), np.uint8)).astype(np.bool_) & ~mask
    pixels = int(np.count_nonzero(ring))
    for word, other in others:
        if word in _BEHIND and pixels >= _LEAST_PIXELS and np.count_nonzero(ring & other) >= _SURROUNDS * pixels:
            return f"in front of the {word}"
    return ""


def _plural(word: str) -> str:
    if word in _PLURALS:
        return _PLURALS[word]
    if word.endswith(("s", "x", "ch", "sh")):
        return f"{word}es"
    return f"{word[:-1]}ies" if word.endswith("y") and word[-2] not in "aeiou" else f"{word}s"


def _told_apart(regions: Sequence[_Region]) -> list[str]:
    phrases = [region.phrase() for region in regions]
    for indices in repeated(phrases):
        indices.sort(key=lambda index: (regions[index].x, index))
        for index, rank in zip(indices, ranks(len(indices), "leftmost", "rightmost"), strict=True):
            phrases[index] = regions[index].phrase(rank)
    return phrases


def _shrunk(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    return cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_AREA).astype(np.bool_)
