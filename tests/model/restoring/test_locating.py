"""Single things by caption, point and box: what is chosen of masks and segments, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from instructrestore.model.restoring.locating import (
    PhotoSegment,
    Seen,
    by_caption,
    by_places,
    check_places,
    sought,
)

HEIGHT, WIDTH = 100, 200
LEFT, RIGHT, WHOLE = (slice(20, 80), slice(10, 60)), (slice(20, 80), slice(120, 180)), (slice(20, 80), slice(10, 180))


def mask(*places: tuple[slice, slice]) -> np.ndarray:
    made = np.zeros((HEIGHT, WIDTH), np.bool_)
    for place in places:
        made[place] = True
    return made


def seen(found: np.ndarray, *segments: tuple[tuple[slice, slice], str]) -> Seen:
    cut = tuple(PhotoSegment(mask(place), frozenset({name} - {""})) for place, name in segments)
    return Seen(np.full((HEIGHT, WIDTH, 3), 128, np.uint8), {"the dog": found}, cut)


def test_the_parts_of_what_the_decoder_finds_are_pieces() -> None:
    photo = seen(mask(LEFT, RIGHT))
    assert np.array_equal(by_caption("the left dog", photo, "both").mask, mask(LEFT))
    found = by_caption("the dog on the right", photo, "both")
    assert np.array_equal(found.mask, mask(RIGHT)) and found.report == ""


def test_segments_cut_up_what_the_decoder_finds_in_one() -> None:
    photo = seen(mask(WHOLE), (LEFT, ""), (RIGHT, "cat"))
    assert np.array_equal(by_caption("the left dog", photo, "both").mask, mask(LEFT))
    assert "no region found" in by_caption("the left dog", photo, "segments").report  # none is called so


def test_segments_alone_go_by_their_names() -> None:
    photo = seen(mask(), (LEFT, "cat"), (RIGHT, "dog"))
    found = by_caption("the left dog", photo, "segments")
    assert np.array_equal(found.mask, mask(RIGHT)) and found.report.startswith("one dog was found for 'the left dog'")


def test_things_that_were_found_as_one_are_divided_as_the_caption_says() -> None:
    photo = seen(mask(WHOLE))
    third = by_caption("the second dog from the left", photo, "both").mask
    left = by_caption("the left dog", photo, "both")
    assert np.array_equal(left.mask, mask((slice(20, 80), slice(10, 95)))) and "a part of it" in left.report
    assert np.array_equal(third, mask((slice(20, 80), slice(95, 180))))
    assert np.array_equal(by_caption("the top dog", photo, "both").mask, mask((slice(20, 50), slice(10, 180))))
    dot = by_caption("the tenth dog from the left", seen(mask((slice(0, 8), slice(0, 8)))), "both").mask
    assert 0 < dot.sum() <= 8


def test_what_is_small_beside_the_largest_is_no_thing_of_its_own() -> None:
    photo = seen(mask(LEFT, RIGHT, (slice(90, 100), slice(0, 10))))
    assert np.array_equal(by_caption("the left dog", photo, "both").mask, mask(LEFT))


def test_the_decoder_is_asked_for_heads_and_neighbours_and_for_plain_captions_as_they_are() -> None:
    assert sought("the left dog beside the tree", "both") == ["the dog", "the tree"]
    assert sought("the left dog", "segments") == []
    assert sought("the dog", "segments") == ["the dog"]


def test_a_point_takes_the_part_of_its_kind_and_otherwise_the_smallest_segment() -> None:
    photo = seen(mask(LEFT, RIGHT), (WHOLE, "grass"), ((slice(0, 10), slice(0, 30)), "sky"))
    assert np.array_equal(by_places("the dog", [(130, 30)], [], photo, "decoder").mask, mask(RIGHT))
    assert np.array_equal(by_places("the dog", [(20, 30), (130, 30)], [], photo, "decoder").mask, mask(LEFT, RIGHT))
    assert np.array_equal(by_places("the dog", [(90, 30)], [], photo, "decoder").mask, mask(WHOLE))
    with pytest.raises(ValueError, match="nothing was found at the point 190,90"):
        by_places("the dog", [(190, 90)], [], photo, "decoder")


def test_a_box_takes_what_fits_it_and_otherwise_itself() -> None:
    photo = seen(mask(LEFT, RIGHT))
    assert np.array_equal(by_places("the dog", [], [(118, 18, 64, 64)], photo, "decoder").mask, mask(RIGHT))
    loose = by_places("the dog", [], [(70, 0, 20, 20)], photo, "decoder")
    assert np.array_equal(loose.mask, mask((slice(0, 20), slice(70, 90))))
    assert loose.report == "nothing was found that fits the box 70,0,20,20: the box itself is the region"


@pytest.mark.parametrize(
    ("points", "boxes", "regions", "sentence"),
    [
        ([(200, 50)], [], 1, "the point 200,50 lies outside the photo of 200x100"),
        ([(-1, 50)], [], 1, "the point -1,50 lies outside the photo of 200x100"),
        ([], [(150, 50, 60, 10)], 1, "the box 150,50,60,10 lies outside the photo of 200x100"),
        ([], [(0, 0, 0, 10)], 1, "a box is at least one pixel wide and high, which 0x10 is not"),
        ([(1, 2, 3)], [], 1, r"a point is x,y in pixels of the upright photo, not \(1, 2, 3\)"),
        ([(float("nan"), 2)], [], 1, "a point is x,y"),
        ([(1, 2)], [], 2, "points and boxes say where the one region of an instruction is, and this one names 2"),
    ],
)
def test_places_outside_the_photo_are_refused(points: list, boxes: list, regions: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_places(points, boxes, (HEIGHT, WIDTH), regions)
