"""Cleaning of masks: what each rule removes and spares, and that everything removed is counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage

from instructrestore.dataengine.masks.cleanup import CleanupSettings, clean

BoolArray = NDArray[np.bool_]
SIZE = 100
WHOLE_MASK_REASONS = (
    "empty", "too small", "too large", "duplicate", "part of another", "beyond the most regions",
)  # fmt: skip
ALL_8 = np.ones((3, 3))


def box(top: int, left: int, height: int, width: int) -> BoolArray:
    mask = np.zeros((SIZE, SIZE), np.bool_)
    mask[top : top + height, left : left + width] = True
    return mask


def removed(counts: dict[str, int]) -> int:
    return sum(counts.get(reason, 0) for reason in WHOLE_MASK_REASONS)


def holes(mask: BoolArray) -> list[int]:
    """Areas of the mask's holes: 4-connected background that does not reach the photo's edge."""
    labels, _ = ndimage.label(~mask)
    outside = set(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]).tolist())
    areas = np.bincount(labels.ravel()).tolist()
    return [area for label, area in enumerate(areas) if label and label not in outside]


def islands(mask: BoolArray) -> list[int]:
    return np.bincount(ndimage.label(mask, ALL_8)[0].ravel())[1:].tolist()


def test_small_holes_are_filled_and_large_ones_stay() -> None:
    mask = box(10, 10, 60, 60) & ~box(20, 20, 5, 5) & ~box(40, 40, 20, 20)
    cleaned = clean([mask], CleanupSettings(hole=0.01))
    assert cleaned.counts == {"hole filled": 1}
    np.testing.assert_array_equal(cleaned.masks[0], box(10, 10, 60, 60) & ~box(40, 40, 20, 20))


def test_a_bay_at_the_photos_edge_is_no_hole() -> None:
    mask = box(0, 0, 50, SIZE) & ~box(0, 40, 3, 3)
    np.testing.assert_array_equal(clean([mask], CleanupSettings()).masks[0], mask)


def test_islands_are_measured_against_the_photo_not_against_the_mask() -> None:
    speck, post = box(90, 90, 5, 5), box(5, 80, 30, 4)
    small_mask, large_mask = box(10, 10, 20, 20), box(10, 10, 60, 60)
    for main in (small_mask, large_mask):
        cleaned = clean([main | speck | post], CleanupSettings(hole=0.01, island=0.01))
        assert cleaned.counts == {"island dropped": 1}
        np.testing.assert_array_equal(cleaned.masks[0], main | post)


def test_pixels_that_touch_at_a_corner_are_one_island() -> None:
    mask = box(10, 10, 10, 10) | box(20, 20, 3, 3)
    assert clean([mask], CleanupSettings()).counts == {}


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (box(0, 0, 0, 0), "empty"),
        (box(10, 10, 9, 9), "too small"),
        (box(0, 0, SIZE, 97), "too large"),
    ],
)
def test_areas(mask: BoolArray, reason: str) -> None:
    cleaned = clean([mask, box(50, 50, 20, 20)], CleanupSettings())
    assert cleaned.counts == {reason: 1}
    assert cleaned.indices == [1]


def test_of_two_duplicates_the_larger_stays() -> None:
    cleaned = clean([box(10, 10, 40, 40), box(10, 10, 40, 42), box(60, 60, 30, 30)], CleanupSettings())
    assert cleaned.indices == [1, 2]
    assert cleaned.counts == {"duplicate": 1}


def test_overlap_without_containment_stays() -> None:
    cleaned = clean([box(0, 0, 50, 50), box(0, 20, 50, 50)], CleanupSettings())
    assert cleaned.indices == [0, 1]
    assert cleaned.counts == {}


def test_a_part_goes_and_a_thing_in_a_true_hole_stays() -> None:
    sea_with_a_boat_cut_out = box(0, 0, 60, SIZE) & ~box(20, 20, 20, 20)
    boat, sail, wave = box(20, 20, 20, 20), box(20, 20, 12, 12), box(45, 10, 12, 40)
    cleaned = clean([sail, wave, boat, sea_with_a_boat_cut_out], CleanupSettings())
    assert cleaned.indices == [3, 2]
    assert cleaned.counts == {"part of another": 2}


def test_a_part_of_something_that_was_itself_dropped_stays() -> None:
    whole_photo, thing = box(0, 0, SIZE, SIZE), box(10, 10, 30, 30)
    assert clean([whole_photo, thing], CleanupSettings()).indices == [1]


def test_the_most_regions_are_the_largest() -> None:
    strips = [box(0, 10 * i, 20 + 5 * i, 8) for i in range(8)]
    cleaned = clean(strips, CleanupSettings(most=3))
    assert cleaned.indices == [7, 6, 5]
    assert cleaned.counts == {"beyond the most regions": 5}


def test_gentle_settings_keep_what_people_drew() -> None:
    person_behind_a_post = box(20, 20, 50, 10) | box(20, 33, 50, 2)
    face, again, everything = box(20, 20, 8, 8), person_behind_a_post.copy(), box(0, 0, SIZE, SIZE)
    given_masks = [person_behind_a_post, face, again, everything]
    cleaned = clean(given_masks, CleanupSettings.gentle())
    assert cleaned.counts == {}
    assert cleaned.indices == [3, 0, 2, 1]
    for mask, index in zip(cleaned.masks, cleaned.indices, strict=True):
        np.testing.assert_array_equal(mask, given_masks[index])


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="hole and island must not be larger"):
        CleanupSettings(hole=0.02, smallest=0.01)
    with pytest.raises(ValueError, match="smallest must be below largest"):
        CleanupSettings(smallest=0.5, largest=0.4)


def test_no_masks() -> None:
    assert clean([], CleanupSettings()).masks == []


COARSE_NOISE = arrays(np.bool_, (9, 11)).map(lambda cells: np.kron(cells, np.ones((4, 4), np.bool_)))
FINE_NOISE = arrays(np.bool_, (36, 44), elements=st.integers(0, 9).map(lambda n: n < 7), fill=st.just(True))
MASKS = st.lists(st.one_of(COARSE_NOISE, FINE_NOISE), max_size=6)
SETTINGS = st.builds(
    lambda limits, most, part: CleanupSettings(
        hole=limits[0] / 1000, island=limits[1] / 1000, smallest=max(limits) / 1000, part=part, most=most
    ),
    st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 100)),
    st.integers(1, 6),
    st.one_of(st.just(1.0), st.just(0.9), st.just(0.5)),
)


@settings(max_examples=150, deadline=None)
@given(masks=MASKS, cleanup=SETTINGS)
def test_properties_of_any_masks(masks: Sequence[BoolArray], cleanup: CleanupSettings) -> None:
    cleaned = clean(masks, cleanup)
    assert len(masks) == len(cleaned.masks) + removed(cleaned.counts)
    assert len(set(cleaned.indices)) == len(cleaned.indices) == len(cleaned.masks) <= cleanup.most
    areas = [int(mask.sum()) for mask in cleaned.masks]
    assert areas == sorted(areas, reverse=True)
    for mask, index in zip(cleaned.masks, cleaned.indices, strict=True):
        pixels = mask.size
        assert cleanup.smallest * pixels <= mask.sum() <= cleanup.largest * pixels
        assert all(area >= cleanup.hole * pixels for area in holes(mask))
        assert all(area >= cleanup.island * pixels for area in islands(mask))
        # What was filled was hole, what was dropped was island, and each was below its limit.
        filled, dropped = ndimage.label(mask & ~masks[index])[0], masks[index] & ~mask
        assert all(area < cleanup.hole * pixels for area in np.bincount(filled.ravel())[1:])
        assert all(area < (cleanup.island + cleanup.hole) * pixels for area in islands(dropped))
        for other in cleaned.masks:
            if other is not mask and cleanup.part is not None and other.sum() > mask.sum():
                assert (mask & other).sum() <= cleanup.part * mask.sum()
    again = clean(cleaned.masks, cleanup)
    assert again.counts == {}
    assert again.indices == list(range(len(cleaned.masks)))
    for before, after in zip(cleaned.masks, again.masks, strict=True):
        np.testing.assert_array_equal(before, after)


def test_fifteen_ragged_masks_of_two_megapixels() -> None:
    rows, columns = np.mgrid[:1200, :1700]
    cells = 5 * (rows // 400) + columns // 340
    rng = np.random.default_rng(0)
    masks = [(cells == cell) ^ (rng.random(cells.shape) < 0.0002) for cell in range(15)]
    cleaned = clean(masks, CleanupSettings())
    assert len(cleaned.masks) == 15
    assert cleaned.counts["island dropped"] > 1000
    assert cleaned.counts["hole filled"] > 100
