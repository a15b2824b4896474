"""What the members of a shard must be: the record the one that the index tells of, the photo the one of the record."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping
from typing import Any, Literal

from instructrestore.shards.sample import AnnotatedPhoto, from_json

What = Literal["record", "photo", "LQ photo"]
_PNG = b"\x89PNG\r\n\x1a\n"


class DamagedMember(ValueError):
    """A record, a photo or an LQ photo (`what`) in a shard that is not what was written.

    reason: a few words that can be counted. detail: what gives it away. where: the shard and the key.
    """

    def __init__(self, what: What, detail: str, where: str = "") -> None:
        self.what: What = what
        self.detail = detail
        self.reason = "damaged record" if what == "record" else "corrupt photo"
        super().__init__(f"{where}{self.reason if what == 'record' else f'{what}: {self.reason}'}: {detail}")

    def at(self, shard: str, key: str) -> DamagedMember:
        """The same, said of this shard and key."""
        return DamagedMember(self.what, self.detail, f"{shard} is damaged at {key}: ")


def index_facts(sample: AnnotatedPhoto) -> dict[str, Any]:
    """The columns of a sample's index row that follow from its record alone."""
    photo, regions = sample.photo, sample.regions
    return {
        "key": photo.key,
        "format": photo.format,
        "width": photo.width,
        "height": photo.height,
        "quality": photo.quality,
        "group": photo.group,
        "source": photo.source,
        "licence": photo.licence,
        "url": photo.url,
        "region_count": len(regions),
        "captions": [region.caption for region in regions],
        "subjects": [region.subject for region in regions],
        "areas": [region.mask.area() / (photo.width * photo.height) for region in regions],
        "bokeh": [region.bokeh for region in regions],
    }


def checked_record(data: bytes, row: Mapping[str, Any]) -> AnnotatedPhoto:
    """The record. row: of the index (columns: `INDEX_SCHEMA`). Raises DamagedMember where it is no record, or says
    other things than its row."""
    try:
        sample = from_json(data)
    except ValueError as error:
        raise DamagedMember("record", str(error)) from None
    for column, value in index_facts(sample).items():
        if row[column] != value:
            raise DamagedMember("record", f"it has {column} {value!r} and index.parquet {row[column]!r}")
    return sample


def check_photo(sample: AnnotatedPhoto, data: bytes) -> None:
    """Raises DamagedMember where a photo's file is known not to be the one that was written.

    Most are the source's own bytes, whose sha256 the record has; of those that were encoded anew, losslessly, a PNG
    has a checksum in each of its chunks.
    """
    if sample.photo.format == "png" and len(data) != sample.photo.bytes:
        sound = is_whole_png(data)
    elif len(data) != sample.photo.bytes:
        sound = True
    else:  # a photo that was encoded anew may have the source's length by chance
        sound = hashlib.sha256(data).hexdigest() == sample.photo.sha256 or is_whole_png(data)
    if not sound:
        raise DamagedMember("photo", "its bytes are not those that were written")


def is_whole_png(data: bytes) -> bool:
    """Whether every chunk of a PNG has its checksum, up to the last byte."""
    place = len(_PNG)
    if not data.startswith(_PNG):
        return False
    while place + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, place)
        end = place + 8 + size
        if end + 4 > len(data) or zlib.crc32(data[place + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return False
        if data[place + 4 : place + 8] == b"IEND":
            return end + 4 == len(data)
        place = end + 4
    return False
