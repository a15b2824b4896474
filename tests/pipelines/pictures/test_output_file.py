"""Results in every format: pixels, colour profile, EXIF, XMP, resolution, transparency and record, in and out again."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ExifTags, Image

from instructrestore.pipelines.pictures.deep_tiff import deep_tiff
from instructrestore.pipelines.pictures.output_file import (
    ENDINGS,
    Format,
    check_fits,
    checked_format,
    encode,
    endings,
    format_for,
)
from instructrestore.pipelines.pictures.restored_photo import read_record, to_png
from instructrestore.pipelines.pictures.sealed_record import sealed, unsealed_text
from instructrestore.pipelines.pictures.source_photo import SourceImage, read_photo
from tests.dataengine.photos.colour_profiles import rgb_profile
from tests.dataengine.photos.test_photo_file import saved, scene
from tests.pipelines.pictures.test_restored_photo import ARTIST, ORIENTATION, ORIGINAL_TIME, RECORD, camera_exif, put

FORMATS: tuple[Format, ...] = ("png", "jpeg", "webp", "tiff")
XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><dc:title>犬</dc:title></x:xmpmeta>'


def known_of(image: Image.Image, **known: Any) -> SourceImage:
    return SourceImage(image, None, None, (), **known)


def full(tmp_path: Path) -> SourceImage:
    """A photo, on its side, with all that a camera and its user leave in it."""
    data = saved(
        scene(), "JPEG", exif=camera_exif(6).tobytes(), icc_profile=rgb_profile(), xmp=XMP.encode(), dpi=(300, 150)
    )
    return read_photo(put(tmp_path, data, "photo.jpg"))


def deep_of(image: Image.Image) -> NDArray[np.uint16]:
    return np.asarray(image).astype(np.uint16) * 257


def written(folder: Path, format: Format, image: Image.Image, source: SourceImage, **options: Any) -> Path:
    deep = options.pop("deep", deep_of(image)) if format == "tiff" else None
    data = encode(format, image, RECORD, source, deep)
    assert data == encode(format, image.copy(), dict(RECORD), source, deep), "equal input gives equal bytes"
    return put(folder, data, f"result{ENDINGS[format]}")


@pytest.mark.parametrize("format", FORMATS)
def test_everything_comes_back(tmp_path: Path, format: Format) -> None:
    source = full(tmp_path)
    larger = source.image.resize((96, 160))
    path = written(tmp_path, format, larger, source)
    assert read_record(path) == RECORD
    with Image.open(path) as made:
        assert made.format == format.upper()
        assert (made.mode, made.size) == ("RGB", (96, 160))
        difference = np.abs(np.asarray(made, np.int16) - np.asarray(larger, np.int16))
        assert difference.max() <= (12 if format == "jpeg" else 0)
        assert made.info["icc_profile"] == rgb_profile()
        exif = made.getexif()
        assert (exif[ORIENTATION], exif[ARTIST]) == (1, "Ansel")
        inner = exif.get_ifd(ExifTags.IFD.Exif)
        assert inner[ORIGINAL_TIME] == "2024:05:06 07:08:09"
        assert inner[ExifTags.Base.MakerNote] == bytes(range(90))
        assert exif.get_ifd(ExifTags.IFD.GPSInfo)[2] == (48.0, 8.0, 0.0)
        if format != "webp":
            assert made.info["dpi"] == pytest.approx((300, 150), abs=0.02)
    again = read_photo(path)
    assert (again.xmp, again.icc_profile) == (XMP, rgb_profile())


@pytest.mark.parametrize("format", FORMATS)
def test_a_bare_photo(tmp_path: Path, format: Format) -> None:
    image = Image.fromarray(scene(33, 47))
    path = written(tmp_path, format, image, known_of(image))
    assert read_record(path) == RECORD
    with Image.open(path) as made:
        assert made.size == (47, 33)
        assert not made.getexif().get_ifd(ExifTags.IFD.Exif)
        assert "icc_profile" not in made.info
    seen = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert seen is not None
    difference = np.abs(seen[..., ::-1].astype(np.int16) - np.asarray(image, np.int16))
    assert difference.max() <= (12 if format == "jpeg" else 0)


@pytest.mark.parametrize("format", ["webp", "tiff"])
def test_transparency_is_kept_at_the_results_size(tmp_path: Path, format: Format) -> None:
    image = Image.fromarray(scene(40, 60))
    alpha = Image.linear_gradient("L").resize((60, 40))
    path = written(tmp_path, format, image, known_of(image, alpha=alpha))
    assert read_record(path) == RECORD
    with Image.open(path) as made:
        assert made.mode == "RGBA"
        assert (np.asarray(made)[..., 3] == np.asarray(alpha)).all()
        assert (np.asarray(made)[..., :3] == np.asarray(image)).all(), "also where nothing of it is seen"
    double = image.resize((120, 80))
    with Image.open(written(tmp_path, format, double, known_of(image, alpha=alpha))) as made:
        assert (made.mode, made.size) == ("RGBA", (120, 80))


def test_a_png_is_what_it_always_was(tmp_path: Path) -> None:
    source = full(tmp_path)
    same = to_png(source.image, RECORD, source.icc_profile, source.exif, source.alpha, source.xmp, source.dpi)
    assert encode("png", source.image, RECORD, source) == same


def test_a_jpeg_has_its_colours_at_full_size(tmp_path: Path) -> None:
    image = Image.fromarray(scene())
    with Image.open(written(tmp_path, "jpeg", image, known_of(image))) as made:
        assert [layer[1:3] for layer in made.layer] == [(1, 1)] * 3  # pyright: ignore[reportAttributeAccessIssue]


# 16 bits


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([3, 4]),
    big_endian=st.booleans(),
    flat=st.booleans(),
)
def test_a_tiff_has_every_bit(
    tmp_path: Path, seed: int, height: int, width: int, channels: int, big_endian: bool, flat: bool
) -> None:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 1 << 16, (height, width, channels), np.uint16) // (1 if not flat else 1 << 15)
    exif = (b"MM\0*\0\0\0\x08" if big_endian else b"II*\0\x08\0\0\0") + bytes(6)
    data = deep_tiff(pixels, b"text", exif=exif)
    assert (tifffile.imread(put(tmp_path, data, "deep.tif")) == pixels).all()
    seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert seen is not None and seen.dtype == np.uint16
    assert (seen[..., [2, 1, 0, 3][:channels]] == pixels).all()
    with Image.open(tmp_path / "deep.tif") as made:
        assert (np.asarray(made) == pixels >> 8).all(), "Pillow has no 16-bit RGB"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([3, 4]),
)
def test_a_png_has_every_bit_and_all_that_its_shell_says(
    tmp_path: Path, seed: int, height: int, width: int, channels: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 1 << 16, (height, width, channels), np.uint16)
    image = Image.fromarray((pixels[..., :3] >> 8).astype(np.uint8))
    alpha = Image.fromarray((pixels[..., 3] >> 8).astype(np.uint8)) if channels == 4 else None
    source = replace(full(tmp_path), image=image, alpha=alpha, deep=pixels, iptc=b"\x1c\x02\x05\0\x01A")
    data = encode("png", image, RECORD, source, pixels[..., :3])  # however it lies in memory
    assert data == encode("png", image, RECORD, source, np.ascontiguousarray(pixels[..., :3]))
    seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert seen is not None and seen.dtype == np.uint16
    assert (seen[..., [2, 1, 0, 3][:channels]] == pixels).all()
    path = put(tmp_path, data, "deep.png")
    assert read_record(path) == RECORD
    back = read_photo(path)
    assert back.deep is not None and (back.deep == pixels).all()
    assert (back.icc_profile, back.xmp, back.iptc) == (source.icc_profile, source.xmp, source.iptc)
    assert back.dpi == pytest.approx(source.dpi, abs=0.02)


def test_a_tiff_of_eight_bits(tmp_path: Path) -> None:
    source = replace(full(tmp_path), image=Image.fromarray(scene()))
    path = put(tmp_path, encode("tiff", source.image, RECORD, source), "eight.tif")
    assert (tifffile.imread(path) == scene()).all() and read_record(path) == RECORD
    with Image.open(path) as made:
        assert (np.asarray(made) == scene()).all()


def test_a_tiff_of_many_strips_says_what_it_is(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 1 << 16, (900, 700, 3), np.uint16)
    source = full(tmp_path)
    path = put(tmp_path, deep_tiff(pixels, b"text", rgb_profile(), source.exif, XMP, (300, 150.5)), "deep.tif")
    with tifffile.TiffFile(path) as file:
        (page,) = file.pages
        assert isinstance(page, tifffile.TiffPage)
        assert page.bitspersample == 16 and page.samplesperpixel == 3 and page.photometric == 2
        assert len(page.dataoffsets) > 3
        assert (page.asarray() == pixels).all()
        tags = page.tags
        assert tags[34675].value == rgb_profile()
        assert tags[700].value == XMP.encode()
        assert (tags[282].value, tags[283].value) == ((300, 1), (301, 2))
        codes = [tag.code for tag in tags]
        assert codes == sorted(codes), "as TIFF 6.0 asks"
        assert all(tag.valueoffset % 2 == 0 for tag in tags)


def test_the_exif_block_of_a_tiff_stays_byte_for_byte(tmp_path: Path) -> None:
    """So that maker's notes are found that say where they lie."""
    source = full(tmp_path)
    assert source.exif is not None
    block = source.exif.removeprefix(b"Exif\0\0")
    data = deep_tiff(np.zeros((8, 8, 3), np.uint16), b"text", exif=source.exif)
    assert data[8 : len(block)] == block[8:]
    assert data[:4] == block[:4]


def test_a_camera_block_says_nothing_of_a_tiffs_own_pixels(tmp_path: Path) -> None:
    exif = camera_exif(1)
    exif[301], exif[318], exif[531] = 7, (0.3, 0.3), 2
    exif[256], exif[257] = 4000, 3000
    image = Image.fromarray(scene(40, 60))
    path = written(tmp_path, "tiff", image, replace(known_of(image), exif=exif.tobytes()))
    with Image.open(path) as made:
        tags = dict(made.getexif())
        assert made.size == (60, 40) and tags[ARTIST] == "Ansel"
        assert not {301, 318, 531} & set(tags)


# The record


@pytest.mark.parametrize("format", ["jpeg", "webp", "tiff"])
def test_any_other_byte_is_damage(tmp_path: Path, format: Format) -> None:
    image = Image.fromarray(scene(40, 60))
    path = written(tmp_path, format, image, known_of(image))
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for place in [*random.integers(0, len(whole), 60), *range(16), len(whole) - 1]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(random.integers(0, 8))
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="has no record of how it was made"):
            read_record(path)
    for length in (0, 1, 3, 12, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="has no record"):
            read_record(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(ValueError, match="has no record"):
        read_record(path)


@pytest.mark.parametrize(
    "data",
    [
        saved(scene(), "JPEG", comment=b"instructrestore is good"),
        saved(scene(), "JPEG", comment=unsealed_text(RECORD)),
        saved(scene(), "WEBP"),
        saved(scene(), "TIFF"),
        b"\xff\xd8\xff\xe0\0\0",
        b"\xff\xd8\xff" + b"\xff" * 99,
        b"RIFF\xff\xff\xff\xffWEBPVP8X\xff\xff\xff\xff",
        b"II*\0\xff\xff\xff\xff",
        b"MM\0*\0\0\0\x08\xff\xff" + bytes(60),
        b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 65001, 2, 0xFFFFFFFF, 0xFFFFFFFF),
        b"II+\0\x08\0\0\0" + bytes(20),
    ],
)
def test_what_was_not_made_here_has_no_record(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ValueError, match="has no record of how it was made"):
        read_record(put(tmp_path, data, "other"))


@pytest.mark.parametrize("text", [b"[1]", b'{"seed": NaN}', b'{"seed": 1, "seed": 2}', b"[" * 50_000])
def test_a_seal_alone_makes_no_record(tmp_path: Path, text: bytes) -> None:
    unsealed = b"instructrestore " + b"0" * 64 + b" " + text
    data = sealed(saved(scene(), "JPEG", comment=unsealed), unsealed)
    with pytest.raises(ValueError, match="has no record of how it was made"):
        read_record(put(tmp_path, data, "other"))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    format=st.sampled_from(FORMATS),
    record=st.dictionaries(st.text(max_size=9), st.integers(-9, 9) | st.text(max_size=30), max_size=5),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    xmp=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40),
    dpi=st.none() | st.tuples(st.floats(1, 9999), st.floats(1, 9999)),
)
def test_any_record_and_any_size(
    tmp_path: Path, format: Format, record: dict[str, Any], size: tuple[int, int], xmp: str, dpi: Any
) -> None:
    image = Image.effect_noise(size, 90).convert("RGB")
    source = known_of(image, xmp=xmp, dpi=dpi)
    deep = deep_of(image) if format == "tiff" else None
    path = put(tmp_path, encode(format, image, record, source, deep), "any")
    assert read_record(path) == record
    with Image.open(path) as made:
        assert made.size == size
        if format != "jpeg":
            assert (np.asarray(made) == np.asarray(image)).all()
        if dpi and format != "webp":
            assert made.info["dpi"] == pytest.approx(dpi, abs=0.51 if format == "jpeg" else 0.02)


# Names, and what does not fit


def test_names_of_formats() -> None:
    for name in (*FORMATS, "original"):
        assert checked_format(name) == name
    for name in ("gif", "PNG", "", "jpg"):
        with pytest.raises(ValueError, match=r"^--format must be png, jpeg, webp, avif, tiff or original, not '"):
            checked_format(name)
    assert endings("jpeg") == (".jpg",)
    assert set(endings("original")) == {".png", ".jpg", ".webp", ".avif", ".tif"}


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        ("PNG", "png"),
        ("JPEG", "jpeg"),
        ("MPO", "jpeg"),
        ("WEBP", "webp"),
        ("AVIF", "avif"),
        ("TIFF", "tiff"),
        ("BMP", "png"),
        ("GIF", "png"),
    ],
)
def test_the_original_format_is_told_by_content(tmp_path: Path, stored: str, wanted: str) -> None:
    photo = read_photo(put(tmp_path, saved(scene(), stored), "photo.xyz"))
    assert format_for("original", photo) == wanted
    assert format_for("webp", photo) == "webp"


def test_what_a_format_cannot_hold_is_said() -> None:
    image = Image.new("RGB", (9, 9))
    plain = known_of(image)
    for format in FORMATS:
        check_fits(format, plain, (16_383, 100))
    with pytest.raises(
        ValueError, match=r"^its result would be 9x16384, and a WebP has sides of at most 16383 pixels: take"
    ):
        check_fits("webp", plain, (9, 16_384))
    with pytest.raises(ValueError, match="and a JPEG has sides of at most 65500 pixels"):
        check_fits("jpeg", plain, (65_501, 9))
    alpha = known_of(image, alpha=Image.new("L", (9, 9)))
    with pytest.raises(
        ValueError, match=r"^it is transparent in places, which a JPEG cannot say: take another --format"
    ):
        check_fits("jpeg", alpha, (9, 9))
    large = camera_exif(1)
    large[ARTIST] = "x" * 70_000
    for known, what in ((replace(plain, exif=large.tobytes()), "EXIF"), (known_of(image, xmp="犬" * 30_000), "XMP")):
        with pytest.raises(
            ValueError, match=rf"^its {what} data has [\d,]+ bytes, and a JPEG holds at most 65,533: take"
        ):
            check_fits("jpeg", known, (9, 9))
        check_fits("tiff", known, (9, 9))
    check_fits("tiff", alpha, (9, 9))
