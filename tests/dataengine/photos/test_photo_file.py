"""Every kind of file that is handed in as a photo: what it becomes, or the reason why it becomes nothing."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from instructrestore.dataengine.photos.colour_profile import BROKEN, CONVERTED
from instructrestore.dataengine.photos.photo_colours import INKS
from instructrestore.dataengine.photos.photo_file import (
    BYTE_RANGE,
    UnusablePhoto,
    byte_range,
    decode,
    encode,
    load,
    read_bytes,
)
from instructrestore.dataengine.photos.picture_file import format_of
from instructrestore.dataengine.photos.row import Row, SourcePhoto
from instructrestore.shards.sample import Photo, key_of
from tests import real_photos
from tests.dataengine.photos.colour_profiles import cmyk_profile, grey_profile, rgb_profile

MAX_PIXELS = 1_000_000


def scene(height: int = 48, width: int = 80, seed: int = 0) -> NDArray[np.uint8]:
    """A smooth colourful picture that looks different from every side."""
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    phases = np.random.default_rng(seed).uniform(0, 6, 3)
    bands = [np.sin(5 * columns + phase) + np.cos(9 * rows * columns + 2 * phase) for phase in phases]
    return (127.5 + 60 * np.stack(bands, -1)).astype(np.uint8)


def saved(pixels: NDArray | Image.Image, format: str, **options: object) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png(header: bytes, pixels: bytes, extra: bytes = b"") -> bytes:
    """A PNG put together by hand, of chunks that Pillow would not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def bomb(width: int = 30_000, height: int = 30_000) -> bytes:
    return png(struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), bytes(1000))


def frames(count: int = 3) -> list[Image.Image]:
    return [Image.fromarray(scene(seed=seed)) for seed in range(count)]


def animated(format: str) -> bytes:
    first, *rest = frames()
    return saved(first, format, save_all=True, append_images=rest)


def see_through(mode: str) -> Image.Image:
    image = Image.fromarray(scene()).convert(mode)
    image.putalpha(Image.fromarray(np.full((48, 80), 200, np.uint8)))
    return image


def keyed(format_mode: str) -> bytes:
    """A PNG whose transparency is a single colour (a tRNS chunk) that does occur."""
    image = Image.fromarray(scene()).convert(format_mode)
    colour = image.getpixel((3, 3))
    return saved(image, "PNG", transparency=colour)


def webp_with_size(width: int, height: int) -> bytes:
    """A WebP that says it is of that size."""
    data = bytearray(saved(scene(), "WEBP", lossless=True, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"))
    assert data[12:16] == b"VP8X"
    data[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(data)


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "empty file"),
    "one byte": (lambda: b"\xff", "not a photo"),
    "text": (lambda: b"this is no photo, whatever its name says\n" * 50, "not a photo"),
    "text that begins like a bitmap": (lambda: b"BMW and other cars of the nineteen-seventies" * 9, "not a photo"),
    "html": (lambda: b"<!DOCTYPE html><title>404 Not Found</title>", "not a photo"),
    "zeros": (lambda: bytes(4096), "not a photo"),
    "postscript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a photo"),
    "canon raw": (lambda: b"II*\0\x10\0\0\0CR\2\0" + bytes(100), "not a photo"),
    "heic": (lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "corrupt photo"),
    "animated avif": (lambda: animated("AVIF"), "animated"),
    "jpeg xl": (lambda: b"\xff\x0a" + bytes(99), "unsupported format"),
    "animated gif": (lambda: animated("GIF"), "animated"),
    "animated png": (lambda: animated("PNG"), "animated"),
    "animated webp": (lambda: animated("WEBP"), "animated"),
    "tiff of several pages": (lambda: animated("TIFF"), "several pages"),
    "bomb": (bomb, "pixel limit"),
    "thin bomb": (lambda: bomb(2**31 - 1, 1), "pixel limit"),
    "webp bomb": (lambda: webp_with_size(16_384, 16_384), "pixel limit"),
    "bmp bomb": (
        lambda: b"BM" + struct.pack("<IIIIiiHH", 99, 0, 54, 40, 30000, 30000, 1, 24) + bytes(99),
        "pixel limit",
    ),
    "see-through png": (lambda: saved(see_through("RGB"), "PNG"), "transparent"),
    "see-through grey png": (lambda: saved(see_through("L"), "PNG"), "transparent"),
    "see-through webp": (lambda: saved(see_through("RGB"), "WEBP", lossless=True), "transparent"),
    "see-through colour": (lambda: keyed("RGB"), "transparent"),
    "see-through grey": (lambda: keyed("L"), "transparent"),
    "see-through palette": (lambda: keyed("P"), "transparent"),
    "floating point tiff": (lambda: saved(scene()[..., 0].astype(np.float32), "TIFF"), "colour space"),
    "lab tiff": (lambda: saved(Image.new("LAB", (20, 20), (120, 130, 140)), "TIFF"), "colour space"),
    "png without pixels": (lambda: saved(scene(), "PNG")[:33], "corrupt photo"),
    "png with a broken stream": (lambda: png(struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0), b"abc"), "corrupt photo"),
    "jpeg header only": (lambda: b"\xff\xd8\xff\xe0" + bytes(20), "corrupt photo"),
    "webp header only": (lambda: b"RIFF\x20\0\0\0WEBPVP8 ", "corrupt photo"),
    "gif header only": (lambda: b"GIF89a\x09\0\x09\0", "corrupt photo"),
    "tiff header only": (lambda: b"II*\0\x08\0\0\0", "corrupt photo"),
    "ppm header only": (lambda: b"P6 40 40 255\n", "corrupt photo"),
    "jpeg 2000 header only": (lambda: b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(30), "corrupt photo"),
    "png of no size": (lambda: png(struct.pack(">IIBBBBB", 0, 5, 8, 2, 0, 0, 0), b""), "corrupt photo"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_has_its_reason(kind: str) -> None:
    make, reason = BAD[kind]
    data = make()
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with pytest.raises(UnusablePhoto) as caught:
            decode(data, MAX_PIXELS)
    assert caught.value.reason == reason


@pytest.mark.parametrize("tenth", range(1, 10))
@pytest.mark.parametrize("format", ["JPEG", "progressive", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_truncated_at_each_tenth(format: str, tenth: int) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (96, 96, 3), np.uint8)
    data = saved(noise, "JPEG", progressive=True) if format == "progressive" else saved(noise, format)
    with pytest.raises(UnusablePhoto, match="corrupt photo"):
        decode(data[: len(data) * tenth // 10], MAX_PIXELS)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "GIF"])
def test_flipped_bytes_never_raise_anything_else(format: str) -> None:
    data = saved(scene(), format)
    random = np.random.default_rng(2)
    for _ in range(150):
        broken = bytearray(data)
        for place in random.integers(0, len(data), random.integers(1, 6)):
            broken[place] = random.integers(0, 256)
        try:
            rgb = decode(bytes(broken), MAX_PIXELS).rgb
        except UnusablePhoto:
            continue
        assert rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.size <= 3 * MAX_PIXELS


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations_give_the_same_pixels(format: str, orientation: int) -> None:
    upright = scene(48, 80)
    # How a camera stores the scene, by the EXIF specification: where row 0 and column 0 of the file are to be seen.
    stored = {
        1: upright,  # top, left
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: upright.transpose(1, 0, 2),  # left, top
        6: upright[:, ::-1].transpose(1, 0, 2),  # right, top
        7: upright[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
        8: upright[::-1].transpose(1, 0, 2),  # left, bottom
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, object] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(
        format, {}
    )
    decoded = decode(saved(np.ascontiguousarray(stored), format, exif=exif.tobytes(), **options), MAX_PIXELS)
    assert decoded.rgb.shape == upright.shape
    difference = np.abs(decoded.rgb.astype(int) - upright.astype(int)).max()
    assert difference <= (4 if format == "JPEG" else 0)
    assert decoded.as_is == (orientation == 1 and format != "TIFF")


@pytest.mark.parametrize(("format", "expected"), [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")])
def test_plain_photos_are_taken_as_they_are(format: str, expected: str) -> None:
    data = saved(scene(), format)
    decoded = decode(data, MAX_PIXELS)
    assert (decoded.format, decoded.as_is, decoded.notes) == (expected, True, ())
    np.testing.assert_array_equal(decoded.rgb, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("format", ["BMP", "TIFF", "PPM", "GIF", "JPEG2000"])
def test_other_formats_are_read_but_not_kept(format: str) -> None:
    decoded = decode(saved(scene(), format), MAX_PIXELS)
    assert not decoded.as_is and decoded.rgb.shape == (48, 80, 3)
    if format != "GIF":
        np.testing.assert_array_equal(decoded.rgb, scene())


def test_a_phones_jpeg_with_a_second_picture_is_its_first() -> None:
    first, second = frames(2)
    data = saved(first, "MPO", save_all=True, append_images=[second])
    decoded = decode(data, MAX_PIXELS)
    assert (decoded.format, decoded.as_is) == ("jpg", True)
    assert np.abs(decoded.rgb.astype(int) - np.asarray(first).astype(int)).mean() < 4


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_grey_becomes_three_equal_channels(format: str) -> None:
    decoded = decode(saved(scene()[..., 0], format), MAX_PIXELS)
    assert not decoded.as_is
    assert np.ptp(decoded.rgb, axis=-1).max() == 0
    assert np.abs(decoded.rgb[..., 0].astype(int) - scene()[..., 0]).max() < 12


def test_sixteen_bit_grey_and_colour_keep_their_high_byte() -> None:
    grey = np.random.default_rng(3).integers(0, 65536, (20, 30), np.uint16)
    decoded = decode(saved(grey, "PNG"), MAX_PIXELS)
    np.testing.assert_array_equal(decoded.rgb[..., 1], grey >> 8)
    assert not decoded.as_is
    colour = np.random.default_rng(4).integers(0, 65536, (20, 30, 3), np.uint16)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in colour)
    decoded = decode(png(struct.pack(">IIBBBBB", 30, 20, 16, 2, 0, 0, 0), lines), MAX_PIXELS)
    np.testing.assert_array_equal(decoded.rgb, colour >> 8)
    assert not decoded.as_is


def test_opaque_alpha_and_opaque_palettes_lose_nothing() -> None:
    opaque = Image.fromarray(scene())
    opaque.putalpha(255)
    for image in (opaque, opaque.convert("LA")):
        decoded = decode(saved(image, "PNG"), MAX_PIXELS)
        np.testing.assert_array_equal(decoded.rgb, np.asarray(image.convert("RGB")))
        assert not decoded.as_is
    palette = Image.fromarray(scene()).quantize(32)
    decoded = decode(saved(palette, "PNG"), MAX_PIXELS)
    np.testing.assert_array_equal(decoded.rgb, np.asarray(palette.convert("RGB")))
    assert not decoded.as_is


def test_one_pixel_and_extreme_shapes_are_decoded() -> None:
    assert decode(saved(scene(1, 1), "PNG"), MAX_PIXELS).rgb.shape == (1, 1, 3)
    long = np.zeros((60_000, 1, 3), np.uint8)
    assert decode(saved(long, "PNG"), MAX_PIXELS).rgb.shape == (60_000, 1, 3)


def test_display_p3_is_converted_as_littlecms_does() -> None:
    profile = rgb_profile()
    pixels = scene()
    reference = ImageCms.profileToProfile(
        Image.fromarray(pixels), io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    decoded = decode(saved(pixels, "PNG", icc_profile=profile), MAX_PIXELS)
    np.testing.assert_array_equal(decoded.rgb, np.asarray(reference))
    assert decoded.notes == (CONVERTED,) and not decoded.as_is
    assert np.abs(decoded.rgb.astype(int) - pixels).max() > 10


def test_display_p3_colours_come_out_where_its_matrix_puts_them() -> None:
    # Linear Display P3 to linear sRGB; both have the white D65.
    matrix = np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0196, -0.0786, 1.0979]])
    levels = np.array([(100, 180, 120), (190, 90, 80), (120, 120, 200), (128, 128, 128)], np.uint8)
    linear = np.clip((levels / 255.0) ** 2.2 @ matrix.T, 0, 1)
    expected = 255 * np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    decoded = decode(saved(levels[None], "PNG", icc_profile=rgb_profile(gamma=2.2)), MAX_PIXELS)
    assert np.abs(decoded.rgb[0] - expected).max() < 3


def test_an_srgb_profile_changes_nothing_and_is_kept() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for format in ("PNG", "JPEG", "WEBP"):
        assert decode(saved(scene(), format, icc_profile=profile), MAX_PIXELS).as_is
    np.testing.assert_array_equal(decode(saved(scene(), "PNG", icc_profile=profile), MAX_PIXELS).rgb, scene())


@pytest.mark.parametrize("profile", [b"not a profile", rgb_profile()[:200], rgb_profile()[:16] + b"XXXX" + bytes(200)])
def test_a_broken_profile_is_passed_over_and_noted(profile: bytes) -> None:
    decoded = decode(saved(scene(), "PNG", icc_profile=profile), MAX_PIXELS)
    assert decoded.notes == (BROKEN,) and not decoded.as_is
    np.testing.assert_array_equal(decoded.rgb, scene())


def test_a_profile_of_another_colour_space_is_broken() -> None:
    decoded = decode(saved(scene(), "PNG", icc_profile=grey_profile(1.0)), MAX_PIXELS)
    assert decoded.notes == (BROKEN,)


def test_grey_profiles_are_converted() -> None:
    linear = np.full((8, 8), 55, np.uint8)  # 55/255 of the light is level 128 of sRGB
    decoded = decode(saved(linear, "PNG", icc_profile=grey_profile(1.0)), MAX_PIXELS)
    assert decoded.notes == (CONVERTED,)
    assert np.abs(decoded.rgb.astype(int) - 128).max() <= 2


def test_a_grey_photo_with_a_colour_profile_is_converted() -> None:
    decoded = decode(saved(scene()[..., 0], "PNG", icc_profile=rgb_profile(gamma=1.0)), MAX_PIXELS)
    assert decoded.notes == (CONVERTED,)
    assert decoded.rgb.mean() > scene()[..., 0].mean() + 20


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_is_converted_with_and_without_a_profile(format: str) -> None:
    inks = Image.fromarray(scene()).convert("CMYK")
    options = {"quality": 100} if format == "JPEG" else {}
    plain = decode(saved(inks, format, **options), MAX_PIXELS)
    assert np.abs(plain.rgb.astype(int) - scene()).mean() < 4 and not plain.as_is
    assert plain.notes == (INKS,)
    profile = cmyk_profile()
    reference = ImageCms.profileToProfile(inks, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB")
    converted = decode(saved(inks, format, icc_profile=profile, **options), MAX_PIXELS)
    assert converted.notes == (CONVERTED,)
    assert np.abs(converted.rgb.astype(int) - np.asarray(reference)).mean() < 4
    assert np.abs(converted.rgb.astype(int) - plain.rgb).mean() > 8


def test_broken_exif_is_no_reason_to_lose_a_photo() -> None:
    data = saved(scene(), "JPEG", exif=b"Exif\0\0" + b"II*\0\xff\xff\xff\xff" + bytes(20))
    assert decode(data, MAX_PIXELS).rgb.shape == (48, 80, 3)


def test_the_pixel_limit_is_the_last_size_allowed() -> None:
    data = saved(scene(10, 10), "PNG")
    assert decode(data, 100).rgb.shape == (10, 10, 3)
    with pytest.raises(UnusablePhoto, match="pixel limit: 10x10 is over 99 pixels"):
        decode(data, 99)


def test_encode_is_lossless_and_reproducible() -> None:
    rgb = np.random.default_rng(5).integers(0, 256, (33, 21, 3), np.uint8)
    data = encode(rgb)
    again = decode(data, MAX_PIXELS)
    np.testing.assert_array_equal(again.rgb, rgb)
    assert again.as_is and data == encode(rgb.copy())


def test_real_photos_decode_as_pillow_decodes_them(data_folder: Path) -> None:
    for photo in real_photos.present(data_folder, real_photos.KODAK[:3] + real_photos.COCO_TRAIN[:5]):
        decoded = decode(photo.read_bytes())
        with Image.open(photo) as reference:
            if decoded.notes:
                assert reference.info.get("icc_profile")
                continue
            np.testing.assert_array_equal(decoded.rgb, np.asarray(reference.convert("RGB")))
        assert format_of(photo.read_bytes()[:32]) == decoded.format


# Reading


def test_reads_local_paths_uris_and_byte_ranges(tmp_path: Path) -> None:
    (tmp_path / "shard.tar").write_bytes(b"0123456789")
    with fsspec.open("memory://photo-file/shard.tar", "wb") as file:
        file.write(b"0123456789")
    for uri in (str(tmp_path / "shard.tar"), "memory://photo-file/shard.tar", (tmp_path / "shard.tar").as_uri()):
        assert read_bytes(uri) == b"0123456789"
        assert read_bytes(byte_range(uri, 3, 4)) == b"3456"
        with pytest.raises(OSError, match="ends before byte 12"):
            read_bytes(byte_range(uri, 8, 4))
        with pytest.raises(UnusablePhoto, match="file size"):
            read_bytes(uri, max_bytes=9)
        assert read_bytes(uri, max_bytes=10) == b"0123456789"


def test_any_file_name_can_be_written_as_a_uri(tmp_path: Path) -> None:
    odd = os.path.join(os.fsencode(tmp_path), b"a%20 b#1,2\xff.jpg")
    try:
        with open(odd, "wb") as file:
            file.write(b"here")
    except OSError:
        pytest.skip("the file system takes no such names")
    from instructrestore.dataengine.sources.places import uri_of

    uri = uri_of(os.fsdecode(odd))
    uri.encode("utf-8")
    assert not BYTE_RANGE.fullmatch(uri) and read_bytes(uri) == b"here"


def test_what_cannot_be_read_is_an_os_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    complaints = {
        "missing.jpg": "No such file",
        "loop.jpg": "symbolic links",
        ".": "regular file",
        "pipe.jpg": "regular",
    }
    for name, complaint in complaints.items():
        with pytest.raises(OSError, match=complaint):
            read_bytes(str(tmp_path / name))


def test_load_notices_a_file_that_changed(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    data = encode(scene())
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    photo = Photo(key_of(sha256), sha256, "photo.png", "made", "", "", 80, 48, len(data), "png", "0" * 16)
    row = Row(SourcePhoto(str(path), "photo.png", "made"), photo)
    np.testing.assert_array_equal(load(row), scene())
    path.write_bytes(encode(scene(seed=9)))
    with pytest.raises(OSError, match=r"photo\.png has changed since intake"):
        load(row)
