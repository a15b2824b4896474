"""Which page of a TIFF is the photo, and which files hold more than one."""

from __future__ import annotations

import numpy as np
import pytest

from instructrestore.dataengine.photos.photo_file import UnusablePhoto, decode
from instructrestore.dataengine.photos.tiff_pages import with_one_page
from tests.dataengine.photos.test_photo_file import saved, scene
from tests.dataengine.photos.tiff_files import Page, tiff

PHOTO, SMALL = scene(48, 80), scene(12, 20)
# How a page says that it is a smaller copy: NewSubfileType, with or without "of a file of many pages"; SubfileType;
# and EXIF's thumbnail.
COPIES = {"new": {254: 1}, "of many": {254: 3}, "old": {255: 2}, "exif": {259: 6, 513: 99, 514: 10}}


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
@pytest.mark.parametrize("kind", COPIES)
def test_a_photo_with_smaller_copies_is_the_photo(order: str, big: bool, kind: str) -> None:
    copy, photo = Page(SMALL, COPIES[kind]), Page(PHOTO, {254: 0})
    for pages in ([photo, copy], [photo, copy, copy], [copy, photo], [photo]):
        decoded = decode(tiff(pages, order, big))
        np.testing.assert_array_equal(decoded.rgb, PHOTO)
        assert (decoded.format, decoded.notes) == ("tiff", ())


@pytest.mark.parametrize("big", [False, True])
def test_other_pages_are_several(big: bool) -> None:
    photo, mask = Page(PHOTO), Page(PHOTO, {254: 4})
    for pages in ([photo, photo], [photo, mask], [photo, Page(SMALL)], [photo, Page(SMALL, {254: 1}), photo]):
        with pytest.raises(UnusablePhoto, match=rf"^several pages: {len(pages)} pages in one file$"):
            decode(tiff(pages, big=big))
    with pytest.raises(UnusablePhoto, match="several pages"):
        decode(tiff([Page(SMALL, {254: 1}), Page(SMALL, {254: 1})], big=big))


def test_one_page_is_the_photo_whatever_it_calls_itself() -> None:
    data = tiff([Page(PHOTO, {254: 1})])
    np.testing.assert_array_equal(decode(data).rgb, PHOTO)
    assert with_one_page(data) is data


def test_a_raw_files_small_copy_is_not_taken_for_the_photo() -> None:
    with pytest.raises(UnusablePhoto, match="unsupported format: a raw file"):
        decode(tiff([Page(SMALL, {254: 1, 330: 999})]))
    # A pyramid below the photo is no reason.
    np.testing.assert_array_equal(decode(tiff([Page(PHOTO, {330: 999})])).rgb, PHOTO)


def test_a_chain_of_pages_that_breaks_off_or_runs_in_a_circle() -> None:
    whole = tiff([Page(PHOTO)])
    with pytest.raises(UnusablePhoto, match="corrupt photo: its page 2 cannot be read"):
        decode(tiff([Page(PHOTO)], link=len(whole) + 100))
    np.testing.assert_array_equal(decode(tiff([Page(PHOTO)], link=8)).rgb, PHOTO)
    assert with_one_page(b"II*\0") == b"II*\0"
    assert with_one_page(whole[:20]) == whole[:20]


def test_compressed_pages_are_chosen_alike() -> None:
    from PIL import Image

    pages = [Image.fromarray(PHOTO), Image.fromarray(SMALL)]
    data = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    with pytest.raises(UnusablePhoto, match="several pages"):
        decode(data)
