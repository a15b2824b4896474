"""A JPEG without its end marker is whole if all its pixels are there, and a truncated one never is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from instructrestore.dataengine.photos.jpeg_end import with_its_end
from instructrestore.dataengine.photos.photo_file import UnusablePhoto, decode
from tests.dataengine.photos.test_photo_file import saved, scene

NOISE = np.random.default_rng(1).integers(0, 256, (75, 101, 3), np.uint8)
PICTURES: dict[str, NDArray[np.uint8]] = {
    "scene": scene(96, 120),
    "noise": NOISE,
    "flat": np.full((64, 200, 3), 90, np.uint8),
    "one pixel": scene(1, 1),
}
KINDS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "best": {"quality": 100, "subsampling": 0},
    "worst": {"quality": 5},
    "progressive": {"progressive": True},
    "best progressive": {"progressive": True, "quality": 100, "subsampling": 0},
    "restarts": {"restart_marker_rows": 1},
    "optimised": {"optimize": True},
}
MODES = ("RGB", "L", "CMYK")


def jpeg(picture: str, kind: str, mode: str = "RGB") -> bytes:
    return saved(Image.fromarray(PICTURES[picture]).convert(mode), "JPEG", **KINDS[kind])


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_a_photo_without_its_end_is_whole(picture: str, kind: str, mode: str) -> None:
    data = jpeg(picture, kind, mode)
    assert data.endswith(b"\xff\xd9")
    for cut in (data[:-2], data[:-1], data[:-2] + b"\xff\xff"):
        decoded = decode(cut)
        np.testing.assert_array_equal(decoded.rgb, decode(data).rgb)
        assert "file without its end" in decoded.notes
        assert not decoded.as_is
        assert with_its_end(cut) == data


@pytest.mark.parametrize("picture", ["scene", "noise", "flat"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_that_breaks_off_within_its_pixels_is_corrupt(picture: str, kind: str) -> None:
    data = jpeg(picture, kind)
    body = data.index(b"\xff\xda")
    for lost in {4, 6, 10, 20, (len(data) - body) // 2, len(data) - body}:
        # A last byte may hold nothing but the padding of the byte before it: four bytes always hold a pixel's bits.
        with pytest.raises(UnusablePhoto, match="corrupt photo"):
            decode(data[:-lost])


def test_one_that_lacks_whole_scans_is_corrupt() -> None:
    data = jpeg("scene", "progressive")
    scans = [n for n in range(len(data)) if data.startswith(b"\xff\xda", n)]
    assert len(scans) > 5
    for begin in scans[1:]:
        tables = data.rfind(b"\xff\xc4", 0, begin)  # a scan's own Huffman table stands before it
        for end in {begin, tables if tables > scans[0] else begin}:
            with pytest.raises(UnusablePhoto, match="corrupt photo"):
                decode(data[:end])


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_was_filled_up_with_zeros_is_corrupt(kind: str) -> None:
    data = jpeg("scene", kind)
    for kept in (len(data) // 2, len(data) - 20, len(data) - 3):
        with pytest.raises(UnusablePhoto, match="corrupt photo"):
            decode(data[:kept] + bytes(4096))


def test_what_follows_the_end_is_left_alone() -> None:
    data = jpeg("scene", "baseline")
    for behind in (b"\0", bytes(5000), b"\xff\xd8\xff\xe1", data, b"text" * 99):
        decoded = decode(data + behind)
        assert (decoded.as_is, decoded.notes) == (True, ())
        np.testing.assert_array_equal(decoded.rgb, decode(data).rgb)


def test_headers_alone_are_no_photo() -> None:
    data = jpeg("scene", "baseline")
    body = data.index(b"\xff\xda")
    for end in range(2, body + 20, 7):
        assert with_its_end(data[:end]) is None
