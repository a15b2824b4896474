"""Colours that a file names without an embedded profile: by EXIF, a PNG's chunks, or the headers of other formats."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from instructrestore.dataengine.photos import made_profile
from instructrestore.dataengine.photos.faults import PILLOW_ERRORS, UnusablePhoto
from instructrestore.dataengine.photos.made_profile import ADOBE, BT709, WIDE_GAMUT, Primaries

UNKNOWN = "colours that nothing names taken as sRGB"
_COLOUR_SPACE, _GAMMA, _INTEROPERABILITY = 0xA001, 0xA500, 0xA005
_TRANSFER, _WHITE, _PRIMARIES = 301, 318, 319
_EXIF = 0x8769
_SRGB, _ADOBE, _WIDE_GAMUT = 1, 2, 0xFFFD


@dataclass(frozen=True)
class Named:
    """Colours as a file names them.

    profile: an ICC profile of them; empty for sRGB. by: what in the file names them. note: what else to say.
    """

    profile: bytes
    by: str
    note: str = ""


def exif_colours(image: Image.Image, data: bytes) -> Named | None:
    """What EXIF (2.32 and DCF 2.0) and the same tags of a TIFF name; None if nothing, or not readably.

    A colour space that is "uncalibrated" and further described by nothing is taken as sRGB, as every viewer does,
    with the note `UNKNOWN`.
    """
    try:
        exif = image.getexif()
        if data[:4] in (b"II*\0", b"MM\0*"):  # Pillow loses a TIFF's directories when it turns the picture
            exif = Image.Exif()
            exif.load(data)
        inner = exif.get_ifd(_EXIF)
        index = exif.get_ifd(_INTEROPERABILITY).get(1, "") if _INTEROPERABILITY in inner else ""
        space = inner.get(_COLOUR_SPACE)
        index = index.decode("latin-1") if isinstance(index, bytes) else str(index)
        index = index.strip("\0 ")
        stated = {tag: exif.get(tag) for tag in (_TRANSFER, _WHITE, _PRIMARIES)} | {_GAMMA: inner.get(_GAMMA)}
    except PILLOW_ERRORS:
        return None
    if space == _SRGB or (space not in (_ADOBE, _WIDE_GAMUT) and index == "R98"):
        return Named(b"", "EXIF")
    if space == _WIDE_GAMUT:
        return Named(made_profile.rgb_profile("Wide Gamut RGB", WIDE_GAMUT, [made_profile.ADOBE_CURVE] * 3), "EXIF")
    if space == _ADOBE or index == "R03":
        return Named(made_profile.rgb_profile("Adobe RGB (1998)", ADOBE, [made_profile.ADOBE_CURVE] * 3), "EXIF")
    try:
        profile = _profile_of_tags(stated)
    except (*PILLOW_ERRORS, ValueError):
        profile = b""
    if profile:
        return Named(profile, "EXIF")
    return None if space is None else Named(b"", "EXIF", UNKNOWN)


def _profile_of_tags(stated: dict[int, Any]) -> bytes:
    """A profile of a TIFF's chromaticities, gamma and transfer function; empty if there are none."""
    if not any(stated.values()):
        return b""
    primaries, curves = BT709, [made_profile.SRGB_CURVE] * 3
    if stated[_WHITE] and stated[_PRIMARIES]:
        white, points = [[float(each) for each in stated[tag]] for tag in (_WHITE, _PRIMARIES)]
        primaries = _primaries([*white, *points])
    if stated[_GAMMA]:
        curves = [_curve(float(stated[_GAMMA]), primaries)] * 3
    elif stated[_TRANSFER]:
        levels = list(stated[_TRANSFER])
        third = len(levels) // 3
        tables = (
            [levels] * 3 if len(levels).bit_count() == 1 else [levels[n * third : (n + 1) * third] for n in (0, 1, 2)]
        )
        curves = [made_profile.table(each) for each in tables]
    return made_profile.rgb_profile("TIFF tags", primaries, curves)


def _primaries(points: Sequence[float]) -> Primaries:
    """From white, red, green and blue, each x and y."""
    white, red, green, blue = ((points[n], points[n + 1]) for n in range(0, 8, 2))
    return Primaries(white, red, green, blue)


def _curve(exponent: float, primaries: Primaries) -> bytes:
    """A gamma; near 2.2, with sRGB's own primaries, it is how a file says sRGB in one number (PNG, section 11)."""
    pairs = zip(vars(primaries).values(), vars(BT709).values(), strict=True)
    own = all(abs(a - b) < 0.002 for point, other in pairs for a, b in zip(point, other, strict=True))
    return made_profile.SRGB_CURVE if own and abs(exponent / 2.2 - 1) < 0.05 else made_profile.gamma(exponent)


def png_numbers(chunks: dict[bytes, bytes]) -> Named | None:
    """What a PNG's sRGB, gAMA and cHRM chunks name; None if there are none. Raises ValueError if they make no sense."""
    if b"sRGB" in chunks:
        return Named(b"", "sRGB")
    if not chunks.keys() & {b"gAMA", b"cHRM"}:
        return None
    by = " and ".join(name for name in ("gAMA", "cHRM") if name.encode() in chunks)
    try:
        primaries = BT709
        if b"cHRM" in chunks:
            primaries = _primaries([each / 100_000 for each in struct.unpack(">8I", chunks[b"cHRM"])])
        curve = made_profile.SRGB_CURVE
        if b"gAMA" in chunks:
            curve = _curve(100_000 / struct.unpack(">I", chunks[b"gAMA"])[0], primaries)
    except (struct.error, ZeroDivisionError) as error:
        raise ValueError(str(error)) from None
    return Named(made_profile.rgb_profile(f"PNG {by}", primaries, [curve] * 3), by)


# ITU-T H.273, tables 2 and 3: what a PNG's cICP chunk names by number. 2 is "unspecified" in both.
_UNSPECIFIED = 2
_CODED_PRIMARIES = {
    1: BT709,
    4: Primaries((0.310, 0.316), (0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),
    5: Primaries(made_profile.D65_WHITE, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: Primaries(made_profile.D65_WHITE, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    7: Primaries(made_profile.D65_WHITE, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: Primaries(made_profile.D65_WHITE, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: Primaries((0.314, 0.351), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: Primaries(made_profile.D65_WHITE, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    22: Primaries(made_profile.D65_WHITE, (0.630, 0.340), (0.295, 0.605), (0.155, 0.077)),
}
_VIDEO = made_profile.with_linear_part(1 / 0.45, 0.099, 4.5, 0.081)
_CODED_CURVES = {
    1: _VIDEO, 6: _VIDEO, 14: _VIDEO, 15: _VIDEO,
    4: made_profile.gamma(2.2), 5: made_profile.gamma(2.8), 8: made_profile.gamma(1.0), 13: made_profile.SRGB_CURVE,
}  # fmt: skip
_VIDEO_CURVES = (1, 6, 14, 15)  # BT.709, BT.601, BT.2020: shown as sRGB by viewers
_BOXES = 1 << 20  # bytes at a file's beginning in which its boxes are looked for
_HIGH_RANGE = {16: "PQ", 18: "HLG"}


def png_code(chunk: bytes) -> Named | None:
    """What a PNG's cICP chunk names; None if it is unspecified.

    Raises UnusablePhoto("colour space") for what has no one right conversion to sRGB, as high dynamic range, and for
    anything unknown: its values, shown as sRGB, would be silently wrong.
    """
    if len(chunk) != 4:
        raise UnusablePhoto("colour space", "a broken cICP chunk")
    primaries, transfer, matrix, full_range = chunk
    if transfer in _HIGH_RANGE:
        raise UnusablePhoto("colour space", f"{_HIGH_RANGE[transfer]}, of high dynamic range")
    if primaries == _UNSPECIFIED or transfer == _UNSPECIFIED:
        return None
    if primaries not in _CODED_PRIMARIES or transfer not in _CODED_CURVES or matrix != 0 or full_range != 1:
        raise UnusablePhoto("colour space", f"cICP {primaries}-{transfer}-{matrix}-{full_range}")
    curves = [_CODED_CURVES[transfer]] * 3
    name = f"cICP {primaries}-{transfer}"
    return Named(made_profile.rgb_profile(name, _CODED_PRIMARIES[primaries], curves), "cICP")


def box_colours(data: bytes) -> Named | None:
    """What the first colour box (`colr` of kind `nclx`: ISO/IEC 14496-12, 12.1.5) of an AVIF or HEIC file names; None
    without one. Its matrix and range are of the values in the file, which decoders make RGB. Raises as `png_code`."""
    place = data.find(b"colrnclx", 0, _BOXES)
    if place < 0 or place + 14 > len(data):
        return None
    primaries, transfer = struct.unpack_from(">HH", data, place + 8)
    if primaries in (5, 6) and transfer in (*_VIDEO_CURVES, _UNSPECIFIED):  # of television, as encoders take for sRGB
        return None
    if transfer in _VIDEO_CURVES and primaries == 1:
        return None
    named = png_code(bytes([min(primaries, 255), min(transfer, 255), 0, 1]))
    return named and replace(named, by="nclx")


def bitmap_colours(data: bytes) -> Named | None:
    """What a BMP's header of version 4 or 5 names; None for an older one. Raises ValueError if it makes no sense."""
    if data[14] not in (108, 124):
        return None
    kind = data[70:74]
    if kind == b"DEBM" and data[14] == 124:
        place, size = struct.unpack_from("<II", data, 126)
        return Named(data[14 + place : 14 + place + size], "colour profile")
    if kind == b"KNIL":
        return Named(b"", "header", UNKNOWN)  # in a file of its own
    ends = [each / 2**30 for each in struct.unpack_from("<9i", data, 74)]
    exponents = [each / 2**16 for each in struct.unpack_from("<3I", data, 110)]
    if kind != bytes(4) or not any(ends) or not all(exponents):
        return None  # sRGB, or the fields are left empty, as many writers do
    points = [(sum(ends[:3]), *ends[:3]), (sum(ends[3:6]), *ends[3:6]), (sum(ends[6:]), *ends[6:])]
    if not all(total > 0 for total, *_ in points):
        raise ValueError("primaries of no colour space")
    chromaticities = [each / total for total, x, y, _ in points for each in (x, y)]
    whole = [sum(ends[n::3]) for n in range(3)]  # white is where all three primaries are at full
    primaries = _primaries([whole[0] / sum(whole), whole[1] / sum(whole), *chromaticities])
    curves = [_curve(each, primaries) for each in exponents]
    return Named(made_profile.rgb_profile("BMP header", primaries, curves), "header")


def jp2_colours(data: bytes) -> Named | None:
    """What the colour box of a JPEG 2000 file names (ITU-T T.800, I.5.3.3); None for a bare stream without boxes.

    Raises UnusablePhoto("colour space") for an enumerated space that is neither sRGB, its grey or YCC, nor CMYK.
    """
    for method, content in _colour_boxes(data):
        if method in (2, 3):
            return Named(content, "colour profile")
        if method == 1:
            space = int.from_bytes(content[:4], "big")
            if space not in (0, 12, 15, 16, 17, 18):
                raise UnusablePhoto("colour space", f"JPEG 2000 enumerated colour space {space}")
            return Named(b"", "header")
    return None


def _colour_boxes(data: bytes) -> list[tuple[int, bytes]]:
    """Method and content of each `colr` box in the header box."""
    found, place, end = [], 0, len(data)
    while place + 12 <= end and data[:4] == b"\0\0\0\x0c":
        size, name = struct.unpack_from(">I4s", data, place)
        if name == b"jp2c" or size < 8:  # the pixels follow, or a box that the header never is
            break
        if name == b"colr":
            found.append((data[place + 8], data[place + 11 : place + size]))
        place += 8 if name == b"jp2h" else size
    return found
