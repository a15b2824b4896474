"""Sixteen bits a channel, exactly as files store them."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from instructrestore.dataengine.photos.deep_pixels import deep_pixels
from instructrestore.dataengine.photos.picture_file import open_picture
from tests.dataengine.photos.test_photo_file import saved, scene

PIXELS = np.random.default_rng(0).integers(0, 65536, (31, 43, 4), np.uint16)


def deep(data: bytes) -> NDArray[np.uint16] | None:
    return deep_pixels(data, open_picture(data, 10**6))


def png(values: NDArray[np.uint16]) -> bytes:
    order = [2, 1, 0, 3][: values.shape[2]] if values.ndim == 3 else slice(None)
    done, data = cv2.imencode(".png", values[..., order] if values.ndim == 3 else values)
    assert done
    return data.tobytes()


def tiff(values: NDArray[np.uint16], **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.sampled_from([0, 3, 4]))
def test_a_png_comes_back(seed: int, height: int, width: int, channels: int) -> None:
    shape = (height, width, channels) if channels else (height, width)
    values = np.random.default_rng(seed).integers(0, 65536, shape, np.uint16)
    found = deep(png(values))
    assert found is not None and (found == values).all()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("channels", [0, 3, 4])
def test_a_tiff_comes_back(order: Any, compression: str | None, channels: int) -> None:
    values = PIXELS[..., :channels] if channels else PIXELS[..., 0]
    options: dict[str, Any] = {"photometric": "rgb"} if channels else {"photometric": "minisblack"}
    options |= {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    found = deep(tiff(values, byteorder=order, compression=compression, **options))
    assert found is not None and (found == values).all()


def test_one_by_another_program_and_one_on_its_side() -> None:
    done, data = cv2.imencode(".tif", PIXELS[..., 2::-1])  # LZW, with a predictor
    found = deep(data.tobytes())
    assert done and found is not None and (found == PIXELS[..., :3]).all()
    found = deep(tiff(PIXELS[..., :3], photometric="rgb", extratags=[(274, "H", 1, 6, True)]))
    assert found is not None and (found == np.rot90(PIXELS[..., :3], -1)).all()


def test_what_has_no_sixteen_bits_or_not_exactly() -> None:
    for format in ("PNG", "TIFF", "JPEG", "WEBP"):
        assert deep(saved(scene(), format)) is None
    assert deep(saved(Image.fromarray(scene()).convert("P"), "PNG")) is None
    planar = tiff(
        np.moveaxis(PIXELS[..., :3], -1, 0), photometric="rgb", planarconfig="separate", compression="deflate"
    )
    assert deep(planar) is None
    assert deep(tiff(PIXELS, photometric="separated")) is None, "inks"
