"""IPTC data (IIM 4.2: titles, captions, keywords, rights) in and out of files, byte for byte.

A JPEG has them in Photoshop's resources (marker APP13), a TIFF in a tag of their own, and a PNG as ImageMagick and
ExifTool write and read them: in hexadecimal, in a text chunk. A WebP and an AVIF have no place for them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

TIFF_TAG = 33723
PNG_KEY = "Raw profile type iptc"
_TIFF_RESOURCES = 34377
_NAME = b"Photoshop 3.0\0"
_RESOURCE = 0x0404
_FIRST = b"\x1c"  # the first byte of every data set


def iptc_of(image: Image.Image, notes: list[str]) -> bytes:
    """The data in an open picture; empty where there are none, and where they are broken, which is noted."""
    found = _in_png(image) or _in_jpeg(image) or _in_tiff(image)
    if found and not found.startswith(_FIRST):
        notes.append("the IPTC data is broken and was left out")
        return b""
    return found


def jpeg_segment(iptc: bytes) -> bytes:
    """A JPEG's APP13 segment with the data; empty without. They fit if `len` of it is at most 65535."""
    if not iptc:
        return b""
    body = _NAME + _as_resource(iptc)
    return b"\xff\xed" + struct.pack(">H", min(len(body) + 2, 0xFFFF)) + body


def png_text(iptc: bytes) -> str:
    """The text of a PNG's chunk PNG_KEY."""
    block = _as_resource(iptc)
    digits = block.hex()
    lines = [digits[at : at + 72] for at in range(0, len(digits), 72)]
    return f"\niptc\n{len(block):8}\n" + "\n".join(lines) + "\n"


def _as_resource(iptc: bytes) -> bytes:
    """One of Photoshop's resources, without a name, of even length."""
    return b"8BIM" + struct.pack(">HHI", _RESOURCE, 0, len(iptc)) + iptc + b"\0" * (len(iptc) % 2)


def _from_resources(block: bytes) -> bytes:
    """The data among Photoshop's resources."""
    at = 0
    try:
        while block[at : at + 4] == b"8BIM":
            number, name = struct.unpack_from(">HB", block, at + 4)
            at += 6 + (name + 2) // 2 * 2
            (size,) = struct.unpack_from(">I", block, at)
            if number == _RESOURCE:
                return block[at + 4 : at + 4 + size]
            at += 4 + (size + 1) // 2 * 2
    except struct.error:
        pass
    return b""


def _in_jpeg(image: Image.Image) -> bytes:
    resources: Any = image.info.get("photoshop")
    found = resources.get(_RESOURCE, b"") if isinstance(resources, dict) else b""
    return found if isinstance(found, bytes) else b""


def _in_tiff(image: Image.Image) -> bytes:
    # As stored: what Pillow makes of the values keeps only the first where a writer called the bytes numbers.
    stored: Mapping[int, Any] = getattr(getattr(image, "tag_v2", None), "_tagdata", {})
    found = stored.get(TIFF_TAG, b"")
    if len(found) % 4 == 0 and found[3:4] == _FIRST != found[:1]:  # 32-bit numbers, in the file's order of bytes
        found = np.frombuffer(found, ">u4").astype("<u4").tobytes()
    return found or _from_resources(stored.get(_TIFF_RESOURCES, b""))


def _in_png(image: Image.Image) -> bytes:
    text = image.info.get(PNG_KEY)
    if not isinstance(text, str):
        return b""
    kind, size, *lines = text.split() or [""]
    if kind != "iptc" or not size.isdigit():
        return b"\0"
    try:
        block = bytes.fromhex("".join(lines))
    except ValueError:
        return b"\0"
    return _from_resources(block) or (block if block.startswith(_FIRST) else b"\0")
