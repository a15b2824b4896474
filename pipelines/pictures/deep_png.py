"""A PNG of 16 bits a channel (PNG, third edition), which Pillow does not write in colour."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LEVEL = 6  # of zlib
_SUB = 1  # the filter: each byte's difference to that of the pixel on the left
_COLOUR = {3: 2, 4: 6}  # colour type of RGB, and with transparency


def deep_png(pixels: NDArray[np.uint16], shell: bytes) -> bytes:
    """The picture with all that another PNG says beside its own pixels, byte for byte; equal input gives equal bytes.

    pixels: (H, W, 3) RGB, or (H, W, 4) with transparency that is not multiplied into the colours. shell: a whole PNG in
    RGB, as Pillow writes it.
    """
    height, width, channels = pixels.shape
    values = np.ascontiguousarray(pixels, ">u2").view(np.uint8).reshape(height, -1)
    step = 2 * channels
    differences = values.copy()
    differences[:, step:] -= values[:, :-step]
    rows = np.hstack([np.full((height, 1), _SUB, np.uint8), differences])
    file = bytearray(_SIGNATURE)

    def put(kind: bytes, body: bytes) -> None:
        file.extend(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))

    at, written = len(_SIGNATURE), False
    while at < len(shell):
        (size,) = struct.unpack_from(">I", shell, at)
        kind = shell[at + 4 : at + 8]
        if kind == b"IHDR":
            put(kind, struct.pack(">IIBBBBB", width, height, 16, _COLOUR[channels], 0, 0, 0))
        elif kind != b"IDAT":
            file.extend(shell[at : at + 12 + size])
        elif not written:
            put(kind, zlib.compress(rows.tobytes(), _LEVEL))
            written = True
        at += 12 + size
    return bytes(file)
