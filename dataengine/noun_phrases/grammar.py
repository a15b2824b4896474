"""The embedded grammar: a region's description -> its noun phrase and subject, by rules of English and without a model.

It does what Qwen does in the paper: "the sky is blue" -> ("the blue sky", "sky"). A sentence is read as

    opening, core noun phrase, modifiers, predicate
    "there is" "a wooden chair" "with its back to us" "is standing near a plant"

The opening is dropped and the predicate becomes part of the noun phrase (`predicate.py`). Of the resulting phrases,
longest first, the first valid one is the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from instructrestore.dataengine.noun_phrases.english.caption_length import MAX_CAPTION_TOKENS, clip_tokens
from instructrestore.dataengine.noun_phrases.english.chunk import Core, read_core
from instructrestore.dataengine.noun_phrases.english.noun_phrase import NounPhrase, fold
from instructrestore.dataengine.noun_phrases.english.opening import VAGUE, after_opening, equated
from instructrestore.dataengine.noun_phrases.english.predicate import front, with_predicate
from instructrestore.dataengine.noun_phrases.english.verbs import BE, HAVE, is_gerund, is_participle
from instructrestore.dataengine.noun_phrases.english.words import (
    ARTICLES,
    CONJUNCTIONS,
    DETERMINERS,
    PREPOSITIONS,
    RELATIVES,
    SUBORDINATORS,
    word_set,
)
from instructrestore.dataengine.noun_phrases.prompt import MAX_DESCRIPTION_CHARACTERS
from instructrestore.dataengine.noun_phrases.validation import faults

REVISION = "1"

_MAX_SENTENCES = 8

_QUOTES = re.compile(r"``|''|[\"“”«»]")
# What stands for an apostrophe; accents and primes only inside a word ("a man`s face").
_APOSTROPHE = re.compile(r"[’‛ʼ＇]|(?<=[^\W_])[`´′](?=[^\W_])")
_POSSESSIVE = re.compile(r"(?<=\w) ('s|n't)\b")
_SENTENCE_END = re.compile(r"[.!?;:](?=\s|$)|[\n\r!?;|]|\s[-–—]+\s")
_TOKEN = re.compile(r"[^\W_]+(?:['\-/.][^\W_]+)*(?:(?<=s)'(?=\s+\w))?|,|&")
_DANGLING = (
    ARTICLES
    | word_set("my your their its our every no")
    | CONJUNCTIONS
    | RELATIVES
    | SUBORDINATORS
    | BE
    | HAVE
    | {",", "of", "with", "at", "from", "to", "by"}
)
_SMALL_WORDS = DETERMINERS | PREPOSITIONS | CONJUNCTIONS | {","}


@dataclass(frozen=True)
class _Reading:
    """A sentence as it is read: its words, their lower-case forms, and the core noun phrase in them."""

    words: list[str]
    lower: list[str]
    core: Core


class Grammar:
    """Turns descriptions into noun phrases by rule: deterministic, offline, thousands of descriptions a second.

    strict: the rules of a retry. The phrase is only the determiner, the adjectives and the noun, without clauses,
        modifiers, repeated or garbled words: shorter and safer than the first answer.
    """

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict

    def __call__(self, description: str) -> NounPhrase | None:
        """The noun phrase and subject of `description`, or None if no valid noun phrase is found.

        The result has no fault (`validation.faults`), and the grammar reads the same subject in it. Only the first
        1,000 characters are read.
        """
        for sentence in _sentences(description):
            reading = _read(sentence)
            if reading is None:
                continue
            subject = " ".join(reading.lower[reading.core.subject : reading.core.end])
            for words in self._candidates(reading):
                parsed = NounPhrase(" ".join(words).replace(" ,", ","), subject)
                if not faults(parsed, description) and _subject(parsed.text) == subject:
                    return parsed
        return None

    def _candidates(self, reading: _Reading) -> Iterator[list[str]]:
        """Phrases to choose from, the fullest first."""
        core = reading.words[reading.core.start : reading.core.end]
        if self.strict:
            yield _strict_core(reading)
        else:
            for predicate in (True, False):
                words = with_predicate(reading.words, reading.lower, reading.core, predicate)
                yield from _cut_at_joints(words, len(core))
        yield core
        yield [word for word in core if not _is_garbled(word)]
        yield reading.words[reading.core.subject : reading.core.end]


def _sentences(description: str) -> list[list[str]]:
    text = _QUOTES.sub(" ", _APOSTROPHE.sub("'", description[:MAX_DESCRIPTION_CHARACTERS]))
    text = _POSSESSIVE.sub(r"\1", text)
    parts = (_plain_first(_without_repeats(_TOKEN.findall(part))) for part in _SENTENCE_END.split(text))
    return [part for part in parts if part][:_MAX_SENTENCES]


def _without_repeats(words: list[str]) -> list[str]:
    """The words without immediate repetitions."""
    return [word for i, word in enumerate(words) if i == 0 or word.casefold() != words[i - 1].casefold()]


def _read(words: list[str]) -> _Reading | None:
    lower = [word.casefold() for word in words]
    core = read_core(lower, after_opening(lower))
    if core is not None and fold(lower[core.end - 1]) in VAGUE:
        named = equated(lower, core.end)
        core = core if named is None else read_core(lower, named) or core
    return None if core is None else _Reading(words, lower, core)


def _subject(noun_phrase: str) -> str | None:
    """The subject that the grammar reads in a noun phrase."""
    reading = next((r for r in map(_read, _sentences(noun_phrase)) if r is not None), None)
    return None if reading is None else " ".join(reading.lower[reading.core.subject : reading.core.end])


def _cut_at_joints(words: list[str], core_length: int) -> Iterator[list[str]]:
    """`words` without dangling ends, cut at the last joint, at the one before, and so on; none over 40 tokens.

    The core is never cut.
    """
    words = _without_dangling(words)
    while len(words) > core_length:
        if clip_tokens(" ".join(words)) <= MAX_CAPTION_TOKENS:
            yield words
        joint = next((i for i in range(len(words) - 1, core_length, -1) if _is_joint(words[i].casefold())), core_length)
        words = _without_dangling(words[:joint])
    yield words


def _is_joint(word: str) -> bool:
    return word == "," or word in PREPOSITIONS or word in RELATIVES or word in CONJUNCTIONS or is_gerund(word)


def _without_dangling(words: list[str]) -> list[str]:
    end = len(words)
    while end > 1 and (words[end - 1].casefold() in _DANGLING or _dangles(words, end)):
        end -= 1
    return words[:end]


def _dangles(words: list[str], end: int) -> bool:
    """Whether the last word is a participle that has lost what followed: "the orange, termed"."""
    last = words[end - 1].casefold()
    return words[end - 2] == "," and (is_gerund(last) or is_participle(last))


def _strict_core(reading: _Reading) -> list[str]:
    """Determiner, adjectives and noun, each word once and none garbled."""
    core = reading.core
    kept: list[str] = []
    for word in front(reading.words, reading.lower, core):
        again = word.casefold() in map(str.casefold, kept) and word.casefold() not in _SMALL_WORDS
        if not again and not _is_garbled(word):
            kept.append(word)
    return kept


def _is_garbled(word: str) -> bool:
    """Whether a word is unlikely to be English: no vowel, three equal letters in a row, or mixed letters and digits."""
    lower = word.casefold()
    if len(lower) < 3 or not lower.isalnum():
        return False
    no_vowel = lower.isalpha() and not set(lower) & set("aeiouy")
    triple = any(lower[i] == lower[i + 1] == lower[i + 2] for i in range(len(lower) - 2))
    return no_vowel or triple or not (lower.isalpha() or lower.isdigit())


def _plain_first(words: list[str]) -> list[str]:
    """A sentence with its first word in lower case, unless it is a name; all in lower case if all was in capitals."""
    if not words:
        return words
    if all(word.isupper() for word in words if word.isalpha()) and len(words) > 1:
        return [word.lower() for word in words]
    first = words[0]
    is_name = len(words) > 1 and words[1][:1].isupper() and first.casefold() not in DETERMINERS | PREPOSITIONS
    shouted = len(first) > 1 and first.isupper()
    return words if is_name or shouted else [first.lower(), *words[1:]]
