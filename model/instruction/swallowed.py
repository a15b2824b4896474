"""Whether a caption that is not in quotes has swallowed another wish: an error with its place, never a region.

A caption's words are those that no rule of the grammar read as anything else, so a wish that is not parted from the one
before as the grammar parts wishes would become a part of its caption. What gives such a wish away:

- a scale: "with" and a number that counts nothing ("the dog with 0.6 the cat", but not "a man with 2 dogs"); what
  might be one is not guessed at ("a lens with 1.8 aperture" needs quotes);
- a name of the other parts that no preposition leads to ("the dog the rest", but not "taller than the rest");
- "clear", "a lot" or a sign, and then "the", "a", "my" ... ("the dog clear the cat", but not "the clear sky");
- a verb, and then something to do it to ("the dog sharpen the cat", but not "a man holding a cat");
- after a comma, a sentence of its own ("the sky, grass stays untouched", "the paper, it isn't noise");
- a verb that is no wish here, and then something to do it to ("the man and delete the background").

The work grows with the length of the caption: each place is judged by the few words around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from instructrestore.model.instruction.characters import reading
from instructrestore.model.instruction.clauses import opening_at, others_end, phrase_end, phrase_start
from instructrestore.model.instruction.plain_wishes import (
    ALTERNATIVES,
    ARTICLES,
    BACKGROUND,
    DETERMINERS,
    GOES_ON,
    HOLDING,
    LEADS_TO_A_VERB,
    MADE_NOUNS,
    NUMBER_GOES_ON,
    ONLY_VERBS,
    OTHERS,
    POLITE_END,
    PREPOSITIONS,
    SAYS_HOW,
    STATES,
    STRENGTHS,
    VERBS,
    State,
)
from instructrestore.model.instruction.scanner import MAX_SCALE, Token, expected, is_number_like

_QUOTES = "or quotes around the whole caption,"
_APART = f"a comma or 'and' before the next wish, {_QUOTES}"
_AT_THE_END = f"the scale at the end of its wish, {_QUOTES}"
_OTHERS_APART = f"'and' before the other parts, {_QUOTES}"
_NO_WISH = f"a caption that is no wish itself, {_QUOTES}"
_ONLY_WISHES = f"nothing but what is to be clear, kept or blurred, {_QUOTES}"

# An apostrophe is part of "dog's", "don't" and "o'clock", not of "clear'make".
_PLAIN = re.compile(r"[^\W_]{1,2}'[^\W_]+|[^\W_]+(?:'(?:s|t|re|ll|d|ve|m)(?![^\W_]))?'?")
_WORDS = re.compile(rf"[%+−-]?[.,]?[0-9][0-9.,]*%?(?![^\W_])|{_PLAIN.pattern}|[%&]|[^\s\w'-]")
_NUMBER = re.compile(r"[%+−-]?[.,]?[0-9][0-9.,]*(?:/[0-9]+)?%?")

_FIRST_OF_STATES = frozenset(phrase[0] for phrase in (*STATES, *STRENGTHS))
_FIRST_OF_VERBS = frozenset(phrase[0] for phrase in VERBS)
_OTHER_PARTS = frozenset(name for name in OTHERS if name[-1] in ("part", "parts"))
_LONG_OTHERS = frozenset(name for name in OTHERS if len(name) > 1 and name[0] != "other") - _OTHER_PARTS
_BACKDROPS = frozenset(name for name in BACKGROUND if len(name) > 1 and {"background", "backdrop"} & {*name})
_AS_WELL = frozenset({("as", "well")})
_NAMED_OTHERS = _OTHER_PARTS | _LONG_OTHERS | _BACKDROPS
_CLAUSE = 5  # words before a verb, in which a comma parts its sentence from what was before
_SAYS_OF_IT = frozenset(
    {"stay", "stays", "remain", "remains", "shall", "should", "must"}
    | {"isn't", "aren't", "don't", "doesn't", "won't", "can't", "shan't", "shouldn't", "mustn't"}
)
_RELATIVE = frozenset({"who", "which", "that", "whose", "where"})
_NO_WISHES = frozenset({"add", "delete", "erase", "remove", "replace"})


def check_nothing_is_swallowed(text: str, tokens: list[Token]) -> None:
    """ValueError where the tokens of a caption hold another wish, or are one."""
    pieces = [piece for token in tokens for piece in _pieces(token)]
    opening = opening_at(pieces, 0)
    if opening and opening[-1] < len(pieces):
        raise expected(text, tokens[0].start, _NO_WISH)
    for at in range(len(pieces)):
        what = _scale(pieces, at) or _next_part(pieces, at) or _others(pieces, at)
        what = what or _verb(pieces, at) or _sentence(pieces, at)
        if what:
            raise expected(text, pieces[at].start, what)
    for token in tokens:
        if token.kind == "quoted":
            _check_quoted(text, token)


def _check_quoted(text: str, token: Token) -> None:
    """Quotes around a part of a caption may be meant as others: apostrophes, or one that closes as one that opens."""
    apostrophes = text[token.start] not in '"“„«»「『'
    pieces = list(_cut(reading(token.text).lower(), token.start + 1))
    for at, piece in enumerate(pieces):
        after_mark = at > 0 and _parts(pieces[at - 1]) and opening_at(pieces, at)
        if (apostrophes and (after_mark or _verb(pieces, at))) or _scale(pieces, at) or _next_part(pieces, at):
            raise expected(text, min(piece.start, token.end - 1), _APART)


def _pieces(token: Token) -> Iterator[Token]:
    """A token, or the words of one that holds several: "clear/make"."""
    if token.kind != "word" or _PLAIN.fullmatch(token.text) or _NUMBER.fullmatch(token.text):
        yield token
    else:
        yield from _cut(token.text, token.start)


def _cut(words: str, start: int) -> Iterator[Token]:
    for found in _WORDS.finditer(words):
        word = found.group()
        kind = "word" if word[0].isalnum() or is_number_like(word) or word in "%&" else "mark"
        yield Token(kind, word, start + found.start(), start + found.end())


def _scale(pieces: list[Token], at: int) -> str | None:
    """What is wrong with a "with" and a number at `at` that counts nothing."""
    number = at + 1
    if pieces[at].kind != "word" or pieces[at].text != "with":
        return None
    while number < len(pieces) and number - at < 4 and _word(pieces, number) in ("the", "a", "scale", "of"):
        number += 1
    if not is_number_like(_word(pieces, number)):
        return None
    end = number + 1 + (_word(pieces, number + 1) in ("%", "percent"))
    before = phrase_start(pieces, 0, at, STATES)
    if at - before == 1 and STATES[(pieces[before].text,)] in (State.CLEAR, State.CLEARER):
        return _AT_THE_END
    if not _counts(pieces[number].text) or end > number + 1:
        return _AT_THE_END
    end = _end_of_numbers(pieces, phrase_end(pieces, end, POLITE_END))
    if end == len(pieces):
        return _AT_THE_END
    apart = _parts(pieces[end]) or _word(pieces, end) in ARTICLES or others_end(pieces, end, _NAMED_OTHERS) > end
    return _APART if apart else None


def _counts(number: str) -> bool:
    """Whether a number is none that a scale could be, but for whole ones: "2", "10.30", "3/4", not "0.6" or "80%"."""
    if number.isnumeric() or "/" in number:
        return True
    try:
        return not 0 <= float(number.replace(",", ".")) <= MAX_SCALE
    except ValueError:
        return False


def _end_of_numbers(pieces: list[Token], end: int) -> int:
    """Where the numbers end that go on at `end`: "with 2 |, 3 or 4| doors"."""
    at = end
    while at < len(pieces) and (_parts(pieces[at]) or _word(pieces, at) in ("to", "x")):
        at += 1
        if is_number_like(_word(pieces, at)) or _word(pieces, at) in NUMBER_GOES_ON:
            at += 1
            end = at
    return end


def _next_part(pieces: list[Token], at: int) -> str | None:
    """What is wrong with a state, a strength or a symbol at `at` after which another part is named, or a number."""
    symbol = _is_symbol(pieces, at)
    if not symbol and _word(pieces, at) not in _FIRST_OF_STATES:
        return None
    state = phrase_end(pieces, at, STATES)
    end = at + 1 if symbol else max(state, phrase_end(pieces, at, STRENGTHS))
    if end == at:
        return None
    if end == len(pieces):
        return None
    ends = _is_symbol(pieces, end) or _word(pieces, end) in GOES_ON or phrase_end(pieces, end, _AS_WELL) > end
    if not symbol and (ends or (end == state and _ends_a_wish(pieces, at, end))):
        return _APART
    after = end
    while after < len(pieces) and _parts(pieces[after]):
        after += 1
    another = phrase_end(pieces, after, VERBS) > after and (symbol or after > end)
    if another or _word(pieces, after) in ARTICLES or (symbol and others_end(pieces, after, _NAMED_OTHERS) > after):
        return _APART
    if at == 0 or end != state or not is_number_like(_word(pieces, end)):
        return None
    after = end + 1 + (_word(pieces, end + 1) in ("%", "percent"))
    loose = after == len(pieces) or _parts(pieces[after]) or _word(pieces, after) in ARTICLES
    return f"'with' before the scale, {_QUOTES}" if loose else None


def _ends_a_wish(pieces: list[Token], at: int, end: int) -> bool:
    """Whether a state that goes on says what is to be: "the dog clearer ...", but not "the clearer picture"."""
    state = STATES[tuple(piece.text for piece in pieces[at:end])]
    start = phrase_start(pieces, 0, at, STRENGTHS)
    before = _word(pieces, start - 1) if start else "a"
    if state is State.AS_IT_IS:
        return end > at + 2
    if state in (State.CLEARER, State.LESS_CLEAR, State.SOFTER):
        return before not in DETERMINERS and pieces[at].text != "better"
    and_more = state is State.CLEAR and _parts(pieces[end]) and end + 1 < len(pieces)
    return and_more and start > 0 and before not in DETERMINERS | SAYS_HOW and before not in LEADS_TO_A_VERB


def _others(pieces: list[Token], at: int) -> str | None:
    """What is wrong with a name of the other parts at `at`."""
    if others_end(pieces, at, _OTHER_PARTS) > at:
        return _OTHERS_APART
    end = others_end(pieces, at, _LONG_OTHERS)
    if end == at:
        return None
    before = _word(pieces, at - 1) if at else ""
    ends = _word(pieces, end) in ARTICLES or any(phrase_end(pieces, end, each) > end for each in (STATES, STRENGTHS))
    led_to = before in PREPOSITIONS or before.endswith("ing") or (at == 0 and not ends)
    return None if led_to else _OTHERS_APART


def _verb(pieces: list[Token], at: int) -> str | None:
    """What is wrong with a verb at `at`, and something to do it to."""
    if at == 0 or _word(pieces, at) not in _FIRST_OF_VERBS:
        return None
    end = phrase_end(pieces, at, VERBS)
    if end == at or end == len(pieces):
        return None
    verb = tuple(piece.text for piece in pieces[at:end])
    before, after = _word(pieces, at - 1), _word(pieces, end)
    commands = verb in ONLY_VERBS and (before in PREPOSITIONS or (before in DETERMINERS and after in DETERMINERS))
    if before in LEADS_TO_A_VERB and (before == "to" or not commands):
        return None
    if others_end(pieces, end, _NAMED_OTHERS) > end:
        return _APART
    if verb in HOLDING:
        return None
    if pieces[end].kind == "quoted" or after in DETERMINERS or phrase_end(pieces, end, BACKGROUND) > end:
        return _APART
    done_to = after and after not in PREPOSITIONS and not (verb == ("make",) and after in MADE_NOUNS)
    held = verb[0] in ("keep", "leave") and phrase_start(pieces, end + 1, len(pieces), STATES) < len(pieces)
    return _APART if held or (done_to and verb in ONLY_VERBS) else None


def _sentence(pieces: list[Token], at: int) -> str | None:
    """What is wrong with a verb at `at` that is no wish itself: one that says something of what stands before it, or
    asks for something else."""
    if at == 0 or at + 1 == len(pieces):
        return None
    comma = next((place for place in range(at - 1, max(0, at - _CLAUSE) - 1, -1) if _parts(pieces[place])), at)
    describes = any(_word(pieces, place) in _RELATIVE for place in range(comma, at))
    if _word(pieces, at) in _SAYS_OF_IT and comma < at and not describes:
        return _ONLY_WISHES
    joined = _parts(pieces[at - 1]) or _word(pieces, at - 1) == "and"
    other = _word(pieces, at) in _NO_WISHES or (_word(pieces, at), _word(pieces, at + 1)) == ("nothing", "but")
    return _ONLY_WISHES if joined and other else None


def _word(pieces: list[Token], at: int) -> str:
    """The word at `at`; "" where there is none."""
    return pieces[at].text if at < len(pieces) and pieces[at].kind == "word" else ""


def _is_symbol(pieces: list[Token], at: int) -> bool:
    """Whether a sign stands at `at` that is no mark of the grammar and no part of a word, such as an emoji."""
    return at < len(pieces) and pieces[at].kind == "mark" and not pieces[at].text.isascii() and pieces[at].text != "—"


def _parts(piece: Token) -> bool:
    return piece.kind == "mark" or (piece.kind == "word" and piece.text in ALTERNATIVES)
