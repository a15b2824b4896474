"""The core of a noun phrase, determiner, modifiers and noun, found by where it must end."""

from __future__ import annotations

from dataclasses import dataclass

from instructrestore.dataengine.noun_phrases.english.clauses import DEMONSTRATIVES, is_adverb, is_auxiliary, is_finite
from instructrestore.dataengine.noun_phrases.english.noun_phrase import fold
from instructrestore.dataengine.noun_phrases.english.verbs import (
    AUXILIARIES,
    NOUN_LIKE_PARTICIPLES,
    is_gerund,
    is_participle,
)
from instructrestore.dataengine.noun_phrases.english.words import (
    ADJECTIVE_ENDING_NOUNS,
    ADJECTIVE_ENDINGS,
    ADJECTIVES,
    ARTICLES,
    COMPOUND_GERUNDS,
    COMPOUNDS,
    CONJUNCTIONS,
    DETERMINERS,
    ING_VERBS_TOO,
    NEVER_NOUNS,
    NUMBERS,
    OPENERS,
    PHOTO_NOUNS,
    PLAIN_ADJECTIVES,
    PREPOSITIONS,
    PRONOUNS,
    QUANTITY_NOUNS,
    RELATIVES,
    SUBJECT_PRONOUNS,
    SUBORDINATORS,
    word_set,
)

# Gerunds in COMPOUND_GERUNDS that people do as well: "a man riding horses", but "baseball playing field".
_DONE_BY_PEOPLE = word_set(
    "playing walking riding running waiting sitting eating cooking drinking jumping reading climbing serving "
    "changing skiing surfing sleeping living shopping swimming washing bathing baking cutting chopping mixing "
    "writing hiking fishing camping racing carving boxing sailing training rolling wrapping loading gaming folding "
    "landing measuring rocking heating cooling steering polishing building parking"
)
_DONE_AT = word_set(
    "field area room shoes shoe suit trunks card cards machine table chair lane path trail boots lift light lot "
    "meter garage space spot pole bag bags board pool pan bowl sheet dish cart basket gear rack stick rod net"
)


_SOMETIMES_NOUNS = ADJECTIVES - PLAIN_ADJECTIVES - NEVER_NOUNS
JOINTS = CONJUNCTIONS | {","}
_NO_NOUNS = DETERMINERS | CONJUNCTIONS | PRONOUNS | PLAIN_ADJECTIVES | NEVER_NOUNS


@dataclass(frozen=True)
class Core:
    """Positions in a sentence's words: the core noun phrase is words[start:end], its subject words[subject:end]."""

    start: int
    subject: int
    end: int


def read_core(lower: list[str], start: int) -> Core | None:
    """The core noun phrase of lower-case words from `start` on, or None where none starts there.

    "a group of people walking" gives "a group of people" with the subject "people": quantities are not subjects.
    """
    at = start
    while True:
        end = _chunk_end(lower, at)
        noun = _noun(lower, at, end)
        next_is_of = end + 1 < len(lower) and lower[end] == "of"
        if next_is_of and (noun is None or fold(lower[noun]) in QUANTITY_NOUNS) and _can_count(lower, at, end):
            inner = end + 1
            if _noun(lower, inner, _chunk_end(lower, inner)) is not None or _leads_on(lower, inner):
                at = inner
                continue
        if noun is None or lower[start] in ("no", "neither", "none"):
            return None
        return Core(start, _subject_start(lower, at, noun), noun + 1)


def _can_count(lower: list[str], start: int, end: int) -> bool:
    return end > start and fold(lower[end - 1]) in QUANTITY_NOUNS


def _leads_on(lower: list[str], start: int) -> bool:
    end = _chunk_end(lower, start)
    return end > start and end < len(lower) and lower[end] == "of"


def _subject_start(lower: list[str], start: int, noun: int) -> int:
    two = noun > start and f"{lower[noun - 1]}_{fold(lower[noun])}" in COMPOUNDS
    return noun - 1 if two else noun


def is_adjective(word: str) -> bool:
    """Whether `word` (lower case) is an adjective, by list, ending or as a participle."""
    if word in ADJECTIVES or is_participle(word):
        return True
    return len(word) > 5 and word.endswith(ADJECTIVE_ENDINGS) and word not in ADJECTIVE_ENDING_NOUNS


def ends_phrase(word: str) -> bool:
    """Whether `word` (lower case, "" at the end of the sentence) cannot belong to the core of a noun phrase."""
    return (
        word in ("", ",")
        or word in PREPOSITIONS
        or word in AUXILIARIES
        or word in RELATIVES
        or word in SUBORDINATORS
        or word in CONJUNCTIONS
        or word in SUBJECT_PRONOUNS
        or word in OPENERS
        or is_adverb(word)
    )


def _chunk_end(lower: list[str], start: int) -> int:
    """One past the last word of the chunk that starts at `start`."""
    noun_seen = False
    i = start
    while i < len(lower):
        word = lower[i]
        after = lower[i + 1] if i + 1 < len(lower) else ""
        if word == "," or word in CONJUNCTIONS:
            if i == start or not _joins_adjectives(lower, start, i, noun_seen):
                return i
        elif word in DETERMINERS or word in RELATIVES:
            if i > start and not _may_follow(lower, start, i, noun_seen):
                return i
        elif word == "to" and i > start and lower[i - 1] == after and not ends_phrase((*lower, "", "")[i + 2]):
            i += 1  # "wall to wall windows"
        elif word in PREPOSITIONS and i > start and lower[i - 1] in ARTICLES:
            noun_seen = ends_phrase(after)  # "the inside of the bus", "the opposite wall"
        elif word in PREPOSITIONS or is_auxiliary(lower, i) or word in SUBORDINATORS or word in PRONOUNS:
            return i
        elif word.endswith(("'s", "s'")) and not ends_phrase(after):
            noun_seen = False
        elif i > start and lower[i - 1] in DEMONSTRATIVES and is_finite(lower, i):
            return i
        elif (
            not noun_seen and i > start and is_gerund(word) and ends_phrase(after) and lower[i - 1] in _SOMETIMES_NOUNS
        ):
            return i  # "a grey stone | sitting on it"
        elif noun_seen and _ends_after_noun(lower, start, i, after):
            return i
        elif not (is_adjective(word) or is_adverb(word) or (is_gerund(word) and not ends_phrase(after))):
            noun_seen = True
        elif word in _SOMETIMES_NOUNS and ends_phrase(after):
            noun_seen = not (after in JOINTS and _joins_adjectives(lower, start, i + 1, False))
        i += 1
    return i


def _may_follow(lower: list[str], start: int, i: int, noun_seen: bool) -> bool:
    """Whether a determiner stands inside the chunk: "all the other three", "top two shelves", "number 7"."""
    word = lower[i]
    if word in RELATIVES:
        return False
    before = lower[i - 1]
    if word in OPENERS:
        return before in ("all", "both", "half", "such", "many", "what")
    return before in DETERMINERS or not noun_seen or (word in NUMBERS and i + 1 == len(lower))


def _joins_adjectives(lower: list[str], start: int, i: int, noun_seen: bool) -> bool:
    """Whether a comma or conjunction at `i` joins adjectives of one noun: "tall, green grass", "a red and blue cat"."""
    before, after, then = lower[i - 1], *(*lower[i + 1 : i + 3], "", "")[:2]
    if not (is_adjective(before) or before == "," or is_gerund(before)) or (noun_seen and before in PLAIN_ADJECTIVES):
        return False
    if after in CONJUNCTIONS:
        return True
    if is_adverb(after):
        return not ends_phrase(then) or then in JOINTS
    if ends_phrase(after) or (ends_phrase(then) and then not in JOINTS):
        return False
    if is_adjective(after):
        return lower[i] == "," or noun_seen or not ends_phrase(then)
    # After "a" and only adjectives, an unknown word must be another adjective: "a plastic, pretend donut".
    return lower[i] == "," and not noun_seen and (lower[start] in ARTICLES or before not in _SOMETIMES_NOUNS)


def _ends_after_noun(lower: list[str], start: int, i: int, after: str) -> bool:
    """Whether the word at `i`, after a noun, begins what follows the noun."""
    word = lower[i]
    before = lower[i - 1]
    if before in ("word", "words", "letter", "letters"):
        return True
    if f"{before}_{word}" in COMPOUNDS:
        return False
    if word in ING_VERBS_TOO:
        return after in OPENERS or not ends_phrase(after)
    if is_gerund(word):
        if word not in COMPOUND_GERUNDS or ends_phrase(after) or after in DETERMINERS:
            return True
        return word in _DONE_BY_PEOPLE and after not in _DONE_AT
    if word in NOUN_LIKE_PARTICIPLES:
        return after in PREPOSITIONS or is_adverb(after)
    if is_participle(word):
        return ends_phrase(after) or after in DETERMINERS or fold(before) != before
    if is_adverb(word) or word in NEVER_NOUNS:
        return True
    if is_adjective(word) and word not in ADJECTIVES - PLAIN_ADJECTIVES:
        return ends_phrase(after)
    return is_finite(lower[start:], i - start)


def _noun(lower: list[str], start: int, end: int) -> int | None:
    """Position of the chunk's noun: its last word that can be one, before any adjectives after it."""
    for i in range(end - 1, start - 1, -1):
        word = lower[i]
        after = lower[i + 1] if i + 1 < len(lower) else ""
        if word in _NO_NOUNS or is_adverb(word) or word.endswith(("'s", "s'")):
            continue
        if len(word) < 2 or not any(map(str.isalpha, word)):
            continue
        if is_participle(word) and not (word in NOUN_LIKE_PARTICIPLES and i > start) and after != "of":
            continue
        if is_gerund(word) and i == start and after not in ("is", "are"):
            continue
        if word in PHOTO_NOUNS:
            return None
        return i
    return None
