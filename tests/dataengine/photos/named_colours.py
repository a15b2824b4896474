"""Photos whose colours are named by something other than a profile, put together by hand."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

# Linear light to linear sRGB; all have the white D65.
TO_SRGB = {
    "Adobe RGB": [[1.39836, -0.39836, 0.0], [0.0, 1.0, 0.0], [0.0, -0.04293, 1.04293]],
    "Display P3": [[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0196, -0.0786, 1.0979]],
    "BT.2020": [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    "sRGB": np.eye(3).tolist(),
}
ADOBE_POINTS = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
SRGB_POINTS = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
# Moderate colours, inside every gamut here.
LEVELS = np.array([(100, 150, 120), (170, 110, 100), (120, 120, 160), (128, 128, 128), (30, 40, 35)], np.uint8)
PIXELS = np.repeat(np.repeat(LEVELS[None], 16, 0), 16, 1)  # (16, 80, 3): patches that a JPEG keeps


def light_of_srgb(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def in_srgb(pixels: NDArray[np.uint8], space: str, gamma: float | None = None) -> NDArray[np.float64]:
    """Pixels of a colour space in levels of sRGB. gamma: of the space; None: sRGB's own curve."""
    values = pixels / 255
    light = light_of_srgb(values) if gamma is None else values**gamma
    linear = np.clip(light @ np.array(TO_SRGB[space]).T, 0, 1)
    return 255 * np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def exif_directories(at: int, space: int | None = None, index: str = "", order: str = "<") -> bytes:
    """The EXIF directory that states ColorSpace and InteroperabilityIndex, as it lies at a place of a TIFF."""
    inner = []
    if space is not None:
        inner.append(struct.pack(f"{order}HHIHH", 0xA001, 3, 1, space, 0))
    if index:
        inner.append(struct.pack(f"{order}HHII", 0xA005, 4, 1, at + 2 + 12 * (len(inner) + 1) + 4))
    made = struct.pack(f"{order}H", len(inner)) + b"".join(inner) + bytes(4)
    if index:
        made += struct.pack(f"{order}HHHI", 1, 1, 2, 4) + index.encode() + bytes(5)
    return made


def exif_block(space: int | None = None, index: str = "", order: str = "<") -> bytes:
    """An EXIF block that states ColorSpace and InteroperabilityIndex."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, 1)
    head += struct.pack(f"{order}HHII", 0x8769, 4, 1, 26) + bytes(4)
    return b"Exif\0\0" + head + exif_directories(26, space, index, order)


def with_chunks(png: bytes, **chunks: bytes) -> bytes:
    """A PNG with more chunks before its pixels."""
    made = b"".join(
        struct.pack(">I", len(content))
        + name.encode()
        + content
        + struct.pack(">I", zlib.crc32(name.encode() + content))
        for name, content in chunks.items()
    )
    return png[:33] + made + png[33:]


def gama(exponent: float) -> bytes:
    return struct.pack(">I", round(100_000 / exponent))


def chrm(points: tuple[float, ...]) -> bytes:
    return struct.pack(">8I", *(round(each * 100_000) for each in points))


def with_segment(jpeg: bytes, marker: int, content: bytes, at: int = 2) -> bytes:
    """A JPEG with another segment."""
    return jpeg[:at] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + jpeg[at:]


def without_segment(jpeg: bytes, marker: int) -> bytes:
    """A JPEG without its first segment of this marker."""
    begin = jpeg.index(bytes([0xFF, marker]))
    return jpeg[:begin] + jpeg[begin + 2 + int.from_bytes(jpeg[begin + 2 : begin + 4], "big") :]


def bitmap(kind: bytes, colours: bytes, profile: bytes = b"") -> bytes:
    """A BMP with a header of version 5."""
    rows = PIXELS[::-1, :, ::-1].tobytes()
    head = struct.pack("<IiiHHIIiiII", 124, 80, 16, 1, 24, 0, len(rows), 0, 0, 0, 0) + bytes(16) + kind
    head += colours.ljust(48, b"\0") + struct.pack("<IIII", 4, 124 + len(rows), len(profile), 0)
    return struct.pack("<2sIII", b"BM", 14 + 124 + len(rows) + len(profile), 0, 138) + head + rows + profile
