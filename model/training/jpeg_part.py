"""A part of a JPEG without the rest: the pixels that Pillow gives, in about half the time.

TurboJPEG 3 passes over the rows and columns that nobody asks for. What it must read all the same is the entropy code
of the rows above, for a JPEG has no index. Its library comes with the system or with the extra `jpeg`; where it is
missing, and for files that it should not decide about alone, Pillow decodes the whole photo, to the same bytes.
"""

from __future__ import annotations

import ctypes
import importlib.util
import io
import struct
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

MARGIN = 16  # pixels around a part that are decoded with it: chroma is interpolated between neighbours
ALIGNED = 32  # columns; whole blocks of any chroma subsampling
# What the C API calls TJINIT_DECOMPRESS and TJPF_RGB.
_DECOMPRESS, _RGB = 1, 0
_NAMES = ("libturbojpeg.so.0", "libturbojpeg.dylib", "turbojpeg.dll")
_SEQUENTIAL = (0xC0, 0xC1)  # frames of Huffman code whose rows come one after the other


class _Region(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("x", "y", "w", "h")]


class _TurboJpeg:
    """The library. Raises OSError where there is none at `path`, and AttributeError for one before version 3."""

    def __init__(self, path: str) -> None:
        library = ctypes.CDLL(path)

        def function(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
            return ctypes.CFUNCTYPE(result, *arguments)((name, library))

        handle, file, number = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_size_t), ctypes.c_int
        self._init = function("tj3Init", handle, number)
        self._header = function("tj3DecompressHeader", number, handle, *file)
        self._crop = function("tj3SetCroppingRegion", number, handle, _Region)
        self._decompress = function("tj3Decompress8", number, handle, *file, ctypes.c_void_p, number, number)
        self._destroy = function("tj3Destroy", None, handle)

    def part(self, data: bytes, top: int, left: int, height: int, width: int) -> NDArray[np.uint8] | None:
        """(height, width, 3) RGB; `left` is a multiple of `ALIGNED`. None for any error or warning of the library."""
        pixels = np.empty((height, width, 3), np.uint8)
        if not (handle := self._init(_DECOMPRESS)):
            return None
        try:
            sound = (
                self._header(handle, data, len(data)) == 0
                and self._crop(handle, _Region(left, top, width, height)) == 0
                and self._decompress(handle, data, len(data), pixels.ctypes.data, 0, _RGB) == 0
            )
        finally:
            self._destroy(handle)
        return pixels if sound else None


def decodes_parts() -> bool:
    """Whether there is a library for it."""
    return _library() is not None


def part_of_jpeg(
    data: bytes, size: tuple[int, int], top: int, left: int, height: int, width: int
) -> NDArray[np.uint8] | None:
    """A window of a colour JPEG as (height, width, 3) uint8 RGB, bit for bit what Pillow decodes there.

    size: (height, width) of the whole, which has three colours and in which the window lies. None where it must be
    decoded whole: there is no library, the file is not `is_one_scan`, or the library finds anything wrong with it.
    """
    library = _library()
    if library is None or not is_one_scan(data):
        return None
    return _window(library, data, size, top, left, height, width)


def _window(
    library: _TurboJpeg, data: bytes, size: tuple[int, int], top: int, left: int, height: int, width: int
) -> NDArray[np.uint8] | None:
    first_row, first_column = max(top - MARGIN, 0), max(left - MARGIN, 0) // ALIGNED * ALIGNED
    rows, columns = (
        min(top + height + MARGIN, size[0]) - first_row,
        min(left + width + MARGIN, size[1]) - first_column,
    )
    part = library.part(data, first_row, first_column, rows, columns)
    if part is None:
        return None
    return part[top - first_row : top - first_row + height, left - first_column : left - first_column + width]


def is_one_scan(data: bytes) -> bool:
    """Whether a JPEG is sequential Huffman code in a single scan, unbroken up to its end marker.

    Then Pillow has nothing to complain of below the window either: what is damaged there is at most a wrong colour.
    """
    place, frame, marker = 2, 0, 0
    while marker != 0xDA and place + 4 <= len(data):
        escape, marker, length = struct.unpack_from(">BBH", data, place)
        if escape != 0xFF or not 0xC0 <= marker <= 0xFE or 0xD0 <= marker <= 0xD9 or length < 2:
            return False
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xCC):  # tables, not frames
            frame = marker
        place += 2 + length
    if marker != 0xDA or frame not in _SEQUENTIAL or place >= len(data):
        return False
    code = np.frombuffer(data, np.uint8, offset=place)
    after = code[1:][code[:-1] == 0xFF]
    marks = after[(after != 0) & ((after < 0xD0) | (after > 0xD7))]  # neither a stuffed byte nor a restart
    return bool(marks.size) and int(marks[0]) == 0xD9


@cache
def _library() -> _TurboJpeg | None:
    """TurboJPEG 3, where there is one that decodes as this Pillow does."""
    if not features.check_feature("libjpeg_turbo"):
        return None
    for path in _paths():
        try:
            library = _TurboJpeg(path)
        except (OSError, AttributeError):
            continue
        if _agrees(library):
            return library
    return None


def _paths() -> Iterator[str]:
    """The system's library, then the one in the wheel `turbojpeg`."""
    yield from _NAMES
    wheel = importlib.util.find_spec("turbojpeg")
    if wheel and wheel.origin:
        for folder in ("turbojpeg.libs", ".dylibs"):
            yield from map(str, (Path(wheel.origin).parent / folder).glob("libturbojpeg*"))


def _agrees(library: _TurboJpeg) -> bool:
    size = 96
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", quality=90, subsampling="4:2:0")
    whole = np.asarray(Image.open(file))
    part = _window(library, file.getvalue(), (size, size), 41, 51, 30, 25)
    return part is not None and np.array_equal(part, whole[41:71, 51:76])
