"""Captions of named regions: colour, what it stands on, side, and telling like from like."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from instructrestore.dataengine.annotator.grouping import PanopticSegment
from instructrestore.dataengine.annotator.naming import NamedSegment
from instructrestore.dataengine.descriptions.colour_terms import ColourTerms
from instructrestore.dataengine.descriptions.named import describe

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
    assert [(each.text, each.subject) for each in said] == [
        ("the blue sky", "sky"),
        ("a brown dog on the grass", "dog"),
        ("the green grass", "grass"),
    ]


def test_sides_and_likes() -> None:
    left, right = region("car", slice(20, 40), slice(0, 20)), region("car", slice(20, 40), slice(80, 100))
    said = describe(photo((left, RED), (right, RED)), [right, left], ColourTerms())
    assert [each.text for each in said] == ["a red car on the right", "a red car on the left"]
    one, two = region("umbrella", slice(20, 40), slice(38, 48)), region("umbrella", slice(20, 40), slice(52, 62))
    said = describe(photo((one, RED), (two, RED)), [two, one], ColourTerms())
    assert [each.text for each in said] == ["the rightmost red umbrella", "the leftmost red umbrella"]


def test_no_colour_of_what_has_many_or_of_people() -> None:
    kite, person = region("kite", slice(0, 30), slice(40, 60)), region("person", slice(40, 80), slice(40, 60))
    rgb = photo((kite, RED), (person, RED))
    rgb[0:15, 40:60] = SKY
    assert [each.text for each in describe(rgb, [kite, person], ColourTerms())] == ["a kite", "a person"]
