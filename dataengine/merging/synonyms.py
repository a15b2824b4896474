"""Subjects that mean the same: "couch" and "sofa", "man" and "person".

`synonyms.tsv` is written by hand, and says of a word what it is the same as, or a kind of; with the cosine of their
text vectors (all-MiniLM-L6-v2). A line counts where the vectors are near too. The vectors are in the table, so that a
build needs no model here and is the same on every machine; a test holds them against the model.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from instructrestore.dataengine.noun_phrases.english.noun_phrase import fold

REVISION = "2"  # raised with another table, and when merging by it gives other regions
NEAR = 0.4  # "man" and "person" have 0.41; "man" and "woman", which stay apart, 0.33
TABLE = Path(__file__).parent / "synonyms.tsv"


@dataclass(frozen=True)
class Relation:
    """of: what the word is the same as, or a kind of; both folded. similarity: cosine of their vectors, -1..1."""

    word: str
    is_same: bool
    of: str
    similarity: float


@cache
def table() -> tuple[Relation, ...]:
    """All lines, also of words that are not near."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(
            Relation(row["word"], row["relation"] == "same", row["of"], float(row["similarity"]))
            for row in csv.DictReader(file, delimiter="\t")
        )


@cache
def _above() -> dict[str, Relation]:
    return {line.word: line for line in table() if line.similarity >= NEAR}


def meanings(subject: str) -> Iterator[str]:
    """What a subject means, from itself to the most general: "lady", "woman", "person". Synonyms go by one word."""
    word = fold(subject)
    yield word
    while line := _above().get(word):
        word = line.of
        yield word


def united(subjects: Iterable[str]) -> dict[str, str]:
    """Each folded subject of a photo -> the subject that it becomes.

    A subject becomes the most general of the others that it is a kind of; synonyms become the word that the table
    has for them. "man" and "woman" stay apart, unless there is a "person", which may be either: then all are that.
    Only who is there decides, and no order; what has nothing to become stays as it is, and so does the result.
    """
    folded = {fold(subject) for subject in subjects}
    present = {_one_word(word) for word in folded}
    groups: dict[str, list[str]] = {}
    for word in folded:
        most_general = [each for each in meanings(_one_word(word)) if each in present][-1]
        groups.setdefault(most_general, []).append(word)
    return {word: general if len(words) > 1 else word for general, words in groups.items() for word in words}


def _one_word(word: str) -> str:
    """The one among its synonyms by which they all go."""
    while (line := _above().get(word)) and line.is_same:
        word = line.of
    return word
