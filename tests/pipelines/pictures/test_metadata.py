"""What a photo's file has beside its pixels, through every format and back: IPTC and XMP byte for byte, a JPEG's own
compression, AVIF and HEIC."""

from __future__ import annotations

import importlib.util
import io
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, IptcImagePlugin, PngImagePlugin

from instructrestore.dataengine.photos.faults import UnusablePhoto
from instructrestore.dataengine.photos.photo_file import decode
from instructrestore.dataengine.photos.picture_file import open_picture
from instructrestore.pipelines.pictures.exif import without_orientation
from instructrestore.pipelines.pictures.iptc import PNG_KEY, TIFF_TAG, jpeg_segment, png_text
from instructrestore.pipelines.pictures.output_file import ENDINGS, Format, check_fits, encode, left_out
from instructrestore.pipelines.pictures.restored_photo import read_record
from instructrestore.pipelines.pictures.source_photo import SourceImage, read_photo
from tests.dataengine.photos.colour_profiles import rgb_profile
from tests.dataengine.photos.test_photo_file import saved, scene
from tests.pipelines.pictures.test_output_file import XMP
from tests.pipelines.pictures.test_restored_photo import RECORD, camera_exif, put

# Record 2 of IIM: object name, keyword twice, caption in UTF-8.
IPTC = (
    b"\x1c\x01\x5a\x00\x03\x1b%G\x1c\x02\x05\x00\x06Titles\x1c\x02\x19\x00\x03dog\x1c\x02\x19\x00\x04gras"
    b"\x1c\x02\x78\x00\x06\xe7\x8a\xac\xe7\x8a\xac"
)
assert len(IPTC) % 2 == 1, "an odd length is the harder one"


def of(data: bytes, folder: Path, name: str = "photo") -> SourceImage:
    return read_photo(put(folder, data, name))


def full(folder: Path, **options: Any) -> SourceImage:
    data = saved(
        scene(), "JPEG", exif=camera_exif(6).tobytes(), icc_profile=rgb_profile(), xmp=XMP.encode(), dpi=(300, 150),
        extra=jpeg_segment(IPTC), **options,
    )  # fmt: skip
    return of(data, folder)


# IPTC and XMP


@pytest.mark.parametrize("format", ["png", "jpeg", "tiff", "webp", "avif"])
def test_data_come_back_byte_for_byte(tmp_path: Path, format: Format) -> None:
    source = full(tmp_path)
    assert (source.iptc, source.xmp, source.notes) == (IPTC, XMP, ())
    data = encode(format, source.image, RECORD, source)
    assert data == encode(format, source.image.copy(), dict(RECORD), source), "equal input gives equal bytes"
    path = put(tmp_path, data, f"result{ENDINGS[format]}")
    assert read_record(path) == RECORD
    back = read_photo(path)
    holds = format not in ("webp", "avif")
    assert back.iptc == (IPTC if holds else b"")
    said = (
        []
        if holds
        else [f"a{'n AVIF' if format == 'avif' else ' WebP'} has no place for the IPTC data: it was left out"]
    )
    assert left_out(format, source) == said
    assert (back.xmp, back.icc_profile) == (XMP, rgb_profile())
    assert source.exif is not None and back.exif is not None
    plain = source.exif.removeprefix(b"Exif\0\0")
    if format != "tiff":  # whose own directory takes the place of the block's
        assert back.exif.removeprefix(b"Exif\0\0") == plain
    if format in ("jpeg", "tiff"):
        with Image.open(path) as image:  # as others read it
            found = IptcImagePlugin.getiptcinfo(image)
        assert found and found[(2, 25)] == [b"dog", b"gras"] and found[(2, 5)] == b"Titles"


def test_iptc_of_every_writer(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text(PNG_KEY, png_text(IPTC))
    bare = PngImagePlugin.PngInfo()
    bare.add_text(PNG_KEY, f"\niptc\n {len(IPTC)}\n{IPTC.hex()}\n")
    padded = IPTC + bytes(-len(IPTC) % 4)
    longs = (TIFF_TAG, "I", len(padded) // 4, np.frombuffer(padded, "<u4").tolist(), True)
    of_longs = io.BytesIO()
    tifffile.imwrite(of_longs, scene(), photometric="rgb", byteorder="<", extratags=[longs])
    of_swapped = io.BytesIO()
    swapped = (TIFF_TAG, "I", len(padded) // 4, np.frombuffer(padded, ">u4").tolist(), True)
    tifffile.imwrite(of_swapped, scene(), photometric="rgb", byteorder="<", extratags=[swapped])
    resources = b"8BIM\x03\xed\x00\x00\x00\x00\x00\x10" + bytes(16) + jpeg_segment(IPTC)[18:]
    written = {
        "a PNG by ImageMagick": (saved(scene(), "PNG", pnginfo=text), IPTC),
        "a PNG of data alone": (saved(scene(), "PNG", pnginfo=bare), IPTC),
        "a TIFF of bytes": (saved(scene(), "TIFF", tiffinfo={TIFF_TAG: IPTC}), IPTC),
        "a TIFF of numbers": (of_longs.getvalue(), padded),
        "a TIFF of swapped numbers": (of_swapped.getvalue(), padded),
        "a TIFF by Photoshop": (saved(scene(), "TIFF", tiffinfo={34377: resources}), IPTC),
    }
    for name, (data, expected) in written.items():
        assert of(data, tmp_path).iptc == expected, name


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_any_block_is_read_or_said(noise: bytes) -> None:
    for kept in (noise, jpeg_segment(IPTC)[18:] + noise, b"8BIM" + noise):
        text = PngImagePlugin.PngInfo()
        text.add_text(PNG_KEY, f"\niptc\n {len(kept)}\n{kept.hex()}\n")
        with tempfile.TemporaryDirectory() as folder:
            found = of(saved(scene(8, 8), "PNG", pnginfo=text), Path(folder))
        assert found.iptc or "the IPTC data is broken and was left out" in found.notes or not kept


def test_too_much_of_it_is_refused_for_a_jpeg(tmp_path: Path) -> None:
    source = replace(full(tmp_path), iptc=b"\x1c" * 65_600)
    with pytest.raises(ValueError, match=r"its IPTC data has 65,6\d\d bytes, and a JPEG holds at most 65,533"):
        check_fits("jpeg", source, (80, 48))
    check_fits("tiff", source, (80, 48))


# A JPEG's own compression


@pytest.mark.parametrize("quality", [20, 60, 95])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_a_jpeg_is_compressed_as_its_photo(tmp_path: Path, quality: int, subsampling: str) -> None:
    options = {"quality": quality, "subsampling": subsampling, "progressive": quality == 60}
    source = of(saved(scene(), "JPEG", **options), tmp_path)
    data = encode("jpeg", source.image, RECORD, source, alike=True)
    back = read_photo(put(tmp_path, data, "result.jpg"))
    assert back.jpeg is not None and back.jpeg == source.jpeg
    assert (back.jpeg.subsampling, back.jpeg.progressive) == (subsampling, quality == 60)
    plain = read_photo(put(tmp_path, encode("jpeg", source.image, RECORD, source), "plain.jpg"))
    assert plain.jpeg is not None and plain.jpeg.subsampling == "4:4:4"
    same = read_photo(put(tmp_path, saved(scene(), "JPEG", quality=95, subsampling=0), "95.jpg")).jpeg
    assert same and plain.jpeg.tables == same.tables
    # Twice through the same tables changes next to nothing.
    twice = np.abs(np.asarray(back.image, int) - np.asarray(source.image, int)).mean()
    assert twice <= 2.5


def test_a_grey_jpeg_and_one_of_inks(tmp_path: Path) -> None:
    grey = of(saved(Image.fromarray(scene()).convert("L"), "JPEG", quality=50), tmp_path)
    data = encode("jpeg", grey.image, RECORD, grey, alike=True)
    assert grey.jpeg and len(grey.jpeg.tables) == 1
    assert read_photo(put(tmp_path, data, "grey.jpg")).jpeg == grey.jpeg
    inks = of(saved(Image.fromarray(scene()).convert("CMYK"), "JPEG", quality=50), tmp_path)
    assert inks.jpeg is None
    assert encode("jpeg", inks.image, RECORD, inks, alike=True) == encode("jpeg", inks.image, RECORD, inks)


# AVIF


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_an_avif_is_read(tmp_path: Path, mode: str, orientation: int) -> None:
    image = Image.fromarray(scene()).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    data = saved(image, "AVIF", quality=100, subsampling="4:4:4", exif=camera_exif(orientation).tobytes(),
                 xmp=XMP.encode(), icc_profile=rgb_profile())  # fmt: skip
    photo = of(data, tmp_path)
    turned = np.rot90(scene(), -1) if orientation == 6 else scene()
    assert photo.image.size == turned.shape[1::-1]
    assert np.abs(np.asarray(photo.image, int) - turned).max() <= 4
    assert (photo.format, photo.xmp, photo.icc_profile) == ("avif", XMP, rgb_profile())
    assert (photo.alpha is not None) == (mode == "RGBA")


def test_an_avif_is_written_with_its_transparency(tmp_path: Path) -> None:
    alpha = Image.linear_gradient("L").resize((80, 48))
    source = replace(full(tmp_path), image=Image.fromarray(scene()), alpha=alpha)
    path = put(tmp_path, encode("avif", source.image, RECORD, source), "result.avif")
    back = read_photo(path)
    assert np.abs(np.asarray(back.image, int) - scene()).max() <= 24
    assert back.alpha is not None and np.abs(np.asarray(back.alpha, int) - np.asarray(alpha, int)).max() <= 4
    assert read_record(path) == RECORD
    for place in (200, len(path.read_bytes()) - 3):  # a bit anywhere
        damaged = bytearray(path.read_bytes())
        damaged[place] ^= 1
        with pytest.raises(ValueError, match="has no record"):
            read_record(put(tmp_path, bytes(damaged), "damaged.avif"))
    with pytest.raises(ValueError, match="65537x9, and an AVIF has sides of at most 65536 pixels"):
        check_fits("avif", source, (65_537, 9))


def test_a_block_without_orientation_is_the_same_but_for_one_tag() -> None:
    block = camera_exif(1).tobytes()
    changed = without_orientation(block)
    assert len(changed) == len(block) and sum(a != b for a, b in zip(changed, block, strict=True)) == 1


def test_the_data_engine_reads_an_avif_too_and_refuses_what_moves() -> None:
    photo = decode(saved(scene(), "AVIF", quality=100, subsampling="4:4:4"))
    assert (photo.format, photo.as_is) == ("avif", False)
    assert np.abs(photo.rgb.astype(int) - scene()).max() <= 4
    other = bytearray(saved(scene(), "AVIF"))
    other[8:12] = b"mif1"
    assert open_picture(bytes(other), 10**6).format == "avif", "by the brands behind the first"
    frames = [Image.fromarray(scene(seed=number)) for number in range(3)]
    with pytest.raises(UnusablePhoto, match="animated: 3 pictures in one file"):
        open_picture(saved(frames[0], "AVIF", save_all=True, append_images=frames[1:]), 10**6)


@pytest.mark.parametrize(
    ("code", "outcome"), [((9, 16), "PQ, of high dynamic range"), ((12, 13), "nclx"), ((1, 13), "")]
)
def test_colours_that_an_avif_names_by_number(tmp_path: Path, code: tuple[int, int], outcome: str) -> None:
    data = saved(scene(), "AVIF")
    place = data.index(b"colrnclx") + 8
    changed = data[:place] + bytes([0, code[0], 0, code[1]]) + data[place + 4 :]
    if outcome.startswith("PQ"):
        with pytest.raises(UnusablePhoto, match=outcome):
            of(changed, tmp_path)
        return
    photo = of(changed, tmp_path)
    assert (photo.icc_profile is not None) == bool(outcome)
    assert any(f"its colours are named by {outcome} alone" in note for note in photo.notes) == bool(outcome)


# HEIC


def test_a_heic_is_read_where_the_extra_is_installed(tmp_path: Path) -> None:
    if importlib.util.find_spec("pillow_heif") is None:
        data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
        with pytest.raises(
            UnusablePhoto, match=r"unsupported format: heic: install instructrestore\[heic\] to read it"
        ):
            of(data, tmp_path)
        pytest.skip("pillow-heif is not installed")
    heif = importlib.import_module("pillow_heif")
    file = io.BytesIO()
    written = heif.from_pillow(Image.fromarray(scene(64, 96)))
    written.info["xmp"] = XMP.encode()
    written.save(file, quality=-1, chroma=444, exif=camera_exif(1).tobytes(), icc_profile=rgb_profile())
    photo = of(file.getvalue(), tmp_path)
    assert (photo.format, photo.xmp, photo.image.size) == ("heic", XMP, (96, 64))
    assert np.abs(np.asarray(photo.image, int) - scene(64, 96)).max() <= 4
    with pytest.raises(UnusablePhoto):
        of(file.getvalue()[:600], tmp_path)
