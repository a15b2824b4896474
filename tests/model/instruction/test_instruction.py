"""The instruction itself: what it accepts, its canonical text, and the texts for the two models."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from instructrestore.model.instruction.instruction import (
    BOKEH_CONTROL_TEXT,
    MAX_CAPTION_LENGTH,
    MAX_REGIONS,
    MAX_SCALE,
    Instruction,
    RegionScale,
    control_text,
    unet_text,
)
from instructrestore.model.instruction.parser import MAX_TEXT_LENGTH, parse

WORDS = """
    the a dog Dog sky clear clearer clear with and keep make blur bokeh other parts part the rest leave sharpen more
    a little bit much very soft sharp as it is alone everything but except behind around others background of please
    too only not without touching nan inf 0.5 1 1.0.0 -1 80% % , . ; : ! ? " ' ‘ ’ “ ” \\ \\" — - ( ) dog's 'dog'
    "cat" '90s 15" , and . Keep percent scale & while then 🐶 ñ ½ it
"""


def _is_caption(text: str) -> bool:
    try:
        RegionScale(text)
    except ValueError:
        return False
    return True


nasty = st.lists(st.sampled_from(WORDS.split()), min_size=1, max_size=10).map(" ".join)
captions = st.one_of(nasty, st.text(min_size=1, max_size=30)).filter(_is_caption)
regions = st.builds(RegionScale, captions, st.floats(0, MAX_SCALE))
instructions = st.builds(
    Instruction,
    st.lists(regions, min_size=1, max_size=4, unique_by=lambda region: region.caption.casefold()).map(tuple),
    st.floats(0, MAX_SCALE),
    st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(instructions)
@example(Instruction((RegionScale("the dog", 5e-324),), others=4 - 2**-51))
@example(Instruction((RegionScale("other parts"), RegionScale("the rest"), RegionScale("the background"))))
@example(Instruction((RegionScale("the dog clear with 0.5 and keep other parts bokeh blur with 0.3"),)))
@example(Instruction((RegionScale("'90s car"), RegionScale("the dogs' bowl"))))
@example(Instruction((RegionScale('a "b\\" c\\'),), bokeh=True))
def test_the_text_of_an_instruction_is_read_back_to_it(instruction: Instruction) -> None:
    assert parse(str(instruction)) == instruction


def test_the_largest_instruction_is_read_back_too() -> None:
    captions = [str(n) + "\\" * 250 + '"' * 240 for n in range(10, 10 + MAX_REGIONS)]
    instruction = Instruction(tuple(RegionScale(caption, 5e-324) for caption in captions))
    text = str(instruction)
    assert len(text) <= MAX_TEXT_LENGTH
    assert parse(text) == instruction


@pytest.mark.parametrize(
    ("instruction", "text"),
    [
        (
            Instruction((RegionScale("clear sky", 0.5),), others=1.25),
            "make clear sky clear with 0.5 and keep other parts clear with 1.25",
        ),
        (
            Instruction((RegionScale("a man with a red hat and a dog", 1),), others=0.6, bokeh=True),
            "make a man with a red hat and a dog clear with 1 and keep other parts bokeh blur with 0.6",
        ),
        (
            Instruction((RegionScale("the dog", 1e-7), RegionScale("the sky"))),
            "make the dog clear with 0.0000001, make the sky clear with 1 and keep other parts clear with 1",
        ),
        (
            Instruction((RegionScale("the open and keep out sign"),)),
            'make "the open and keep out sign" clear with 1 and keep other parts clear with 1',
        ),
    ],
)
def test_the_text_is_the_template_with_quotes_only_where_needed(instruction: Instruction, text: str) -> None:
    assert str(instruction) == text


@pytest.mark.parametrize("scale", [-0.1, 4.001, math.nan, math.inf, -math.inf, True, "0.8", None, 1j])
def test_scales_that_make_no_sense_are_refused(scale: object) -> None:
    with pytest.raises(ValueError, match=r"^the scale of 'the dog' must be .*from 0 to 4, not "):
        RegionScale("the dog", scale)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"^the scale of the other parts must be .*from 0 to 4, not "):
        Instruction((RegionScale("the dog"),), others=scale)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("caption", "fault"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("\u200b", "empty"),
        ("the\x00dog", "control characters"),
        ("the \x9b dog", "control characters"),
        ("dog \ud800", "control characters"),
        ("d" * (MAX_CAPTION_LENGTH + 1), "at most 500 characters, not 501"),
        (None, "must be text, not NoneType"),
    ],
)
def test_captions_that_make_no_sense_are_refused(caption: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        RegionScale(caption)


def test_the_regions_are_few_and_each_has_its_own_caption() -> None:
    with pytest.raises(ValueError, match="1 to 64 regions, not 0"):
        Instruction(())
    with pytest.raises(ValueError, match="1 to 64 regions, not 65"):
        Instruction(tuple(RegionScale(f"dog {n}") for n in range(MAX_REGIONS + 1)))
    with pytest.raises(ValueError, match="'the DOG' is there twice"):
        Instruction((RegionScale("the dog"), RegionScale("the DOG")))


def test_white_space_and_kinds_of_number_make_no_difference() -> None:
    assert RegionScale(" the \n red\u00a0dog ", np.float64(0.7)) == RegionScale("the red dog", 0.7)
    assert str(Instruction((RegionScale("the dog", -0.0),))).startswith("make the dog clear with 0 ")


def test_the_texts_are_those_of_the_release() -> None:
    assert control_text("the dog", bokeh=False) == "make the dog clear"
    assert control_text("the dog", bokeh=True) == "make the dog clear and keep other part bokeh blur"
    assert control_text("{0.__class__}", True, "{caption} sharp {x}") == "{0.__class__} sharp {x}"
    assert unet_text(["the dog"], bokeh=False) == "the dog"
    assert unet_text(["the dog", "the sky"], bokeh=True) == "the dog, the sky in front of bokeh background"


def test_dropped_text_is_empty_for_both_models() -> None:
    assert control_text("", bokeh=True) == control_text("", bokeh=False) == ""
    assert unet_text([], bokeh=True) == unet_text([], bokeh=False) == ""


def test_a_bokeh_template_without_a_place_for_the_caption_is_refused() -> None:
    assert "{caption}" in BOKEH_CONTROL_TEXT
    with pytest.raises(ValueError, match=r'must contain "\{caption\}"'):
        control_text("the dog", True, "make it clear")
