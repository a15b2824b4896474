"""Very long texts: the limits, and that reading takes time in proportion to the text."""

from __future__ import annotations

import contextlib
import sys
from types import FrameType

import pytest

from instructrestore.model.instruction.instruction import MAX_REGIONS, Instruction, RegionScale
from instructrestore.model.instruction.parser import MAX_TEXT_LENGTH, parse
from instructrestore.model.instruction.wishes import read_wishes


def test_the_limits_hold_and_the_length_is_checked_first() -> None:
    dogs = ", ".join(f"make dog {n:02} clear" for n in range(MAX_REGIONS))
    assert len(parse(dogs).regions) == MAX_REGIONS
    place = len(f"{dogs}, make a")
    with pytest.raises(ValueError, match=f"expected at most 64 regions at character {place}, found 'another dog"):
        parse(f"{dogs}, make another dog clear")
    text = "make the dog clear"
    assert parse(text + " " * (MAX_TEXT_LENGTH - len(text))) == Instruction((RegionScale("the dog"),))
    with pytest.raises(ValueError, match=r"^an instruction has at most 100000 characters, not 100001$"):
        parse("\x00" * (MAX_TEXT_LENGTH + 1))


NASTY = [
    *[
        "a ",
        "make ",
        "clear ",
        "clear with ",
        "clear with 1 ",
        "clear with 1, ",
        "with ",
        "and ",
        "and keep ",
        "and the ",
    ],
    *["a little ", "a lot, the ", "very ", "the rest ", "the rest of ", "please, ", "as it is ", "do not ", "behind "],
    *["everything but ", "bring out the details ", '"', '" ', "'", "' ", "'a' ", "'a", '"a" and ', "\\", '"\\"', "“"],
    *["0", "0.", "1,", ".", ", ", "-", "—", "%", " ", "\n", "1 % ", "sharpen a little and ", "sharp and "],
]
STARTS = ["", "make ", "sharpen ", "keep ", "blur ", '"', "make the dog clear "]


def _read(text: str) -> None:
    with contextlib.suppress(ValueError):
        read_wishes(text)


def _calls(text: str) -> int:
    """How many functions, Python's own included, are called to read a text."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        _read(text)
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.parametrize("start", STARTS)
def test_the_work_grows_no_faster_than_the_text(start: str) -> None:
    for piece in NASTY:
        for end in ("", " clear with 1"):
            once, twice = (_calls(start + piece * (length // len(piece)) + end) for length in (400, 800))
            assert twice <= 2.1 * once + 50, (start, piece, end)


@pytest.mark.parametrize("piece", NASTY)
def test_100_000_characters_of_repetition_are_read_without_the_limit(piece: str) -> None:
    _read("make " + piece * (100_000 // len(piece)) + " clear with 1")
    with pytest.raises(ValueError, match="at most 100000 characters"):
        parse("make " + piece * (MAX_TEXT_LENGTH // len(piece) + 1))
