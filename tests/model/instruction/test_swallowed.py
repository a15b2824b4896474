"""No caption holds another wish: what would be swallowed is an error with its place, and sound captions stay."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from instructrestore.model.instruction.instruction import Instruction, RegionScale
from instructrestore.model.instruction.parser import parse

SWALLOWED = [
    # text, where the error is
    ("make the dog with 0.6 make the cat clear", "with 0.6 make"),
    ("make the dog clear with 0.6 the cat clear with 0.7", "with 0.6 the"),
    ("make the dog clear with 0.6 as well as the cat clear with 0.7", "with 0.6 as"),
    ("make the dog clear with 0.6👍make the cat clear with 0.7", "with 0.6👍"),
    ("make the dog clear with 0.6||make the cat clear with 0.7", "with 0.6||"),
    ("sharpen the dog with 0.6 blur the background", "with 0.6"),
    ("make the dog clear 0.6 and the cat clear with 0.7", "clear 0.6"),
    ("make the dog with other parts clear", "other parts"),
    ("keep other parts clear with 1 the dog", "1 the dog"),
    ("keep other parts clear the dog", "other parts"),
    ("sharpen the dog everything else with 0.5", "everything else"),
    ("sharpen the dog the rest with 0.5", "the rest"),
    ("make the dog clear the rest as it is", "clear the"),
    ("make the dog clear the cat sharp", "clear the"),
    ("make the dog clear or the cat clear", "clear or"),
    ("make the dog clear plus make the cat clear", "clear plus"),
    ("make the dog clear/make the cat clear", "clear/make"),
    ("make dog clear and cat sharp", "clear and"),
    ("sharpen the dog a lot the cat", "a lot the"),
    ("restore the man strongly 🐶 woman in white", "strongly"),
    ("make the cat clearer on the sky much clearer", "clearer on"),
    ("sharpen the dog blur the background", "blur the"),
    ("sharpen the dog sharpen cat", "sharpen cat"),
    ("sharpen the dog not the cat", "not the"),
    ("sharpen the dog keep cat as it is", "as it is"),
    ("sharpen the dog with 0.5, the cat clear with 0.8", "clear with 0.8"),
    ("make keep the dog clear", "keep the"),
    ("make please sharpen the dog clear", "please"),
    ("make clean plates clear", "clean"),
    ("make '90s car clear with 0.6, make the dogs' bowl clear with 0.7", "with 0.6"),
    ("leave '90s car alone sharpen the dogs' bowl", "sharpen"),
    ('make "dog clear with 0.6, make "cat clear with 0.7', "with 0.6"),
    ('make "dog clear, make "cat clear', "clear, make"),
    ("sharpen a boy in red and holding a bat", "a bat"),
    ("denoise the sky, grass stays untouched", "stays"),
    ("do not sharpen anything, the picture shall stay as faithful as it can", "shall"),
    ("keep the grain of the watercolour paper, it isn't noise", "isn't"),
    ("sharpen the feathers of the bird, don't add noise to the smooth backdrop", "don't"),
    ("restore the faces, and nothing but the faces", "nothing"),
    ("leave the man in the blue shirt and delete the background", "delete"),
    ("sharpen a modern, clean bathroom", "bathroom"),
    ("sharpen a bus with 2, 3 or 4 doors with 0.5", "3 or"),
]


@pytest.mark.parametrize(("text", "place"), SWALLOWED)
def test_a_caption_that_would_swallow_a_wish_is_an_error_with_its_place(text: str, place: str) -> None:
    with pytest.raises(ValueError, match=r"^expected ") as raised:
        parse(text)
    assert f"at character {text.rindex(place) + 1}," in str(raised.value)


SOUND = """
a man with 2 dogs
a bus with 2, 3 or 4 doors
a table with 2 or more plates
a shirt with 3/4 sleeves
a sign with 10.30 on it
a room with 2 clean beds
the clear sky
the clear and bright sky
a clear or frosted glass
the blurred lights
the man out of focus on the left
a keep sake
the clean plate
a man in a clean shirt
a woman with make up
a man holding a dog
a man holding the picture
a woman leaving the room
a man trying to fix the bike
a sign that says keep the door closed
a boy in red and not wearing a hat
a white bus parked in a lot
the giraffe taller than the rest
a sheep away from the others
the rest of the cake
the others on the left
a man alone with 2 dogs
an arm rest
the sharper picture
the dog as clear as the cat
black/white photo of a man (left)
dog 🐶
the dog that doesn't bark
the man, who should be old
a remove sign
""".strip().splitlines()


@pytest.mark.parametrize("caption", SOUND)
def test_sound_captions_need_no_quotes(caption: str) -> None:
    assert parse(f"make {caption} clear with 0.5").regions == (RegionScale(caption, 0.5),)
    if "with 2, 3" not in caption:  # "sharpen a bus with 2" is a wish
        assert parse(f"sharpen {caption} with 0.5, leave the sky").regions[0] == RegionScale(caption, 0.5)


@pytest.mark.parametrize("text", [text for text, _ in SWALLOWED if '"' not in text])
def test_in_quotes_anything_is_a_caption(text: str) -> None:
    assert parse(f'make "{text}" clear with 0.5').regions == (RegionScale(text, 0.5),)
    instruction = Instruction((RegionScale(text),))
    assert parse(str(instruction)) == instruction


PARTS = ["the dog", "a cat", "my car", "woman in white", "the sky", "犬", "the dogs' bowl", "a man with 2 dogs"]
WISHES = [
    *("make {} clear with 0.6", "make {} clear", "make {} much clearer", "keep {} as it is", "leave {} alone"),
    *("sharpen {}", "sharpen {} a little", "enhance {} with 0.7", "restore {} strongly", "don't touch {}"),
    *("keep other parts clear with 0.5", "blur the background", "make other parts with 0.5", "leave the rest alone"),
]
WORDS = """
    the a dog clear clearer with and keep make blur other parts the rest leave sharpen more a little much sharp as it is
    alone everything but except behind others background of please too not without 0.5 1 80% , . ; : ! ? — - ( ) / with
    or plus clean holding 、 。 ٫ ٪ « » ' "
"""
SPACES = ["\u200b", "\u00ad", "\n", "\u3000"]
# Of a caption in an instruction without quotes, whatever the grammar: a scale, a wish for the other parts, a command.
A_WISH = re.compile(
    r"\bwith (?:0?[.,]\d+|\d+ ?%)|\bother parts?(?! of)\b|"
    r"(?<!\bto )(?<!\bis )\b(?:make|sharpen|restore|enhance) (?:the|a|my) ",
    re.IGNORECASE,
)


def parts_in(text: str) -> list[str]:
    """The captions found in a text without quotes, or none where it is an error. Any other exception is a failure."""
    with contextlib.suppress(ValueError):
        return list(parse(text).captions)
    return []


def check_no_wish(caption: str) -> None:
    assert not A_WISH.search(caption), caption
    assert parts_in(caption) == [], caption


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(WISHES),
    st.sampled_from(WISHES),
    st.permutations(PARTS),
    st.text(st.characters(categories=["P", "Z", "S", "Cf", "Nd", "Cc"]), max_size=3),
    st.sampled_from(["{}", " {}", "{} ", " {} "]),
)
@example(WISHES[0], WISHES[0], PARTS, "，", "{}")
def test_two_wishes_with_any_signs_between_are_two_or_an_error(
    first: str, second: str, parts: list[str], signs: str, between: str
) -> None:
    for caption in parts_in(first.format(parts[0]) + between.format(signs) + second.format(parts[1])):
        check_no_wish(caption)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from([*WORDS.split(), *SPACES]), min_size=1, max_size=14).map(" ".join))
@example("make make the dog clear clear")
def test_no_caption_of_any_text_reads_as_a_wish(text: str) -> None:
    for start in ("", "make ", "sharpen "):
        if not {"'", '"', "«", "»"} & {*text}:
            for caption in parts_in(start + text):
                check_no_wish(caption)
        else:
            parts_in(start + text)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_no_text_is_anything_but_an_instruction_or_an_error(text: str) -> None:
    for start in ("", "make ", "make the dog clear with "):
        parts_in(start + text + " clear")
