"""From a URI to the pixels of a photo: the only file that reads and decodes source photos.

Any file becomes upright 8-bit sRGB, or an `UnusablePhoto` with a countable reason. A file's format is recognised by
its first bytes, never by its name, and only the formats listed here are ever opened.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from urllib.parse import unquote_to_bytes

import fsspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from instructrestore.dataengine.photos.colour_profile import to_srgb
from instructrestore.dataengine.photos.row import Row
from instructrestore.shards.sample import PHOTO_FORMATS

REVISION = "1"  # raised when the same bytes give other pixels
MAX_PIXELS = 100_000_000
MAX_BYTES = 256 * 2**20
MAGIC_BYTES = 32

# The classes are called directly rather than through Image.open: no other plugin of Pillow is ever used, an MPO file (a
# phone's JPEG with a second picture behind it) is read as the JPEG it begins with, and Image.open's own size check,
# whose limit is global to the process, is avoided.
_OPENERS: dict[str, Callable[[BytesIO], ImageFile.ImageFile]] = {
    "jpg": JpegImageFile,
    "png": PngImageFile,
    "webp": WebPImageFile,
    "tiff": TiffImageFile,
    "bmp": BmpImageFile,
    "gif": GifImageFile,
    "ppm": PpmImageFile,
    "jp2": Jpeg2KImageFile,
}
# What Pillow's decoders raise on damaged bytes. The bytes are all in memory by then, so no I/O error is among these.
PILLOW_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError,
    AssertionError, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
# What fsspec and its file systems raise, apart from OSError, on an address they cannot use.
_ADDRESS_ERRORS = (ImportError, ValueError, TypeError, LookupError, AttributeError, AssertionError, NotImplementedError)
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION_TAG = 0x0112
BYTE_RANGE = re.compile(r"(?P<uri>.+)#(?P<offset>\d+),(?P<size>\d+)", re.DOTALL)


class UnusablePhoto(ValueError):
    """The bytes are not a usable photo. This is a fault of the data, the same at every attempt.

    reason: a short, countable name ("corrupt photo"). detail: what exactly is wrong.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class DecodedPhoto:
    """A photo's pixels.

    rgb: (H, W, 3) uint8, upright, sRGB.
    format: "jpg", "png", "webp", or another format's name in lower case, by content.
    as_is: the bytes already are upright 8-bit sRGB in jpg, png or webp: any decoder gives these pixels.
    notes: what was converted or ignored, in countable words ("colour profile converted").
    """

    rgb: NDArray[np.uint8]
    format: str
    as_is: bool
    notes: tuple[str, ...] = ()


def format_of(head: bytes) -> str:
    """The format that a file's first `MAGIC_BYTES` bytes announce, or "" if they are not those of a photo.

    "heic", "avif" and "jxl" are recognised but not read.
    """
    if head.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") and head[8:10] != b"CR":  # CR: a Canon raw file
        return "tiff"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    # Many texts begin with "BM": the reserved bytes and the size of the header must match as well.
    if head[:2] == b"BM" and head[6:10] == bytes(4) and head[14:18] in _BITMAP_HEADERS:
        return "bmp"
    if re.match(rb"P[56]\s+(\d|#)", head):
        return "ppm"
    if head.startswith((b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")):
        return "jp2"
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis"):
        return "avif" if head[8:11] == b"avi" else "heic"
    if head.startswith((b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n")):
        return "jxl"
    return ""


_BITMAP_HEADERS = tuple(size.to_bytes(4, "little") for size in (12, 40, 52, 56, 64, 108, 124))


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

    Colour profiles are converted (a broken one is ignored and noted), as are CMYK, grey, palette and 16-bit photos
    (16-bit by their high byte), and a fully opaque alpha channel is removed.
    Raises UnusablePhoto: "empty file", "not a photo", "unsupported format", "pixel limit" (from the header, before
    anything is decoded), "animated", "transparent", "colour space" or "corrupt photo".
    """
    if not data:
        raise UnusablePhoto("empty file")
    format = format_of(data[:MAGIC_BYTES])
    if not format:
        raise UnusablePhoto("not a photo", f"it begins with {data[:8]!r}")
    if format not in _OPENERS:
        raise UnusablePhoto("unsupported format", format)
    if format == "webp":
        _check_pixels(_webp_size(data), max_pixels)
    try:
        image = _OPENERS[format](BytesIO(data))
        _check_pixels(image.size, max_pixels)
        if format != "jpg" and getattr(image, "is_animated", False):
            raise UnusablePhoto("animated", f"{getattr(image, 'n_frames', 2)} pictures in one file")
        image.load()
        opaque = _without_alpha(image)
        # Pillow turns a TIFF upright itself while loading.
        orientation = 1 if format == "tiff" else _orientation(image)
    except UnusablePhoto:
        raise
    except PILLOW_ERRORS as error:
        raise UnusablePhoto("corrupt photo", str(error) or type(error).__name__) from None
    plain = format in PHOTO_FORMATS and image.mode == "RGB" and "transparency" not in image.info
    # By now Pillow has reduced 16-bit colours to 8: only the header (byte 24: bits per channel) still shows it.
    if format == "png" and data[24] != 8:
        plain = False
    rgb, outcome = to_srgb(opaque, image.info.get("icc_profile") or b"")
    if orientation in _TRANSPOSE:
        rgb = rgb.transpose(_TRANSPOSE[orientation])
    as_is = plain and orientation not in _TRANSPOSE and outcome == ""
    return DecodedPhoto(np.asarray(rgb), format, as_is, (outcome,) if outcome else ())


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


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where the data are broken, as every viewer shows such a photo as it is stored."""
    try:
        stated = image.getexif().get(_ORIENTATION_TAG, 1)
        return stated if stated in _TRANSPOSE else 1
    except PILLOW_ERRORS:
        return 1


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height from a WebP file's header: Pillow's own reader allocates the whole canvas on opening."""
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        raise UnusablePhoto("corrupt photo", "the file ends within its header")
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise UnusablePhoto("pixel limit", f"{size[0]}x{size[1]} is over {max_pixels} pixels")


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise UnusablePhoto("file size", f"more than {max_bytes} bytes")
