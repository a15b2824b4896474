"""Tokens -> clauses: where one wish ends and the next begins.

A clause starts with a verb, or without one where it goes on with the verb of the clause before ("make the dog clear
with 0.6, the sky with 1.1 and the rest with 1"). What may end a clause is decided from the few tokens before and after
the place, so the text is walked once:

- a separator (a mark, "and", "but", ...) and then a verb, or a name of the other parts;
- what completes a wish (a scale, a strength, "as it is", "clearer"), and then a separator;
- a plain state ("clear"), a separator, and then "the", "a", "my" ... or the background;
- what completes a wish, and then "make", "keep", "leave" ... or a line with any verb, without any separator; "without
  touching" anywhere.

Quoted captions are never looked into.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Literal

from instructrestore.model.instruction.plain_wishes import (
    AFTER_VERB,
    BACKGROUND,
    DETERMINERS,
    LEADS_TO_A_THING,
    LONGEST_PHRASE,
    OTHERS,
    POLITE_END,
    POLITE_START,
    SEPARATORS,
    STARTING_WORDS,
    STATES,
    STATES_WITH_STRENGTH,
    STRENGTHS,
    VERBS,
    State,
    Verb,
    WordSequence,
)
from instructrestore.model.instruction.scanner import Token, expected, is_number_like

_ENDS_A_WISH = frozenset({State.CLEARER, State.LESS_CLEAR, State.SOFTER, State.AS_IT_IS})
_AFTER_A_PART: tuple[Container[WordSequence], ...] = (STATES, STATES_WITH_STRENGTH, STRENGTHS, POLITE_END)


@dataclass(frozen=True)
class Clause:
    """One wish as it stands: `tokens` without the verb and without the separators around.

    strengths: of the words before the verb ("slightly sharpen").
    has_verb: False where the verb is that of the clause before.
    after: the word before it, where it goes on after another clause: usually its own verb.
    start, end: where the tokens stand in the text (end: where the next token would).
    """

    verb: Verb
    has_verb: bool
    after: str
    strengths: tuple[float, ...]
    tokens: list[Token]
    start: int
    end: int


def split(text: str, tokens: list[Token]) -> list[Clause]:
    """The clauses of a text, in order. ValueError where no verb starts it or a separator ends it."""
    clauses: list[Clause] = []
    tokens = _without_thanks(tokens)
    at, _ = _separators(tokens, 0)
    verb, strengths, at = _start(text, tokens, at)
    has_verb = True
    while True:
        end, following, opening = _end_of_clause(text, tokens, at, verb, has_verb)
        start = tokens[at].start if at < len(tokens) else len(text)
        until = tokens[end].start if end < len(tokens) else len(text)
        after = tokens[at - 1].text if clauses else ""
        clauses.append(Clause(verb, has_verb, after, strengths, tokens[at:end], start, until))
        if following == len(tokens):
            return clauses
        has_verb = opening is not None
        verb, strengths, at = opening or (verb, (), following)


def phrase_end(tokens: list[Token], start: int, phrases: Container[WordSequence]) -> int:
    """The end of the longest phrase that begins at `start`; `start` where none does."""
    words = _words(tokens[start : start + LONGEST_PHRASE])
    return start + next((n for n in range(len(words), 0, -1) if words[:n] in phrases), 0)


def phrase_start(tokens: list[Token], start: int, end: int, phrases: Container[WordSequence]) -> int:
    """The start of the longest phrase that lies in tokens[start:end] and ends at `end`; `end` where none does."""
    for length in range(min(LONGEST_PHRASE, end - start), 0, -1):
        words = _words(tokens[end - length : end])
        if len(words) == length and words in phrases:
            return end - length
    return end


def scale_start(tokens: list[Token], start: int, end: int) -> tuple[int, int] | None:
    """Where the "with" stands that belongs to a number at the end of tokens[start:end], and where that number."""
    number = end - 1
    if number > start and tokens[number].text in ("%", "percent") and tokens[number].kind == "word":
        number -= 1
    if number <= start or tokens[number].kind != "word" or not is_number_like(tokens[number].text):
        return None
    with_ = number - 1
    while with_ > start and number - with_ < 4 and tokens[with_].text in ("the", "a", "scale", "of"):
        with_ -= 1
    return (with_, number) if tokens[with_].kind == "word" and tokens[with_].text == "with" else None


def others_end(tokens: list[Token], start: int, names: Container[WordSequence] = OTHERS) -> int:
    """The end of a name of the other parts at `start`; `start` where none is ("the rest of the cake" is none)."""
    end = phrase_end(tokens, start, names)
    return start if end < len(tokens) and tokens[end].text == "of" else end


def strength_start(tokens: list[Token], start: int, end: int) -> int:
    """Where the strength starts that ends tokens[start:end]; `end` where none does ("parked in a lot" has none)."""
    at = phrase_start(tokens, start, end, STRENGTHS)
    led_to = at < end and at > start and tokens[at].text == "a" and tokens[at - 1].text in LEADS_TO_A_THING
    return end if led_to else at


def _words(tokens: list[Token]) -> WordSequence:
    """The words up to the first token that is none."""
    words: list[str] = []
    for token in tokens:
        if token.kind != "word":
            break
        words.append(token.text)
    return tuple(words)


def _without_thanks(tokens: list[Token]) -> list[Token]:
    """Without the marks and the "please" at the very end."""
    end = len(tokens)
    while True:
        before = phrase_start(tokens, 0, end, POLITE_END)
        if before == end and end > 0 and tokens[end - 1].kind == "mark":
            before = end - 1
        if before == end:
            return tokens[:end]
        end = before


def _separators(tokens: list[Token], at: int) -> tuple[int, bool]:
    """The end of the separators at `at`, and whether a word such as "and" is among them."""
    has_word = False
    while at < len(tokens) and (
        tokens[at].kind == "mark" or (tokens[at].kind == "word" and tokens[at].text in SEPARATORS)
    ):
        has_word |= tokens[at].kind == "word"
        at += 1
    return at, has_word


def opening_at(tokens: list[Token], at: int) -> tuple[Verb, tuple[float, ...], int] | None:
    """The verb at `at`, the strengths before it and the place after it: "please slightly sharpen"."""
    strengths: list[float] = []
    while at < len(tokens) and tokens[at].kind == "word":
        end = phrase_end(tokens, at, VERBS)
        if end > at:
            if tokens[at].text == "not" and end < len(tokens) and tokens[end].text.endswith("ing"):
                return None  # "a man in red and not wearing a hat"
            verb = VERBS[_words(tokens[at:end])]
            only = end < len(tokens) and tokens[end].kind == "word" and tokens[end].text in AFTER_VERB
            return verb, tuple(strengths), end + only
        end = phrase_end(tokens, at, STRENGTHS)
        if end > at:
            strengths.append(STRENGTHS[_words(tokens[at:end])])
        elif tokens[at].text not in POLITE_START:
            return None
        at = max(end, at + 1)
    return None


def _start(text: str, tokens: list[Token], at: int) -> tuple[Verb, tuple[float, ...], int]:
    opening = opening_at(tokens, at)
    if opening is None:
        start = tokens[at].start if at < len(tokens) else len(text)
        raise expected(text, start, "a verb such as 'make', 'sharpen', 'keep' or 'blur'")
    return opening


def _end_of_clause(
    text: str, tokens: list[Token], start: int, verb: Verb, has_verb: bool
) -> tuple[int, int, tuple[Verb, tuple[float, ...], int] | None]:
    """The end of the clause whose tokens begin at `start`, the place where the next one starts, and its verb if any."""
    at = start
    while at < len(tokens):
        following, has_word = _separators(tokens, at)
        if following == len(tokens):
            if has_word:
                raise expected(text, len(text), "another wish")
            return at, following, None
        strength_end = phrase_end(tokens, following - 1, STRENGTHS) if has_word else at
        if strength_end >= following > at:  # "but not too much"
            at = strength_end
            continue
        if following > at:
            opening = opening_at(tokens, following)
            if opening or _names_the_others(tokens, following):
                return at, following, opening
            complete = _complete(tokens, start, at, verb, has_verb)
            if complete == "wish" or (complete == "state" and _names_another(tokens, following)):
                return at, following, None
            at = following
        line = at > start and "\n" in text[tokens[at - 1].end : tokens[at].start]
        if at > start and tokens[at].kind == "word" and (line or tokens[at].text in (*STARTING_WORDS, "without")):
            opening = opening_at(tokens, at)
            complete = (opening or line) and _complete(tokens, start, at, verb, has_verb)
            if complete == "wish" or (opening and (complete or tokens[at].text == "without")):
                return at, at, opening
        at += 1
    return at, at, None


def _names_the_others(tokens: list[Token], at: int) -> bool:
    """Whether a name of the other parts stands at `at` that does not go on ("the others standing around him")."""
    end = others_end(tokens, at)
    if end == at or end == len(tokens) or tokens[end].kind == "mark":
        return end > at
    following = tokens[end].text in SEPARATORS or tokens[end].text in ("with", "look", "be")
    return (
        following
        or any(phrase_end(tokens, end, phrases) > end for phrases in _AFTER_A_PART)
        or bool(tokens[end].text in STARTING_WORDS and opening_at(tokens, end))
    )


def _names_another(tokens: list[Token], at: int) -> bool:
    determined = tokens[at].kind == "word" and tokens[at].text in DETERMINERS
    return determined or phrase_end(tokens, at, BACKGROUND) > at


def _complete(tokens: list[Token], start: int, end: int, verb: Verb, has_verb: bool) -> Literal["wish", "state"] | None:
    """Whether tokens[start:end] end as a wish does: in a scale or a strength, "as it is", or a state alone."""
    scale = scale_start(tokens, start, end)
    before = scale[0] if scale else end
    before = strength_start(tokens, start, before)
    if before == start:
        return None
    if verb in (Verb.MAKE, Verb.KEEP):
        state_at = phrase_start(tokens, start, before, STATES)
        if state_at < before:
            state = STATES[_words(tokens[state_at:before])]
            return "wish" if before < end or state in _ENDS_A_WISH else "state"
        if phrase_start(tokens, start, before, STATES_WITH_STRENGTH) < before:
            return "wish"
        if verb is Verb.MAKE and has_verb and not (scale and others_end(tokens, start) > start):
            return None  # "make a bus with 2, 3 or 4 doors clear": the caption goes on
    return "wish" if before < end else None
