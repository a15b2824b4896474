"""Contact sheets: the pictures are there unchanged, in order, and the tint lies where the mask is."""

from __future__ import annotations

import numpy as np
from PIL import Image

from instructrestore.dataengine.reporting.drawing import OPACITY, PAPER, colours
from instructrestore.model.instruction.instruction import Instruction, RegionScale
from instructrestore.pipelines.pictures.contact_sheet import MAX_CELL, comparison, mask_image, scale_sheet, tinted
from tests.dataengine.photos.test_photo_file import scene

ONE = Instruction((RegionScale("the dog", 0.6),), 0.9)


def picture(seed: int, width: int = 200, height: int = 120) -> Image.Image:
    return Image.fromarray(scene(height, width, seed))


def places(page: Image.Image, part: Image.Image) -> list[tuple[int, int]]:
    """Where on the page the part is, pixel by pixel: (left, top) each."""
    whole, wanted = np.asarray(page), np.asarray(part)
    height, width = wanted.shape[:2]
    rows, columns = np.nonzero((whole[: -height + 1, : -width + 1] == wanted[0, 0]).all(-1))
    found = zip(columns.tolist(), rows.tolist(), strict=True)
    return [(x, y) for x, y in found if (whole[y : y + height, x : x + width] == wanted).all()]


def test_a_comparison_holds_the_photo_its_mask_and_the_result_from_left_to_right() -> None:
    photo, restored = picture(1), picture(2)
    mask = np.zeros((1, 120, 200), np.float32)
    mask[0, 30:90, 50:150] = 1
    page = comparison(photo, mask, restored, ONE)
    parts = [photo, tinted(photo, mask), restored]
    found = [places(page, part) for part in parts]
    assert [len(each) for each in found] == [1, 1, 1]
    (lefts, tops) = zip(*(each[0] for each in found), strict=True)
    assert lefts == tuple(sorted(lefts))
    assert len(set(tops)) == 1
    top = tops[0]
    assert (np.asarray(page)[:top] != PAPER).any(), "labels stand above the pictures"


def test_the_tint_lies_within_the_mask_and_as_strongly_as_it_says() -> None:
    photo = picture(1)
    masks = np.zeros((2, 120, 200), np.float32)
    masks[0, 20:60, 20:80] = 1
    masks[1, 70:110, 100:180] = 0.4  # under 0.5: no outline
    made, plain = np.asarray(tinted(photo, masks), np.float32), np.asarray(photo, np.float32)
    outside = masks.max(0) == 0
    assert (made[outside] == plain[outside]).all()
    for mask, colour, inner in (
        (masks[0], colours(2)[0], np.s_[25:55, 25:75]),
        (masks[1], colours(2)[1], np.s_[70:110, 100:180]),
    ):
        weight = OPACITY * mask[inner][..., None]
        expected = plain[inner] + weight * (np.array(colour, np.float32) - plain[inner])
        assert np.abs(made[inner] - expected).max() <= 1.5
    assert (made[20, 20:80] == colours(2)[0]).all(), "the outline"


def test_a_result_of_another_size_is_shown_beside_the_photo_at_its_size() -> None:
    restored = picture(2, 400, 240)
    page = comparison(picture(1), np.zeros((0, 240, 400), np.float32), restored, ONE)
    assert len(places(page, restored)) == 1
    assert len(places(page, picture(1).resize((400, 240), Image.Resampling.LANCZOS))) == 1
    assert page.width < 3 * 400, "no third picture where a scale map took the place of masks"


def test_large_photos_are_scaled_down_and_small_ones_have_room_for_labels() -> None:
    mask = np.zeros((1, 1200, 3000), np.float32)
    page = comparison(picture(1, 3000, 1200), mask, picture(2, 3000, 1200), ONE)
    assert 3 * MAX_CELL <= page.width < 3 * MAX_CELL + 100
    small = comparison(picture(1, 64, 64), mask[:, :64, :64], picture(2, 64, 64), ONE)
    assert small.width > 3 * 150
    assert len(places(small, picture(2, 64, 64))) == 1


def test_a_sweep_is_the_photo_and_then_each_scale() -> None:
    made = [(scale, picture(number + 2)) for number, scale in enumerate((0.5, 0.7, 0.9, 1.1, 1.3))]
    page = scale_sheet(picture(1), made, ONE)
    found = [places(page, image) for image in (picture(1), *(image for _, image in made))]
    assert all(len(each) == 1 for each in found)
    in_rows = [(y, x) for ((x, y),) in found]
    assert in_rows == sorted(in_rows)
    assert len({y for y, _ in in_rows}) == 2
    # The label is all that tells two sheets of the same pictures apart.
    other = scale_sheet(picture(1), [(scale + 0.1, image) for scale, image in made], ONE)
    assert other.size == page.size
    assert other.tobytes() != page.tobytes()


def test_any_caption_can_be_written_and_none_is_wider_than_its_picture() -> None:
    blank = Image.new("RGB", (200, 120), PAPER)
    for caption in ("x" * 400, "the \u72d7 \U0001f436", "un\u00e9 b\u00eate"):
        instruction = Instruction(tuple(RegionScale(f"{caption} {n}", 1.0) for n in range(3)))
        page = comparison(blank, np.zeros((3, 120, 200), np.float32), blank, instruction)
        pixels = np.asarray(page)
        margin = page.width // 3
        assert (pixels[:, -8:] == PAPER).all()
        assert (pixels[:, margin - 2 : margin] == PAPER).all()


def test_masks_as_pictures() -> None:
    mask = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    assert (np.asarray(mask_image(mask, (16, 16))).ravel() == np.arange(256)).all()
    half = np.zeros((20, 20), np.float32)
    half[:, 10:] = 1
    assert (np.asarray(mask_image(half, (10, 10)))[:, [0, 1, 2, 7, 8, 9]] == [0, 0, 0, 255, 255, 255]).all()
