"""Photos in and out again: pixels, profile, EXIF, transparency, and the record of how a PNG was made."""

from __future__ import annotations

import io
import os
import struct
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, PngImagePlugin

from instructrestore.dataengine.photos.colour_profile import to_srgb
from instructrestore.dataengine.photos.photo_file import UnusablePhoto, decode
from instructrestore.pipelines.pictures.exif import sized_exif, upright_exif
from instructrestore.pipelines.pictures.restored_photo import RECORD_KEY, read_record, to_png
from instructrestore.pipelines.pictures.source_photo import read_photo
from tests.dataengine.photos.colour_profiles import cmyk_profile, grey_profile, rgb_profile
from tests.dataengine.photos.test_photo_file import animated, bomb, saved, scene
from tests.pipelines.test_bad_input import stored

ORIENTATION, ARTIST, ORIGINAL_TIME = 0x0112, 0x013B, 0x9003
RECORD = {"instruction": "make the dög \U0001f436 clear", "seed": 3, "scales": [0.5, 1.0]}


def put(folder: Path, data: bytes, name: str = "photo") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def camera_exif(orientation: int) -> Image.Exif:
    """EXIF as a camera writes it: with a sub-directory, a place, and notes that only the maker reads."""
    made = Image.Exif()
    made[ORIENTATION] = orientation
    made[ARTIST] = "Ansel"
    made[int(ExifTags.IFD.Exif)] = {
        ORIGINAL_TIME: "2024:05:06 07:08:09",
        int(ExifTags.Base.MakerNote): bytes(range(90)),
    }
    made[int(ExifTags.IFD.GPSInfo)] = {1: "N", 2: (48.0, 8.0, 0.0)}
    return made


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_is_upright_and_keeps_its_exif(tmp_path: Path, format: str, orientation: int) -> None:
    upright = scene()
    options = {"lossless": True} if format == "WEBP" else {"quality": 100, "subsampling": 0} if format == "JPEG" else {}
    path = put(
        tmp_path, saved(stored(upright, orientation), format, exif=camera_exif(orientation).tobytes(), **options)
    )
    photo = read_photo(path)
    assert photo.image.mode == "RGB"
    difference = np.abs(np.asarray(photo.image, np.int16) - upright.astype(np.int16))
    assert difference.max() <= (4 if format == "JPEG" else 0)
    with Image.open(put(tmp_path, to_png(photo.image, RECORD, exif=photo.exif), "out.png")) as made:
        exif = made.getexif()
        assert exif[ORIENTATION] == 1
        assert exif[ARTIST] == "Ansel"
        assert exif.get_ifd(ExifTags.IFD.Exif)[ORIGINAL_TIME] == "2024:05:06 07:08:09"
        assert exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] == bytes(range(90))
        assert exif.get_ifd(ExifTags.IFD.GPSInfo)[2] == (48.0, 8.0, 0.0)
        assert 0x0111 not in exif, "where a TIFF's strips lie is nothing of a PNG's"


def test_exif_is_kept_byte_for_byte_but_for_the_orientation(tmp_path: Path) -> None:
    block = camera_exif(6).tobytes()
    kept = read_photo(put(tmp_path, saved(scene(), "JPEG", exif=block))).exif
    assert kept is not None
    assert len(kept) == len(block)
    assert sum(a != b for a, b in zip(kept, block, strict=True)) == 1


def thumbnail_exif() -> tuple[bytes, bytes]:
    """A camera's block with sizes and a thumbnail behind all else, and the thumbnail."""
    made = camera_exif(6)
    made[0x0100], made[0x0101] = 4000, 3000
    made[int(ExifTags.IFD.Exif)] = {ORIGINAL_TIME: "2024:05:06 07:08:09", 0xA002: 4000, 0xA003: 3000}
    block = bytearray(made.tobytes())
    order = "<" if block[6:8] == b"II" else ">"
    (first,) = struct.unpack_from(f"{order}I", block, 10)
    (entries,) = struct.unpack_from(f"{order}H", block, 6 + first)
    second, small = len(block) - 6, saved(Image.fromarray(scene(24, 32)), "JPEG")
    struct.pack_into(f"{order}I", block, 6 + first + 2 + 12 * entries, second)
    block += struct.pack(f"{order}H", 2)
    block += struct.pack(f"{order}HHII", 0x0201, 4, 1, second + 2 + 24 + 4)
    block += struct.pack(f"{order}HHII", 0x0202, 4, 1, len(small)) + bytes(4)
    return bytes(block) + small, small


@pytest.mark.parametrize("behind", [b"", b"more of the maker's"])
def test_exif_says_the_results_size_and_has_no_thumbnail_of_the_old_photo(tmp_path: Path, behind: bytes) -> None:
    block, small = thumbnail_exif()
    before = Image.Exif()
    before.load(block)
    assert before.get_ifd(ExifTags.IFD.IFD1)[0x0202] == len(small)
    photo = read_photo(put(tmp_path, saved(scene(), "JPEG", exif=block + behind)))
    assert photo.notes == ()
    assert photo.exif is not None and photo.exif.endswith(behind)
    assert small[:64] not in photo.exif
    with Image.open(put(tmp_path, to_png(Image.new("RGB", (96, 160)), RECORD, exif=photo.exif), "out.png")) as made:
        exif = made.getexif()
        assert (exif[0x0100], exif[0x0101], exif[ORIENTATION], exif[ARTIST]) == (96, 160, 1, "Ansel")
        inner = exif.get_ifd(ExifTags.IFD.Exif)
        assert (inner[0xA002], inner[0xA003], inner[ORIGINAL_TIME]) == (96, 160, "2024:05:06 07:08:09")
        assert not exif.get_ifd(ExifTags.IFD.IFD1)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_any_exif_block_is_kept_whole_or_refused(noise: bytes, at: int) -> None:
    block = bytearray(thumbnail_exif()[0])
    block[8 + at : 8 + at + len(noise)] = noise
    try:
        kept = upright_exif(bytes(block))
    except (ValueError, struct.error):
        return
    assert kept[:6] == b"Exif\0\0"
    assert len(sized_exif(kept, (7, 9))) == len(kept) <= len(block)


XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\
<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" tiff:Artist="Dor\u00e9"/>\
</rdf:RDF></x:xmpmeta>"""


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_xmp_and_resolution_go_along(tmp_path: Path, format: str) -> None:
    options: dict[str, Any] = {"xmp": XMP.encode()}
    if format == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", XMP)
        options = {"pnginfo": text}
    if format == "TIFF":
        options = {"tiffinfo": {700: XMP.encode()}}
    if format != "WEBP":  # which says no resolution
        options["dpi"] = (300, 150)
    photo = read_photo(put(tmp_path, saved(scene(), format, **options)))
    # Pillow, which turns a TIFF upright itself, takes the orientation out.
    turned = "" if format == "TIFF" else 'tiff:Orientation="1"'
    assert photo.xmp == XMP.replace('tiff:Orientation="6"', turned)
    assert photo.notes == ()
    made = put(tmp_path, to_png(photo.image, RECORD, xmp=photo.xmp, dpi=photo.dpi), "out.png")
    with Image.open(made) as image:
        assert image.info["xmp"].decode() == photo.xmp
        assert ("dpi" in image.info) == (format != "WEBP")
        assert image.info.get("dpi", (300, 150)) == pytest.approx((300, 150), abs=0.02)
    assert read_record(made) == RECORD


def test_what_else_is_left_out_is_said(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "A dog")
    assert read_photo(put(tmp_path, saved(scene(), "PNG", pnginfo=text))).notes == ("the PNG's text was left out",)
    photo = read_photo(put(tmp_path, saved(scene(), "JPEG", comment=b"by me")))
    assert photo.notes == ("the comment in the file was left out",)


@pytest.mark.parametrize("block", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"])
def test_broken_exif_is_left_out_and_said(tmp_path: Path, block: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        photo = read_photo(put(tmp_path, saved(scene(), "JPEG", exif=block, quality=95)))
    assert photo.exif is None
    assert photo.image.size == (80, 48)
    assert photo.notes == ("the EXIF data is broken and was left out",)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_pixels_stay_in_the_photos_own_profile(tmp_path: Path, format: str) -> None:
    profile, pixels = rgb_profile(), scene()
    options = {"lossless": True} if format == "WEBP" else {"quality": 100, "subsampling": 0} if format == "JPEG" else {}
    photo = read_photo(put(tmp_path, saved(pixels, format, icc_profile=profile, **options)))
    assert photo.icc_profile == profile
    assert np.abs(np.asarray(photo.image, np.int16) - pixels.astype(np.int16)).max() <= (4 if format == "JPEG" else 0)
    made = put(tmp_path, to_png(photo.image, RECORD, photo.icc_profile), "out.png")
    with Image.open(made) as image:
        assert image.info["icc_profile"] == profile
    # What a viewer that knows profiles shows of the PNG is what it shows of the photo.
    seen, expected = decode(made.read_bytes()).rgb, to_srgb(photo.image, profile)[0]
    assert (seen == np.asarray(expected)).all()
    assert (seen != np.asarray(photo.image)).any()


def test_a_picture_carries_no_profile_or_exif_that_was_not_asked_for(tmp_path: Path) -> None:
    path = put(tmp_path, saved(scene(), "PNG", icc_profile=rgb_profile(), exif=camera_exif(1)))
    with Image.open(path) as image:
        made = put(tmp_path, to_png(image, RECORD), "out.png")
    with Image.open(made) as image:
        assert "icc_profile" not in image.info
        assert not image.getexif()


@pytest.mark.parametrize(("mode", "profile"), [("L", grey_profile(1.0)), ("CMYK", cmyk_profile())])
def test_grey_and_cmyk_profiles_are_used_up(tmp_path: Path, mode: str, profile: bytes) -> None:
    image = Image.fromarray(scene()).convert(mode)
    photo = read_photo(put(tmp_path, saved(image, "TIFF", icc_profile=profile)))
    assert photo.icc_profile is None
    assert (np.asarray(photo.image) == np.asarray(to_srgb(image, profile)[0])).all()
    assert (np.asarray(photo.image) != np.asarray(image.convert("RGB"))).any()
    assert photo.notes == (f"the {'grey' if mode == 'L' else 'CMYK'} photo was converted to RGB",)


def test_a_grey_photo_with_an_rgb_profile_keeps_it(tmp_path: Path) -> None:
    grey = Image.fromarray(scene()).convert("L")
    photo = read_photo(put(tmp_path, saved(grey, "PNG", icc_profile=rgb_profile())))
    assert photo.icc_profile == rgb_profile()
    assert (np.asarray(photo.image) == np.asarray(grey)[..., None]).all()


@pytest.mark.parametrize("profile", [b"no profile", grey_profile(2.2), rgb_profile()[:200]])
def test_a_broken_profile_is_left_out_and_said(tmp_path: Path, profile: bytes) -> None:
    photo = read_photo(put(tmp_path, saved(scene(), "PNG", icc_profile=profile)))
    assert photo.icc_profile is None
    assert photo.notes == ("the colour profile is broken and was left out",)
    assert (np.asarray(photo.image) == scene()).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_kept_beside_eight(tmp_path: Path, channels: int) -> None:
    array = scene().astype(np.uint16) * 256 + 200
    done, data = cv2.imencode(".png", array[..., ::-1] if channels == 3 else array[..., 0])
    assert done
    photo = read_photo(put(tmp_path, data.tobytes()))
    expected = scene() if channels == 3 else scene()[..., :1].repeat(3, -1)
    assert (np.asarray(photo.image) == expected).all()
    assert photo.deep is not None and (photo.deep == (array if channels == 3 else array[..., :1])).all()
    assert photo.notes == (() if channels == 3 else ("the grey photo was converted to RGB",))


def test_what_cannot_be_kept_of_sixteen_bits_is_said(tmp_path: Path) -> None:
    array = scene().astype(np.uint16) * 256 + 200
    planar, inks, grey = io.BytesIO(), io.BytesIO(), io.BytesIO()
    tifffile.imwrite(
        planar, np.moveaxis(array, -1, 0), photometric="rgb", planarconfig="separate", compression="deflate"
    )
    tifffile.imwrite(inks, np.dstack([array, array[..., :1]]), photometric="separated")
    profile = grey_profile(1.0)
    tifffile.imwrite(grey, array[..., 0], iccprofile=profile)
    for file in (planar, inks, grey):
        photo = read_photo(put(tmp_path, file.getvalue()))
        assert photo.deep is None and "the 16-bit photo was reduced to 8 bits" in photo.notes


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_kept_at_the_size_of_the_result(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(scene()).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    if mode == "P":
        path = put(tmp_path, saved(Image.fromarray(scene()).quantize(8), "PNG", transparency=3))
    else:
        path = put(tmp_path, saved(image.convert(mode), "PNG"))
    photo = read_photo(path)
    assert photo.alpha is not None
    assert photo.alpha.size == photo.image.size
    assert "the transparency was kept as it is" in photo.notes
    larger = photo.image.resize((160, 96))
    with Image.open(put(tmp_path, to_png(larger, RECORD, alpha=photo.alpha), "out.png")) as made:
        assert made.mode == "RGBA"
        assert (np.asarray(made.convert("RGBA"))[..., :3] == np.asarray(larger)).all()
        half = made.getchannel("A").resize(photo.alpha.size, Image.Resampling.BOX)
        assert np.abs(np.asarray(half, np.int16) - np.asarray(photo.alpha, np.int16)).mean() < 6
    assert larger.mode == "RGB", "the picture handed in is left alone"


def test_opaque_alpha_is_no_transparency(tmp_path: Path) -> None:
    image = Image.fromarray(scene()).convert("RGBA")
    photo = read_photo(put(tmp_path, saved(image, "PNG")))
    assert photo.alpha is None
    assert photo.notes == ()
    assert (np.asarray(photo.image) == scene()).all()


UNUSABLE = {
    "empty": (b"", "empty file"),
    "text": (b"This is no photo.\n", "not a photo: 18 bytes of another kind"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100), "corrupt photo: its header cannot be read"),
    "moving": (animated("GIF"), "animated: 3 pictures in one file"),
    "huge": (bomb(30_001, 30_001), "pixel limit: 30001x30001 is over 1000000 pixels"),
    "large": (saved(Image.new("RGB", (1001, 1000)), "PNG"), "pixel limit: 1001x1000 is over 1000000 pixels"),
    "cut": (saved(scene(), "PNG")[:900], "corrupt photo: "),
    "no header": (saved(scene(), "PNG")[:8] + bytes(40), "corrupt photo: its header cannot be read"),
    "half a header": (saved(scene(), "PNG")[:20], "corrupt photo: Truncated File Read"),
    "lab": (saved(Image.new("LAB", (96, 96)), "TIFF"), "colour space: Pillow mode LAB"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_what_is_no_usable_photo_is_one_sentence(tmp_path: Path, kind: str) -> None:
    data, sentence = UNUSABLE[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnusablePhoto, match=sentence) as raised:
            read_photo(put(tmp_path, data), 1_000_000)
    assert "\n" not in str(raised.value)
    assert "0x" not in str(raised.value)


def test_any_name_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [
        "hash#0,12",
        "percent%20.png",
        "a://b.png",
        *([os.fsdecode(b"\xff\xfe.png")] if os.name == "posix" else []),
    ]
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        try:
            Path(name).write_bytes(saved(scene(), "PNG"))
        except OSError:
            continue  # a file system of UTF-8 names
        assert read_photo(Path(name)).image.size == (80, 48)
    with pytest.raises(FileNotFoundError):
        read_photo(Path("nowhere.png"))


def with_text(text: str) -> bytes:
    """A PNG with this in place of its record."""
    info = PngImagePlugin.PngInfo()
    info.add_text(RECORD_KEY, text, zip=True)
    file = io.BytesIO()
    Image.new("L", (9, 9)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def test_the_record_comes_back_and_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    image = Image.fromarray(scene())
    data = to_png(image, RECORD, rgb_profile(), camera_exif(1).tobytes())
    path = put(tmp_path, data, "out.png")
    assert read_record(path) == RECORD
    assert to_png(image.copy(), dict(RECORD), rgb_profile(), camera_exif(1).tobytes()) == data
    with Image.open(path) as made:
        assert (np.asarray(made) == scene()).all()
        assert made.info[RECORD_KEY].isascii()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        saved(scene(), "PNG"),
        saved(scene(), "JPEG"),
        to_png(Image.new("L", (9, 9)), {})[:60],
        *(with_text(text) for text in ("[" * 200_000, "[1]", '{"seed": NaN}', '{"seed": 1, "seed": 2}')),
    ],
)
def test_what_was_not_made_here_has_no_record(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ValueError, match="has no record of how it was made"):
        read_record(put(tmp_path, data, "other.png"))
