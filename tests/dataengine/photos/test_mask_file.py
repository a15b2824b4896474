"""Mask pictures: whatever a program writes for a mask is that mask, or refused; never something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from instructrestore.dataengine.photos import mask_file
from instructrestore.dataengine.photos.mask_file import UnusableMask, read_map, read_mask, read_segments
from instructrestore.dataengine.photos.photo_file import UnusablePhoto
from tests.dataengine.photos.colour_profiles import grey_profile
from tests.dataengine.photos.test_photo_file import saved, scene

HEIGHT, WIDTH = 48, 80
PHOTO = scene(HEIGHT, WIDTH)
GREY = np.asarray(Image.fromarray(PHOTO).convert("L"))
TRUTH = np.zeros((HEIGHT, WIDTH), np.bool_)
TRUTH[5:30, 10:50] = True
WHITE = np.where(TRUTH, 255, 0).astype(np.uint8)


def cut(pixels: NDArray[np.uint8], opacity: NDArray[Any] = WHITE) -> Image.Image:
    """A picture with an opacity, (H, W) in [0, 255]."""
    image = Image.fromarray(pixels)
    image.putalpha(Image.fromarray(opacity.astype(np.uint8)))
    return image


def with_keyed_palette() -> bytes:
    indices = np.where(TRUTH, 1 + (GREY % 200), 0).astype(np.uint8)
    image = Image.fromarray(indices).convert("P")
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
    return saved(image, "PNG", transparency=0)


def flat(grey: int) -> NDArray[np.uint8]:
    return np.full((HEIGHT, WIDTH), grey, np.uint8)


# name: the file, and whether its transparency is the mask
MASKS: dict[str, tuple[bytes, bool]] = {
    "grey": (saved(WHITE, "PNG"), False),
    "grey as colours": (saved(np.dstack([WHITE] * 3), "PNG"), False),
    "grey as colours, lossy": (saved(np.dstack([WHITE] * 3), "JPEG", quality=60), False),
    "grey as colours, lossy too": (saved(np.dstack([WHITE] * 3), "WEBP", quality=60), False),
    "opaque": (saved(cut(np.dstack([WHITE] * 3), flat(255)), "PNG"), False),
    "one bit": (saved(Image.fromarray(TRUTH), "PNG"), False),
    "palette": (saved(Image.fromarray(WHITE).convert("P"), "PNG"), False),
    "16 bits": (saved(WHITE.astype(np.uint16) * 257, "PNG"), False),
    "32 bits": (saved(Image.fromarray(WHITE.astype(np.int32) * 257), "TIFF"), False),
    "floats": (saved(Image.fromarray(WHITE.astype(np.float32)), "TIFF"), False),
    "bitmap": (saved(WHITE, "BMP"), False),
    "cut-out": (saved(cut(PHOTO), "PNG"), True),
    "cut-out, nothing below": (saved(cut(PHOTO * TRUTH[..., None].astype(np.uint8)), "PNG"), True),
    "cut-out, lossy": (saved(cut(PHOTO), "WEBP", quality=60), True),
    "cut-out, tiff": (saved(cut(PHOTO), "TIFF"), True),
    "cut-out of a grey photo": (saved(cut(GREY), "PNG"), True),
    "cut-out of a dark grey photo": (saved(cut(GREY // 3), "PNG"), True),
    "cut-out in a palette": (with_keyed_palette(), True),
    "drawn white on nothing": (saved(cut(flat(255)), "PNG"), True),
    "drawn black on nothing": (saved(cut(flat(0)), "PNG"), True),
    "black is the key": (saved(WHITE, "PNG", transparency=0), True),
    "black is the key, 16 bits": (saved(WHITE.astype(np.uint16) * 257, "PNG", transparency=0), True),
}
TWO = np.where(np.arange(WIDTH) < 30, 255, 0) * np.ones((HEIGHT, 1))
REFUSED: dict[str, tuple[bytes, str]] = {
    "photo": (saved(PHOTO, "PNG"), mask_file.NOT_GREY),
    "photo, lossy": (saved(PHOTO, "JPEG"), mask_file.NOT_GREY),
    "photo, opaque": (saved(cut(PHOTO, flat(255)), "PNG"), mask_file.NOT_GREY),
    "region in red": (saved(np.dstack([WHITE, WHITE * 0, WHITE * 0]), "PNG"), mask_file.NOT_GREY),
    "cmyk": (saved(Image.fromarray(PHOTO).convert("CMYK"), "JPEG"), mask_file.NOT_GREY),
    "32 bits of another range": (saved(Image.fromarray(WHITE.astype(np.int32) * 2**20), "TIFF"), mask_file.NOT_GREY),
    "not finite": (saved(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"), mask_file.NOT_GREY),
    "nothing left": (saved(cut(PHOTO, flat(0)), "PNG"), mask_file.NO_CUT_OUT),
    "nothing cut": (saved(cut(PHOTO, flat(254)), "PNG"), mask_file.NO_CUT_OUT),
    "grey, half transparent": (saved(cut(WHITE, flat(128)), "PNG"), mask_file.NO_CUT_OUT),
    "grey, nearly opaque": (saved(cut(WHITE, 255 - WHITE // 9), "PNG"), mask_file.NO_CUT_OUT),
    "a mask in grey and another": (saved(cut(WHITE, TWO), "PNG"), mask_file.TWO_MASKS),
    "a mask in colours and another": (saved(cut(np.dstack([WHITE] * 3), TWO), "PNG"), mask_file.TWO_MASKS),
    "0 and 1": (saved(WHITE // 255, "PNG"), mask_file.LOW_VALUES),
    "8 bits in 16": (saved(WHITE.astype(np.uint16), "PNG"), mask_file.LOW_VALUES),
    "floats up to 1": (saved(Image.fromarray(TRUTH.astype(np.float32)), "TIFF"), mask_file.LOW_VALUES),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", MASKS)
def test_every_way_to_write_a_mask_gives_that_mask(kind: str) -> None:
    data, cut_out = MASKS[kind]
    mask = read_mask(data)
    assert (mask.inside == TRUTH).mean() > (0.97 if "lossy" in kind else 0.9999)
    assert mask.cut_out == cut_out and not mask.turned


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_mask_or_two_is_refused(kind: str) -> None:
    data, reason = REFUSED[kind]
    with pytest.raises(UnusableMask) as caught:
        read_mask(data)
    assert caught.value.reason == reason


def test_a_soft_matte_stays_soft() -> None:
    soft = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
    for image in (Image.fromarray(soft), cut(PHOTO, soft), cut(GREY, soft)):
        np.testing.assert_array_equal(read_mask(saved(image, "PNG")).values, soft)
    assert read_mask(saved(flat(0), "PNG")).values.max() == 0, "a black mask is a mask of nothing"


@pytest.mark.parametrize("read", [read_mask, read_map])
def test_values_are_as_stored(read: Callable[[bytes], Any]) -> None:
    sixteen = GREY.astype(np.uint16) * 250
    cases: list[tuple[Any, NDArray[Any]]] = [
        (Image.fromarray(GREY), GREY),
        (Image.fromarray(GREY).convert("RGB"), GREY),
        (cut(np.dstack([GREY] * 3), flat(255)), GREY),
        (Image.fromarray(WHITE).convert("1"), WHITE),
        (Image.fromarray(sixteen), sixteen),
    ]
    for image, expected in cases:
        made = read(saved(image, "PNG"))
        values = made if read is read_map else made.values
        assert values.dtype == expected.dtype
        np.testing.assert_array_equal(values, expected)
    made = read(saved(Image.fromarray(GREY), "PNG", icc_profile=grey_profile(1.0)))
    np.testing.assert_array_equal(made if read is read_map else made.values, GREY)


def test_a_map_has_no_transparency_and_no_colours() -> None:
    for opacity in (WHITE, flat(254)):
        with pytest.raises(UnusablePhoto, match=r"^it is transparent in places: save it white on black$"):
            read_map(saved(cut(GREY, opacity), "PNG"))
    with pytest.raises(UnusablePhoto, match="not grey"):
        read_map(saved(PHOTO, "PNG"))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("pixels", [WHITE, np.dstack([WHITE, WHITE, WHITE, WHITE])], ids=["grey", "cut-out"])
def test_a_mask_is_turned_by_its_own_orientation(format: str, pixels: NDArray[np.uint8]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.ascontiguousarray(np.rot90(pixels))  # what a camera held on its side stores under 6
    options: dict[str, Any] = {"lossless": True} if format == "WEBP" else {}
    mask = read_mask(saved(stored, format, exif=exif, **options))
    np.testing.assert_array_equal(mask.inside, TRUTH)
    assert mask.turned
    ids = read_segments(saved(np.ascontiguousarray(stored[..., :3] if stored.ndim == 3 else stored), format, exif=exif))
    assert ids.values.shape == TRUTH.shape and ids.turned


@pytest.mark.parametrize("read", [read_mask, read_map, read_segments])
def test_what_is_no_picture_is_none(read: Callable[[bytes], Any]) -> None:
    whole = saved(WHITE, "PNG")
    for data, reason in ((b"", "empty file"), (b"text", "not a photo"), (whole[:70], "corrupt photo")):
        with pytest.raises(UnusablePhoto) as caught:
            read(data)
        assert caught.value.reason == reason
    with pytest.raises(UnusablePhoto, match="pixel limit"):
        read_mask(whole, 100)
