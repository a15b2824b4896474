"""The record of how a picture was made, in a JPEG, a WebP, a TIFF or an AVIF, sealed by a hash of the whole file.

A PNG has a checksum in each of its chunks; these formats have none. So the record's text begins with the sha256 of the
file as it is with zeros in that place: `instructrestore <64 hex digits> <JSON>`. In a JPEG it is a comment, in a WebP a
chunk of its own, in a TIFF a private tag, in an AVIF a box at its end, of type `uuid`.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

from instructrestore.shards.parsing import parse_json

RECORD_KEY = "instructrestore"
WEBP_CHUNK = b"IRST"
TIFF_TAG = 65001  # of the range that TIFF 6.0 leaves to anyone
AVIF_BOX = bytes.fromhex("3f0c8d6a5b7e4b0e9d5e6e6972737431")  # a UUID of ours
_MOST_BOXES = 100  # of a file; Pillow writes three
_ZEROS = b"0" * 64
_TEXT = re.compile(rb"instructrestore ([0-9a-f]{64}) (.*)", re.DOTALL)
_ASCII = 2  # a TIFF's type of text
_ENTRY = 12  # bytes of a TIFF's directory


def unsealed_text(record: Mapping[str, Any]) -> bytes:
    """The text, in ASCII, to be put into a file that is sealed with it afterwards."""
    return b"%b %b %b" % (RECORD_KEY.encode(), _ZEROS, json.dumps(record, allow_nan=False).encode("ascii"))


def sealed(data: bytes, text: bytes) -> bytes:
    """The file, which holds `unsealed_text`, with its hash in the text."""
    place = data.index(text) + len(RECORD_KEY) + 1
    return b"".join((data[:place], hashlib.sha256(data).hexdigest().encode(), data[place + len(_ZEROS) :]))


def sealed_record(file: BinaryIO, format: str) -> dict[str, Any] | None:
    """The record in a file of format jpg, webp, tiff or avif; None if there is none, or the file is another.

    A file without a record is not read beyond its directory.
    """
    find = {"jpg": _in_jpeg, "webp": _in_webp, "tiff": _in_tiff, "avif": _in_avif}[format]
    try:
        text = find(file)
    except struct.error:  # it breaks off
        return None
    parts = _TEXT.fullmatch(text)
    if not parts:
        return None
    file.seek(0)
    data = file.read()
    place = data.index(text) + len(RECORD_KEY) + 1
    known = hashlib.sha256(memoryview(data)[:place])
    known.update(_ZEROS)
    known.update(memoryview(data)[place + len(_ZEROS) :])
    if known.hexdigest().encode() != parts[1]:
        return None
    record = parse_json(parts[2], "the record")
    return record if isinstance(record, dict) else None


def _unpacked(layout: str, file: BinaryIO) -> tuple[Any, ...]:
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


def _in_jpeg(file: BinaryIO) -> bytes:
    file.seek(2)
    while True:
        sign, marker, size = _unpacked(">BBH", file)
        if sign != 0xFF or marker == 0xDA or size < 2:  # where the pixels begin
            return b""
        body = file.read(size - 2)
        if marker == 0xFE and _TEXT.fullmatch(body):
            return body


def _in_webp(file: BinaryIO) -> bytes:
    file.seek(12)
    while True:
        kind, size = _unpacked("<4sI", file)
        if kind == WEBP_CHUNK:
            return file.read(size)
        file.seek(size + size % 2, 1)


def _in_tiff(file: BinaryIO) -> bytes:
    file.seek(0)
    order = "<" if file.read(2) == b"II" else ">"
    version, directory = _unpacked(f"{order}HI", file)
    if version != 42:
        return b""
    file.seek(directory)
    (count,) = _unpacked(f"{order}H", file)
    for _ in range(count):
        tag, kind, length, place = _unpacked(f"{order}HHII", file)
        if tag == TIFF_TAG and kind == _ASCII:
            file.seek(place)
            return file.read(length).removesuffix(b"\0")
    return b""


def _in_avif(file: BinaryIO) -> bytes:
    file.seek(0)
    for _ in range(_MOST_BOXES):
        size, kind = _unpacked(">I4s", file)
        if size < 8:  # a box of 64 bits, or up to the end: none that was written here
            break
        body = file.tell()
        if kind == b"uuid" and file.read(len(AVIF_BOX)) == AVIF_BOX:
            return file.read(size - 8 - len(AVIF_BOX))
        file.seek(body + size - 8)
    return b""
