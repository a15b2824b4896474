"""Text -> tokens: words, marks and quoted captions, each with its place; and what a scale looks like.

The text is read once from left to right; nothing is tried twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

MAX_SCALE = 4.0

# White space is no control character here; lone surrogates cannot be encoded.
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff]")
_BLANKS = re.compile(r"\s*")
# Marks part words, but for those of a number: "0,8", "1.5", ".5".
_WORD = re.compile(r"(?:[^\s,;:.!?—–]|(?<=[0-9])[.,](?=[0-9])|\.(?=[0-9]))+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\])')
_CLOSING = {"“": "”", "'": "'", "‘": "’"}
_APOSTROPHES = "'’"

_DECIMAL = re.compile(r"(?:[0-9]+(?:[.,][0-9]+)?|\.[0-9]+)")
# Well-formed or not, but neither "3D" nor "90s", which end captions.
_NUMBER_LIKE = re.compile(
    r"[(=]?[+\-−]?(?:[0-9]*[.,][0-9]|[0-9][0-9.,/%)]*$|[0-9.,]+e[+\-]?[0-9]+$|(?:nan|inf|infinity)$)"
)


@dataclass(frozen=True)
class Token:
    """A word, a mark (one of , ; : . ! ? and dashes) or a quoted caption.

    text: a word in lower case with straight apostrophes; a mark as it is; what stands between quotes.
    start, end: where it stands in the text, quotes included.
    """

    kind: Literal["word", "mark", "quoted"]
    text: str
    start: int
    end: int


def scan(text: str) -> list[Token]:
    """The tokens of `text`. ValueError for a control character and for a double quote that is never closed.

    Double quotes (straight or curly) and single ones hold a caption together. They open where a word could start; a
    single one closes where a word ends, and is an apostrophe if nothing closes it. In straight double quotes a
    backslash keeps a quote or a backslash as it is.
    """
    control = _CONTROL.search(text)
    if control:
        raise expected(text, control.start(), f"no control character (here {control.group()!r})")
    tokens: list[Token] = []
    unclosed: set[str] = set()
    at = _blanks(text, 0)
    while at < len(text):
        token = _quoted(text, at, unclosed) or _word(text, at) or Token("mark", text[at], at, at + 1)
        tokens.append(token)
        at = _blanks(text, token.end)
    return tokens


def is_number_like(word: str) -> bool:
    """Whether a word is meant as a number, well-formed or not: "0.8", "80%", "-1", "1.0.0", "(0.8)", "nan"."""
    return _NUMBER_LIKE.match(word) is not None


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


def expected(text: str, start: int, what: str) -> ValueError:
    """One sentence: what was expected, at which character (from 1), and what stands there."""
    rest = " ".join(text[start : start + 60].split())
    found = repr(rest if len(rest) <= 30 else rest[:27] + "...") if rest else "the end of the instruction"
    return ValueError(f"expected {what} at character {start + 1}, found {found}")


def _blanks(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    assert blanks
    return blanks.end()


def _word(text: str, at: int) -> Token | None:
    word = _WORD.match(text, at)
    return word and Token("word", word.group().lower().replace("’", "'"), at, word.end())


def _quoted(text: str, at: int, unclosed: set[str]) -> Token | None:
    """The quoted caption that starts at `at`, if one does.

    unclosed: the kinds of single quote that have no closing one from here on, so that it is searched for only once.
    """
    if text[at] == '"':
        quoted = _QUOTED.match(text, at)
        if not quoted:
            raise expected(text, at, "a closing quote after the one that opens")
        return Token("quoted", _ESCAPED.sub(r"\1", quoted.group(1)), at, quoted.end())
    closing = _CLOSING.get(text[at])
    if closing is None or closing in unclosed:
        return None
    end = text.find(closing, at + 1)
    while closing in _APOSTROPHES and end >= 0 and text[end + 1 : end + 2].isalnum():
        end = text.find(closing, end + 1)
    if end >= 0:
        return Token("quoted", text[at + 1 : end], at, end + 1)
    if closing not in _APOSTROPHES:
        raise expected(text, at, "a closing quote after the one that opens")
    unclosed.add(closing)
    return None
