"""One grammar for both directions: what is described is resolved to itself, what is written is read back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrestore.model.instruction.wishes import reads_bare
from instructrestore.model.referring.describing import describe
from instructrestore.model.referring.parser import parse_reference
from instructrestore.model.referring.pieces import MeasuredPiece, measured, related, shrunk
from instructrestore.model.referring.reference import (
    ADJECTIVES,
    COLOURS,
    NUMBERS,
    RELATIONS,
    SIDES,
    Rank,
    Reference,
    StandsTo,
    phrasings,
)
from instructrestore.model.referring.resolving import resolve

HEADS = st.sampled_from(["dog", "person", "traffic light", "man with a hat", "window", "orange"])
RANKS = st.one_of(
    st.none(),
    st.builds(Rank, st.sampled_from(list(ADJECTIVES))),
    st.builds(Rank, st.sampled_from([*SIDES, "largest", "tallest"]), st.integers(2, len(NUMBERS))),
)
REFERENCES = st.builds(
    Reference,
    HEADS,
    RANKS,
    st.sampled_from(["", *COLOURS]),
    st.sampled_from(["", "red", "blue"]),
    st.one_of(
        st.none(), st.builds(StandsTo, st.sampled_from(list(RELATIONS)), st.sampled_from(["tree", "dining table"]))
    ),
)
COLOURS_OF_THINGS = {"red": (220, 20, 30), "blue": (30, 60, 220), "white": (250, 250, 250)}


@settings(max_examples=40, deadline=None)
@given(REFERENCES, st.booleans())
def test_every_phrasing_is_read_back(reference: Reference, all_but: bool) -> None:
    reference = replace(reference, all_but=all_but and reference.refers)
    for text in phrasings(reference):
        assert parse_reference(text) == reference
        assert reads_bare(text)


@st.composite
def photos(draw: st.DrawFn) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """A photo with 1 to 6 coloured boxes, one mask each, and the mask of something else."""
    rgb = np.full((120, 160, 3), 128, np.uint8)
    masks = []
    for _ in range(draw(st.integers(1, 6))):
        width, height = draw(st.integers(8, 50)), draw(st.integers(8, 50))
        left, top = draw(st.integers(0, 160 - width)), draw(st.integers(0, 120 - height))
        mask = np.zeros((120, 160), np.bool_)
        mask[top : top + height, left : left + width] = True
        rgb[mask] = draw(st.sampled_from(list(COLOURS_OF_THINGS.values())))
        masks.append(mask)
    other = np.zeros((120, 160), np.bool_)
    other[:, : draw(st.integers(1, 40))] = True
    return rgb, masks, other


@settings(max_examples=25, deadline=None)
@given(photos())
def test_what_is_described_names_itself_and_nothing_else(
    photo: tuple[np.ndarray, list[np.ndarray], np.ndarray],
) -> None:
    rgb, masks, other = photo
    pieces, others = measured(masks, rgb), {"tree": shrunk(other)}
    found = describe("dog", pieces, others)
    for numbers, reference in found:
        text = phrasings(reference)[-1]
        assert resolve(parse_reference(text), pieces, others).numbers == numbers, text
        assert len(numbers) == (len(pieces) - 1 if reference.all_but else 1)


def boxes(*places: tuple[int, int, int, int], colour: tuple[int, int, int] = (128, 128, 128)) -> list[MeasuredPiece]:
    """Pieces of (left, top, width, height) in a photo of 200x100."""
    rgb = np.full((100, 200, 3), colour, np.uint8)
    masks = []
    for left, top, width, height in places:
        mask = np.zeros((100, 200), np.bool_)
        mask[top : top + height, left : left + width] = True
        masks.append(mask)
    return measured(masks, rgb)


@pytest.mark.parametrize(
    ("caption", "numbers"),
    [
        ("the left dog", (0,)),
        ("the second dog from the right", (1,)),
        ("the dog in the middle", (1,)),
        ("the largest dog", (2,)),
        ("the big dog", (2,)),
        ("all but the tallest", (0, 1)),
        ("every dog but the one on the left", (1, 2)),
        ("the lowest dog", (1,)),
    ],
)
def test_each_kind_of_caption_names_what_a_person_would(caption: str, numbers: tuple[int, ...]) -> None:
    pieces = boxes((10, 10, 20, 20), (80, 60, 20, 20), (140, 10, 40, 60))
    chosen = resolve(parse_reference(caption), pieces, {})
    assert (chosen.numbers, chosen.sure) == (numbers, True)


def test_things_that_are_hardly_apart_are_not_sure_and_not_described() -> None:
    pieces = boxes((80, 20, 20, 20), (84, 60, 20, 20))
    assert not resolve(parse_reference("the left dog"), pieces, {}).sure
    assert not resolve(parse_reference("the largest dog"), pieces, {}).sure
    said = {str(reference) for _, reference in describe("dog", pieces, {})}
    assert "the top dog" in said
    assert not any("left" in each or "largest" in each for each in said)


def test_colour_clothes_and_neighbours_choose() -> None:
    rgb = np.full((100, 200, 3), 128, np.uint8)
    masks = [np.zeros((100, 200), np.bool_) for _ in range(3)]
    for number, mask in enumerate(masks):
        mask[30:90, 20 + 60 * number : 40 + 60 * number] = True
    rgb[masks[0]] = COLOURS_OF_THINGS["blue"]
    rgb[50:70, 80:100] = COLOURS_OF_THINGS["red"]  # a third of the second
    tree = np.zeros((100, 200), np.bool_)
    tree[:, 165:] = True
    pieces, others = measured(masks, rgb), {"tree": shrunk(tree)}
    for caption, number in {
        "the blue person": 0,
        "the man in the red coat": 1,
        "the person wearing a red hat": 1,
        "the person beside the tree": 2,
        "the person to the left of the tree": 0,
    }.items():
        assert resolve(parse_reference(caption), pieces, others).numbers[0] == number, caption
    assert related(pieces[2], others["tree"], "beside") > related(pieces[1], others["tree"], "beside")


@pytest.mark.parametrize(
    "caption",
    ["the dog", "the orange", "the dogs and the cat", "a clear sky", "the right hand", "all but the dog", "x"],
)
def test_what_singles_nothing_out_stays_whole(caption: str) -> None:
    assert not parse_reference(caption).refers


def test_nothing_to_choose_from_chooses_nothing() -> None:
    chosen = resolve(parse_reference("the left dog"), [], {})
    assert (chosen.numbers, chosen.sure) == ((), False)
