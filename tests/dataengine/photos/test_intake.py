"""Intake: what is written down of a photo, and that every photo that is not let in says why."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from instructrestore.dataengine.photos.intake import Intake, IntakeSettings, licence_name
from instructrestore.dataengine.photos.near_duplicates import perceptual_hash
from instructrestore.dataengine.photos.photo_file import decode
from instructrestore.dataengine.photos.row import Row, SourcePhoto
from instructrestore.dataengine.running.stage import Drop
from instructrestore.dataengine.sources import SourceSettings, list_photos
from tests import real_photos
from tests.dataengine.photos.colour_profiles import rgb_profile
from tests.dataengine.photos.named_colours import bitmap, exif_block, gama, with_chunks
from tests.dataengine.photos.test_photo_file import BAD, saved, scene


def row(path: Path | str, **known: object) -> Row:
    return Row(SourcePhoto(str(path), Path(path).name, "made", **known))  # pyright: ignore[reportArgumentType]


def test_the_record_of_a_photo(tmp_path: Path) -> None:
    exif = (
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # to be turned right by 90 degrees
    )
    data = saved(scene(48, 80), "JPEG", exif=exif)
    (tmp_path / "photo.jpg").write_bytes(data)
    (taken,) = Intake(IntakeSettings())([row(tmp_path / "photo.jpg", licence="CC0-1.0", url="https://a.example/1")])
    assert isinstance(taken, Row) and taken.photo is not None
    photo = taken.photo
    assert photo.sha256 == hashlib.sha256(data).hexdigest() and photo.sha256.startswith(photo.key)
    assert (photo.width, photo.height, photo.bytes) == (48, 80, len(data))
    assert photo.format == "png"  # it is turned upright, so its bytes are not kept
    assert (photo.name, photo.source, photo.licence, photo.url) == (
        "photo.jpg",
        "made",
        "CC0-1.0",
        "https://a.example/1",
    )
    assert photo.perceptual_hash == perceptual_hash(decode(data).rgb)
    assert photo.group == "" and photo.quality is None and taken.counts == {}


def test_every_bad_file_of_a_folder_is_dropped_by_name(tmp_path: Path) -> None:
    expected = {f"{kind}.jpg": reason for kind, (make, reason) in BAD.items()}
    for kind, (make, _) in BAD.items():
        (tmp_path / f"{kind}.jpg").write_bytes(make())
    (tmp_path / "good.jpg").write_bytes(saved(scene(), "JPEG"))
    rows = [Row(photo) for photo in list_photos(SourceSettings(kind="folder", path=str(tmp_path)))]
    results = Intake(IntakeSettings(max_pixels=1_000_000))(rows)
    assert len(results) == len(BAD) + 1
    outcomes = {
        row.origin.name: result.reason if isinstance(result, Drop) else "kept"
        for row, result in zip(rows, results, strict=True)
    }
    assert outcomes == {**expected, "good.jpg": "kept"}


def test_a_problem_of_the_source_is_the_reason() -> None:
    (dropped,) = Intake(IntakeSettings())([row("/nowhere/photo.jpg", problem="missing photo")])
    assert dropped == Drop("missing photo", "photo.jpg")


def test_what_cannot_be_read_is_raised_and_not_dropped(tmp_path: Path) -> None:
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    for name, complaint in (("gone.jpg", "No such file"), ("loop.jpg", "symbolic links")):
        with pytest.raises(OSError, match=complaint):
            Intake(IntakeSettings())([row(tmp_path / name)])


def test_file_and_pixel_limits_are_settings(tmp_path: Path) -> None:
    data = saved(scene(48, 80), "PNG")
    (tmp_path / "photo.png").write_bytes(data)
    photo = [row(tmp_path / "photo.png")]
    for settings, reason in [
        (IntakeSettings(max_bytes=len(data) - 1), "file size"),
        (IntakeSettings(max_pixels=48 * 80 - 1), "pixel limit"),
    ]:
        (dropped,) = Intake(settings)(photo)
        assert isinstance(dropped, Drop) and dropped.reason == reason
    (kept,) = Intake(IntakeSettings(max_bytes=len(data), max_pixels=48 * 80))(photo)
    assert isinstance(kept, Row)


def test_conversions_are_counted(tmp_path: Path) -> None:
    (tmp_path / "p3.png").write_bytes(saved(scene(), "PNG", icc_profile=rgb_profile()))
    (tmp_path / "broken.png").write_bytes(saved(scene(), "PNG", icc_profile=b"no profile"))
    results = Intake(IntakeSettings())([row(tmp_path / "p3.png"), row(tmp_path / "broken.png")])
    counts = [result.counts for result in results if isinstance(result, Row)]
    assert counts == [{"colour profile converted": 1}, {"broken colour profile": 1}]


def test_a_row_tells_of_a_reading_that_is_not_every_readers(tmp_path: Path) -> None:
    """So that what follows is made again where a photo is read otherwise than before, and nowhere else."""
    plain, serialised = saved(scene(), "PNG"), TypeAdapter(Row)
    files = {
        "plain": (plain, ""),
        "profile": (saved(scene(), "PNG", icc_profile=rgb_profile()), ""),
        "uncalibrated": (saved(scene(), "PNG", exif=exif_block(0xFFFF)), ""),
        "inks": (saved(Image.fromarray(scene()).convert("CMYK"), "JPEG"), ""),
        "EXIF": (saved(scene(), "PNG", exif=exif_block(2)), "colours named by EXIF converted"),
        "gamma": (with_chunks(plain, gAMA=gama(1.0)), "colours named by gAMA converted"),
        "header": (bitmap(b"DEBM", b"", rgb_profile()), "colour profile converted"),
        "end": (with_chunks(plain[:-12], gAMA=gama(1.0)), "colours named by gAMA converted, file without its end"),
    }
    for name, (data, read_by) in files.items():
        (tmp_path / name).write_bytes(data)
        (taken,) = Intake(IntakeSettings())([row(tmp_path / name)])
        assert isinstance(taken, Row)
        assert taken.read_by == read_by, name
        record = serialised.dump_json(taken)
        assert (b"read_by" in record) == bool(read_by)
        assert serialised.validate_json(record) == taken


@pytest.mark.parametrize(
    ("allowed", "licence", "kept"),
    [
        ("CC-BY-4.0", "CC BY 4.0", True),
        ("CC BY 4.0", "https://creativecommons.org/licenses/by/4.0/", True),
        ("cc-by-4.0", "Creative Commons Attribution 4.0 International", True),
        ("CC-BY-4.0", "CC BY 2.0", False),
        ("CC-BY-4.0", "CC BY-NC 4.0", False),
        ("CC-BY", "CC BY 2.0", True),
        ("CC-BY", "Attribution License", True),
        ("CC-BY", "CC BY-NC 2.0", False),
        ("CC-BY-2.0", "Attribution License", False),
        ("http://creativecommons.org/licenses/by-nc-sa/2.0/", "CC BY-NC-SA 2.0", True),
        ("Attribution-NonCommercial-ShareAlike License", "CC BY-NC-SA 2.0", True),
        ("CC0-1.0", "http://creativecommons.org/publicdomain/zero/1.0/deed.en", True),
        ("CC0", "CC0 1.0 Universal", True),
        ("No known copyright restrictions", "no known copyright restrictions", True),
        ("mit", "MIT License", True),
        ("MIT", "", False),
        ("Apache-2.0", "Apache License, Version 2.0", True),
    ],
)
def test_licences_compare_across_their_spellings(tmp_path: Path, allowed: str, licence: str, kept: bool) -> None:
    (tmp_path / "photo.png").write_bytes(saved(scene(), "PNG"))
    (result,) = Intake(IntakeSettings(licences=(allowed,)))([row(tmp_path / "photo.png", licence=licence)])
    if kept:
        assert isinstance(result, Row)
    else:
        assert result == Drop("licence", licence or "no licence is known")


@pytest.mark.parametrize("licence", ["", "CC BY 4.0", "Unsplash License", "my own terms, v2"])
def test_a_licences_name_is_its_own_name(licence: str) -> None:
    assert licence_name(licence_name(licence)) == licence_name(licence)


def test_real_photos_are_taken_in(data_folder: Path) -> None:
    named = {path.name for path in real_photos.present(data_folder, real_photos.KODAK)}
    photos = list_photos(SourceSettings(kind="folder", path=str(data_folder / "kodak")))
    rows = [Row(photo) for photo in photos if photo.name in named]
    assert len(rows) == len(named)
    results = Intake(IntakeSettings())(rows)
    assert all(isinstance(result, Row) for result in results)
    sizes = [
        (result.photo.width, result.photo.height) for result in results if isinstance(result, Row) and result.photo
    ]
    assert np.min(sizes) >= 256
