"""Text -> Instruction: the templates of the paper and the release, several regions, and plain wishes.

The steps: tokens (`scanner`), clauses (`clauses`), wishes (`wishes`, with the vocabulary of `plain_wishes`), and here
one instruction from all of them. docs/instructions.md has the grammar.
"""

from __future__ import annotations

import unicodedata

from instructrestore.model.instruction.instruction import MAX_CAPTION_LENGTH, MAX_REGIONS, Instruction, RegionScale
from instructrestore.model.instruction.plain_wishes import NEUTRAL
from instructrestore.model.instruction.scanner import expected
from instructrestore.model.instruction.wishes import Wish, read_wishes

MAX_TEXT_LENGTH = 100_000


def parse(text: str) -> Instruction:
    """The instruction that `text` gives, at most 100,000 characters; `parse(str(instruction)) == instruction`.

    ValueError, one sentence, says what was expected, at which character (counted from 1), and what stands there.
    """
    if not isinstance(text, str):
        raise ValueError(f"an instruction must be text, not {type(text).__name__}")
    if len(text) > MAX_TEXT_LENGTH:
        raise ValueError(f"an instruction has at most {MAX_TEXT_LENGTH} characters, not {len(text)}")
    if not text.strip():
        raise ValueError("expected an instruction such as 'make the dog clear', found an empty text")
    wishes = _background_settled(read_wishes(text))
    regions = _regions(text, [wish for wish in wishes if wish.part == "region"])
    others = _others(text, [wish for wish in wishes if wish.part == "others"])
    if not regions:
        example = "blur the background behind the woman" if others and others.bokeh else "make the dog clear"
        raise expected(text, len(text), f"a region besides the other parts, as in '{example}',")
    if others is None or others.scale is None:
        return Instruction(regions)
    return Instruction(regions, others.scale, others.bokeh)


def _background_settled(wishes: list[Wish]) -> list[Wish]:
    """The background is the other parts where a region is named and they are not; otherwise it is a region."""
    named = {wish.part for wish in wishes}
    part = "others" if "region" in named and "others" not in named else "region"
    return [
        Wish(part, wish.caption, wish.scale, wish.bokeh, wish.start) if wish.part == "background" else wish
        for wish in wishes
    ]


def _regions(text: str, wishes: list[Wish]) -> tuple[RegionScale, ...]:
    """Each caption once. A region that is only named takes the scale it has elsewhere, or 1."""
    scales: dict[str, tuple[str, float | None]] = {}
    for wish in wishes:
        if len(wish.caption) > MAX_CAPTION_LENGTH:
            raise expected(text, wish.start, f"a caption of at most {MAX_CAPTION_LENGTH} characters")
        if all(unicodedata.category(character)[0] in "CZ" for character in wish.caption):
            raise expected(text, wish.start, "a caption that can be seen")
        caption, scale = scales.setdefault(wish.caption.casefold(), (wish.caption, wish.scale))
        if len(scales) > MAX_REGIONS:
            raise expected(text, wish.start, f"at most {MAX_REGIONS} regions")
        if None not in (scale, wish.scale) and scale != wish.scale:
            raise expected(text, wish.start, f"one scale for each caption (this one had {scale:g} before)")
        if scale is None:
            scales[wish.caption.casefold()] = caption, wish.scale
    return tuple(RegionScale(caption, NEUTRAL if scale is None else scale) for caption, scale in scales.values())


def _others(text: str, wishes: list[Wish]) -> Wish | None:
    """The wish for the other parts; ValueError where two disagree."""
    for wish in wishes[1:]:
        if (wish.scale, wish.bokeh) != (wishes[0].scale, wishes[0].bokeh):
            raise expected(text, wish.start, "the other parts to be named once")
    return wishes[0] if wishes else None
