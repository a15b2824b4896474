"""Makes what a sentence says about its noun part of the noun phrase.

"the sky is blue" -> "the blue sky"; "the cow is standing on the field" -> "the cow standing on the field";
"the bird has a beak" -> "the bird with a beak"; "a girl wears a shirt" -> "a girl wearing a shirt".
"""

from __future__ import annotations

from instructrestore.dataengine.noun_phrases.english.chunk import Core, ends_phrase, is_adjective
from instructrestore.dataengine.noun_phrases.english.clauses import is_adverb, is_finite
from instructrestore.dataengine.noun_phrases.english.verbs import (
    BE,
    FINITE,
    HAVE,
    MODALS,
    SEEMING,
    is_gerund,
    is_participle,
    present_participle,
)
from instructrestore.dataengine.noun_phrases.english.words import (
    CONJUNCTIONS,
    DETERMINERS,
    OPENERS,
    PREPOSITIONS,
    RELATIVES,
    SUBJECT_PRONOUNS,
    SUBORDINATORS,
    word_set,
)

# Longest run of adjectives that is moved in front of the noun.
_MAX_FRONTED = 5
_IN_COLOUR = (["in", "color"], ["in", "colour"], ["in", "shape"], ["in", "size"])
# Participles that only say that the thing is visible.
_SEEN = word_set("seen visible shown present depicted pictured noticed observed found")


def with_predicate(words: list[str], lower: list[str], core: Core, predicate: bool = True) -> list[str]:
    """The words of the noun phrase: core, modifiers, and (unless told otherwise) the predicate as a modifier."""
    stop = _clause_end(lower, core.end)
    verb = next((i for i in range(core.end, stop) if is_finite(lower, i)), None)
    before = words[core.start : core.end]
    if verb is None:
        relative = next((i for i in range(core.end, len(lower)) if lower[i] in RELATIVES), None)
        if relative == stop:
            return before + words[core.end : _relative_end(lower, stop)]
        return before + words[core.end : stop]
    modifiers = words[core.end : verb]
    if modifiers and modifiers[-1] == "," and modifiers[0] != ",":
        modifiers = modifiers[:-1]
    if not predicate:
        return before + modifiers
    adjectives, behind = _convert(words, lower, verb)
    return _with_adjectives(words, lower, core, adjectives) + modifiers + behind


def front(words: list[str], lower: list[str], core: Core) -> list[str]:
    """The core noun phrase with the adjectives from its predicate."""
    if core.end < len(lower) and lower[core.end] in BE:
        adjectives, _ = _convert(words, lower, core.end)
        return _with_adjectives(words, lower, core, adjectives)
    return words[core.start : core.end]


def _with_adjectives(words: list[str], lower: list[str], core: Core, adjectives: list[str]) -> list[str]:
    at = core.start
    for i in range(core.start, core.end - 1):
        if lower[i] in DETERMINERS or lower[i].endswith(("'s", "s'")) or lower[i] == "of":
            at = i + 1
    before = words[core.start : at]
    if adjectives and before and before[-1].casefold() in ("a", "an"):
        before[-1] = "an" if adjectives[0][0] in "aeiouAEIOU" else "a"
    return before + adjectives + words[at : core.end]


def _clause_end(lower: list[str], start: int) -> int:
    """Where the clause of the first verb ends: before a relative or another clause."""
    for i in range(start, len(lower)):
        word = lower[i]
        after = lower[i + 1] if i + 1 < len(lower) else ""
        if word in RELATIVES or word in SUBORDINATORS:
            return i
        if i == start and word in OPENERS:  # "the tracks | the train is on"
            return i
        if word in SUBJECT_PRONOUNS and i > start and lower[i - 1] not in PREPOSITIONS:
            return i
        if word == "," and (after in SUBJECT_PRONOUNS or after in CONJUNCTIONS or after in OPENERS):
            return i
    return len(lower)


def _relative_end(lower: list[str], start: int) -> int:
    """Where a relative clause ends: at a comma, or before a verb that is not its first."""
    first = None
    for i in range(start, len(lower)):
        if lower[i] == "," or (i > start and (lower[i] in RELATIVES or lower[i] in SUBORDINATORS)):
            return i
        if is_finite(lower, i):
            if first is not None and lower[first] not in BE | HAVE | MODALS:
                return start
            first = i
    return len(lower) if first is not None else start


def _convert(words: list[str], lower: list[str], verb: int) -> tuple[list[str], list[str]]:
    """The predicate that starts with the finite verb at `verb`: adjectives to put in front, words to put after it."""
    end = _predicate_end(lower, verb + 1)
    word = lower[verb]
    rest = range(verb + 1, end)
    if word in SEEMING and lower[verb + 1 : verb + 3] == ["to", "be"]:
        return _complement(words, lower, verb + 3, end)
    if word in BE or (word in SEEMING and verb + 1 < end and is_adjective(lower[verb + 1])):
        return _complement(words, lower, verb + 1, end)
    if word in HAVE:
        if verb + 1 < end and lower[verb + 1] == "been":
            return _complement(words, lower, verb + 2, end)
        if not rest or lower[verb + 1] == "to" or _is_perfect(lower, verb + 1):
            return [], []
        return [], ["with", *words[verb + 1 : end]]
    if word in MODALS:
        if lower[verb + 1 : verb + 2] == ["be"]:
            return _complement(words, lower, verb + 2, end)
        return [], []
    if word in SEEMING or word not in FINITE or lower[verb + 1 : verb + 2] == ["that"]:
        return [], []
    return [], [present_participle(word), *words[verb + 1 : end]]


def _is_perfect(lower: list[str], i: int) -> bool:
    """Whether "has" and the participle at `i` are a perfect ("has parked on"), not a possession ("has folded arms")."""
    return is_participle(lower[i]) and (i + 1 == len(lower) or ends_phrase(lower[i + 1]))


def _predicate_end(lower: list[str], start: int) -> int:
    """Where the predicate ends: before a second verb's clause, a relative or a subordinate clause."""
    joint = None
    for i in range(start, len(lower)):
        word = lower[i]
        if (
            word in SUBORDINATORS
            or (word in RELATIVES and i > start)
            or (word in SUBJECT_PRONOUNS and i > start and lower[i - 1] not in PREPOSITIONS)
        ):
            return i
        if word in (",", "and", "or", "but", "with"):
            joint = i
        if i > start and is_finite(lower, i):
            return joint if joint is not None else start
    return len(lower)


def _complement(words: list[str], lower: list[str], start: int, end: int) -> tuple[list[str], list[str]]:
    """What follows a form of "to be"."""
    if start >= end:
        return [], []
    first = start
    while first < end and is_adverb(lower[first]) and not is_adjective(lower[first]) and first + 1 < end:
        first += 1
    word = lower[first]
    if word in _SEEN:
        return [], words[first + 1 : end]
    if word in ("not", "no") or "not" in lower[start:first]:
        return [], []
    if word in DETERMINERS:
        return [], []
    if is_gerund(word) or word in PREPOSITIONS or word == "being" or word in ("able", "about", "ready", "due"):
        return [], words[start:end] if first == start else words[first:end]
    return _adjectives(words, lower, start, end)


def _adjectives(words: list[str], lower: list[str], start: int, end: int) -> tuple[list[str], list[str]]:
    """Adjectives alone go in front of the noun; with a complement ("full of people") they stay behind it."""
    stop = start
    while stop < end and not (lower[stop] in PREPOSITIONS or lower[stop] in DETERMINERS or is_gerund(lower[stop])):
        if lower[stop] in CONJUNCTIONS or lower[stop] == ",":
            after = lower[stop + 1] if stop + 1 < end else ""
            if (ends_phrase(after) and not is_adverb(after)) or is_gerund(after):
                break
        stop += 1
    follows = lower[stop : stop + 2]
    joined = stop < end and (lower[stop] in CONJUNCTIONS or lower[stop] == ",")
    alone = stop == end or joined or (lower[stop] == "with" and not is_participle(lower[stop - 1]))
    if follows in _IN_COLOUR:
        return words[start:stop], []
    if not alone or stop - start > _MAX_FRONTED:
        return [], words[start:end]
    behind = words[stop:end] if stop < end and lower[stop] == "with" else []
    if any(not (is_adjective(w) or is_adverb(w) or w in CONJUNCTIONS or w == ",") for w in lower[start:stop]):
        # Bare nouns: a material ("the wall is brick") goes in front, anything longer is left out.
        short = stop - start <= 2 or (stop - start == 3 and lower[start + 1] in CONJUNCTIONS)
        return (words[start:stop], behind) if short else ([], behind)
    if is_adverb(lower[stop - 1]):
        return [], words[start:stop] + behind
    return words[start:stop], behind
