"""EXIF blocks (EXIF 2.32: a TIFF header and directories), edited in place: everything else stays, byte for byte."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from contextlib import suppress

from PIL import ExifTags

_ORIENTATION = int(ExifTags.Base.Orientation)
_WIDTHS = (int(ExifTags.Base.ImageWidth), int(ExifTags.Base.ExifImageWidth))
_HEIGHTS = (int(ExifTags.Base.ImageLength), int(ExifTags.Base.ExifImageHeight))
_COLOUR_SPACE, _INDEX = int(ExifTags.Base.ColorSpace), int(ExifTags.Interop.InteropIndex)
_SRGB, _OTHER_SPACES = 1, (2, 0xFFFD)  # Adobe RGB; Wide Gamut RGB
_SHORT, _LONG = 3, 4
_ENTRY = 12  # bytes
_THUMBNAIL, _THUMBNAIL_BYTES = int(ExifTags.Base.JpegIFOffset), int(ExifTags.Base.JpegIFByteCount)


def upright_exif(block: bytes) -> bytes:
    """The block of the upright photo: orientation 1, and no thumbnail, which would show the unrestored photo.

    Raises ValueError or struct.error if the block is broken.
    """
    tiff = _Block(block)
    first = tiff.first()
    entries = tiff.entries(first)
    if _ORIENTATION in entries:
        tiff.put(entries[_ORIENTATION], _ORIENTATION, _SHORT, 1)
    link = first + 2 + _ENTRY * tiff.read("H", first)
    # Some writers omit the link at the end of a block.
    second = tiff.read("I", link) if link + 4 <= tiff.size else 0
    if second:
        tiff.write("I", link, 0)
        with suppress(struct.error):  # an unreadable second directory has no thumbnail to show
            thumbnail = tiff.entries(second)
            if _THUMBNAIL in thumbnail and _THUMBNAIL_BYTES in thumbnail:
                begin = tiff.read("I", thumbnail[_THUMBNAIL] + 8)
                tiff.cut(begin, begin + tiff.read("I", thumbnail[_THUMBNAIL_BYTES] + 8))
    changed = tiff.bytes()
    sized_exif(changed, (1, 1))  # raises if the thumbnail claimed to overlap the directory itself
    return changed


def sized_exif(block: bytes, size: tuple[int, int]) -> bytes:
    """The block with every size it states changed to this (width, height). block: from `upright_exif`."""
    tiff = _Block(block)
    wanted = {**dict.fromkeys(_WIDTHS, size[0]), **dict.fromkeys(_HEIGHTS, size[1])}
    first = tiff.entries(tiff.first())
    tiff.put_all(first, wanted)
    with suppress(struct.error):  # an unreadable directory states no size
        tiff.put_all(tiff.linked(first, ExifTags.IFD.Exif), wanted)
    return tiff.bytes()


def srgb_exif(block: bytes) -> bytes:
    """The block of a photo in sRGB: where it names another colour space, it names sRGB. block: from `upright_exif`."""
    tiff = _Block(block)
    with suppress(struct.error):  # an unreadable directory names nothing
        inner = tiff.linked(tiff.entries(tiff.first()), ExifTags.IFD.Exif)
        space, index = inner.get(_COLOUR_SPACE), tiff.linked(inner, ExifTags.IFD.Interop).get(_INDEX)
        is_adobe = index is not None and [tiff.read("B", index + 8 + n) for n in range(3)] == list(b"R03")
        if space is not None and (is_adobe or tiff.read("H", space + 8) in _OTHER_SPACES):
            tiff.put(space, _COLOUR_SPACE, _SHORT, _SRGB)
        if index is not None and is_adobe:
            for place, letter in enumerate(b"R98", index + 8):
                tiff.write("B", place, letter)
    return tiff.bytes()


def without_orientation(block: bytes) -> bytes:
    """The block, of the same length, with another tag in place of the orientation's. block: from `upright_exif`."""
    tiff = _Block(block)
    entries = tiff.entries(tiff.first())
    if _ORIENTATION in entries:
        tiff.write("H", entries[_ORIENTATION], _ORIENTATION + 1)
    return tiff.bytes()


def first_directory(block: bytes) -> tuple[bytes, dict[int, bytes]]:
    """The block from its TIFF header on, and the entries of its first directory by tag, 12 bytes each.

    block: from `upright_exif`.
    """
    tiff = _Block(block)
    plain = tiff.bytes()[-tiff.size :]
    return plain, {tag: plain[place : place + _ENTRY] for tag, place in tiff.entries(tiff.first()).items()}


class _Block:
    """The bytes of a block, addressed from its TIFF header."""

    def __init__(self, block: bytes) -> None:
        self._start = 6 if block.startswith(b"Exif\0\0") else 0
        order = {b"II": "<", b"MM": ">"}.get(block[self._start : self._start + 2])
        if order is None:
            raise ValueError("no TIFF header")
        self._order, self._bytes = order, bytearray(block)
        if self.read("H", 2) != 42:
            raise ValueError("no TIFF header")

    @property
    def size(self) -> int:
        return len(self._bytes) - self._start

    def bytes(self) -> bytes:
        return bytes(self._bytes)

    def read(self, kind: str, at: int) -> int:
        return struct.unpack_from(f"{self._order}{kind}", self._bytes, self._start + at)[0]

    def write(self, kind: str, at: int, value: int) -> None:
        struct.pack_into(f"{self._order}{kind}", self._bytes, self._start + at, value)

    def first(self) -> int:
        return self.read("I", 4)

    def entries(self, directory: int) -> dict[int, int]:
        """The offset of each tag's entry."""
        places = (directory + 2 + _ENTRY * number for number in range(self.read("H", directory)))
        return {self.read("H", place): place for place in places}

    def linked(self, entries: Mapping[int, int], tag: int) -> dict[int, int]:
        """The entries of the directory that a tag leads to; none if it is not there."""
        return self.entries(self.read("I", entries[tag] + 8)) if tag in entries else {}

    def put(self, entry: int, tag: int, kind: int, value: int) -> None:
        """Writes one value into the entry itself: a SHORT at its beginning, or a LONG."""
        layout, values = ("HHIHH", (value, 0)) if kind == _SHORT else ("HHII", (value,))
        struct.pack_into(f"{self._order}{layout}", self._bytes, self._start + entry, tag, kind, 1, *values)

    def put_all(self, entries: Mapping[int, int], values: Mapping[int, int]) -> None:
        for tag in entries.keys() & values.keys():
            self.put(entries[tag], tag, _LONG, values[tag])

    def cut(self, begin: int, end: int) -> None:
        """Removes these bytes at the end of the block; elsewhere blanks them, so that what follows keeps its place."""
        begin, end = self._start + begin, min(self._start + end, len(self._bytes))
        if end == len(self._bytes):
            del self._bytes[begin:]
        else:
            self._bytes[begin:end] = b"\0" * (end - begin)
