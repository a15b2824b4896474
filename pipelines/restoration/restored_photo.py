"""A photo file in, with its colour profile and EXIF; a restored PNG out, with both and the record of how it was made.

Unlike the data engine, which turns every photo into sRGB, restoring leaves the RGB values as the photo's own profile
means them and embeds that profile again: nothing is lost on a wide-gamut photo.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, PngImagePlugin

from dataengine.colour_profile import BROKEN, to_srgb
from dataengine.photo_file import MAGIC_BYTES, MAX_PIXELS, UnusablePhoto, format_of, read_bytes
from dataengine.sources.places import uri_of

RECORD_KEY = "instructrestore"

# Pillow's names of the formats that are ever opened, by the name that `format_of` gives.
_FORMATS = {
    "jpg": "JPEG", "png": "PNG", "webp": "WEBP", "tiff": "TIFF", "bmp": "BMP", "gif": "GIF", "ppm": "PPM",
    "jp2": "JPEG2000",
}  # fmt: skip
# What Pillow's parsers let through on damaged bytes, which are all in memory by then: no I/O trouble is among them.
_DECODING_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError,
    struct.error,
)  # fmt: skip
_ORIENTATION = int(ExifTags.Base.Orientation)
# What a TIFF's first directory says of the scene and the camera; its other tags describe that file's own strips.
_TIFF_TAGS = (
    ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.Software,
    ExifTags.Base.DateTime, ExifTags.Base.Artist, ExifTags.Base.Copyright,
)  # fmt: skip


@dataclass(frozen=True)
class SourceImage:
    """A photo as it is restored.

    image: upright, mode RGB, 8 bits a channel, in the colour space of `icc_profile`.
    icc_profile: the photo's own RGB profile; None where it had none (sRGB) or was converted to sRGB.
    exif: the photo's EXIF block with the orientation reset to 1 (upright); None where it had none.
    notes: what was converted or left out, a plain sentence each.
    alpha: the photo's transparency, mode L of the image's size; None where the photo is opaque.
    sha256: hex digest of the file's bytes.
    """

    image: Image.Image
    icc_profile: bytes | None
    exif: bytes | None
    notes: tuple[str, ...]
    alpha: Image.Image | None = None
    sha256: str = ""


def read_photo(path: Path, max_pixels: int = MAX_PIXELS) -> SourceImage:
    """The photo in a file of any format that the data engine reads.

    Grey, CMYK, palette and 16-bit photos become 8-bit RGB, which is noted; a grey or CMYK profile fits no RGB photo,
    so those are converted to sRGB through it.
    Raises OSError if the file cannot be read, and UnusablePhoto, a ValueError of one sentence, for what is no photo,
    is damaged, holds several pictures, or is over `max_pixels`.
    """
    data = _bytes_of(path)
    notes: list[str] = []
    with _opened(data, max_pixels) as image:
        profile = image.info.get("icc_profile") or b""
        exif = _exif(image, notes)
        alpha = _alpha(image)
        if alpha is not None:
            notes.append("the transparency was kept as it is")
        rgb, kept = _rgb(_eight_bits(image, data, notes), profile, notes)
    return SourceImage(rgb, kept or None, exif, tuple(notes), alpha, hashlib.sha256(data).hexdigest())


def read_grey(path: Path, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """A mask or a map from a file, upright: (H, W) uint8 in [0, 255] or, of a 16-bit file, uint16, as stored.

    A colour picture counts as grey where its channels are equal. Raises as `read_photo` does, and
    UnusablePhoto("not grey").
    """
    with _opened(_bytes_of(path), max_pixels) as image:
        if image.mode.startswith("I;16"):
            return np.asarray(image).astype(np.uint16)
        if image.mode in ("L", "LA", "1"):
            return np.asarray(image.convert("L"))
        if image.mode not in ("P", "PA", "RGB", "RGBA"):
            raise UnusablePhoto("not grey", f"Pillow mode {image.mode}")
        channels = np.asarray(image.convert("RGB"))
    if (channels != channels[..., :1]).any():
        raise UnusablePhoto("not grey", "its colours differ from one another")
    return channels[..., 0].copy()


def to_png(
    image: Image.Image,
    record: Mapping[str, Any],
    icc_profile: bytes | None = None,
    exif: bytes | None = None,
    alpha: Image.Image | None = None,
) -> bytes:
    """The picture as a PNG that carries how it was made; equal input gives equal bytes.

    image: mode RGB or L. record: what goes into the text chunk `instructrestore`, as JSON. alpha: mode L of any size,
    scaled to the image's.
    """
    if alpha is not None:
        image = image.copy()
        scaled = alpha if alpha.size == image.size else alpha.resize(image.size, Image.Resampling.BICUBIC)
        image.putalpha(scaled)
    text = PngImagePlugin.PngInfo()
    text.add_text(RECORD_KEY, json.dumps(record, allow_nan=False))
    file = BytesIO()
    # None would let Pillow take what the image itself carries along.
    image.save(file, "PNG", compress_level=6, pnginfo=text, icc_profile=icc_profile or b"", exif=exif or b"")
    return file.getvalue()


def read_record(path: Path) -> dict[str, Any]:
    """How a PNG was made, as `to_png` wrote it. Raises ValueError where it does not say, OSError if unreadable."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            text = image.info.get(RECORD_KEY)
        record = json.loads(text) if isinstance(text, str) else None
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except _DECODING_ERRORS:
        record = None
    if not isinstance(record, dict):
        raise ValueError(f"{path} does not say how it was made: it is no PNG of this program")
    return record


def _bytes_of(path: Path) -> bytes:
    return read_bytes(uri_of(os.path.abspath(path)))


@contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[Image.Image]:
    """The picture in `data`, loaded and upright. What the block raises of a decoder's errors is a corrupt photo too."""
    if not data:
        raise UnusablePhoto("empty file")
    format = format_of(data[:MAGIC_BYTES])
    if not format:
        raise UnusablePhoto("not a photo", f"it begins with {data[:8]!r}")
    if format not in _FORMATS:
        raise UnusablePhoto("unsupported format", format)
    try:
        with _quiet():
            image = Image.open(BytesIO(data), formats=(_FORMATS[format],))
        with image:
            if image.width * image.height > max_pixels:
                raise UnusablePhoto("pixel limit", f"{image.width}x{image.height} is over {max_pixels} pixels")
            # A phone's JPEG may have further pictures behind it (MPO): the first is the photo.
            if format != "jpg" and getattr(image, "is_animated", False):
                raise UnusablePhoto("animated", f"{getattr(image, 'n_frames', 2)} pictures in one file")
            with _quiet():
                image.load()
                upright = image if format == "tiff" else _upright(image)  # Pillow turns a TIFF itself
            yield upright
    except UnusablePhoto:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise UnusablePhoto("pixel limit", f"it is over {max_pixels} pixels") from None
    except Image.UnidentifiedImageError:  # its message holds an address in memory
        raise UnusablePhoto("corrupt photo", "its header cannot be read") from None
    except _DECODING_ERRORS as error:
        raise UnusablePhoto("corrupt photo", str(error) or type(error).__name__) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow's complaints do not reach the terminal: what matters of them is noted with the photo."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # its own limit, global to the process
        yield


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except _DECODING_ERRORS:
        orientation = 1  # broken EXIF data says nothing: every viewer shows such a photo as it is stored
    if orientation not in range(2, 9):
        return image
    # Pillow turns by the EXIF that a picture carries, and writes that anew: it is given the orientation alone.
    alone, turned, carried = Image.Exif(), image.copy(), dict(image.info)
    alone[_ORIENTATION] = orientation
    turned.info = {"exif": alone.tobytes()}
    turned = ImageOps.exif_transpose(turned)
    turned.info = carried
    return turned


def _exif(image: Image.Image, notes: list[str]) -> bytes | None:
    """The EXIF block for the upright photo, byte for byte but for the orientation."""
    try:
        if isinstance(image.info.get("exif"), bytes):
            return _reset_orientation(image.info["exif"])
        if "Raw profile type exif" not in image.info and not hasattr(image, "tag_v2"):
            return None
        stored = image.getexif()
        kept = Image.Exif()
        for tag in _TIFF_TAGS:
            if tag in stored:
                kept[tag] = stored[tag]
        for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            if values := dict(stored.get_ifd(directory)):
                kept[directory] = values
        if not kept:
            return None
        kept[_ORIENTATION] = 1
        return kept.tobytes()
    except _DECODING_ERRORS:
        notes.append("the EXIF data is broken and was left out")
        return None


def _reset_orientation(block: bytes) -> bytes:
    """An EXIF block (EXIF 2.32: a TIFF header and directories) with orientation 1. Raises ValueError if broken."""
    start = 6 if block.startswith(b"Exif\0\0") else 0
    order = {b"II": "<", b"MM": ">"}.get(block[start : start + 2])
    if order is None:
        raise ValueError("no TIFF header")
    mark, directory = struct.unpack_from(f"{order}HI", block, start + 2)
    if mark != 42:
        raise ValueError("no TIFF header")
    (entries,) = struct.unpack_from(f"{order}H", block, start + directory)
    patched = bytearray(block)
    for number in range(entries):
        at = start + directory + 2 + 12 * number
        if struct.unpack_from(f"{order}H", block, at)[0] == _ORIENTATION:
            struct.pack_into(f"{order}HHIHH", patched, at, _ORIENTATION, 3, 1, 1, 0)  # SHORT, one value: 1
    return bytes(patched)


def _alpha(image: Image.Image) -> Image.Image | None:
    if "transparency" not in image.info and image.mode not in ("LA", "La", "PA", "RGBA", "RGBa"):
        return None
    alpha = image.convert("RGBA").getchannel("A")
    return None if alpha.getextrema() == (255, 255) else alpha


def _eight_bits(image: Image.Image, data: bytes, notes: list[str]) -> Image.Image:
    """The picture as mode L, RGB or CMYK; what that costs is noted."""
    # Pillow has by now reduced 16-bit colours to 8: only the header (byte 24: bits a channel) still tells.
    deep = data.startswith(b"\x89PNG") and data[24] == 16
    if image.mode.startswith("I;16"):
        image, deep = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)), True
    if deep:
        notes.append("the 16-bit photo was reduced to 8 bits")
    if image.mode in ("I", "F", "LAB", "HSV"):
        raise UnusablePhoto("colour space", f"Pillow mode {image.mode}")
    if image.mode in ("P", "PA"):
        notes.append("the palette photo was converted to RGB")
    if image.mode in ("1", "LA", "La"):
        return image.convert("L") if image.mode != "La" else image.convert("LA").convert("L")
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGBA").convert("RGB")


def _rgb(image: Image.Image, profile: bytes, notes: list[str]) -> tuple[Image.Image, bytes]:
    """The picture in RGB and the profile that belongs to it, empty for sRGB."""
    if image.mode != "RGB":
        notes.append(f"the {'grey' if image.mode == 'L' else 'CMYK'} photo was converted to RGB")
    # Many programs write a grey photo with an RGB profile, whose RGB values these then are.
    if image.mode == "CMYK" or profile[16:20] == b"GRAY":
        converted, outcome = to_srgb(image, profile)
        kept = b""
    else:
        converted = image if image.mode == "RGB" else image.convert("RGB")
        _, outcome = to_srgb(Image.new("RGB", (1, 1)), profile)  # only to know whether the profile can be used
        kept = profile
    if outcome == BROKEN:
        notes.append("the colour profile is broken and was left out")
        kept = b""
    return converted, kept
