"""Label Studio's brush code: to and fro, as its own converter has it, and nothing but a sentence for anything else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from instructrestore.dataengine.sources.brush_rle import decode, encode
from instructrestore.shards.rle import BoolArray

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=24))


@given(masks)
def test_to_and_fro(mask: BoolArray) -> None:
    np.testing.assert_array_equal(decode(encode(mask), *mask.shape), mask)


@pytest.fixture(scope="module")
def converter() -> Any:
    return pytest.importorskip("label_studio_converter.brush")


@given(mask=masks)
def test_the_code_is_that_of_label_studio_s_own_converter(converter: Any, mask: BoolArray) -> None:
    assert encode(mask) == converter.mask2rle(mask.astype(np.uint8) * 255)


def test_runs_of_all_lengths() -> None:
    mask = np.zeros((300, 300), np.bool_)
    for start, length in ((0, 1), (10, 2), (20, 4), (40, 60), (200, 20_000), (40_000, 49_000)):
        mask.ravel()[start : start + length] = True
    np.testing.assert_array_equal(decode(encode(mask), 300, 300), mask)


def test_values_one_by_one_as_browsers_write_them() -> None:
    """Two pixels, transparent and opaque, of four values each: no run."""
    bits = f"{8:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    bits += "0" + "00" + f"{7:03b}" + "".join(f"{value:08b}" for value in (9, 9, 9, 0, 9, 9, 9, 255))
    bits += "0" * (-len(bits) % 8)
    code = list(int(bits, 2).to_bytes(len(bits) // 8, "big"))
    assert decode(code, 1, 2).tolist() == [[False, True]]


def fault_of(code: object, height: int = 4, width: int = 4) -> str:
    try:
        assert decode(code, height, width).shape == (height, width)  # pyright: ignore[reportArgumentType]
    except ValueError as error:
        return str(error)
    return ""


@given(st.lists(st.integers(0, 255), max_size=60), st.integers(1, 9), st.integers(1, 9))
def test_anything_else_is_a_sentence(code: list[int], height: int, width: int) -> None:
    head = list((4 * height * width).to_bytes(4, "big"))
    for each in (code, head + code):
        fault = fault_of(each, height, width)
        assert not fault or fault.startswith("the brush mask ")


@pytest.mark.parametrize("code", [None, "abc", [256], [-1], ["a"], 7, 10**15, {}])
def test_what_is_no_list_of_bytes(code: object) -> None:
    assert fault_of(code).startswith("the brush mask ")
