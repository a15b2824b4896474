"""Odd photo files through intake, masks and descriptions by the annotator that ships: no crash, no invented name."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from instructrestore.dataengine.descriptions.describe import Describe, DescribeSettings
from instructrestore.dataengine.masks.segment import MaskSettings, Segment
from instructrestore.dataengine.photos.intake import Intake, IntakeSettings
from instructrestore.dataengine.photos.row import Row, SourcePhoto
from instructrestore.dataengine.running.stage import Drop

Photo = NDArray[np.uint8]


@pytest.fixture(scope="module")
def stages() -> tuple[Intake, Segment, Describe]:
    return Intake(IntakeSettings()), Segment(MaskSettings()), Describe(DescribeSettings())


@pytest.fixture(scope="module")
def cat() -> Photo:
    return pytest.importorskip("skimage.data").chelsea()


def captions(stages: tuple[Intake, Segment, Describe], path: Path) -> list[str]:
    """Of a photo file, the largest region first; none where it was dropped with a reason."""
    [row] = stages[0]([Row(SourcePhoto(str(path), path.name, "test"))])
    for stage in stages[1:]:
        if isinstance(row, Drop):
            assert row.reason in ("no region", "no described region")
            return []
        assert isinstance(row, Row)
        [row] = stage([row])
    if isinstance(row, Drop):
        return []
    assert isinstance(row, Row)
    return [piece.noun_phrase for piece in row.pieces]


def page() -> Photo:
    paper = np.full((600, 800, 3), 250, np.uint8)
    for line in range(13):
        cv2.putText(paper, "It was a bright cold day in April", (20, 45 * line + 40), 0, 1.2, (20, 20, 20), 2)
    return paper


NOTHING = {
    "black": np.zeros((600, 800, 3), np.uint8),
    "white": np.full((600, 800, 3), 255, np.uint8),
    "text": page(),
    "thumbnail": np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8),
    "one pixel": np.full((1, 1, 3), 90, np.uint8),
    "noisy strip": np.random.default_rng(1).integers(0, 256, (40, 1600, 3)).astype(np.uint8),
    "black strip": np.zeros((2000, 50, 3), np.uint8),
}


@pytest.mark.parametrize("name", NOTHING)
def test_what_shows_nothing_has_no_region(stages: tuple[Intake, Segment, Describe], tmp_path: Path, name: str) -> None:
    Image.fromarray(NOTHING[name]).save(tmp_path / "photo.png")
    assert captions(stages, tmp_path / "photo.png") == []


def test_a_photo_is_the_same_in_every_kind_of_file(
    stages: tuple[Intake, Segment, Describe], cat: Photo, tmp_path: Path
) -> None:
    Image.fromarray(cat).save(tmp_path / "plain.png")
    Image.fromarray(cat).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    Image.fromarray(np.dstack([cat, np.full(cat.shape[:2], 255, np.uint8)])).save(tmp_path / "alpha.png")
    cv2.imwrite(str(tmp_path / "sixteen.png"), cat[..., ::-1].astype(np.uint16) * 257)
    expected = captions(stages, tmp_path / "plain.png")
    assert expected == ["a brown cat"]
    for file in ("cmyk.jpg", "alpha.png", "sixteen.png"):
        assert captions(stages, tmp_path / file) == expected


def test_odd_shapes_and_grey_photos_are_taken(
    stages: tuple[Intake, Segment, Describe], cat: Photo, tmp_path: Path
) -> None:
    """A real photo's strip of 1:40, its thumbnail of 64 px, and 16-bit grey; only what is seen is named."""
    strip = cv2.resize(cat[100:200], (1600, 40), interpolation=cv2.INTER_AREA)
    Image.fromarray(strip).save(tmp_path / "strip.png")
    Image.fromarray(cv2.resize(cat, (64, 64), interpolation=cv2.INTER_AREA)).save(tmp_path / "small.png")
    grey = cv2.cvtColor(cat, cv2.COLOR_RGB2GRAY).astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    assert captions(stages, tmp_path / "strip.png") == captions(stages, tmp_path / "small.png") == []
    assert all("cat" in each for each in captions(stages, tmp_path / "grey.png"))
