"""A TIFF (revision 6.0) of 8 or 16 bits a channel, built around its photo's EXIF block.

An EXIF block is a TIFF without pixels. Here it begins the file, and the pixels and a new first directory follow, which
takes over the block's entries: whatever the block says by an offset, maker's notes too, stays byte for byte in place.
"""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from instructrestore.pipelines.pictures.exif import first_directory
from instructrestore.pipelines.pictures.iptc import TIFF_TAG as IPTC_TAG
from instructrestore.pipelines.pictures.sealed_record import TIFF_TAG

_SHORT, _LONG, _RATIONAL = 3, 4, 5
_BYTE, _ASCII, _UNDEFINED = 1, 2, 7
_STRIP = 1 << 20  # bytes of pixels, before compression
_LEVEL = 4  # of zlib
# Tags of the block that describe the pixels of another file, or its colours: those are the profile's business.
_OF_OTHER_PIXELS = (
    *(254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 284, 288, 289, 290, 291),
    *(292, 293, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 330, 332, 338, 339, 340, 341, 347),
    *(512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 700, 34675, TIFF_TAG),
)
_XMP, _PROFILE = 700, 34675


def deep_tiff(
    pixels: NDArray[np.uint8] | NDArray[np.uint16],
    text: bytes,
    icc_profile: bytes | None = None,
    exif: bytes | None = None,
    xmp: str = "",
    dpi: tuple[float, float] | None = None,
    iptc: bytes = b"",
) -> bytes:
    """The picture as a TIFF, losslessly compressed (deflate with differences); equal input gives equal bytes.

    pixels: (H, W, 3) RGB, or (H, W, 4) with transparency that is not multiplied into the colours. text: ASCII, of the
    tag TIFF_TAG. exif: a block by `exif.upright_exif` that states this picture's size.
    """
    height, width, channels = pixels.shape
    begin, entries = first_directory(exif) if exif else (b"II*\0\0\0\0\0", {})
    order = "<" if begin.startswith(b"II") else ">"
    entries = {tag: entry for tag, entry in entries.items() if tag not in _OF_OTHER_PIXELS}
    file = bytearray(begin)

    def put(data: bytes) -> int:
        """Appends to the file, at an even place."""
        file.extend(b"\0" * (len(file) % 2))
        file.extend(data)
        return len(file) - len(data)

    def say(tag: int, kind: int, count: int, value: bytes) -> None:
        where = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(f"{order}I", put(value))
        entries[tag] = struct.pack(f"{order}HHI", tag, kind, count) + where

    def say_numbers(tag: int, kind: int, *values: int) -> None:
        layout = f"{order}{len(values)}{'H' if kind == _SHORT else 'I'}"
        say(tag, kind, len(values) // 2 if kind == _RATIONAL else len(values), struct.pack(layout, *values))

    bits = 8 * pixels.itemsize
    rows = max(1, _STRIP // (pixels.itemsize * channels * width))
    differences = pixels.copy()
    differences[:, 1:] -= pixels[:, :-1]
    strips = [
        zlib.compress(differences[top : top + rows].astype(f"{order}u{pixels.itemsize}").tobytes(), _LEVEL)
        for top in range(0, height, rows)
    ]
    places = [put(strip) for strip in strips]
    say_numbers(256, _LONG, width)
    say_numbers(257, _LONG, height)
    say_numbers(258, _SHORT, *[bits] * channels)
    say_numbers(259, _SHORT, 8)  # compression: deflate
    say_numbers(262, _SHORT, 2)  # RGB
    say_numbers(273, _LONG, *places)
    say_numbers(277, _SHORT, channels)
    say_numbers(278, _LONG, rows)
    say_numbers(279, _LONG, *map(len, strips))
    say_numbers(284, _SHORT, 1)  # a pixel's channels lie together
    say_numbers(317, _SHORT, 2)  # predictor: the difference to the pixel on the left
    if channels == 4:
        say_numbers(338, _SHORT, 2)  # transparency, not multiplied
    say_numbers(339, _SHORT, *[1] * channels)  # unsigned
    if dpi:
        for tag, value in zip((282, 283), dpi, strict=True):
            say_numbers(tag, _RATIONAL, *Fraction(value).limit_denominator(1000).as_integer_ratio())
        say_numbers(296, _SHORT, 2)  # inches
    if xmp:
        packet = xmp.encode()
        say(_XMP, _BYTE, len(packet), packet)
    if iptc:
        say(IPTC_TAG, _UNDEFINED, len(iptc), iptc)
    if icc_profile:
        say(_PROFILE, _UNDEFINED, len(icc_profile), icc_profile)
    say(TIFF_TAG, _ASCII, len(text) + 1, text + b"\0")
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4)
    struct.pack_into(f"{order}I", file, 4, put(directory))
    return bytes(file)
