"""The noun phrase that a region's description becomes, its subject, and the form in which subjects are counted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from instructrestore.dataengine.noun_phrases.english.words import IRREGULAR_PLURALS, S_INVARIANT, word_set


@dataclass(frozen=True)
class NounPhrase:
    """A noun phrase and its subject (paper, section 3.1).

    text: what becomes a region's caption, "the cow standing on the field".
    subject: the thing the phrase is about, "cow": lower case, one word or a compound, always part of the phrase.
    """

    text: str
    subject: str


@lru_cache(maxsize=65536)
def fold(subject: str) -> str:
    """The case- and number-folded subject, by which subjects are counted and ranked: "Dogs" -> "dog", "men" -> "man".

    Only the last word of a compound is made singular. Words without a singular ("pants", "glasses" to wear) and
    singular words in -s ("grass", "bus", "tennis") are unchanged. The rules are our own: the library `inflect`, for
    one, makes "bu" of "bus" and "canva" of "canvas".
    """
    words = subject.casefold().split()
    return " ".join([*words[:-1], _singular(words[-1])]) if words else ""


# Singular words that end like the plurals of "man" and "woman".
_MEN_SINGULAR = word_set("specimen abdomen ramen stamen regimen lumen omen acumen cyclamen")


def _singular(word: str) -> str:
    if word in IRREGULAR_PLURALS:
        return IRREGULAR_PLURALS[word]
    if word.endswith("men") and word not in _MEN_SINGULAR:
        return word[:-2] + "an"
    if len(word) < 4 or not word.endswith("s") or word in S_INVARIANT or word.endswith(("ss", "us", "is", "'s")):
        return word
    if word.endswith("ies"):
        singular = word[:-3] + "y" if len(word) > 4 else word[:-1]
    elif word.endswith(("sses", "shes", "ches", "xes", "zzes")):
        singular = word[:-2]
    else:
        singular = word[:-1]
    return IRREGULAR_PLURALS.get(singular, singular)
