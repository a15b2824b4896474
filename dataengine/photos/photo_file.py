"""From a URI to the pixels of a photo: any file becomes upright 8-bit sRGB, or an `UnusablePhoto` with a countable
reason.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from io import BytesIO
from urllib.parse import unquote_to_bytes

import fsspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from instructrestore.dataengine.photos.colour_profile import BROKEN, CONVERTED, to_srgb
from instructrestore.dataengine.photos.faults import PILLOW_ERRORS, UnusablePhoto
from instructrestore.dataengine.photos.photo_colours import BROKEN_NUMBERS, PROFILE, colours_of
from instructrestore.dataengine.photos.picture_file import open_picture, upright
from instructrestore.dataengine.photos.row import Row
from instructrestore.shards.rle import MAX_PIXELS
from instructrestore.shards.sample import PHOTO_FORMATS

REVISION = "1"  # raised when the same bytes give other pixels; where `read_by` tells of it, intake's is enough
MAX_BYTES = 256 * 2**20
WITHOUT_END = "file without its end"

# What fsspec and its file systems raise, apart from OSError, on an address they cannot use.
_ADDRESS_ERRORS = (ImportError, ValueError, TypeError, LookupError, AttributeError, AssertionError, NotImplementedError)
BYTE_RANGE = re.compile(r"(?P<uri>.+)#(?P<offset>\d+),(?P<size>\d+)", re.DOTALL)


@dataclass(frozen=True)
class DecodedPhoto:
    """A photo's pixels.

    rgb: (H, W, 3) uint8, upright, sRGB.
    format: "jpg", "png", "webp", or another format's name in lower case, by content.
    as_is: the bytes already are upright 8-bit sRGB in jpg, png or webp: any decoder gives these pixels.
    notes: what was converted or ignored, in countable words ("colour profile converted").
    read_by: what decided the pixels, or the bytes that are stored, of a file that not every reader understands alike:
        names of its colours other than a profile, an end that is missing. Empty for nearly all photos.
    orientation: the file's EXIF orientation, 1 to 8, by which the stored pixels were turned upright.
    """

    rgb: NDArray[np.uint8]
    format: str
    as_is: bool
    notes: tuple[str, ...] = ()
    read_by: str = ""
    orientation: int = 1


def read_bytes(uri: str, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of a photo.

    uri: a local path, any fsspec URI, or either with "#OFFSET,SIZE" for a byte range (a photo inside a shard). A
    "file:///..." URI is percent-decoded, so that a name of any bytes (and "#") can be written in it.
    Raises OSError if it cannot be read, ValueError if the URI cannot be used, and UnusablePhoto("file size") above
    `max_bytes`.
    """
    place = BYTE_RANGE.fullmatch(uri)
    base, start, size = (place["uri"], int(place["offset"]), int(place["size"])) if place else (uri, 0, None)
    _check_size(size or 0, max_bytes)
    local = local_path(base)
    if local is None:
        # One byte over the limit shows that the file is too big, whatever size it is said to have.
        data = _read_remote(base, start, start + (max_bytes + 1 if size is None else size))
        _check_size(len(data), max_bytes)
    else:
        status = os.stat(local)
        # A pipe named like a photo would block for ever, and a device would never end.
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{base} is not a regular file")
        _check_size(status.st_size if size is None else size, max_bytes)
        with open(local, "rb") as file:
            file.seek(min(start, status.st_size))
            data = file.read(size if size is not None else -1)
    if size is not None and len(data) != size:
        raise OSError(f"{base} ends before byte {start + size}")
    return data


def file_system(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a URI and the path on it. Raises ValueError if its protocol is unknown or not installed."""
    try:
        return fsspec.url_to_fs(uri)
    except _ADDRESS_ERRORS as error:
        raise ValueError(f"{uri} cannot be opened: {error}") from None


def _read_remote(uri: str, start: int, end: int) -> bytes:
    """Bytes `start` to `end` (excluded) of a file, or as many of them as exist, in one request."""
    files, path = file_system(uri)
    try:
        data = files.cat_file(path, start=start, end=end)
    except _ADDRESS_ERRORS as error:
        raise OSError(f"{uri} cannot be read: {type(error).__name__}: {error}") from error
    assert isinstance(data, bytes), "one file was asked for"
    return data


def byte_range(uri: str, offset: int, size: int) -> str:
    """The URI of `size` bytes from `offset` of the file at `uri`."""
    return f"{uri}#{offset},{size}"


def local_path(uri: str) -> str | None:
    """The local path that a URI stands for, or None if it is remote."""
    if "://" not in uri:
        return uri
    if uri.startswith("file:///"):
        return os.fsdecode(unquote_to_bytes(uri[len("file://") :]))
    return None


def load(row: Row) -> NDArray[np.uint8]:
    """The pixels of a row's photo, (H, W, 3) uint8 upright sRGB. Raises OSError as `read_source` does."""
    assert row.photo is not None, "the row has not passed intake"
    return decode(read_source(row), row.photo.width * row.photo.height).rgb


def read_source(row: Row) -> bytes:
    """The bytes of a row's photo. Raises OSError if they cannot be read or have changed since intake."""
    assert row.photo is not None, "the row has not passed intake"
    try:
        data = read_bytes(row.origin.uri, row.photo.bytes)
    except UnusablePhoto:
        data = b""  # it has grown
    if hashlib.sha256(data).hexdigest() != row.photo.sha256:
        raise OSError(f"{row.origin.name} has changed since intake")
    return data


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> DecodedPhoto:
    """The photo in `data` as upright 8-bit sRGB.

    Colours are converted by their profile (a broken one is ignored and noted), or as `photo_colours` finds them named;
    so are CMYK, grey, palette and 16-bit photos (16-bit by their high byte), and a fully opaque alpha channel is
    removed.
    Raises UnusablePhoto: as `open_picture` does, and "transparent" or "colour space".
    """
    picture = open_picture(data, max_pixels)
    image = picture.image
    try:
        opaque = _without_alpha(image)
    except UnusablePhoto:
        raise
    except PILLOW_ERRORS as error:
        raise UnusablePhoto("corrupt photo", str(error) or type(error).__name__) from None
    plain = picture.format in PHOTO_FORMATS and image.mode == "RGB" and "transparency" not in image.info
    # By now Pillow has reduced 16-bit colours to 8: only the header (byte 24: bits per channel) still shows it.
    if picture.format == "png" and data[24] != 8:
        plain = False
    colours = colours_of(image, data, picture.format, opaque.mode)
    rgb, outcome = to_srgb(opaque, colours.profile)
    rgb = upright(rgb, picture)
    notes, read_by = list(colours.notes), []
    if outcome == CONVERTED and (colours.by != PROFILE or picture.format in ("bmp", "jp2")):
        read_by.append(f"colours named by {colours.by} converted" if colours.by != PROFILE else outcome)
    elif outcome:
        notes.append(outcome)
    if not picture.whole:
        read_by.append(WITHOUT_END)
    notes += read_by
    as_is = (
        plain
        and picture.orientation == 1
        and picture.whole
        and not outcome
        and not {BROKEN, BROKEN_NUMBERS} & set(notes)
    )
    return DecodedPhoto(np.asarray(rgb), picture.format, as_is, tuple(notes), ", ".join(read_by), picture.orientation)


def encode(rgb: NDArray[np.uint8]) -> bytes:
    """Pixels (H, W, 3) uint8 as a PNG without metadata: lossless, and equal pixels give equal bytes."""
    file = BytesIO()
    Image.fromarray(rgb).save(file, "PNG", compress_level=6)
    return file.getvalue()


def _without_alpha(image: Image.Image) -> Image.Image:
    """The loaded image in a mode without alpha: L, RGB or CMYK."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F", "LAB", "HSV"):
        raise UnusablePhoto("colour space", f"Pillow mode {image.mode}")
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        rgba = image.convert("RGBA")
        least = rgba.getchannel("A").getextrema()[0]
        if least != 255:
            raise UnusablePhoto("transparent", f"alpha goes down to {least} of 255")
        return rgba.convert("RGB")
    if image.mode in ("L", "RGB", "CMYK"):
        return image
    return image.convert("RGB")


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise UnusablePhoto("file size", f"more than {max_bytes} bytes")
