"""A part of a JPEG is what the whole has there, bit for bit; what cannot be decided from a part is left to Pillow."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from instructrestore.model.training import crops, jpeg_part
from instructrestore.model.training.crops import Window, cut_photo
from instructrestore.model.training.jpeg_part import decodes_parts, is_one_scan, part_of_jpeg
from instructrestore.shards.reading.reader import Fault, Triplet
from tests.model.training.test_crops import triplet_of
from tests.real_photos import ANIMALS, present

needs_library = pytest.mark.skipif(
    not decodes_parts(), reason="TurboJPEG 3 is not installed: pip install instructrestore[jpeg]"
)
SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")


def jpeg(height: int, width: int, seed: int = 0, mode: str = "RGB", **saved: object) -> bytes:
    """Smooth colours and noise, so that all frequencies are in it."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)).resize((width, height))
    noise = rng.normal(0, 12, (height, width, 3))
    photo = Image.fromarray((np.asarray(small) + noise).clip(0, 255).astype(np.uint8)).convert(mode)
    file = io.BytesIO()
    photo.save(file, "JPEG", **saved)
    return file.getvalue()


def whole(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@needs_library
@given(
    st.tuples(st.integers(1, 150), st.integers(1, 190)),
    st.sampled_from(SUBSAMPLINGS),
    st.integers(30, 98),
    st.sampled_from([0, 1, 7]),
    st.integers(0, 99),
    st.data(),
)
@settings(max_examples=120, deadline=None)
def test_a_part_is_that_of_the_whole(
    size: tuple[int, int], subsampling: str, quality: int, restart: int, seed: int, data: st.DataObject
) -> None:
    height, width = size
    file = jpeg(height, width, seed, quality=quality, subsampling=subsampling, restart_marker_blocks=restart)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    rows, columns = data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))
    part = part_of_jpeg(file, size, top, left, rows, columns)
    assert part is not None
    np.testing.assert_array_equal(part, whole(file)[top : top + rows, left : left + columns])


@needs_library
def test_parts_of_real_photos(data_folder: Path) -> None:
    decoded = 0
    for path in present(data_folder, ANIMALS):
        data, photo = path.read_bytes(), whole(path.read_bytes())
        height, width = photo.shape[:2]
        rows, columns = min(301, height), min(257, width)
        for top, left in ((0, 0), ((height - rows) // 2, (width - columns) // 3), (height - rows, width - columns)):
            part = part_of_jpeg(data, (height, width), top, left, rows, columns)
            if part is not None:
                decoded += 1
                np.testing.assert_array_equal(part, photo[top : top + rows, left : left + columns])
    assert decoded


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_a_plain_file_is_one_scan(subsampling: str) -> None:
    assert is_one_scan(jpeg(50, 70, subsampling=subsampling))
    assert is_one_scan(jpeg(50, 70, subsampling=subsampling, restart_marker_rows=1))
    assert is_one_scan(jpeg(50, 70, subsampling=subsampling) + b"what a camera adds \xff\xda")


def test_what_a_part_says_nothing_of_is_no_single_scan() -> None:
    file = jpeg(50, 70)
    assert not is_one_scan(jpeg(50, 70, progressive=True))
    assert not any(is_one_scan(file[:size]) for size in range(len(file)))
    place = len(file) - 20
    assert not is_one_scan(file[:place] + b"\xff\xc4" + file[place:])  # another table in the code
    assert not is_one_scan(b"\x89PNG\r\n\x1a\n" + bytes(50))


def outcome(data: bytes, size: tuple[int, int], window: Window, mirrored: bool) -> bytes | str:
    """The crop's bytes, or the sentence of its fault."""
    triplet: Triplet = triplet_of(np.ones(size, bool), format="jpg", data=data)
    try:
        cut = cut_photo(triplet, size, window, mirrored)
    except Fault as fault:
        return str(fault)
    assert cut.shape == (window.size, window.size, 3) and cut.flags.c_contiguous
    return cut.tobytes()


@needs_library
@given(
    st.sampled_from(["sound", "cut", "cut and ended", "changed", "grey", "CMYK", "progressive", "small"]),
    st.integers(0, 10**6),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_crops_and_faults_are_the_same_without_the_library(kind: str, chance: int, mirrored: bool) -> None:
    size = (40, 30) if kind == "small" else (120, 150)
    mode = {"grey": "L", "CMYK": "CMYK"}.get(kind, "RGB")
    data = jpeg(*size, chance % 5, mode, progressive=kind == "progressive")
    place = chance % len(data)
    if kind.startswith("cut"):
        data = data[:place] + (b"\xff\xd9" if kind == "cut and ended" else b"")
    elif kind == "changed":
        data = data[:place] + bytes([chance // len(data) % 256]) + data[place + 1 :]
    window = Window(chance % 87, chance % 57, 64) if size[0] > 64 else Window(-17, -12, 64)
    with pytest.MonkeyPatch.context() as patch:
        with_library = outcome(data, size, window, mirrored)
        patch.setattr(crops, "part_of_jpeg", lambda *_: None)
        assert outcome(data, size, window, mirrored) == with_library


@needs_library
def test_the_library_is_what_decodes_a_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: object) -> None:
        raise AssertionError("the whole photo was decoded")

    data = jpeg(120, 150)
    expected = whole(data)[30:94, 40:104].tobytes()
    monkeypatch.setattr(crops.JpegImageFile, "load", never)
    assert outcome(data, (120, 150), Window(40, 30, 64), False) == expected


def test_without_the_library_pillow_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg_part, "_library", lambda: None)
    data = jpeg(120, 150)
    assert part_of_jpeg(data, (120, 150), 0, 0, 64, 64) is None
    assert outcome(data, (120, 150), Window(40, 30, 64), False) == whole(data)[30:94, 40:104].tobytes()
