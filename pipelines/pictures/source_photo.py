"""A photo's file as input of restoring: its pixels, colour profile, EXIF, XMP and transparency.

Unlike the data engine, which converts every photo to sRGB, restoring keeps the RGB values in the photo's own profile
and embeds that profile again, so that nothing is lost from a wide-gamut photo.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from instructrestore.dataengine.photos.colour_profile import BROKEN, to_srgb
from instructrestore.dataengine.photos.photo_file import MAGIC_BYTES, MAX_PIXELS, UnusablePhoto, format_of, read_bytes
from instructrestore.dataengine.sources.places import uri_of
from instructrestore.pipelines.pictures.exif import upright_exif

XMP_KEY = "XML:com.adobe.xmp"
_XMP_ORIENTATION = re.compile(r"""(tiff:Orientation(?:\s*=\s*["']|>\s*))[1-8]""")

# Pillow's names of the supported formats, by the names that `format_of` gives.
_FORMATS = {
    "jpg": "JPEG", "png": "PNG", "webp": "WEBP", "tiff": "TIFF", "bmp": "BMP", "gif": "GIF", "ppm": "PPM",
    "jp2": "JPEG2000",
}  # fmt: skip
# What Pillow's parsers raise on damaged bytes; these are in memory by then, so I/O errors are not among them.
DECODING_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError,
    struct.error,
)  # fmt: skip
_ORIENTATION = int(ExifTags.Base.Orientation)
# Tags of a TIFF's first directory about scene and camera; its other tags describe the file's own strips.
_TIFF_TAGS = (
    ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.Software,
    ExifTags.Base.DateTime, ExifTags.Base.Artist, ExifTags.Base.Copyright,
)  # fmt: skip


@dataclass(frozen=True)
class SourceImage:
    """A photo as it is restored.

    image: upright, mode RGB, 8 bits a channel, in the colour space of `icc_profile`.
    icc_profile: the photo's own RGB profile; None if it had none (sRGB) or was converted to sRGB.
    exif: the photo's EXIF block with the orientation reset to 1 (upright), without its thumbnail; None if it had
    none.
    notes: what was converted or left out, one plain sentence each.
    alpha: the photo's transparency, mode L of the image's size; None if the photo is opaque.
    sha256: hex digest of the file's bytes.
    xmp: the photo's XMP packet with the orientation reset to 1; empty if it had none. dpi: None if not stated.
    """

    image: Image.Image
    icc_profile: bytes | None
    exif: bytes | None
    notes: tuple[str, ...]
    alpha: Image.Image | None = None
    sha256: str = ""
    xmp: str = ""
    dpi: tuple[float, float] | None = None


def read_photo(path: Path, max_pixels: int = MAX_PIXELS) -> SourceImage:
    """The photo in a file of any format that the data engine reads.

    Grey, CMYK, palette and 16-bit photos become 8-bit RGB, which is noted; a grey or CMYK profile fits no RGB photo,
    so those are converted to sRGB through it.
    Raises OSError if the file cannot be read, and UnusablePhoto, a ValueError of one sentence, if it is not a photo, is
    damaged, holds several pictures, or is over `max_pixels`.
    """
    data = _bytes_of(path)
    notes: list[str] = []
    with _opened(data, max_pixels) as image:
        profile = image.info.get("icc_profile") or b""
        exif = _exif(image, notes)
        xmp, dpi = _xmp(image, notes), _dpi(image)
        notes += [f"{what} left out" for what in _left_out(image, data)]
        alpha = _alpha(image)
        if alpha is not None:
            notes.append("the transparency was kept as it is")
        rgb, kept = _rgb(_eight_bits(image, data, notes), profile, notes)
    return SourceImage(rgb, kept or None, exif, tuple(notes), alpha, hashlib.sha256(data).hexdigest(), xmp, dpi)


def read_grey(path: Path, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """A mask or a map from a file, upright: (H, W) uint8 in [0, 255] or, of a 16-bit file, uint16, as stored.

    A colour picture counts as grey if its channels are equal. Raises as `read_photo` does, and UnusablePhoto if it is
    not grey, or is transparent in places: a drawing in the transparency alone would be lost.
    """
    with _opened(_bytes_of(path), max_pixels) as image:
        if _alpha(image) is not None:
            raise UnusablePhoto("it is transparent in places", "save it white on black")
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


def _bytes_of(path: Path) -> bytes:
    return read_bytes(uri_of(os.path.abspath(path)))


@contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[Image.Image]:
    """The picture in `data`, loaded and upright. A decoder's error inside the block also means a corrupt photo."""
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
            # A phone's JPEG may be followed by further pictures (MPO): the first is the photo.
            if format != "jpg" and getattr(image, "is_animated", False):
                raise UnusablePhoto("animated", f"{getattr(image, 'n_frames', 2)} pictures in one file")
            with _quiet():
                image.load()
                upright = image if format == "tiff" else _upright(image)  # Pillow itself turns a TIFF
            yield upright
    except UnusablePhoto:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise UnusablePhoto("pixel limit", f"it is over {max_pixels} pixels") from None
    except Image.UnidentifiedImageError:  # its message holds an address in memory
        raise UnusablePhoto("corrupt photo", "its header cannot be read") from None
    except DECODING_ERRORS as error:
        raise UnusablePhoto("corrupt photo", str(error) or type(error).__name__) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Pillow's warnings off the terminal; what matters in them is noted with the photo."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # Pillow's own limit, global to the process
        yield


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except DECODING_ERRORS:
        orientation = 1  # with broken EXIF data, every viewer shows the photo as it is stored
    if orientation not in range(2, 9):
        return image
    # Pillow turns by the picture's EXIF and rewrites it, so it gets the orientation alone.
    alone, turned, carried = Image.Exif(), image.copy(), dict(image.info)
    alone[_ORIENTATION] = orientation
    turned.info = {"exif": alone.tobytes()}
    turned = ImageOps.exif_transpose(turned)
    turned.info = carried
    return turned


def _exif(image: Image.Image, notes: list[str]) -> bytes | None:
    """The EXIF block for the upright photo, byte for byte except for the orientation."""
    try:
        if isinstance(image.info.get("exif"), bytes):
            return upright_exif(image.info["exif"])
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
        return upright_exif(kept.tobytes())
    except DECODING_ERRORS:
        notes.append("the EXIF data is broken and was left out")
        return None


def _xmp(image: Image.Image, notes: list[str]) -> str:
    """The XMP packet for the upright photo; Pillow gives it as bytes, whatever the file's format."""
    packet = image.info.get("xmp") or b""
    try:
        text = packet.decode("utf-8").rstrip("\0") if isinstance(packet, bytes) else str(packet)
    except UnicodeDecodeError:
        notes.append("the XMP data is broken and was left out")
        return ""
    return _XMP_ORIENTATION.sub(r"\g<1>1", text)


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    try:
        across, down = map(float, image.info["dpi"])
    except DECODING_ERRORS:
        return None
    # A PNG stores pixels per metre, in 32 bits.
    return (across, down) if all(math.isfinite(each) and 0 < each < 1e6 for each in (across, down)) else None


def _left_out(image: Image.Image, data: bytes) -> list[str]:
    """What else is in the file and will be missing from the restored photo."""
    said = []
    texts = [str(key) for key, value in image.info.items() if isinstance(value, str) and key != XMP_KEY]
    if data.startswith(b"\x89PNG") and any(not key.startswith("Raw profile type ") for key in texts):
        said.append("the PNG's text was")
    if image.info.get("comment"):
        said.append("the comment in the file was")
    if image.info.get("photoshop"):
        said.append("the IPTC data was")
    return said


def _alpha(image: Image.Image) -> Image.Image | None:
    if "transparency" not in image.info and image.mode not in ("LA", "La", "PA", "RGBA", "RGBa"):
        return None
    alpha = image.convert("RGBA").getchannel("A")
    return None if alpha.getextrema() == (255, 255) else alpha


def _eight_bits(image: Image.Image, data: bytes, notes: list[str]) -> Image.Image:
    """The picture as mode L, RGB or CMYK; what is lost is noted."""
    # Pillow has reduced 16-bit colours to 8 by now: only the header (byte 24: bits per channel) still shows them.
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
    # Many programs write a grey photo with an RGB profile, to which its values then belong.
    if image.mode == "CMYK" or profile[16:20] == b"GRAY":
        converted, outcome = to_srgb(image, profile)
        kept = b""
    else:
        converted = image if image.mode == "RGB" else image.convert("RGB")
        _, outcome = to_srgb(Image.new("RGB", (1, 1)), profile)  # only to learn whether the profile is usable
        kept = profile
    if outcome == BROKEN:
        notes.append("the colour profile is broken and was left out")
        kept = b""
    return converted, kept
