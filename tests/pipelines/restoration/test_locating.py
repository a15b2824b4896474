"""`restore --point`, `--box` and `--locate`, from end to end: real segments, the tiny base."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from instructrestore.pipelines.pictures.restored_photo import read_record
from tests.pipelines.restoration.test_files import Ended, pixels, run

__all__ = ["run"]  # a fixture


def cat(path: str) -> None:
    Image.fromarray(data.chelsea()).resize((225, 150)).save(path)


def test_a_point_chooses_the_segment_that_holds_it(run: Callable[..., Ended]) -> None:
    cat("cat.png")
    ended = run("cat.png", "make the cat clear", "--out", "o", "--mask-only", "--point", "110,70")
    assert ended.status == 0, ended.err + ended.out
    mask = pixels("o/cat-mask.png")
    assert set(np.unique(mask)) == {0, 255} or mask.min() == 255
    assert mask.reshape(150, 225, -1)[70, 110].min() == 255
    assert read_record(Path("o/cat-mask.png"))["points"] == [[110, 70]]
    again = run("cat.png", "make the cat clear", "--out", "o", "--mask-only", "--point", "110,70", "--skip-existing")
    assert "is already there" in again.out


def test_a_box_that_nothing_fits_is_the_region_and_the_rest_stays(run: Callable[..., Ended]) -> None:
    cat("cat.png")
    ended = run("cat.png", "make the nose clear", "--out", "o", "--box", "100,60,10,6", "--rest", "keep")
    assert ended.status == 0, ended.err + ended.out
    assert "nothing was found that fits the box 100,60,10,6: the box itself is the region" in ended.out
    changed = (pixels("o/cat.png") != pixels("cat.png")).any(-1)
    rows, columns = np.nonzero(changed)
    assert rows.size and rows.min() >= 56 and rows.max() < 70 and columns.min() >= 96 and columns.max() < 114


def test_a_caption_chooses_among_segments(run: Callable[..., Ended]) -> None:
    cat("cat.png")
    wish = "make the largest cat clear and keep other parts clear"
    ended = run("cat.png", wish, "--out", "o", "--mask-only", "--locate", "segments")
    assert ended.status == 0, ended.err + ended.out
    assert "one cat was found for 'the largest cat'" in ended.out
    assert pixels("o/cat-mask.png").mean() > 100
    assert read_record(Path("o/cat-mask.png"))["settings"]["locate"] == "segments"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--point", "500,10"), "the point 500,10 lies outside the photo of 225x150"),
        (("--box", "1,2,3"), "--box takes 4 numbers in pixels of the upright photo, as in 120,80,200,150: '1,2,3'"),
        (("--locate", "here"), "--locate: "),
        (("--segments", "no-such-folder"), "no-such-folder"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(
    run: Callable[..., Ended], options: tuple[str, ...], sentence: str
) -> None:
    cat("cat.png")
    ended = run("cat.png", "make the cat clear", "--out", "o", *options)
    assert ended.status == 2 and sentence in ended.err.replace("\n", " "), ended.err
