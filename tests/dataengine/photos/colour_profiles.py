"""Small ICC profiles made by hand, for tests of colour conversion (ICC.1:2001-04)."""

from __future__ import annotations

import struct

import numpy as np

# Display P3's primaries and white under D50, as Apple's profile has them.
DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(*values)


def _gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


def _text(text: str) -> bytes:
    encoded = text.encode() + b"\0"
    return b"desc\0\0\0\0" + struct.pack(">I", len(encoded)) + encoded + bytes(78)


def _profile(space: bytes, kind: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {b"desc": _text("made"), b"wtpt": _xyz(0.9642, 1.0, 0.8249), b"cprt": b"text\0\0\0\0none\0", **tags}
    table, body, offset = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    size = offset + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", 0x02400000, kind, space, connection)
    header += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _fixed(0.9642, 1.0, 0.8249)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def rgb_profile(primaries: tuple[tuple[float, float, float], ...] = DISPLAY_P3, gamma: float = 2.2) -> bytes:
    """A matrix profile: primaries as D50 XYZ columns, one gamma."""
    red, green, blue = primaries
    curve = _gamma(gamma)
    return _profile(
        b"RGB ",
        b"mntr",
        b"XYZ ",
        {b"rXYZ": _xyz(*red), b"gXYZ": _xyz(*green), b"bXYZ": _xyz(*blue)}
        | {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve},
    )


def grey_profile(gamma: float) -> bytes:
    return _profile(b"GRAY", b"mntr", b"XYZ ", {b"kTRC": _gamma(gamma)})


def cmyk_profile() -> bytes:
    """An ink profile of two grid points an ink: paper white at none, black where all of an ink's light is gone; cyan
    is given a Lab colour that no naive conversion would give it."""
    corners = np.zeros((2, 2, 2, 2, 3), np.uint8)
    for c, m, y, k in np.ndindex(2, 2, 2, 2):
        lightness = max(0.0, 100 - 45 * c - 40 * m - 10 * y - 90 * k)
        corners[c, m, y, k] = (round(lightness * 2.55), 128 - 30 * c + 60 * m, 128 - 40 * c - 5 * m + 80 * y)
    identity = bytes(range(256))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    lut += identity * 4 + corners.tobytes() + identity * 3
    return _profile(b"CMYK", b"prtr", b"Lab ", {b"A2B0": lut})
