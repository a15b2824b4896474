"""ICC profiles (ICC.1:2010, version 4) for colours that a file describes in numbers instead of by a profile."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

XY = tuple[float, float]

_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
D50_WHITE, D65_WHITE = (0.3457, 0.3585), (0.3127, 0.3290)


@dataclass(frozen=True)
class Primaries:
    """Chromaticities (CIE 1931 xy) of white, red, green and blue."""

    white: XY
    red: XY
    green: XY
    blue: XY


BT709 = Primaries(D65_WHITE, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
ADOBE = Primaries(D65_WHITE, (0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
WIDE_GAMUT = Primaries(D50_WHITE, (0.7347, 0.2653), (0.1152, 0.8264), (0.1566, 0.0177))


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def gamma(exponent: float) -> bytes:
    """The curve light = value ** exponent. Raises ValueError unless 0.1 <= exponent <= 10."""
    if not 0.1 <= exponent <= 10:
        raise ValueError(f"a gamma of {exponent}")
    return b"para\0\0\0\0\0\0\0\0" + _fixed(exponent)


def with_linear_part(exponent: float, offset: float, slope: float, begin: float) -> bytes:
    """The curve light = ((value + offset) / (1 + offset)) ** exponent, and value / slope below `begin`."""
    return b"para\0\0\0\0\0\3\0\0" + _fixed(exponent, 1 / (1 + offset), offset / (1 + offset), 1 / slope, begin)


def table(light: Sequence[int]) -> bytes:
    """The curve through these levels of light, of 65535, at values evenly spaced from 0 to 1."""
    return b"curv\0\0\0\0" + struct.pack(f">I{len(light)}H", len(light), *light)


SRGB_CURVE = with_linear_part(2.4, 0.055, 12.92, 0.04045)
ADOBE_CURVE = gamma(563 / 256)


def rgb_profile(name: str, primaries: Primaries, curves: Sequence[bytes]) -> bytes:
    """The profile of an RGB colour space. curves: of red, green and blue, from the functions above.

    Equal arguments give equal bytes. Raises ValueError if the primaries are those of no colour space.
    """
    columns = np.stack([_xyz(each) for each in (primaries.red, primaries.green, primaries.blue)], -1)
    white = _xyz(primaries.white)
    try:
        matrix = columns * np.linalg.solve(columns, white)
    except np.linalg.LinAlgError:
        raise ValueError("primaries that lie on a line") from None
    adapted = np.linalg.solve(_BRADFORD, np.diag(_BRADFORD @ _D50 / (_BRADFORD @ white)) @ _BRADFORD)
    matrix = adapted @ matrix
    if not (np.isfinite(matrix).all() and np.abs(matrix).max() < 4):
        raise ValueError("primaries of no colour space")
    tags = {b"desc": _text(name), b"cprt": _text("No copyright"), b"wtpt": _xyz_tag(_D50)}
    tags[b"chad"] = b"sf32\0\0\0\0" + _fixed(*map(float, adapted.ravel()))
    for letter, column, curve in zip(b"rgb", matrix.T, curves, strict=True):
        tags[bytes([letter]) + b"XYZ"] = _xyz_tag(column)
        tags[bytes([letter]) + b"TRC"] = curve
    return _file(tags)


def _file(tags: dict[bytes, bytes]) -> bytes:
    listed, body, places = b"", b"", dict[bytes, int]()
    begin = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        if data not in places:  # one curve serves all channels
            places[data] = begin + len(body)
            body += data + bytes(-len(data) % 4)
        listed += name + struct.pack(">II", places[data], len(data))
    header = struct.pack(">I4s4s4s4s4s", begin + len(body), b"", b"\x04\x20\0\0", b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _fixed(*_D50)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + listed + body


def _xyz(point: XY) -> np.ndarray:
    x, y = point
    if not (0 <= x <= 1 and 1e-3 <= y <= 1):
        raise ValueError(f"a chromaticity of {x}, {y}")
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _xyz_tag(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(*values)


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(encoded), 28) + encoded
