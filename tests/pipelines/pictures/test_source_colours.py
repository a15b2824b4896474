"""A photo whose colours no profile names: its restored PNG shows the same colours, and nothing in it says otherwise."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from instructrestore.dataengine.photos.photo_file import UnusablePhoto, decode
from instructrestore.pipelines.pictures.exif import srgb_exif, upright_exif
from instructrestore.pipelines.pictures.restored_photo import to_png
from instructrestore.pipelines.pictures.source_photo import SourceImage, read_photo
from tests.dataengine.photos.colour_profiles import rgb_profile
from tests.dataengine.photos.named_colours import (
    ADOBE_POINTS,
    PIXELS,
    SRGB_POINTS,
    chrm,
    exif_block,
    exif_directories,
    gama,
    in_srgb,
    with_chunks,
)
from tests.dataengine.photos.test_photo_file import animated, saved, scene
from tests.dataengine.photos.tiff_files import Page, tiff

ADOBE = exif_block(0xFFFF, "R03")


def adobe_tiff() -> bytes:
    at = len(tiff([Page(PIXELS, {0x8769: 0})]))
    return tiff([Page(PIXELS, {0x8769: at})]) + exif_directories(at, 0xFFFF, "R03")


def made_of(folder: Path, data: bytes) -> tuple[SourceImage, bytes]:
    """The photo as it is read, and the PNG that restoring would make of it if it changed no pixel."""
    (folder / "photo").write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        photo = read_photo(folder / "photo")
    return photo, to_png(photo.image, {}, photo.icc_profile, photo.exif, photo.alpha)


NAMED: dict[str, Callable[[], bytes]] = {
    "EXIF of a JPEG": lambda: saved(PIXELS, "JPEG", exif=ADOBE, quality=100, subsampling=0),
    "EXIF's own number": lambda: saved(PIXELS, "PNG", exif=exif_block(2)),
    "EXIF of a PNG": lambda: saved(PIXELS, "PNG", exif=ADOBE),
    "EXIF of a WebP": lambda: saved(PIXELS, "WEBP", lossless=True, exif=ADOBE),
    "EXIF of a TIFF": adobe_tiff,
    "gAMA and cHRM": lambda: with_chunks(saved(PIXELS, "PNG"), gAMA=gama(563 / 256), cHRM=chrm(ADOBE_POINTS)),
    "both": lambda: with_chunks(
        saved(PIXELS, "PNG", exif=ADOBE), gAMA=gama(563 / 256), cHRM=chrm(ADOBE_POINTS)
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", NAMED)
def test_adobe_rgb_gets_its_profile(tmp_path: Path, kind: str) -> None:
    photo, png = made_of(tmp_path, NAMED[kind]())
    assert photo.icc_profile
    assert np.abs(np.asarray(photo.image, np.int16) - PIXELS).max() <= (3 if "JPEG" in kind else 0), "the values stay"
    assert (
        [note for note in photo.notes if "the result has a colour profile of them" in note] == list(photo.notes) != []
    )
    with Image.open(tmp_path / "photo") as image, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stated = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace)
    (tmp_path / "made.png").write_bytes(png)
    with Image.open(tmp_path / "made.png") as image:
        assert image.info["icc_profile"] == photo.icc_profile
        assert image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace) == stated != 1
        if "EXIF of" in kind:
            assert image.getexif().get_ifd(ExifTags.IFD.Interop)[1] == "R03"
    tolerance = 4 if "JPEG" in kind else 2
    assert np.abs(decode(png).rgb - in_srgb(PIXELS, "Adobe RGB", 563 / 256)).max() <= tolerance


SHOWN_ALIKE: dict[str, Callable[[], bytes]] = {
    **NAMED,
    "sRGB": lambda: with_chunks(saved(PIXELS, "PNG", exif=ADOBE), sRGB=b"\0"),
    "the gamma of sRGB": lambda: with_chunks(saved(PIXELS, "PNG", exif=exif_block(2)), gAMA=gama(2.2)),
    "linear": lambda: with_chunks(saved(PIXELS, "PNG", exif=exif_block(1)), gAMA=gama(1.0), cHRM=chrm(SRGB_POINTS)),
    "cICP": lambda: with_chunks(saved(PIXELS, "PNG"), cICP=bytes([12, 13, 0, 1])),
    "grey": lambda: with_chunks(saved(PIXELS[..., 0], "PNG", exif=ADOBE), gAMA=gama(1.8)),
    "grey of a JPEG": lambda: saved(PIXELS[..., 0], "JPEG", exif=ADOBE, quality=100),
    "CMYK": lambda: saved(Image.fromarray(PIXELS).convert("CMYK"), "JPEG", exif=ADOBE, quality=100),
    "a profile": lambda: saved(PIXELS, "PNG", exif=exif_block(1), icc_profile=rgb_profile()),
    "a broken profile": lambda: saved(PIXELS, "PNG", exif=ADOBE, icc_profile=b"broken"),
    "no name": lambda: saved(PIXELS, "PNG", exif=exif_block(0xFFFF)),
    "numbers of nothing": lambda: with_chunks(saved(PIXELS, "PNG", exif=exif_block(2)), gAMA=bytes(4)),
}


@pytest.mark.parametrize("kind", SHOWN_ALIKE)
def test_the_restored_photo_is_shown_as_the_photo_is(tmp_path: Path, kind: str) -> None:
    data = SHOWN_ALIKE[kind]()
    photo, png = made_of(tmp_path, data)
    shown = decode(png)
    assert np.abs(shown.rgb.astype(int) - decode(data).rgb).max() <= 1
    if photo.icc_profile is None:  # nothing, EXIF least of all, names other colours than sRGB
        assert not any("converted" in note for note in shown.notes)
        kept = photo.exif or exif_block()
        assert b"R03" not in kept
        assert upright_exif(srgb_exif(kept)) == srgb_exif(kept) == kept


SAID = {
    "no name": "its EXIF calls its colours uncalibrated, and nothing describes them: they were taken as sRGB",
    "numbers of nothing": "its description of its colours is broken and was left out",
    "a broken profile": "the colour profile is broken and was left out",
    "CMYK": "the CMYK photo was converted to RGB",
}


@pytest.mark.parametrize("kind", SAID)
def test_what_was_taken_for_granted_is_said(tmp_path: Path, kind: str) -> None:
    assert SAID[kind] in made_of(tmp_path, SHOWN_ALIKE[kind]())[0].notes


def test_high_dynamic_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusablePhoto, match=r"^colour space: PQ, of high dynamic range$"):
        made_of(tmp_path, with_chunks(saved(PIXELS, "PNG"), cICP=bytes([9, 16, 0, 1])))


def test_the_page_and_the_end_of_a_file_are_found_as_the_data_engine_finds_them(tmp_path: Path) -> None:
    photo, _ = made_of(tmp_path, tiff([Page(PIXELS), Page(scene(12, 20), {254: 1})]))
    assert (np.asarray(photo.image) == PIXELS).all()
    with pytest.raises(UnusablePhoto, match=r"^several pages: 3 pages in one file$"):
        made_of(tmp_path, animated("TIFF"))
    data = saved(PIXELS, "JPEG", exif=ADOBE)
    whole, cut = made_of(tmp_path, data)[0], made_of(tmp_path, data[:-2])[0]
    assert (np.asarray(cut.image) == np.asarray(whole.image)).all()
    assert (cut.exif, cut.icc_profile, cut.notes) == (whole.exif, whole.icc_profile, whole.notes)
    with pytest.raises(UnusablePhoto, match=r"^corrupt photo: it breaks off before its end$"):
        made_of(tmp_path, data[:-20])
