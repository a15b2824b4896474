"""What a language model replied -> an instruction, or why there is none.

A reply is data of a stranger: nothing in it is believed before it is checked, and of its own wording nothing reaches a
person but captions.
"""

from __future__ import annotations

import unicodedata

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from instructrestore.model.instruction.instruction import Instruction, RegionScale
from instructrestore.model.instruction.parser import parse
from instructrestore.model.instruction.scanner import MAX_SCALE
from instructrestore.pipelines.understanding.prompt import CANNOT, MAX_CAPTION_LENGTH, MAX_REGIONS, RESTORE
from instructrestore.shards.parsing import parse_object

MAX_REPLY_LENGTH = 20_000  # characters


class Unusable(ValueError):
    """A reply that is no instruction and no reason: one sentence of what is wrong with it, without its words."""


class Inexpressible(ValueError):
    """The model says that the wish is no instruction; the sentence is of `CANNOT`."""


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _RegionAnswer(_Answer):
    caption: str = Field(min_length=1, max_length=MAX_CAPTION_LENGTH)
    scale: float = Field(ge=0, le=MAX_SCALE)


class _WishAnswer(_Answer):
    kind: str
    regions: list[_RegionAnswer] = Field(max_length=MAX_REGIONS)
    others: float = Field(ge=0, le=MAX_SCALE)
    bokeh: bool


def instruction_of(reply: str) -> Instruction:
    """The instruction in a reply, which `parse(str(instruction))` gives again. Scales have at most two decimals.

    Raises Unusable for a reply that is not what was asked for, and Inexpressible where it says that there is none.
    """
    if len(reply) > MAX_REPLY_LENGTH:
        raise Unusable(f"it is longer than {MAX_REPLY_LENGTH} characters")
    try:
        answer = _WishAnswer.model_validate(parse_object(reply, "it"))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or part.isidentifier())
        raise Unusable(f"{place[:60]}: {first['msg']}") from None
    except ValueError as error:
        raise Unusable(" ".join(str(error).split())[:200]) from None
    if answer.kind in CANNOT:
        raise Inexpressible(CANNOT[answer.kind])
    if answer.kind != RESTORE:
        raise Unusable('"kind" is none of the words that were named')
    if not answer.regions:
        raise Unusable("it names no region")
    for region in answer.regions:
        _check_caption(region.caption)
    try:
        regions = tuple(RegionScale(region.caption, round(region.scale, 2)) for region in answer.regions)
        instruction = Instruction(regions, round(answer.others, 2), answer.bokeh)
        again = parse(str(instruction))
    except ValueError as error:
        raise Unusable(str(error)) from None
    if again != instruction:
        raise Unusable("its captions cannot be written as an instruction")
    return instruction


def _check_caption(caption: str) -> None:
    """Raises Unusable for what would hide something, and for what no text encoder of these models knows."""
    if any(unicodedata.category(character)[0] == "C" for character in caption):
        raise Unusable("a caption has control characters")
    letters = [character for character in caption if character.isalpha()]
    if 2 * sum(letter.isascii() for letter in letters) <= len(letters):
        raise Unusable("a caption is not in English")
