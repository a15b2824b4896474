"""Crops: centred on the region, covered by it, exact in photo and mask, mirrored together with the caption."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from instructrestore.model.training.crops import (
    Crop,
    Cropper,
    CropSettings,
    choose_window,
    flipped_caption,
    scaled_size,
    stack,
)
from instructrestore.shards.reading.reader import Fault, Triplet
from instructrestore.shards.reading.triplets import TripletPlace
from instructrestore.shards.rle import Mask, Runs
from instructrestore.shards.sample import Photo, Piece, Region, key_of

SIZE = 32


def picture(height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8 whose pixels tell where they lie: red the column, green the row, blue both from above 255 on."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns % 256, rows % 256, columns // 256 * 16 + rows // 256], -1).astype(np.uint8)


def triplet_of(array: np.ndarray, caption: str = "the dog", position: int = 0, **other: Any) -> Triplet:
    """A triplet of `picture` as a PNG and the mask `array` (H, W) bool."""
    height, width = array.shape
    file = io.BytesIO()
    Image.fromarray(picture(height, width)).save(file, "PNG", compress_level=1)
    sha256 = "ab" * 32
    photo = Photo(
        key=key_of(sha256), sha256=sha256, name="", source="", licence="", url="", width=width, height=height,
        bytes=1, format=other.get("format", "png"), perceptual_hash="0" * 16,
    )  # fmt: skip
    mask = Mask.from_array(array)
    region = Region(caption, "dog", mask, True, (Piece(mask, "made"),))
    data, regions = other.get("data", file.getvalue()), (region, *other.get("others", ()))
    return Triplet(photo, region, regions, data, TripletPlace(0, 4, 2), position, 9, ("corrupt photo: x",))


def crop(triplet: Triplet, **changed: Any) -> Crop:
    return Cropper(CropSettings.model_validate({"size": SIZE, "flip": 0} | changed))(triplet)


def blob(height: int, width: int, seed: int, least: int = 1) -> np.ndarray:
    """A mask of some boxes, of at least `least` pixels, if need be in one more box."""
    rng = np.random.default_rng(seed)
    array = np.zeros((height, width), np.bool_)
    for _ in range(int(rng.integers(1, 4))):
        y, x = int(rng.integers(height)), int(rng.integers(width))
        array[y : y + int(rng.integers(1, 12)), x : x + int(rng.integers(1, 12))] = True
    if array.sum() < least:
        array[: -(-least // width)] = True
    return array


@given(st.integers(1, 120), st.integers(1, 120), st.integers(0, 10**6), st.integers(0, 10**6))
@settings(max_examples=300, deadline=None)
def test_windows_are_centred_on_the_region_or_covered_by_it(height: int, width: int, mask: int, seed: int) -> None:
    array = blob(height, width, mask)
    chosen = choose_window(Runs(Mask.from_array(array)), CropSettings(size=SIZE), np.random.default_rng(seed))
    top, left, half = chosen.top, chosen.left, SIZE // 2
    inside = array[max(top, 0) : max(top, 0) + SIZE, max(left, 0) : max(left, 0) + SIZE]
    for start, side in ((top, height), (left, width)):
        assert 0 <= start <= side - SIZE if side >= SIZE else start == (side - SIZE) // 2
    inner = np.zeros_like(array)
    if height >= SIZE and width >= SIZE:
        inner[half : height - half + 1, half : width - half + 1] = True
    if (inner & array).any():
        assert array[top + half, left + half]
    else:
        assert inside.any()  # a sparse mask may miss the least share at every try: at least a pixel of it is there


@given(st.integers(SIZE, 100), st.integers(SIZE, 100), st.integers(0, 10**6))
@settings(max_examples=100, deadline=None)
def test_random_windows_have_their_share_of_the_mask(height: int, width: int, seed: int) -> None:
    """A region along the edges alone, as long as the photo, can be no centre and is found by a few tries."""
    array = np.zeros((height, width), np.bool_)
    array[:, :3] = True
    if height < SIZE or width < SIZE + 6:
        array[:3] = True
    chosen = choose_window(Runs(Mask.from_array(array)), CropSettings(size=SIZE), np.random.default_rng(seed))
    assert array[chosen.top : chosen.top + SIZE, chosen.left : chosen.left + SIZE].mean() >= 0.01


def test_every_centre_comes_equally_often() -> None:
    array = np.zeros((60, 80), np.bool_)
    array[20:24, 30:35] = True
    array[0:5, :] = True  # too near to the edge to be a centre
    runs, rng = Runs(Mask.from_array(array)), np.random.default_rng(0)
    chosen = [choose_window(runs, CropSettings(size=SIZE), rng) for _ in range(4000)]
    places, counts = np.unique([(w.top + 16, w.left + 16) for w in chosen], axis=0, return_counts=True)
    assert {tuple(place) for place in places.tolist()} == {(y, x) for y in range(20, 24) for x in range(30, 35)}
    assert ((counts - 200) ** 2 / 200).sum() < 50  # chi square of 19 degrees: one in 7000


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 10**6), st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_crop_is_the_photo_and_the_mask_there(height: int, width: int, seed: int, flip: bool) -> None:
    array = blob(height, width, seed)
    triplet = triplet_of(array, "a dog left of a cat", seed)
    cut = crop(triplet, flip=float(flip))
    window = choose_window(
        Runs(triplet.region.mask), CropSettings(size=SIZE), np.random.default_rng(triplet.seed_of("crop"))
    )
    above, before = max(-window.top, 0), max(-window.left, 0)
    below, behind = max(window.top + SIZE - height, 0), max(window.left + SIZE - width, 0)
    photo = np.pad(picture(height, width), ((above, below), (before, behind), (0, 0)), mode="reflect")
    mask = np.pad(array, ((above, below), (before, behind)))
    top, left = window.top + above, window.left + before
    photo, mask = photo[top : top + SIZE, left : left + SIZE], mask[top : top + SIZE, left : left + SIZE]
    assert np.array_equal(cut.photo, photo[:, ::-1] if flip else photo)
    assert np.array_equal(cut.mask, mask[:, ::-1] if flip else mask)
    assert cut.caption == ("a dog right of a cat" if flip else "a dog left of a cat")
    assert (cut.photo.shape, cut.photo.dtype, cut.mask.dtype) == ((SIZE, SIZE, 3), np.uint8, np.bool_)
    assert (cut.subject, cut.bokeh, cut.position, cut.seed, cut.region) == ("dog", True, seed, 9, 2)
    assert cut.faults == ("corrupt photo: x",)


def test_the_choices_follow_from_the_position_alone() -> None:
    array = blob(200, 200, 3, 4000)
    crops = [crop(triplet_of(array, position=position), flip=0.5) for position in (5, 6, 5)]
    assert np.array_equal(crops[0].photo, crops[2].photo)
    assert not np.array_equal(crops[0].photo, crops[1].photo)


def test_half_of_the_crops_are_flipped_and_captions_that_cannot_be_never() -> None:
    array = np.ones((40, 40), np.bool_)
    flips = [crop(triplet_of(array, "the left dog", n), flip=0.5).caption == "the right dog" for n in range(200)]
    assert 70 < sum(flips) < 130
    for position in range(20):
        cut = crop(triplet_of(array, "a sign on the left", position), flip=1)
        assert cut.caption == "a sign on the left"
        assert (np.diff(cut.photo[0, :, 0].astype(int)) > 0).all()


@pytest.mark.parametrize(
    ("caption", "flipped"),
    [
        ("the brightest copyright holder", "the brightest copyright holder"),
        ("Left hand of a LEFT-HANDED man", "Right hand of a RIGHT-HANDED man"),
        ("the leftmost dog, right-hand side", "the rightmost dog, left-hand side"),
        ("Left glove beside the RIGHT shoe", "Right glove beside the LEFT shoe"),
        ("a dog facing left and a cat facing right", "a dog facing right and a cat facing left"),
        ("the lefthand door", "the righthand door"),
        ("leftover pizza", "leftover pizza"),
        ("LeFt shoe", None),
        ("a right-angled corner", None),
        ("a suitcase left behind", None),
        ("a shop sign", None),
        ("the number 7 on a shirt", None),
        ("a wall clock", None),
        ("a woman signing", "a woman signing"),
        ("a cake that says “Sam”", None),
    ],
)
def test_left_and_right_change_places_or_the_photo_stays(caption: str, flipped: str | None) -> None:
    assert flipped_caption(caption) == flipped
    if flipped is not None:
        assert flipped_caption(flipped) == caption


def test_large_photos_are_scaled_down_with_their_mask() -> None:
    array = np.zeros((100, 300), np.bool_)
    array[20:80, 120:240] = True
    assert scaled_size(100, 300, CropSettings(size=SIZE, largest_side=150)) == (50, 150)
    cut = crop(triplet_of(array), largest_side=150)
    columns = cut.photo[..., 0].astype(int)
    rows = cut.photo[..., 1].astype(int)
    assert (np.diff(rows[:, 0]) == 2).all()  # each pixel stands for two of the photo's
    # The mask still lies on the pixels that it marked: red and green tell where they were.
    assert np.array_equal(cut.mask, (rows >= 20) & (rows < 80) & (columns >= 120) & (columns < 240))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_photos_are_scaled_to_a_short_side(kind: str) -> None:
    waves = np.sin(np.mgrid[:480, :640] / 40)
    rgb = (127 + 60 * np.stack([waves[0], waves[1], waves[0] * waves[1]], -1)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, kind, quality=95)
    array = np.zeros((480, 640), np.bool_)
    array[200:300, 250:400] = True
    triplet = triplet_of(array, data=file.getvalue(), format={"JPEG": "jpg", "PNG": "png"}[kind])
    cut = crop(triplet, size=64, short_side=120)
    whole = np.asarray(Image.fromarray(rgb).resize((160, 120), Image.Resampling.BOX)).astype(int)
    small = array[2::4, 2::4]
    window = choose_window(
        Runs(Mask.from_array(small)), CropSettings(size=64), np.random.default_rng(triplet.seed_of("crop"))
    )
    part = np.s_[window.top : window.top + 64, window.left : window.left + 64]
    assert np.array_equal(cut.mask, small[part])
    assert np.abs(cut.photo - whole[part]).max() <= (3 if kind == "JPEG" else 1)


def test_a_region_of_a_pixel_survives_scaling() -> None:
    array = np.zeros((400, 400), np.bool_)
    array[203, 205] = True
    assert crop(triplet_of(array), short_side=50).mask.sum() == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data": b"\x89PNG\r\n\x1a\n" + bytes(50)}, "corrupt photo"),
        ({"data": b""}, "corrupt photo"),
        ({"format": "jpg"}, "corrupt photo"),
        ({"format": "webp"}, "corrupt photo"),
        ({"size": (41, 40)}, "wrong size"),
        ({"size": (20_000, 6_000)}, "pixel limit"),
        ({"mode": "L"}, "colour space"),
        ({"cut": 90}, "corrupt photo"),
        ({"empty": True}, "empty region"),
    ],
)
def test_what_is_unusable_is_a_fault_with_its_reason(change: dict[str, Any], reason: str) -> None:
    array = np.full((40, 40), not change.get("empty"), np.bool_)
    if "size" in change or "mode" in change:
        file = io.BytesIO()
        Image.new(change.get("mode", "RGB"), change.get("size", (40, 40))).save(file, "PNG", compress_level=1)
        change = {"data": file.getvalue()}
    triplet = triplet_of(array, **{k: v for k, v in change.items() if k in ("data", "format")})
    if "cut" in change:
        triplet = triplet_of(array, data=triplet.data[: change["cut"]])
    with pytest.raises(Fault) as caught:
        crop(triplet)
    assert caught.value.reason == reason
    assert "\n" not in str(caught.value)


def test_a_mask_beyond_the_pixel_limit_is_never_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record of a few bytes may claim a photo of gigabytes, long before the photo's own header is read."""
    array = np.zeros((60, 70), np.bool_)
    array[20, 30] = True
    triplet = triplet_of(array)
    monkeypatch.setattr("instructrestore.model.training.crops.MAX_PIXELS", 60 * 70 - 1)
    monkeypatch.setattr(Mask, "array", None)
    with pytest.raises(Fault, match="pixel limit: 70x60"):
        crop(triplet, largest_side=50)


def test_stacked() -> None:
    crops = [crop(triplet_of(blob(60, 60, n), position=n)) for n in range(3)]
    photos, masks = stack(crops)
    assert (photos.shape, photos.dtype) == ((3, 3, SIZE, SIZE), torch.uint8)
    assert (masks.shape, masks.dtype) == ((3, 1, SIZE, SIZE), torch.bool)
    for cut, photo, mask in zip(crops, photos, masks, strict=True):
        assert np.array_equal(photo.permute(1, 2, 0).numpy(), cut.photo)
        assert np.array_equal(mask[0].numpy(), cut.mask)
