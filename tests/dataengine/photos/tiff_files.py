"""TIFF files of several pages, put together by hand."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Page:
    """pixels: (H, W, 3) uint8. tags: more tags, each one LONG. behind: bytes that the last of these tags leads to."""

    pixels: NDArray[np.uint8]
    tags: Mapping[int, int] = field(default_factory=dict)


def tiff(pages: Sequence[Page], order: str = "<", big: bool = False, link: int = 0) -> bytes:
    """An uncompressed RGB file. link: where the last page says that the next one lies."""
    offset = "Q" if big else "I"
    made = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}H", 43 if big else 42)
    made += struct.pack(f"{order}HH", 8, 0) if big else b""
    made += struct.pack(f"{order}{offset}", len(made) + struct.calcsize(offset))
    for number, page in enumerate(pages):
        height, width = page.pixels.shape[:2]
        tags: dict[int, int] = {
            256: width,
            257: height,
            259: 1,
            262: 2,
            273: 0,
            277: 3,
            278: height,
            279: page.pixels.size,
        }
        tags = dict(sorted((tags | dict(page.tags)).items()))
        entries = len(tags) + 1
        end = len(made) + struct.calcsize("Q" if big else "H") + entries * (20 if big else 12) + struct.calcsize(offset)
        depths = struct.pack(f"{order}3H", 8, 8, 8) + bytes(2)
        tags[273] = end + (0 if big else len(depths))
        listed = {tag: struct.pack(f"{order}HH{offset}{offset}", tag, 4, 1, value) for tag, value in tags.items()}
        if big and order == ">":  # a LONG stands at the beginning of its field
            listed = {tag: struct.pack(">HHQII", tag, 4, 1, value, 0) for tag, value in tags.items()}
        listed[258] = struct.pack(f"{order}HH{offset}", 258, 3, 3) + (depths if big else struct.pack(f"{order}I", end))
        following = tags[273] + page.pixels.size
        made += struct.pack(f"{order}{'Q' if big else 'H'}", entries) + b"".join(listed[tag] for tag in sorted(listed))
        made += struct.pack(f"{order}{offset}", following if number + 1 < len(pages) else link)
        made += (b"" if big else depths) + page.pixels.tobytes()
    return made
