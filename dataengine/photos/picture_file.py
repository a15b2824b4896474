"""From a file's bytes to the one picture in it, loaded as it is stored: the only place where the photos and
masks of sources are decoded.

A file's format is recognised by its first bytes, never by its name, and only the formats listed here are ever opened.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageFile, features
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from instructrestore.dataengine.photos import png_chunks
from instructrestore.dataengine.photos.faults import PILLOW_ERRORS, UnusablePhoto
from instructrestore.dataengine.photos.jpeg_end import has_its_end, with_its_end
from instructrestore.dataengine.photos.tiff_pages import with_one_page

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
    "avif": AvifImageFile,
}
if importlib.util.find_spec("pillow_heif"):  # the extra heic
    from pillow_heif import HeifImageFile  # pyright: ignore[reportMissingImports]

    _OPENERS["heic"] = HeifImageFile
_NOT_READ = {
    "heic": "heic: install instructrestore[heic] to read it",
    "avif": "avif: the installed Pillow was built without it",
}

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


@dataclass(frozen=True)
class OpenPicture:
    """A picture as it is stored: not turned, in the colours of its file.

    image: loaded. format: by content, as `format_of` names it. whole: the file has its end, as decoders may ask for.
    orientation: by EXIF, 1 to 8, by which the stored pixels are upright. Those of a TIFF are so already: Pillow turns
        them while loading.
    """

    image: ImageFile.ImageFile
    format: str
    whole: bool
    orientation: int


def format_of(head: bytes) -> str:
    """The format that a file's first `MAGIC_BYTES` bytes announce, or "" if they are not those of a photo.

    "jxl" is recognised but not read.
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
        # Some AVIFs begin with the brand of any image in such boxes, and name their own behind it.
        of_any = head[8:12] in (b"mif1", b"msf1") and b"avif" in head[16:]
        return "avif" if head[8:11] == b"avi" or of_any else "heic"
    if head.startswith((b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n")):
        return "jxl"
    return ""


_BITMAP_HEADERS = tuple(size.to_bytes(4, "little") for size in (12, 40, 52, 56, 64, 108, 124))


def opener(format: str) -> Callable[[BytesIO], ImageFile.ImageFile]:
    """What opens a file of that format, without reading its pixels."""
    return _OPENERS[format]


def open_picture(data: bytes, max_pixels: int) -> OpenPicture:
    """The one picture in a file.

    Raises UnusablePhoto: "empty file", "not a photo", "unsupported format", "pixel limit" (from the header, before
    anything is decoded), "animated", "several pages" or "corrupt photo".
    """
    if not data:
        raise UnusablePhoto("empty file")
    format = format_of(data[:MAGIC_BYTES])
    if not format:
        raise UnusablePhoto("not a photo", f"{len(data)} bytes of another kind")  # a key, perhaps: they are not quoted
    if format not in _OPENERS or (format == "avif" and not features.check("avif")):
        raise UnusablePhoto("unsupported format", _NOT_READ.get(format, format))
    if format == "webp":
        _check_pixels(_webp_size(data), max_pixels)
    if format == "tiff":
        data = with_one_page(data)
    try:
        return _loaded(data, format, max_pixels)
    except UnusablePhoto:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):  # by Pillow's own limit
        raise UnusablePhoto("pixel limit", f"it is over {max_pixels} pixels") from None
    except PILLOW_ERRORS as error:
        raise UnusablePhoto("corrupt photo", str(error) or type(error).__name__) from None


def _loaded(data: bytes, format: str, max_pixels: int) -> OpenPicture:
    try:
        image = _OPENERS[format](BytesIO(data))
    except SyntaxError:  # its message may quote any bytes
        raise UnusablePhoto("corrupt photo", "its header cannot be read") from None
    _check_pixels(image.size, max_pixels)
    if isinstance(image, JpegImageFile) and image.icclist:  # behind the frame header, where Pillow joins no more
        parts = sorted(image.icclist)
        whole = [part[13:14] for part in parts] == [bytes([len(parts)])] * len(parts)
        image.info.setdefault("icc_profile", b"".join(part[14:] for part in parts) if whole else None)
    if format in ("png", "webp", "gif", "avif") and getattr(image, "is_animated", False):
        raise UnusablePhoto("animated", f"{getattr(image, 'n_frames', 2)} pictures in one file")
    if format == "jpg" and not has_its_end(data):
        # Pillow takes or refuses such files by whether its decoder happened to have enough bytes ahead.
        ended = with_its_end(data)
        if ended is None:
            raise UnusablePhoto("corrupt photo", "it breaks off before its end")
        ended_image = JpegImageFile(BytesIO(ended))
        ended_image.load()
        ended_image.info = image.info
        return OpenPicture(ended_image, format, whole=False, orientation=_orientation(ended_image))
    # A TIFF has lost its orientation when it is loaded, and a PNG may have it behind its pixels.
    of_tiff = _orientation(image) if format == "tiff" else 0
    image.load()
    whole = format != "png" or png_chunks.is_whole(data)
    return OpenPicture(image, format, whole, of_tiff or _orientation(image))


def upright(image: Image.Image, picture: OpenPicture) -> Image.Image:
    """The picture's image, or what was made of it, turned as the picture's orientation says."""
    turns = picture.format != "tiff" and picture.orientation in _TRANSPOSE
    return image.transpose(_TRANSPOSE[picture.orientation]) if turns else image


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
