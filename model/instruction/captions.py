"""The tokens that name a part of the photo -> its caption, as it stands in the text."""

from __future__ import annotations

from instructrestore.model.instruction.characters import is_wide, without_nothing
from instructrestore.model.instruction.plain_wishes import NAMELESS, SEPARATORS
from instructrestore.model.instruction.scanner import Token, expected
from instructrestore.model.instruction.swallowed import check_nothing_is_swallowed

CAPTION = "a caption, such as 'the dog'"
_LONGEST_ABBREVIATION = 3  # in letters: a full stop after a longer word ends a sentence
_COMMAS = frozenset(",;:—")


def listed(tokens: list[Token]) -> list[list[Token]]:
    """The tokens of each caption: of several where they are quoted and separated, and otherwise of one."""
    quoted = [token for token in tokens if token.kind == "quoted"]
    between = [token for token in tokens if token.kind == "mark" or is_separator(token)]
    if len(quoted) > 1 and len(quoted) + len(between) == len(tokens) and len(between) >= len(quoted) - 1:
        return [[token] for token in quoted]
    return [tokens]


def caption_of(text: str, tokens: list[Token]) -> str:
    """What stands in the text, without what shows nothing; in quotes, as it is.

    ValueError where it is hardly meant as a caption and not in quotes.
    """
    start = tokens[0].start
    tokens = without_commas(tokens)
    if not tokens:
        raise expected(text, start, CAPTION)
    if len(tokens) == 1 and tokens[0].kind == "quoted":
        caption = " ".join(tokens[0].text.split())
        if not caption:
            raise expected(text, start, CAPTION)
        return caption
    if len(tokens) == 1 and tokens[0].text in NAMELESS:
        raise expected(text, tokens[0].start, CAPTION)
    for end in (tokens[0], tokens[-1]):
        if is_separator(end):
            raise expected(text, end.start, CAPTION)
    for before, mark, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if _ends_a_sentence(text, before, mark, after):
            raise expected(text, after.start, "a verb, or quotes around the whole caption,")
    check_nothing_is_swallowed(text, tokens)
    return " ".join(without_nothing(text[tokens[0].start : tokens[-1].end]).split())


def without_commas(tokens: list[Token]) -> list[Token]:
    """The tokens without commas and dashes around; a full stop at the end may be that of "Washington D.C."."""
    start, end = 0, len(tokens)
    while end > 0 and is_comma(tokens[end - 1]):
        end -= 1
    while start < end and tokens[start].kind == "mark":
        start += 1
    return tokens[start:end]


def is_separator(token: Token) -> bool:
    """Whether it is a word that parts wishes, such as "and"."""
    return token.kind == "word" and token.text in SEPARATORS


def is_comma(token: Token) -> bool:
    """Whether it is a mark that never ends an abbreviation."""
    return token.kind == "mark" and token.text in _COMMAS


def _ends_a_sentence(text: str, before: Token, mark: Token, after: Token) -> bool:
    if mark.kind != "mark":
        return False
    wide = is_wide(text[mark.start])
    if mark.text not in ";!?" and (mark.text != "." or (len(before.text) <= _LONGEST_ABBREVIATION and not wide)):
        return False
    return wide or after.start > mark.end
