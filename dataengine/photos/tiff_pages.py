"""Which page of a TIFF file is the photo (TIFF 6.0, sections 2 and 7; BigTIFF): files may hold smaller copies of it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from instructrestore.dataengine.photos.faults import UnusablePhoto

_NEW_SUBFILE, _OLD_SUBFILE, _COMPRESSION, _SUB_PAGES, _EXIF_THUMBNAIL = 254, 255, 259, 330, 513
_OLD_JPEG = 6  # how EXIF compresses a thumbnail
_MOST_PAGES = 1000


@dataclass(frozen=True)
class _Layout:
    """Where things stand in a file: struct codes, and the size of a directory's entry in bytes."""

    order: str
    count: str
    offset: str
    first_at: int
    entry: int


@dataclass(frozen=True)
class _Page:
    """at, link_at: the places of the directory and of its link to the next. tags: values of one number."""

    at: int
    link_at: int
    tags: dict[int, int]

    @property
    def is_smaller_copy(self) -> bool:
        return bool(
            self.tags.get(_NEW_SUBFILE, 0) & 1
            or self.tags.get(_OLD_SUBFILE) == 2
            or (self.tags.get(_COMPRESSION) == _OLD_JPEG and _EXIF_THUMBNAIL in self.tags)
        )


def with_one_page(data: bytes) -> bytes:
    """The TIFF file with no page but the photo: the only one that does not call itself a smaller copy.

    Raises UnusablePhoto: "several pages", "unsupported format" for a camera's raw file that has only a small copy as
    its page, and "corrupt photo". Data without a readable header or first page are returned as they are.
    """
    layout = _layout(data)
    if layout is None:
        return data
    pages = []
    try:
        for page in _pages(data, layout):
            pages.append(page)
    except struct.error:
        if not pages:
            return data
        raise UnusablePhoto("corrupt photo", f"its page {len(pages) + 1} cannot be read") from None
    photos = [page for page in pages if not page.is_smaller_copy]
    if not photos and any(_SUB_PAGES in page.tags for page in pages):
        raise UnusablePhoto("unsupported format", "a raw file, whose page is only a small copy of the photo")
    if not photos and len(pages) == 1:
        photos = pages
    if len(photos) != 1:
        raise UnusablePhoto("several pages", f"{len(pages)} pages in one file")
    if len(pages) == 1:
        return data
    changed = bytearray(data)
    struct.pack_into(layout.order + layout.offset, changed, layout.first_at, photos[0].at)
    struct.pack_into(layout.order + layout.offset, changed, photos[0].link_at, 0)
    return bytes(changed)


def _layout(data: bytes) -> _Layout | None:
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 16:
        return None
    (version,) = struct.unpack_from(f"{order}H", data, 2)
    return {42: _Layout(order, "H", "I", 4, 12), 43: _Layout(order, "Q", "Q", 8, 20)}.get(version)


def _pages(data: bytes, layout: _Layout) -> Iterator[_Page]:
    seen: set[int] = set()
    (at,) = struct.unpack_from(layout.order + layout.offset, data, layout.first_at)
    while at and at not in seen and len(seen) < _MOST_PAGES:
        seen.add(at)
        (count,) = struct.unpack_from(layout.order + layout.count, data, at)
        begin = at + struct.calcsize(layout.count)
        link_at = begin + count * layout.entry
        if link_at > len(data):
            raise struct.error("a directory beyond the end")
        tags = {}
        for entry in range(begin, link_at, layout.entry):
            tag, kind = struct.unpack_from(f"{layout.order}HH", data, entry)
            code = {1: "B", 3: "H"}.get(kind, "I")
            (tags[tag],) = struct.unpack_from(layout.order + code, data, entry + 4 + struct.calcsize(layout.offset))
        yield _Page(at, link_at, tags)
        # Some writers omit the link behind the last page.
        end = link_at + struct.calcsize(layout.offset) > len(data)
        at = 0 if end else struct.unpack_from(layout.order + layout.offset, data, link_at)[0]
