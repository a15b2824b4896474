"""What a description says before it names the thing: "there is", "the image shows", "at the right edge of it,"."""

from __future__ import annotations

from instructrestore.dataengine.noun_phrases.english.chunk import ends_phrase
from instructrestore.dataengine.noun_phrases.english.clauses import is_adverb, is_finite
from instructrestore.dataengine.noun_phrases.english.verbs import BE, SEEMING, is_gerund, is_participle
from instructrestore.dataengine.noun_phrases.english.words import (
    ADJECTIVES,
    CONJUNCTIONS,
    DETERMINERS,
    PHOTO_NOUNS,
    PICTURE_NOUNS,
    PREPOSITIONS,
    SUBJECT_PRONOUNS,
    SUBORDINATORS,
    word_set,
)

_SHOWING = word_set(
    "shows show depicts depict features contains displays captures includes showing depicting presents focuses "
    "showcases highlights"
)
_PHOTO_OF = PICTURE_NOUNS | word_set("image close-up closeup view shot screenshot")
_DEICTIC = word_set("what there this that it they these those here")
_DEICTIC_BE = word_set("there's it's that's here's they're")
# A captioner's words for whatever the region contains: "the focus of this region is a young man".
VAGUE = word_set(
    "focus point element object item subject area section part portion side half corner edge centerpiece thing"
)
_VIEWERS = word_set("we you one i")
_SAID_OF_PHOTOS = word_set(
    "given provided whole entire close cropped up masked highlighted selected marked outlined color colour coloured "
    "colored sepia monochrome monochromatic grayscale greyscale black-and-white grainy infrared"
)


def after_opening(lower: list[str]) -> int:
    """Where the first noun phrase that names the thing starts: after "there is", "the image shows", "in the back,"."""
    i = _there_is(lower)
    while i < len(lower):
        step = _opening_length(lower, i)
        if step == 0:
            return i
        i += step
    return i


def _there_is(lower: list[str]) -> int:
    """The position of "there is", or the one after "we can see": before it a sentence only says where. 0 for
    neither."""
    for i in range(len(lower) - 2):
        if lower[i] in _VIEWERS and lower[i + 1 : i + 3] == ["can", "see"]:
            return i + 3
        there_is = lower[i] == "there's" or (lower[i] == "there" and lower[i + 1] in BE)
        if there_is and i > 0 and (lower[i - 1] == "," or lower[0] in PREPOSITIONS):
            return i
    return 0


def _opening_length(lower: list[str], i: int) -> int:
    """How many words at `i` say nothing about the thing itself; 0 where the noun phrase starts."""
    word = lower[i]
    after = lower[i + 1] if i + 1 < len(lower) else ""
    if word == "," or word in CONJUNCTIONS or word in SUBORDINATORS or word in _DEICTIC_BE:
        return 1
    if (word in _DEICTIC or word == "the") and (after in BE or after in SEEMING):
        return 2 + (lower[i + 2 : i + 4] == ["to", "be"]) * 2
    if word == "there" and after != ",":
        return 1  # "their", misspelt
    if is_adverb(word) and after == ",":
        return 2
    if word in BE and (is_participle(after) or after in DETERMINERS):
        by = i + 2 if i + 2 < len(lower) and lower[i + 2] == "by" else i
        return by - i + 1
    photo = _photo_length(lower, i)
    if photo:
        return photo
    if word in PREPOSITIONS:
        return _leading_place(lower, i) or 1
    opens = (is_gerund(word) or is_participle(word) or is_adverb(word)) and (ends_phrase(after) or after in DETERMINERS)
    return _leading_place(lower, i) if opens else 0


def _photo_length(lower: list[str], i: int) -> int:
    """Length of "the image shows", "a close-up of", "the masked region is" at `i`, else 0."""
    at = i + 1 if lower[i] in DETERMINERS else i
    while at < len(lower) and (_is_said_of_photos(lower[at]) or _joins(lower, at)):
        at += 1
    if lower[at - 2 : at + 1] == ["close", "up", "of"]:
        return at + 1 - i
    noun, then, after = (*lower[at : at + 3], "", "", "")[:3]
    if noun not in PHOTO_NOUNS and noun not in _PHOTO_OF and noun not in VAGUE:
        return 0
    if then in _SHOWING or (then == "of" and noun in _PHOTO_OF):
        return at + 2 - i
    if then in BE and (after == "of" or after in _SHOWING):
        return at + 3 - i
    return at + 2 - i if then in BE and after in DETERMINERS and noun in PHOTO_NOUNS else 0


def _is_said_of_photos(word: str) -> bool:
    return word in _SAID_OF_PHOTOS or word in ADJECTIVES


def _joins(lower: list[str], at: int) -> bool:
    """Whether a comma or an "and" at `at` joins what is said of a photo: "a black and white photo"."""
    joint = lower[at] == "," or lower[at] in CONJUNCTIONS
    return joint and 0 < at < len(lower) - 1 and _is_said_of_photos(lower[at - 1]) and _is_said_of_photos(lower[at + 1])


def _leading_place(lower: list[str], i: int) -> int:
    """Length of a place that opens a sentence: "at the right edge of the image ,", "on top of the sign is"."""
    rest = lower[i:]
    if "," in rest:
        comma = rest.index(",")
        if comma + 1 < len(rest) and not any(is_finite(rest, k) for k in range(comma)):
            return comma + 1
    for k, word in enumerate(rest[:-1]):
        if word in BE and rest[k + 1] in DETERMINERS:
            return k + 1
        if word in SUBJECT_PRONOUNS:
            break
    return 0


def equated(lower: list[str], start: int) -> int | None:
    """Where the noun phrase with which a sentence equates its subject starts: "the focus of it is | a man"."""
    verb = next((i for i in range(start, len(lower)) if is_finite(lower, i)), len(lower))
    return (
        verb + 1
        if verb + 1 < len(lower) and (lower[verb] in BE or lower[verb] in _SHOWING) and lower[verb + 1] in DETERMINERS
        else None
    )
