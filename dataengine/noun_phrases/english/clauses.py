"""Finite verbs: what makes a noun phrase a sentence."""

from __future__ import annotations

from instructrestore.dataengine.noun_phrases.english.noun_phrase import fold
from instructrestore.dataengine.noun_phrases.english.verbs import (
    AUXILIARIES,
    BARE,
    BE,
    HAVE,
    MODALS,
    NEEDS_OBJECT,
    NOUN_LIKE,
    PAST,
    THIRD_PERSON,
    is_gerund,
)
from instructrestore.dataengine.noun_phrases.english.words import (
    ADVERBS,
    CONJUNCTIONS,
    DETERMINERS,
    LY_NOT_ADVERBS,
    NUMBERS,
    OPENERS,
    PLAIN_ADJECTIVES,
    PREPOSITIONS,
    RELATIVES,
    SUBJECT_PRONOUNS,
    word_set,
)

# Auxiliaries that are nouns too ("a can", "a might"), or not finite ("be", "been").
_NOT_FINITE_ALONE = word_set("be been am can might must will")
_NOUNS_TOO = word_set("can might must will")
_AFTER_MODAL = word_set("be have see not also")
DEMONSTRATIVES = word_set("this that these those")
_PLURAL_DETERMINERS = (NUMBERS - {"one"}) | word_set("several many these those various multiple few both")
_POSSESSIVES = word_set("his her their its")


def is_adverb(word: str) -> bool:
    """Whether `word` (lower case) is an adverb, by list or by its ending -ly."""
    return word in ADVERBS or (len(word) > 4 and word.endswith("ly") and word not in LY_NOT_ADVERBS)


def is_auxiliary(words: list[str], i: int) -> bool:
    """Whether the word at `i` is a form of "be", "have", "do" or a modal, and not a noun such as "a can"."""
    word = words[i]
    if word not in AUXILIARIES:
        return False
    return word not in _NOUNS_TOO or (words[i + 1 : i + 2] != [] and words[i + 1] in _AFTER_MODAL)


def is_finite(words: list[str], i: int) -> bool:
    """Whether the word at `i` of lower-case `words` is a finite verb, as far as its neighbours tell.

    A form that is also a common noun ("stands", "watches") counts as a verb only after a noun that it agrees with and
    before something that the verb would take.
    """
    word = words[i]
    after = words[i + 1] if i + 1 < len(words) else ""
    if word in BE or word in HAVE or word in MODALS:
        return word not in _NOT_FINITE_ALONE or (after in _AFTER_MODAL and word not in BE)
    if i == 0:
        return False
    before = words[i - 1]
    if before in DETERMINERS and before not in RELATIVES and (before not in DEMONSTRATIVES or word in NOUN_LIKE):
        return False
    if before in PREPOSITIONS or before == "to" or before in PLAIN_ADJECTIVES:
        return False
    if before.endswith(("'s", "s'")):
        return False
    if word in PAST:
        return True
    if before in CONJUNCTIONS:
        return word in THIRD_PERSON and word not in NOUN_LIKE
    opens = after in OPENERS or after in NUMBERS or after in _POSSESSIVES
    plural = fold(before) != before
    if word in THIRD_PERSON:
        agrees = not plural
    elif word in BARE:
        agrees = plural or (opens and word not in NOUN_LIKE)
    else:
        return False
    if word not in NOUN_LIKE or not agrees:
        return agrees
    if words[0] in _PLURAL_DETERMINERS and all(fold(inner) == inner for inner in words[1:i]):
        return False  # "two market stands"
    return opens or (word not in NEEDS_OBJECT and (after in PREPOSITIONS or is_adverb(after)) and after != "of")


def has_finite_verb(words: list[str]) -> bool:
    """Whether lower-case `words` contain a finite verb outside a relative clause: then they are a sentence.

    "people that are walking" and "the tracks the train is on" stay noun phrases, "people are walking" does not.
    """
    licensed = False
    for i, word in enumerate(words):
        if (word in RELATIVES and i > 0) or _opens_contact_clause(words, i):
            licensed = True
        elif is_finite(words, i):
            if not licensed:
                return True
            licensed = _continues(words, i)
    return False


def _opens_contact_clause(words: list[str], i: int) -> bool:
    """Whether a clause without a relative pronoun opens at `i`: a new noun phrase right after the first one."""
    if i < 1 or not (words[i] in OPENERS or words[i] in SUBJECT_PRONOUNS) or words[i - 1] in DETERMINERS:
        return False
    return not any(word in PREPOSITIONS or word in CONJUNCTIONS or is_gerund(word) for word in words[:i])


def _continues(words: list[str], i: int) -> bool:
    """Whether a further verb belongs to the same relative clause: auxiliaries in a row, or verbs joined by "and"."""
    rest = words[i + 1 :]
    return bool(rest) and (rest[0] in AUXILIARIES or is_adverb(rest[0]) or not CONJUNCTIONS.isdisjoint(rest))
