"""A clause -> what it wishes, and for which part of the photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from instructrestore.model.instruction.captions import (
    CAPTION,
    caption_of,
    is_comma,
    is_separator,
    listed,
    without_commas,
)
from instructrestore.model.instruction.characters import closing_quotes
from instructrestore.model.instruction.clauses import (
    Clause,
    others_end,
    phrase_end,
    phrase_start,
    scale_start,
    split,
    strength_start,
)
from instructrestore.model.instruction.plain_wishes import (
    ALL_BUT,
    APPEARANCE,
    BACKGROUND,
    BEHIND,
    BOKEH,
    DETERMINERS,
    HELD,
    NEUTRAL,
    PLAIN,
    POLITE_END,
    SAYS_HOW,
    STATES,
    STATES_WITH_STRENGTH,
    STRENGTHS,
    State,
    Verb,
)
from instructrestore.model.instruction.scanner import Token, expected, is_number_like, scale_at, scan

_SCALE = "a scale such as 0.8"


@dataclass(frozen=True)
class Wish:
    """A scale for a part of the photo.

    part: a region, the other parts, or the background, which is the other parts or a region by what else is named.
    caption: of a region, and what the background is called; empty for the other parts.
    scale: None where a region is only named ("behind the woman").
    bokeh: the other parts are blurred, or to be.
    start: where the part is named in the text.
    """

    part: Literal["region", "others", "background"]
    caption: str
    scale: float | None
    bokeh: bool
    start: int


@dataclass
class _Tail:
    """What the end of a clause says of its part: tokens from `end` on."""

    end: int
    scale: float | None
    state: State | None
    strengths: set[float]


def read_wishes(text: str) -> list[Wish]:
    """The wishes of a text, in order. ValueError says what was expected, and where."""
    return [wish for clause in split(text, scan(text)) for wish in _wishes(text, clause)]


def reads_bare(caption: str) -> bool:
    """Whether a caption stands in a template without quotes and is read back as it is."""
    text = f"make {caption} clear with 1"
    try:
        if any(token.kind == "quoted" or closing_quotes(text[token.start]) for token in scan(text)):
            return False  # what follows could close the quote
        wishes = read_wishes(text)
    except ValueError:
        return False
    return len(wishes) == 1 and (wishes[0].part, wishes[0].caption, wishes[0].scale) == ("region", caption, NEUTRAL)


def _wishes(text: str, clause: Clause) -> list[Wish]:
    """Usually one; two where a region is named by what is around it; several for a list of quoted captions."""
    tail = _tail(text, clause)
    tokens = without_commas(clause.tokens[: tail.end])
    if not tokens:
        raise expected(text, clause.start, CAPTION)
    start = tokens[0].start
    blurs = clause.verb is Verb.BLUR or tail.state in (State.SOFT, State.SOFTER)

    around = _around_a_region(tokens, clause, tail, blurs)
    if around:
        bokeh, region = around
        others = Wish("others", "", _scale(text, clause, tail, "others", bokeh), bokeh, start)
        return [others, *([Wish("region", caption_of(text, region), None, False, region[0].start)] if region else [])]
    if clause.verb is Verb.BLUR or (blurs and clause.verb is Verb.MAKE):
        raise expected(text, start, "'the background' or 'the rest' (only what lies around a region can be blurred)")
    end = others_end(tokens, 0)
    if end == len(tokens):
        return [Wish("others", "", _scale(text, clause, tail, "others", False), False, start)]
    if end > 0 and tokens[end].text == "with":
        raise expected(text, _place(tokens, end + 1, clause), _SCALE)
    if phrase_end(tokens, 0, BACKGROUND) == len(tokens) and not (
        clause.verb is Verb.MAKE and tail.state is State.CLEAR  # the template: a region like any other
    ):
        scale = _scale(text, clause, tail, "background", False)
        return [Wish("background", caption_of(text, tokens), scale, False, start)]
    if _goes_on(clause, tail):
        raise expected(text, start, "a verb before this caption, or quotes around the whole one,")
    state = 0 if clause.verb in (Verb.MAKE, Verb.KEEP) else _ends_in_a_state(tokens)
    if state:
        raise expected(text, tokens[state].start, "'make' or 'keep' and not another verb before this,")
    scale = _scale(text, clause, tail, "region", False)
    return [Wish("region", caption_of(text, part), scale, False, part[0].start) for part in listed(tokens)]


def _goes_on(clause: Clause, tail: _Tail) -> bool:
    """Whether it may be part of the caption before: "and holding a bat", ", clean bathroom", "with 2, 3 or 4 doors"."""
    if not clause.has_verb and clause.verb is not Verb.MAKE:
        return is_number_like(clause.tokens[0].text)
    if clause.after == "holding":
        return tail.state is None
    first = clause.tokens[0]
    return clause.after == "clean" and first.kind == "word" and first.text not in DETERMINERS


def _ends_in_a_state(tokens: list[Token]) -> int:
    """Where a caption would end as another verb's wish does, or 0: "sharpen the dog, the cat clear", "... as it is"."""
    at = phrase_start(tokens, 1, len(tokens), STATES)
    state = STATES.get(_phrase(tokens[at:]))
    says_how = tokens[at - 1].text in SAYS_HOW
    clear = state in (State.CLEAR, State.CLEARER) and at == len(tokens) - 1 and not says_how
    return at if clear or (state is State.AS_IT_IS and at < len(tokens) - 2) else 0


def _tail(text: str, clause: Clause) -> _Tail:
    """Reads a clause from its end: "... much clearer with 0.6, please"."""
    tokens = clause.tokens
    tail = _Tail(len(tokens), None, None, set())
    tail.end = phrase_start(tokens, 0, tail.end, POLITE_END)
    while True:
        while tail.end > 0 and is_comma(tokens[tail.end - 1]):
            tail.end -= 1
        scale = scale_start(tokens, 0, tail.end) if tail.scale is None else None
        if scale:
            with_, number = scale
            tail.scale = scale_at(text, tokens[number], percent=number < tail.end - 1)
            tail.end = with_
        elif not _strip_state(tokens, clause.verb, tail) and not _strip_strength(tokens, tail):
            break
    if tail.state is not None and tail.end > 1 and tokens[tail.end - 1].text in APPEARANCE:
        tail.end -= 1  # "look clearer"
    _check_scale_words(text, clause, tail)
    return tail


def _strip_state(tokens: list[Token], verb: Verb, tail: _Tail) -> bool:
    if verb not in (Verb.MAKE, Verb.KEEP) or tail.state is not None:
        return False
    if verb is Verb.KEEP and phrase_end(tokens, 0, BOKEH) == tail.end:
        return False  # "keep the blur"
    at = phrase_start(tokens, 0, tail.end, STATES_WITH_STRENGTH)
    if at < tail.end:
        tail.state, strength = STATES_WITH_STRENGTH[_phrase(tokens[at : tail.end])]
        tail.strengths.add(strength)
    else:
        at = phrase_start(tokens, 0, tail.end, STATES)
        if at == tail.end:
            return False
        tail.state = STATES[_phrase(tokens[at : tail.end])]
    tail.end = at
    if at > 1 and is_separator(tokens[at - 1]):  # "sharp and clear"
        before = phrase_start(tokens, 0, at - 1, STATES)
        tail.end = before if before < at - 1 else at
    return True


def _strip_strength(tokens: list[Token], tail: _Tail) -> bool:
    at = strength_start(tokens, 0, tail.end)
    if at == tail.end:
        return False
    tail.strengths.add(STRENGTHS[_phrase(tokens[at : tail.end])])
    tail.end = at
    return True


def _check_scale_words(text: str, clause: Clause, tail: _Tail) -> None:
    """ValueError for a "with" without its scale and for a scale without its "with"."""
    tokens = clause.tokens[: tail.end]
    if not tokens:
        return
    last = tokens[-1]
    if last.kind == "word" and last.text == "with":
        raise expected(text, _place(clause.tokens, tail.end, clause), _SCALE)
    ends_in_number = last.kind == "word" and (is_number_like(last.text) or last.text in ("%", "percent"))
    if ends_in_number and tail.scale is None and tail.state is None:
        before = tokens[-2].text if len(tokens) > 1 else ""
        after_state = phrase_start(tokens, 0, len(tokens) - 1, STATES) < len(tokens) - 1
        if not last.text.isdigit() or after_state or before in ("by", "to", "at", "scale", "="):
            raise expected(text, last.start, "'with' before the scale, as in 'with 0.8'")
    if clause.verb in (Verb.MAKE, Verb.KEEP) and tail.state is None:
        for at, token in enumerate(tokens[:-1]):
            if token.kind == "word" and token.text == "with" and phrase_start(tokens, 0, at, STATES) < at:
                raise expected(text, tokens[at + 1].start, _SCALE)


def _around_a_region(tokens: list[Token], clause: Clause, tail: _Tail, blurs: bool) -> tuple[bool, list[Token]] | None:
    """Whether the other parts, named as what is around a region or as bokeh, are bokeh; and the region's caption.

    "everything but the dog"; "the background more behind the woman" after "blur"; "the bokeh blur of other parts"
    after "keep". None where `tokens` are nothing of the kind.
    """
    at = phrase_end(tokens, 0, ALL_BUT)
    if 0 < at < len(tokens):
        return blurs, tokens[at:]
    named_bokeh = clause.verb in (Verb.KEEP, Verb.BLUR) and phrase_end(tokens, 0, BOKEH)
    if not blurs and not named_bokeh:
        return None
    at = named_bokeh or 0
    if not named_bokeh or (at < len(tokens) and tokens[at].text in ("of", "in")):
        start = at + bool(named_bokeh)
        at = max(others_end(tokens, start), phrase_end(tokens, start, BACKGROUND))
        if at == start and (named_bokeh or clause.verb is not Verb.BLUR):
            return None
    end = phrase_end(tokens, at, STRENGTHS)
    if end > at:
        tail.strengths.add(STRENGTHS[_phrase(tokens[at:end])])
    if end == len(tokens):
        return True, []
    if end + 1 < len(tokens) and tokens[end].kind == "word" and tokens[end].text in BEHIND:
        return True, tokens[end + 1 :]
    return None


def _scale(
    text: str, clause: Clause, tail: _Tail, part: Literal["region", "others", "background"], bokeh: bool
) -> float:
    """A number as it is; otherwise what the vocabulary says."""
    lacks_state = clause.verb is Verb.MAKE and tail.state is None
    if lacks_state and (part == "region" or tail.scale is None) and clause.has_verb:
        raise expected(text, _place(clause.tokens, tail.end, clause), "'clear'")
    if tail.scale is not None:
        return tail.scale
    says_nothing = tail.state is None and not tail.strengths
    if says_nothing and not clause.has_verb and part == "region" and clause.verb is not Verb.HOLD:
        raise expected(text, clause.end, "a verb before this caption, or how much after it, such as 'with 0.8',")
    strengths = {*clause.strengths, *tail.strengths}
    if len(strengths) > 1:
        raise expected(text, clause.start, "one word for how much, not two that disagree,")
    strength = next(iter(strengths), None)
    if bokeh:
        return strength or (NEUTRAL if clause.verb in (Verb.KEEP, Verb.HOLD) else PLAIN)
    if tail.state is State.CLEAR:
        return strength or NEUTRAL
    if tail.state is State.CLEARER or clause.verb is Verb.SHARPEN:
        return strength or PLAIN
    if tail.state is not None or clause.verb is Verb.HOLD:
        return HELD
    if strength is not None and clause.verb is Verb.MAKE:
        return strength  # "make the cat much clearer and the dog a little"
    if strength is not None or clause.verb is Verb.MAKE:
        raise expected(text, _place(clause.tokens, tail.end, clause), "'clear' or 'as it is'")
    return NEUTRAL if part == "others" else HELD


def _phrase(tokens: list[Token]) -> tuple[str, ...]:
    return tuple(token.text for token in tokens)


def _place(tokens: list[Token], at: int, clause: Clause) -> int:
    """Where token `at` of the clause stands in the text, or where the clause ends."""
    return tokens[at].start if at < len(tokens) else clause.end
