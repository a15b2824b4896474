"""Masks: exact round trips, and no run-length code that reaches outside its mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from instructrestore.shards.rle import Mask, Runs, polygons, run_lengths, uncompressed, union

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


@given(masks)
def test_round_trip(array: np.ndarray) -> None:
    mask = Mask.from_array(array)
    assert np.array_equal(mask.array(), array)
    assert mask.area() == array.sum()


@given(masks)
def test_run_lengths_agree_with_coco(array: np.ndarray) -> None:
    mask = Mask.from_array(array)
    flat = array.ravel(order="F")
    runs = run_lengths(mask.counts)
    assert runs.sum() == flat.size
    values = np.arange(runs.size) % 2 == 1
    assert np.array_equal(np.repeat(values, runs), flat)
    assert uncompressed(runs.tolist(), *array.shape) == mask


@given(masks)
def test_box_is_the_smallest(array: np.ndarray) -> None:
    x, y, w, h = Mask.from_array(array).box()
    if not array.any():
        assert (w, h) == (0, 0)
        return
    rows, columns = np.flatnonzero(array.any(1)), np.flatnonzero(array.any(0))
    assert (x, y, x + w, y + h) == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)


def test_no_mask_is_larger_than_a_photo() -> None:
    """Its runs are 14 characters long, and decoded it would take 4 GB."""
    for height, width in ((65_535, 65_535), (10_000, 10_001), (1, 65_536), (0, 5)):
        mask = Mask(height, width, packed([height * width]))
        for refused in (mask.check, mask.array, mask.box, lambda: Runs(mask)):  # noqa: B023
            with pytest.raises(ValueError, match=r"is over 100000000 pixels|is outside 1\.\.65535"):
                refused()
    largest = Mask(10_000, 10_000, packed([12_345, 20_000, 100_000_000 - 32_345]))
    assert (largest.area(), largest.box()) == (20_000, (1, 0, 3, 10_000))


def packed(runs: list[int]) -> str:
    """COCO's text of at most three runs, which are plain numbers: 5 bits a character, low first."""
    text = ""
    for run in runs:
        while True:
            group, run = run & 31, run >> 5
            more = run != 0 or bool(group & 16)
            text += chr((group | (32 if more else 0)) + 48)
            if not more:
                break
    return text


def test_a_mask_of_eight_megapixels_survives() -> None:
    array = np.zeros((2500, 3500), np.bool_)
    array[1000:2400, 2:3400] = True
    array[1500:1600, 100:200] = False
    assert np.array_equal(Mask.from_array(array).array(), array)


@given(st.text(max_size=30), st.integers(1, 20), st.integers(1, 20))
def test_no_text_reaches_the_decoder_unchecked(counts: str, height: int, width: int) -> None:
    mask = Mask(height, width, counts)
    try:
        array = mask.array()
    except ValueError:
        return
    assert array.shape == (height, width)
    assert np.array_equal(Mask.from_array(array).array(), array)


@pytest.mark.parametrize(
    ("counts", "complaint"),
    [
        ("", "cover 0 of 12"),
        ("\x01", "not COCO"),
        ("é", "not ASCII"),
        ("PPPPPPPPPPPPPPPPPPPP0", "too long"),
        ("P", "not COCO"),
        ("<", "cover 12 of"),
    ],
)
def test_what_is_wrong_with_a_code_is_said(counts: str, complaint: str) -> None:
    size = (3, 4) if complaint != "cover 12 of" else (3, 5)
    with pytest.raises(ValueError, match=complaint):
        Mask(*size, counts).check()


def test_a_run_that_overflows_is_refused() -> None:
    huge = coco.encode(np.asfortranarray(np.ones((200, 200), np.uint8)))["counts"].decode()
    with pytest.raises(ValueError, match="cover 40000 of 16"):
        Mask(4, 4, huge).array()


@given(st.lists(arrays(np.bool_, (7, 9)), min_size=1, max_size=4))
def test_union(arrays_: list[np.ndarray]) -> None:
    assert np.array_equal(union([Mask.from_array(a) for a in arrays_]).array(), np.any(arrays_, axis=0))


def test_polygons() -> None:
    square = polygons([[1, 1, 5, 1, 5, 4, 1, 4]], 6, 8)
    expected = np.zeros((6, 8), np.bool_)
    expected[1:4, 1:5] = True
    assert np.array_equal(square.array(), expected)
    for bad in ([], [[1, 1, 2, 2]], [[1, 1, 2, 2, 3]], [[1, 1, 2, 2, float("nan"), 3]], [[0, 0, 1e9, 0, 3, 3]]):
        with pytest.raises(ValueError, match="polygon"):
            polygons(bad, 6, 8)


@given(masks, st.data())
def test_windows_from_the_runs_are_those_of_the_decoded_mask(array: np.ndarray, data: st.DataObject) -> None:
    runs = Runs(Mask.from_array(array))
    height, width = array.shape
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    rows, columns = data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))
    window = array[top : top + rows, left : left + columns]
    assert runs.area == array.sum()
    assert runs.count(top, left, rows, columns) == window.sum()
    assert np.array_equal(runs.window(top, left, rows, columns), window)
    found = [runs.pixel(number, top, left, rows, columns) for number in range(int(window.sum()))]
    across, down = np.nonzero(window.T)
    assert found == [(top + int(y), left + int(x)) for x, y in zip(across, down, strict=True)]


def test_runs_of_a_wrong_mask_are_refused() -> None:
    with pytest.raises(ValueError, match="runs cover"):
        Runs(Mask(4, 5, Mask.from_array(np.ones((4, 4), np.bool_)).counts))
