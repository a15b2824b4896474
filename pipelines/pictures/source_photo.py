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
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from instructrestore.dataengine.photos.colour_profile import BROKEN, to_srgb
from instructrestore.dataengine.photos.deep_pixels import deep_pixels
from instructrestore.dataengine.photos.named_colours import UNKNOWN
from instructrestore.dataengine.photos.photo_colours import (
    BROKEN_NUMBERS,
    PROFILE,
    UNMARKED_INKS,
    PhotoColours,
    colours_of,
)
from instructrestore.dataengine.photos.photo_file import MAX_PIXELS, UnusablePhoto, read_bytes
from instructrestore.dataengine.photos.picture_file import MAGIC_BYTES, OpenPicture, format_of, open_picture
from instructrestore.dataengine.sources.places import uri_of
from instructrestore.pipelines.pictures.exif import srgb_exif, upright_exif
from instructrestore.pipelines.pictures.iptc import iptc_of
from instructrestore.pipelines.pictures.jpeg_tables import JpegTables, jpeg_tables

XMP_KEY = "XML:com.adobe.xmp"
_XMP_ORIENTATION = re.compile(r"""(tiff:Orientation(?:\s*=\s*["']|>\s*))[1-8]""")

# What Pillow's parsers raise on damaged bytes; these are in memory by then, so I/O errors are not among them.
DECODING_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError,
    struct.error,
)  # fmt: skip
_SAID = {
    BROKEN_NUMBERS: "its description of its colours is broken and was left out",
    UNKNOWN: "its EXIF calls its colours uncalibrated, and nothing describes them: they were taken as sRGB",
    UNMARKED_INKS: "the CMYK photo does not say whether its inks are inverted: it was taken as if they were",
}
_BITS = int(ExifTags.Base.BitsPerSample)
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
    deep: (H, W, 3) uint16 RGB, or (H, W, 4) with the transparency, of a photo of 16 bits a channel, whose high bytes
    `image` has; None for 8 bits.
    iptc: the IPTC data (IIM 4.2), byte for byte; empty if it had none. jpeg: how it was compressed, of a JPEG.
    xmp: the photo's XMP packet with the orientation reset to 1; empty if it had none. dpi: None if not stated.
    format: of the file by its content, as `picture_file.format_of` names it.
    """

    image: Image.Image
    icc_profile: bytes | None
    exif: bytes | None
    notes: tuple[str, ...]
    alpha: Image.Image | None = None
    sha256: str = ""
    xmp: str = ""
    dpi: tuple[float, float] | None = None
    format: str = "png"
    deep: NDArray[np.uint16] | None = None
    iptc: bytes = b""
    jpeg: JpegTables | None = None


def read_photo(path: Path, max_pixels: int = MAX_PIXELS) -> SourceImage:
    """The photo in a file of any format that the data engine reads.

    Grey, CMYK and palette photos become RGB, which is noted; a grey or CMYK profile fits no RGB photo, so those are
    converted to sRGB through it, in 8 bits.
    Raises OSError if the file cannot be read, and UnusablePhoto, a ValueError of one sentence, if it is not a photo, is
    damaged, holds several pictures, or is over `max_pixels`.
    """
    data = _bytes_of(path)
    notes: list[str] = []
    format = format_of(data[:MAGIC_BYTES])
    with _opened(data, max_pixels) as (picture, image):
        exif = _exif(image, notes)
        xmp, dpi = _xmp(image, notes), _dpi(image)
        iptc = iptc_of(picture.image, notes)
        notes += [f"{what} left out" for what in _left_out(image, data)]
        alpha = _alpha(image)
        if alpha is not None:
            notes.append("the transparency was kept as it is")
        plain = _eight_bits(image, notes)
        with _quiet():
            colours = colours_of(image, data, format, plain.mode)
            values = deep_pixels(data, picture)
        rgb, kept = _rgb(plain, colours, notes)
        deep = None if values is None else _deep(values, plain, colours)
        if deep is None and _is_deep(image, data):
            notes.append("the 16-bit photo was reduced to 8 bits")
        jpeg = jpeg_tables(picture.image) if isinstance(picture.image, JpegImageFile) else None
        if exif is not None and not kept:
            exif = srgb_exif(exif)
    sha256 = hashlib.sha256(data).hexdigest()
    return SourceImage(
        rgb, kept or None, exif, tuple(notes), alpha, sha256, xmp, dpi, format, deep, iptc, jpeg
    )  # fmt: skip


def _bytes_of(path: Path) -> bytes:
    return read_bytes(uri_of(os.path.abspath(path)))


@contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[tuple[OpenPicture, Image.Image]]:
    """The picture in `data`, loaded, and the same upright. An error inside the block means a corrupt photo too."""
    try:
        with _quiet():
            picture = open_picture(data, max_pixels)
            # Pillow itself turns a TIFF.
            upright = picture.image if picture.format == "tiff" else _upright(picture.image)
        yield picture, upright
    except UnusablePhoto:
        raise
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
                if ExifTags.IFD.Interop in values:  # as a place, which is another in the new block
                    values[ExifTags.IFD.Interop] = dict(stored.get_ifd(ExifTags.IFD.Interop))
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
    return said


def _alpha(image: Image.Image) -> Image.Image | None:
    if "transparency" not in image.info and image.mode not in ("LA", "La", "PA", "RGBA", "RGBa"):
        return None
    alpha = image.convert("RGBA").getchannel("A")
    return None if alpha.getextrema() == (255, 255) else alpha


def _is_deep(image: Image.Image, data: bytes) -> bool:
    """Whether a photo that was read with 8 bits a channel has 16: Pillow has reduced colours by now, and only the
    header (of a PNG, byte 24) still shows it."""
    bits = getattr(image, "tag_v2", {}).get(_BITS, (8,))
    in_tiff = max(bits if isinstance(bits, tuple) else (bits,)) > 8
    return image.mode.startswith("I;16") or in_tiff or (data.startswith(b"\x89PNG") and data[24] == 16)


def _deep(values: NDArray[np.uint16], plain: Image.Image, colours: PhotoColours) -> NDArray[np.uint16] | None:
    """The values as RGB, or RGB with transparency; None where they were converted, in 8 bits, by a profile."""
    if plain.mode == "CMYK" or colours.profile[16:20] == b"GRAY":
        return None
    return values if values.ndim == 3 else np.repeat(values[..., None], 3, 2)


def _eight_bits(image: Image.Image, notes: list[str]) -> Image.Image:
    """The picture as mode L, RGB or CMYK; what is lost is noted, but for the depth."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F", "LAB", "HSV"):
        raise UnusablePhoto("colour space", f"Pillow mode {image.mode}")
    if image.mode in ("P", "PA"):
        notes.append("the palette photo was converted to RGB")
    if image.mode in ("1", "LA", "La"):
        return image.convert("L") if image.mode != "La" else image.convert("LA").convert("L")
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGBA").convert("RGB")


def _rgb(image: Image.Image, colours: PhotoColours, notes: list[str]) -> tuple[Image.Image, bytes]:
    """The picture in RGB and the profile that belongs to it, empty for sRGB."""
    if image.mode != "RGB":
        notes.append(f"the {'grey' if image.mode == 'L' else 'CMYK'} photo was converted to RGB")
    # Many programs write a grey photo with an RGB profile, to which its values then belong.
    if image.mode == "CMYK" or colours.profile[16:20] == b"GRAY":
        converted, outcome = to_srgb(image, colours.profile)
        kept = b""
    else:
        converted, outcome = image if image.mode == "RGB" else image.convert("RGB"), ""
        kept = colours.profile
    if kept and colours.by != PROFILE:
        notes.append(f"its colours are named by {colours.by} alone: the result has a colour profile of them")
    if BROKEN in (outcome, *colours.notes):
        notes.append("the colour profile is broken and was left out")
    notes += [_SAID[note] for note in colours.notes if note in _SAID]
    return converted, kept
