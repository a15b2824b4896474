"""The chunks of a PNG file (PNG, third edition, section 5)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from instructrestore.dataengine.photos.faults import UnusablePhoto

_SIGNATURE, _END = 8, b"IEND"


def chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, int]]:
    """Name, content and checksum of every whole chunk."""
    view, place = memoryview(data), _SIGNATURE
    while place + 12 <= len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        end = place + 8 + size
        if end + 4 > len(data):
            return
        yield name, view[place + 8 : end], struct.unpack_from(">I", data, end)[0]
        if name == _END:
            return
        place = end + 4


def before_pixels(data: bytes) -> dict[bytes, bytes]:
    """The chunks that describe the pixels, by name; of several the first counts."""
    found: dict[bytes, bytes] = {}
    for name, content, _ in chunks(data):
        if name == b"IDAT":
            break
        found.setdefault(name, bytes(content))
    return found


def is_whole(data: bytes) -> bool:
    """Whether the file has its end chunk, without which strict decoders refuse it.

    Raises UnusablePhoto("corrupt photo") if a checksum of the pixels, or of what they depend on, is wrong.
    """
    name = b""
    for name, content, checksum in chunks(data):
        if name[0] & 0x20 == 0 and zlib.crc32(content, zlib.crc32(name)) != checksum:
            raise UnusablePhoto("corrupt photo", f"its chunk {name.decode('latin-1')!r} has a wrong checksum")
    return name == _END
