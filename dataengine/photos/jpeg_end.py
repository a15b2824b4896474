"""JPEG files without their end marker (ITU-T T.81, EOI): whole photos that a sloppy program cut, or truncated ones."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from io import BytesIO

from PIL.JpegImagePlugin import JpegImageFile

from instructrestore.dataengine.photos.faults import PILLOW_ERRORS

_END = b"\xff\xd9"
# What could have followed. A decoder that still waits for a pixel's bits takes a different value from each.
_FOLLOWING = (b"", bytes(64), b"\xff\x00" * 64, b"\xaa" * 64, b"\x55" * 64)
_SPARE = 8  # bytes; a scan's last so many cannot be lost without changing a pixel
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")  # neither a stuffed byte nor a restart
_SCAN, _ALONE = 0xDA, (0x01, 0xD8)  # start of scan; markers without a segment
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BANDS = 64  # coefficients of a block


def has_its_end(data: bytes) -> bool:
    """Whether the JPEG has an end marker, whatever follows it."""
    return data.endswith(_END) or _scans(data).ended


def with_its_end(data: bytes) -> bytes | None:
    """A JPEG that has no end marker with one put behind its last scan; None unless every pixel is in its bytes.

    Whether the last scan is whole cannot be seen in its bytes, but in what a decoder makes of them: whatever follows a
    whole scan changes no pixel. Bytes that belong to no pixel (a download that was filled up with zeros after it broke
    off) show by the same means: without the last of them no pixel changes either.
    """
    stem = data.rstrip(b"\xff")
    scans = _scans(stem)
    if scans.ended or not scans.complete or not _decided(stem) or _decided(stem[:-_SPARE]):
        return None
    return stem + _END


@dataclass(frozen=True)
class _Scans:
    """ended: there is an end marker. complete: the scans give every coefficient of every component to its last bit."""

    ended: bool
    complete: bool


def _scans(data: bytes) -> _Scans:
    missing: set[tuple[int, int]] = set()
    started = False
    place = 2
    try:
        while marker := _MARKER.search(data, place):
            begin, kind = marker.end(), marker[1][0]
            if kind == _END[1]:
                return _Scans(True, started and not missing)
            place = begin + (0 if kind in _ALONE else int.from_bytes(data[begin : begin + 2], "big"))
            if kind in _FRAMES:
                components = data[begin + 8 : begin + 8 + 3 * data[begin + 7] : 3]
                missing = {(component, band) for component in components for band in range(_BANDS)}
                started = True
            elif kind == _SCAN:
                first, last, bits = data[place - 3 : place]
                if bits & 15 == 0:  # down to the last bit
                    for component in data[begin + 3 : begin + 3 + 2 * data[begin + 2] : 2]:
                        missing -= {(component, band) for band in range(first, last + 1)}
    except (IndexError, ValueError):  # it ends within a header
        return _Scans(False, False)
    return _Scans(False, started and not missing)


def _decided(stem: bytes) -> bool:
    """Whether the bytes alone decide every pixel, whatever follows them."""
    pixels = None
    for following in _FOLLOWING:
        try:
            image = JpegImageFile(BytesIO(stem + following + _END))
            image.load()
        except PILLOW_ERRORS:
            return False
        found = hashlib.sha256(image.tobytes()).digest()  # of a large photo, only one is in memory at a time
        if pixels not in (None, found):
            return False
        pixels = found
    return True
