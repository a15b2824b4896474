"""Captions of named regions: colour, what it stands on, side, and telling like from like."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from instructrestore.dataengine.annotator.grouping import PanopticSegment
from instructrestore.dataengine.annotator.naming import NamedSegment
from instructrestore.dataengine.descriptions.named import describe
from instructrestore.dataengine.noun_phrases.english.noun_phrase import NounPhrase
from instructrestore.pretrained.colour_terms import ColourTerms

SKY, GRASS, BROWN, RED = (100, 160, 230), (60, 150, 50), (110, 70, 35), (210, 30, 30)


def region(word: str, rows: slice, columns: slice) -> NamedSegment:
    mask = np.zeros((100, 100), np.bool_)
    mask[rows, columns] = True
    return NamedSegment(PanopticSegment(mask, 0, 0.9, 0.9), word, 0.9)


def photo(*painted: tuple[NamedSegment, tuple[int, int, int]]) -> NDArray[np.uint8]:
    rgb = np.full((100, 100, 3), 255, np.uint8)
    for each, colour in painted:
        rgb[each.segment.mask] = colour
    return rgb


def test_a_scene() -> None:
    sky, dog = region("sky", slice(0, 50), slice(None)), region("dog", slice(40, 70), slice(10, 30))
    grass = region("grass", slice(50, 100), slice(None))
    grass.segment.mask[dog.segment.mask] = False
    sky.segment.mask[dog.segment.mask] = False
    said = describe(photo((sky, SKY), (grass, GRASS), (dog, BROWN)), [sky, dog, grass], ColourTerms())
    assert [(each.description, each.phrase.subject) for each in said] == [
        ("the blue sky", "sky"),
        ("a brown dog on the grass", "dog"),
        ("the green grass", "grass"),
    ]


def test_sides_and_likes() -> None:
    left, right = region("car", slice(20, 40), slice(0, 20)), region("car", slice(20, 40), slice(80, 100))
    said = describe(photo((left, RED), (right, RED)), [right, left], ColourTerms())
    assert [each.description for each in said] == ["a red car on the right", "a red car on the left"]
    assert {each.phrase for each in said} == {NounPhrase("the red cars", "cars")}
    one, two = region("umbrella", slice(20, 40), slice(38, 48)), region("umbrella", slice(20, 40), slice(52, 62))
    said = describe(photo((one, RED), (two, RED)), [two, one], ColourTerms())
    assert [each.description for each in said] == ["the rightmost red umbrella", "the leftmost red umbrella"]


def test_one_phrase_for_what_will_be_merged() -> None:
    """A thing that was found in two pieces is one thing, and what is one mass has no plural."""
    upper, lower = region("person", slice(10, 50), slice(40, 60)), region("person", slice(50, 90), slice(42, 58))
    walls = [region("wall", slice(None), slice(0, 30)), region("wall", slice(None), slice(70, 100))]
    said = describe(photo((walls[0], RED), (walls[1], RED)), [upper, *walls, lower], ColourTerms())
    assert [each.phrase for each in said] == [
        NounPhrase("a person", "person"),
        NounPhrase("the red wall", "wall"),
        NounPhrase("the red wall", "wall"),
        NounPhrase("a person", "person"),
    ]
    apart = [region("person", slice(10, 50), slice(left, left + 15)) for left in (5, 75)]
    assert {each.phrase.text for each in describe(photo(), apart, ColourTerms())} == {"the people"}


def test_what_is_all_around_is_behind() -> None:
    wall, vase = region("wall", slice(0, 80), slice(None)), region("vase", slice(30, 60), slice(40, 60))
    wall.segment.mask[vase.segment.mask] = False
    said = describe(photo((wall, SKY), (vase, RED)), [wall, vase], ColourTerms())
    assert [each.description for each in said] == ["the blue wall", "a red vase in front of the wall"]


def test_no_colour_of_what_has_many_or_of_people() -> None:
    kite, person = region("kite", slice(0, 30), slice(40, 60)), region("person", slice(40, 80), slice(40, 60))
    rgb = photo((kite, RED), (person, RED))
    rgb[0:15, 40:60] = SKY
    assert [each.description for each in describe(rgb, [kite, person], ColourTerms())] == ["a kite", "a person"]
