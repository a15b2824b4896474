"""Text -> tokens: words, marks and quoted captions, each with its place; and what a scale looks like.

The text is read once from left to right, every sign as its ASCII sister (`characters`); nothing is tried twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from instructrestore.model.instruction.characters import NOTHING, OPTIONAL_QUOTES, closing_quotes, reading

MAX_SCALE = 4.0

# White space is no control character here; lone surrogates cannot be encoded.
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff]")
_BLANKS = re.compile(rf"[\s{NOTHING}]*")
# Marks part words, but for those of a number: "0,8", "1.5", ".5".
_WORD = re.compile(r"(?:[^\s,;:.!?—]|(?<=[0-9])[.,](?=[0-9])|\.(?=[0-9]))+")
# Signs between blanks part like commas: bullets, slashes, bars; not "=", which may stand before a scale.
_LONE_SIGNS = re.compile(r"[^\w\s%&='\"\u0080-\U0010ffff]+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\])')

_DECIMAL = re.compile(r"(?:[0-9]+(?:[.,][0-9]+)?|\.[0-9]+)")
# Well-formed or not, but neither "3D" nor "90s", which end captions.
_NUMBER_LIKE = re.compile(
    r"[(=]?[+\-−%]?(?:[0-9]*[.,][0-9]|[0-9][0-9.,/%)]*$|[0-9.,]+e[+\-]?[0-9]+$|(?:nan|inf|infinity)$)"
)


@dataclass(frozen=True)
class Token:
    """A word, a mark (one of , ; : . ! ? and the dash) or a quoted caption.

    text: a word in lower case, a word's and a mark's characters as the grammar reads them; what stands between quotes.
    start, end: where it stands in the text, quotes included.
    """

    kind: Literal["word", "mark", "quoted"]
    text: str
    start: int
    end: int


def scan(text: str) -> list[Token]:
    """The tokens of `text`. ValueError for a control character and for a double quote that is never closed.

    Quotation marks of all languages hold a caption together. They open where a word could start; a single one closes
    where a word ends, and is an apostrophe if nothing closes it. In straight double quotes a backslash keeps a quote
    or a backslash as it is.
    """
    control = _CONTROL.search(text)
    if control:
        raise expected(text, control.start(), f"no control character (here {control.group()!r})")
    tokens: list[Token] = []
    unclosed: set[str] = set()
    read = reading(text)
    at = _blanks(read, 0)
    while at < len(text):
        token = _quoted(text, at, unclosed) or _word(read, at) or Token("mark", read[at], at, at + 1)
        tokens.append(token)
        at = _blanks(read, token.end)
    return tokens


def is_number_like(word: str) -> bool:
    """Whether a word is meant as a number, well-formed or not: "0.8", "80%", "-1", "1.0.0", "(0.8)", "½", "nan"."""
    return _NUMBER_LIKE.match(word) is not None or word.isnumeric()


def scale_at(text: str, number: Token, percent: bool) -> float:
    """The scale a word gives: "0.8", ".8", "0,8" or "80%". ValueError for anything else and above MAX_SCALE.

    percent: a per cent sign follows as a word of its own.
    """
    word = number.text
    if not percent and word.endswith("%"):
        word, percent = word[:-1], True
    if not _DECIMAL.fullmatch(word):
        raise expected(text, number.start, "a scale such as 0.8, 0,8 or 80%")
    scale = float(word.replace(",", ".") + ("e-2" if percent else ""))
    if scale > MAX_SCALE:
        raise expected(text, number.start, f"a scale from 0 to {MAX_SCALE:g}")
    return scale


class NotUnderstood(ValueError):
    """An instruction that cannot be read, in one sentence. at: the character of the text where, from 0."""

    def __init__(self, sentence: str, at: int) -> None:
        super().__init__(sentence)
        self.at = at


def expected(text: str, start: int, what: str) -> NotUnderstood:
    """One sentence: what was expected, at which character (from 1), and what stands there."""
    rest = " ".join(text[start : start + 60].split())
    found = repr(rest if len(rest) <= 30 else rest[:27] + "...") if rest else "the end of the instruction"
    return NotUnderstood(f"expected {what} at character {start + 1}, found {found}", start)


def _blanks(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    assert blanks
    return blanks.end()


def _word(read: str, at: int) -> Token | None:
    """The word at `at`; signs that stand alone are a comma."""
    word = _WORD.match(read, at)
    if not word:
        return None
    seen = word.group().rstrip(NOTHING)
    if _LONE_SIGNS.fullmatch(seen):
        return Token("mark", ",", at, at + len(seen))
    return Token("word", seen.replace(NOTHING, "").lower(), at, at + len(seen))


def _quoted(text: str, at: int, unclosed: set[str]) -> Token | None:
    """The quoted caption that starts at `at`, if one does.

    unclosed: the kinds of optional quote that have no closing one from here on, so that it is searched for only once.
    """
    opening = text[at]
    if opening == '"':
        quoted = _QUOTED.match(text, at)
        if not quoted:
            raise expected(text, at, "a closing quote after the one that opens")
        return Token("quoted", _ESCAPED.sub(r"\1", quoted.group(1)), at, quoted.end())
    closing = closing_quotes(opening)
    if not closing or opening in unclosed:
        return None
    end = _closing(closing).search(text, at + 1)
    if end:
        return Token("quoted", text[at + 1 : end.start()], at, end.end())
    if opening not in OPTIONAL_QUOTES:
        raise expected(text, at, "a closing quote after the one that opens")
    unclosed.add(opening)
    return None


@cache
def _closing(quotes: str) -> re.Pattern[str]:
    """One of the quotes; an apostrophe inside a word is none."""
    return re.compile(rf"['’＇](?![^\W_])(?<=[{quotes}])|(?!['’＇])[{quotes}]")
