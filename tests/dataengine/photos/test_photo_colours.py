"""Photos whose colours something other than a profile names come out where a colour-managed viewer shows them."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from instructrestore.dataengine.photos import made_profile
from instructrestore.dataengine.photos.colour_profile import BROKEN, CONVERTED, is_srgb
from instructrestore.dataengine.photos.named_colours import UNKNOWN
from instructrestore.dataengine.photos.photo_colours import BROKEN_NUMBERS, INKS, UNMARKED_INKS
from instructrestore.dataengine.photos.photo_file import UnusablePhoto, decode
from tests.dataengine.photos.colour_profiles import grey_profile, rgb_profile
from tests.dataengine.photos.named_colours import (
    ADOBE_POINTS,
    PIXELS,
    SRGB_POINTS,
    bitmap,
    chrm,
    exif_block,
    exif_directories,
    gama,
    in_srgb,
    with_chunks,
    with_segment,
    without_segment,
)
from tests.dataengine.photos.test_photo_file import png, saved, scene
from tests.dataengine.photos.tiff_files import Page, tiff

OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 100, "subsampling": 0},
    "PNG": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
}
SRGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PNG = saved(PIXELS, "PNG")


def assert_near(seen: NDArray[np.uint8], expected: NDArray[np.float64], levels: float = 2.0) -> None:
    assert np.abs(seen - expected).max() <= levels


@pytest.mark.parametrize("format", OPTIONS)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("space", "index"), [(2, ""), (0xFFFF, "R03"), (None, "R03"), (2, "R03")])
def test_adobe_rgb_that_only_exif_names_is_converted(format: str, order: str, space: int | None, index: str) -> None:
    if format == "TIFF":
        data = tiff([Page(PIXELS, {0x8769: 0})], order)
        data = tiff([Page(PIXELS, {0x8769: len(data)})], order) + exif_directories(len(data), space, index, order)
    else:
        data = saved(PIXELS, format, exif=exif_block(space, index, order), **OPTIONS[format])
    decoded = decode(data)
    assert decoded.notes == ("colours named by EXIF converted",)
    assert not decoded.as_is
    assert_near(decoded.rgb, in_srgb(PIXELS, "Adobe RGB", 563 / 256), 4 if format == "JPEG" else 2)
    assert np.abs(decoded.rgb.astype(int) - PIXELS).max() > 8


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("space", "index", "notes"),
    [(1, "", ()), (1, "R03", ()), (0xFFFF, "R98", ()), (None, "", ()), (0xFFFF, "", (UNKNOWN,)), (7, "", (UNKNOWN,))],
)
def test_photos_in_srgb_and_those_that_nothing_describes_keep_their_bytes(
    format: str, space: int | None, index: str, notes: tuple[str, ...]
) -> None:
    decoded = decode(saved(PIXELS, format, exif=exif_block(space, index), **OPTIONS[format]))
    assert (decoded.as_is, decoded.notes) == (True, notes)


def test_wide_gamut_rgb_is_converted() -> None:
    decoded = decode(saved(PIXELS, "PNG", exif=exif_block(0xFFFD)))
    assert decoded.notes == ("colours named by EXIF converted",)
    assert np.ptp(decoded.rgb[3, 3 * 16 + 3].astype(int)) <= 1, "grey stays grey"
    assert np.ptp(decoded.rgb[0, 0].astype(int)) > np.ptp(PIXELS[0, 0].astype(int)) + 15


def test_a_profile_comes_before_exif() -> None:
    adobe = exif_block(2, "R03")
    assert decode(saved(PIXELS, "JPEG", exif=adobe, icc_profile=SRGB_PROFILE)).as_is
    decoded = decode(saved(PIXELS, "PNG", exif=exif_block(1), icc_profile=rgb_profile()))
    assert decoded.notes == (CONVERTED,)
    decoded = decode(saved(PIXELS, "PNG", exif=adobe, icc_profile=b"broken"))
    assert decoded.notes == (BROKEN, "colours named by EXIF converted")
    assert_near(decoded.rgb, in_srgb(PIXELS, "Adobe RGB", 563 / 256))


CONVERTED_PNG: dict[str, tuple[dict[str, bytes], str, str, float | None]] = {
    "linear": ({"gAMA": gama(1.0)}, "gAMA", "sRGB", 1.0),
    "old Macintosh": ({"gAMA": gama(1.8), "cHRM": chrm(SRGB_POINTS)}, "gAMA and cHRM", "sRGB", 1.8),
    "Adobe RGB": ({"gAMA": gama(563 / 256), "cHRM": chrm(ADOBE_POINTS)}, "gAMA and cHRM", "Adobe RGB", 563 / 256),
    "Adobe primaries": ({"cHRM": chrm(ADOBE_POINTS)}, "cHRM", "Adobe RGB", None),
    "Display P3": ({"cICP": bytes([12, 13, 0, 1])}, "cICP", "Display P3", None),
    "linear 2020": ({"cICP": bytes([9, 8, 0, 1])}, "cICP", "BT.2020", 1.0),
    "code first": ({"cICP": bytes([12, 13, 0, 1]), "sRGB": b"\0", "gAMA": gama(1.0)}, "cICP", "Display P3", None),
    "unspecified code": ({"cICP": bytes([2, 2, 0, 1]), "gAMA": gama(1.0)}, "gAMA", "sRGB", 1.0),
}


@pytest.mark.parametrize("kind", CONVERTED_PNG)
def test_what_a_pngs_chunks_name_is_converted(kind: str) -> None:
    chunks, by, space, gamma = CONVERTED_PNG[kind]
    decoded = decode(with_chunks(PNG, **chunks))
    assert (decoded.notes, decoded.as_is) == ((f"colours named by {by} converted",), False)
    assert_near(decoded.rgb, in_srgb(PIXELS, space, gamma))
    grey = decode(with_chunks(saved(PIXELS[..., 0], "PNG"), **chunks))
    assert np.abs(grey.rgb - in_srgb(PIXELS[..., :1].repeat(3, -1), space, gamma)).max() <= 2


def test_a_video_curve_is_brighter_than_srgbs() -> None:
    decoded = decode(with_chunks(PNG, cICP=bytes([1, 1, 0, 1])))
    light = ((PIXELS / 255 + 0.099) / 1.099) ** (1 / 0.45)
    assert_near(decoded.rgb, 255 * (1.055 * light ** (1 / 2.4) - 0.055))


SRGB_PNG: dict[str, dict[str, bytes]] = {
    "sRGB": {"sRGB": b"\0"},
    "sRGB over the others": {"sRGB": b"\0", "gAMA": gama(1.0), "cHRM": chrm(ADOBE_POINTS)},
    "the gamma that stands for sRGB": {"gAMA": (45455).to_bytes(4, "big")},
    "another such": {"gAMA": (45000).to_bytes(4, "big"), "cHRM": chrm(SRGB_POINTS)},
    "sRGB's primaries": {"cHRM": chrm(SRGB_POINTS)},
    "its code": {"cICP": bytes([1, 13, 0, 1])},
}


@pytest.mark.parametrize("kind", SRGB_PNG)
def test_a_png_in_srgb_keeps_its_bytes(kind: str) -> None:
    decoded = decode(with_chunks(PNG, **SRGB_PNG[kind]))
    assert (decoded.as_is, decoded.notes) == (True, ())
    np.testing.assert_array_equal(decoded.rgb, PIXELS)
    # The format's own words come before EXIF's.
    if kind != "its code":
        named = with_chunks(saved(PIXELS, "PNG", exif=exif_block(2)), **SRGB_PNG[kind])
        assert decode(named).as_is


def test_an_embedded_profile_comes_before_numbers_and_after_a_code() -> None:
    embedded = saved(PIXELS, "PNG", icc_profile=SRGB_PROFILE)
    assert decode(with_chunks(embedded, gAMA=gama(1.0), cHRM=chrm(ADOBE_POINTS))).as_is
    assert decode(with_chunks(embedded, gAMA=bytes(4))).as_is
    assert decode(with_chunks(embedded, cICP=bytes([12, 13, 0, 1]))).notes == ("colours named by cICP converted",)
    broken = with_chunks(saved(PIXELS, "PNG", icc_profile=b"broken"), gAMA=gama(1.0))
    assert decode(broken).notes == (BROKEN, "colours named by gAMA converted")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ((9, 16, 0, 1), "PQ"),
        ((9, 18, 0, 1), "HLG"),
        ((1, 13, 0, 0), "1-13-0-0"),
        ((1, 13, 1, 1), "1-13-1-1"),
        ((99, 13, 0, 1), "99-13"),
    ],
)
def test_what_cannot_be_converted_is_refused_unless_a_profile_does_it(code: tuple[int, ...], said: str) -> None:
    with pytest.raises(UnusablePhoto, match=said) as caught:
        decode(with_chunks(PNG, cICP=bytes(code)))
    assert caught.value.reason == "colour space"
    embedded = saved(PIXELS, "PNG", icc_profile=rgb_profile())
    assert decode(with_chunks(embedded, cICP=bytes(code))).notes == (CONVERTED,)


@pytest.mark.parametrize(
    "chunks",
    [{"gAMA": bytes(4)}, {"cHRM": bytes(32)}, {"cHRM": chrm((0.3, 0.3) * 4)}],
)
def test_numbers_that_make_no_sense_are_noted(chunks: dict[str, bytes]) -> None:
    decoded = decode(with_chunks(PNG, **chunks))
    assert (decoded.notes, decoded.as_is) == ((BROKEN_NUMBERS,), False)
    np.testing.assert_array_equal(decoded.rgb, PIXELS)


def inks(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).convert("CMYK"))


def test_inverted_inks_of_adobes_jpegs_and_their_ycck_are_read_as_colours() -> None:
    plain = saved(Image.fromarray(PIXELS).convert("CMYK"), "JPEG", quality=100)
    assert b"Adobe" in plain, "libjpeg writes the mark, and Pillow the inversion that goes with it"
    assert decode(plain).notes == (INKS,)
    assert_near(decode(plain).rgb, PIXELS.astype(float), 4)
    # The same colours as YCCK: the RGB that the inverted inks are, in YCbCr, and K.
    stored = 255 - inks(PIXELS).astype(int)
    ycc = np.asarray(Image.fromarray(stored[..., :3].astype(np.uint8)).convert("YCbCr"))
    # Of YCCK a decoder makes C = 255 - R and so on.
    ycc = np.asarray(Image.fromarray((255 - stored[..., :3]).astype(np.uint8)).convert("YCbCr"))
    channels = np.concatenate([ycc, stored[..., 3:].astype(np.uint8)], -1)
    data = saved(Image.fromarray((255 - channels).astype(np.uint8), "CMYK"), "JPEG", quality=100)
    at = data.index(b"Adobe") + 11
    decoded = decode(data[:at] + b"\2" + data[at + 1 :])
    assert decoded.notes == (INKS,)
    assert_near(decoded.rgb, PIXELS.astype(float), 5)
    assert not decoded.as_is


def test_inks_without_adobes_mark_are_noted() -> None:
    data = without_segment(saved(Image.fromarray(PIXELS).convert("CMYK"), "JPEG", quality=100), 0xEE)
    assert decode(data).notes == (UNMARKED_INKS, INKS)
    assert_near(decode(data).rgb, PIXELS.astype(float), 4)


def test_inks_do_not_become_adobe_rgb() -> None:
    image = Image.fromarray(PIXELS).convert("CMYK")
    assert decode(saved(image, "JPEG", exif=exif_block(0xFFFF, "R03"))).notes == (INKS,)


def test_a_profile_in_pieces_is_found_or_called_broken() -> None:
    plain, profile = saved(PIXELS, "JPEG", **OPTIONS["JPEG"]), rgb_profile()
    halves = [b"ICC_PROFILE\0" + bytes([n, 2]) + profile[a:b] for n, a, b in ((1, 0, 200), (2, 200, None))]
    behind = plain.index(b"\xff\xda")
    for at in (2, behind):  # before the frame header, and between it and the scan
        both = with_segment(with_segment(plain, 0xE2, halves[0], at), 0xE2, halves[1], at)
        assert decode(both).notes == (CONVERTED,), at
        one = with_segment(plain, 0xE2, halves[0], at)
        assert (decode(one).notes, decode(one).as_is) == ((BROKEN,), False), at
    damaged = with_chunks(PNG, iCCP=b"name\0\0not compressed")
    assert decode(damaged).notes == (BROKEN,)


def test_a_tiffs_own_tags_are_converted() -> None:
    points = {318: ADOBE_POINTS[:2], 319: ADOBE_POINTS[2:]}
    decoded = decode(saved(PIXELS, "TIFF", tiffinfo=points))
    assert decoded.notes == ("colours named by EXIF converted",)
    assert_near(decoded.rgb, in_srgb(PIXELS, "Adobe RGB"))
    linear = {301: tuple(257 * level for level in range(256))}
    assert_near(decode(saved(PIXELS, "TIFF", tiffinfo=linear)).rgb, in_srgb(PIXELS, "sRGB", 1.0))


def test_what_a_bitmaps_header_names_is_converted() -> None:
    assert decode(bitmap(b"BGRs", b"")).notes == ()
    assert decode(bitmap(bytes(4), b"")).notes == ()
    assert decode(bitmap(b"DEBM", b"", rgb_profile())).notes == (CONVERTED,)
    assert decode(bitmap(b"DEBM", b"", b"")).notes == ()
    assert decode(bitmap(b"KNIL", b"")).notes == (UNKNOWN,)
    # CIEXYZ of Adobe RGB's primaries under D65.
    ends = (0.5767, 0.2973, 0.0270, 0.1856, 0.6274, 0.0707, 0.1882, 0.0753, 0.9913)
    adobe = struct.pack("<9i3I", *(round(each * 2**30) for each in ends), *[round(2.2 * 65536)] * 3)
    decoded = decode(bitmap(bytes(4), adobe))
    assert decoded.notes == ("colours named by header converted",)
    assert_near(decoded.rgb, in_srgb(PIXELS, "Adobe RGB", 2.2))


def test_what_a_jpeg_2000s_colour_box_names_is_converted() -> None:
    plain = saved(PIXELS, "JPEG2000")
    assert decode(plain).notes == ()
    at = plain.index(b"colr") - 4
    size, header = int.from_bytes(plain[at : at + 4], "big"), plain.index(b"jp2h") - 4

    def with_box(content: bytes) -> bytes:
        box = struct.pack(">I4s", 8 + len(content), b"colr") + content
        longer = int.from_bytes(plain[header : header + 4], "big") + len(box) - size
        return plain[:header] + longer.to_bytes(4, "big") + plain[header + 4 : at] + box + plain[at + size :]

    decoded = decode(with_box(b"\2\0\0" + rgb_profile()))
    assert decoded.notes == (CONVERTED,)
    assert_near(decoded.rgb, in_srgb(PIXELS, "Display P3", 2.2))
    with pytest.raises(UnusablePhoto, match="colour space: JPEG 2000 enumerated colour space 21"):
        decode(with_box(b"\1\0\0" + (21).to_bytes(4, "big")))


def test_a_made_profile_is_read_alike_by_other_software() -> None:
    curve = made_profile.SRGB_CURVE
    assert is_srgb(made_profile.rgb_profile("sRGB", made_profile.BT709, [curve] * 3))
    profile = made_profile.rgb_profile("P3", made_profile.ADOBE, [made_profile.ADOBE_CURVE] * 3)
    assert profile == made_profile.rgb_profile("P3", made_profile.ADOBE, [made_profile.ADOBE_CURVE] * 3)
    read = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile
    assert (read.xcolor_space.strip(), read.version, read.profile_description) == ("RGB", 4.2, "P3")
    assert read.red_primary[1][:2] == pytest.approx((0.6484, 0.3309), abs=1e-3)  # Adobe's own, under D50
    np.testing.assert_allclose(read.media_white_point_temperature or 5000, 5000, atol=20)


@pytest.mark.parametrize("points", [(0.3, 0.3) * 4, (0.3, 0.0, *SRGB_POINTS[2:]), (float("nan"),) * 8])
def test_primaries_of_no_colour_space_are_refused(points: tuple[float, ...]) -> None:
    pairs = list(zip(points[::2], points[1::2], strict=True))
    with pytest.raises(ValueError, match=r"chromaticity|primaries"):
        made_profile.rgb_profile("none", made_profile.Primaries(*pairs), [made_profile.SRGB_CURVE] * 3)


# Files that only seem whole


def test_a_png_without_its_end_is_not_kept_as_it_is() -> None:
    data = saved(scene(), "PNG")
    for lost in (1, 4, 11, 12):
        decoded = decode(data[:-lost])
        assert (decoded.as_is, decoded.notes) == (False, ("file without its end",)), lost
        np.testing.assert_array_equal(decoded.rgb, scene())


def test_a_png_whose_pixels_fail_their_checksum_is_corrupt() -> None:
    data = bytearray(png(struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0), b"".join(b"\0" + bytes(12) for _ in range(4))))
    data[-16] ^= 1  # of the IDAT chunk's checksum, four bytes before IEND's twelve
    with pytest.raises(UnusablePhoto, match=r"corrupt photo: its chunk 'IDAT' has a wrong checksum"):
        decode(bytes(data))


def test_grey_profiles_of_colour_photos_stay_broken() -> None:
    assert decode(saved(PIXELS, "PNG", icc_profile=grey_profile(1.0))).notes == (BROKEN,)
