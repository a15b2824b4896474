"""In which colours a photo's values are: of all that a file may say about it, what counts.

The embedded profile comes before all other words but a PNG's cICP, and those of the format before EXIF's.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from instructrestore.dataengine.photos import png_chunks
from instructrestore.dataengine.photos.colour_profile import BROKEN, is_srgb, is_usable
from instructrestore.dataengine.photos.faults import UnusablePhoto
from instructrestore.dataengine.photos.named_colours import (
    Named,
    bitmap_colours,
    box_colours,
    exif_colours,
    jp2_colours,
    png_code,
    png_numbers,
)

PROFILE = "colour profile"
BROKEN_NUMBERS = "broken description of colours"
UNMARKED_INKS = "CMYK without Adobe's mark taken as inverted"
INKS = "CMYK without a profile"


@dataclass(frozen=True)
class PhotoColours:
    """profile: the ICC profile that a photo's values are in, embedded or made; empty: sRGB, or the inks of no profile.

    by: what in the file names them: `PROFILE` for an embedded profile; empty if nothing does.
    notes: what was passed over or taken for granted, in countable words.
    """

    profile: bytes
    by: str
    notes: tuple[str, ...]


def colours_of(image: Image.Image, data: bytes, format: str, mode: str) -> PhotoColours:
    """The colours of a loaded picture. data: its file. mode: of its values without alpha, L, RGB or CMYK.

    Raises UnusablePhoto("colour space") for colours that are named and cannot be converted.
    """
    notes: list[str] = []
    if format == "jpg" and mode == "CMYK" and "adobe" not in image.info:
        notes.append(UNMARKED_INKS)  # as every viewer does
    profile = image.info.get("icc_profile", b"")
    named = _by_format(data, format, is_usable(profile, mode), notes)
    if named and named.by == PROFILE:
        profile, named = named.profile, None
    # Pillow gives None for a profile that it could not put together.
    if profile != b"" and not (named and named.by == "cICP"):
        if is_usable(profile, mode):
            return PhotoColours(profile, PROFILE, tuple(notes))
        notes.append(BROKEN)
    if mode == "CMYK":  # all other words are about RGB
        return PhotoColours(b"", "", (*notes, INKS))
    named = named or exif_colours(image, data)
    if named is None:
        return PhotoColours(b"", "", tuple(notes))
    if named.note:
        notes.append(named.note)
    if named.profile and not is_usable(named.profile, mode):
        return PhotoColours(b"", "", (*notes, BROKEN_NUMBERS))
    return PhotoColours(b"" if is_srgb(named.profile) else named.profile, named.by, tuple(notes))


def _by_format(data: bytes, format: str, has_profile: bool, notes: list[str]) -> Named | None:
    """What the words of the file's own format name."""
    try:
        if format == "bmp":
            return bitmap_colours(data)
        if format == "jp2":
            return jp2_colours(data)
        if format in ("avif", "heic"):
            return None if has_profile else box_colours(data)
        if format != "png":
            return None
        chunks = png_chunks.before_pixels(data)
        try:
            coded = png_code(chunks[b"cICP"]) if b"cICP" in chunks else None
        except UnusablePhoto:
            if not has_profile:
                raise
            coded = None  # the profile is there for readers that do not know the code
        return coded or (None if has_profile else png_numbers(chunks))
    except ValueError as error:
        if isinstance(error, UnusablePhoto):
            raise
        notes.append(BROKEN_NUMBERS)
        return None
