"""Where crops lie: properties that hold for every photo and every region."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from instructrestore.pipelines.testset.crops import REGION_SHARE, place_crop

SIDES = st.integers(64, 900)


@st.composite
def photos(draw: st.DrawFn) -> tuple[tuple[int, int, int, int], int, int]:
    """The bounding box of a region, and the width and height of its photo."""
    width, height = draw(SIDES), draw(SIDES)
    across, down = draw(st.integers(1, width)), draw(st.integers(1, height))
    return (draw(st.integers(0, width - across)), draw(st.integers(0, height - down)), across, down), width, height


@given(photos(), st.sampled_from([64, 128, 256]), st.booleans(), st.sampled_from([1, 2, 3, 4]))
def test_a_crop_lies_inside_and_is_centred_unless_at_an_edge(photo, size, scalable, step) -> None:
    box, width, height = photo
    crop = place_crop(box, width, height, size, scalable, step)
    if min(width, height) < size:
        assert crop is None
        return
    assert crop
    assert crop.left % step == 0
    assert crop.top % step == 0
    for start, extent, corner, before, side in (
        (box[0], box[2], crop.left, width, crop.width),
        (box[1], box[3], crop.top, height, crop.height),
    ):
        assert corner >= 0
        assert corner + size <= side
        middle = (start + extent / 2) * side / before
        off = corner + size / 2 - middle
        assert off <= 0.5 or corner == 0
        assert off > -step - 0.5 or corner + size + step > side


@given(photos(), st.sampled_from([64, 128, 256]))
def test_only_a_region_larger_than_the_crop_makes_the_photo_smaller(photo, size) -> None:
    box, width, height = photo
    crop = place_crop(box, width, height, size)
    if crop is None:
        return
    longest = max(box[2:])
    if longest <= size:
        assert (crop.scale, crop.width, crop.height) == (1, width, height)
        return
    assert crop.scale <= 1
    takes = longest * crop.scale / size
    # As much as was wanted, or more only because the photo's shorter side can shrink no further.
    assert np.isclose(takes, REGION_SHARE) or (takes > REGION_SHARE and min(crop.width, crop.height) == size)
    assert abs(crop.width - width * crop.scale) <= 0.51
    assert abs(crop.height - height * crop.scale) <= 0.51
    given_pair = place_crop(box, width, height, size, scalable=False)
    assert given_pair
    assert given_pair.scale == 1


@given(photos())
def test_photo_and_mask_are_cut_alike(photo) -> None:
    box, width, height = photo
    crop = place_crop(box, width, height, 64)
    assert crop
    mask = np.zeros((height, width), np.bool_)
    mask[box[1] : box[1] + box[3], box[0] : box[0] + box[2]] = True
    white = np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255
    cut = crop.cut_mask(mask)
    assert cut.shape == (64, 64)
    shown = crop.cut(white, Image.Resampling.BOX)[..., 0] >= 128
    assert np.array_equal(cut, shown)
    if crop.scale == 1:
        assert np.array_equal(cut, mask[crop.top : crop.top + 64, crop.left : crop.left + 64])
