"""Pictures that the page shows: a photo upright in sRGB, small or whole; masks; and uploads read into both."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from instructrestore.dataengine.masks.placing import PhotoFrame
from instructrestore.dataengine.photos.colour_profile import to_srgb
from instructrestore.dataengine.photos.mask_file import read_mask
from instructrestore.model.restoring.sizes import MIN_SIDE
from instructrestore.pipelines.app.records import MaskRecord, PhotoRecord
from instructrestore.pipelines.app.settings import Limits
from instructrestore.pipelines.app.shelf import Missing, Shelf, check_room, new_id, now
from instructrestore.pipelines.pictures.source_photo import read_photo
from instructrestore.shards.files import commit

LOSSLESS_PIXELS = 4_000_000  # larger pictures are shown as JPEG; smaller copies from half of it on
THUMBNAIL = 256  # px, the longer side
_QUALITY = 93


def take_photo(shelf: Shelf, name: str, data: bytes, limits: Limits) -> PhotoRecord:
    """Keeps an uploaded photo. Raises ValueError or OSError, in one sentence, for what cannot be restored or kept."""
    if shelf.photo_count() >= limits.photos:
        raise ValueError(f"there are {limits.photos} photos already: remove some first")
    check_room(shelf.folder, 4 * len(data), limits.room)
    id, file = shelf.begin_photo(name)
    try:
        file.write_bytes(data)
        source = read_photo(file, limits.pixels)
        width, height = source.image.size
        if min(width, height) < MIN_SIDE:
            raise ValueError(
                f"it is too small: {width}x{height}, and the shorter side must be at least {MIN_SIDE} pixels"
            )
        photo = PhotoRecord(
            id=id, name=file.name, width=width, height=height, bytes=len(data), notes=list(source.notes), created=now()
        )
        shelf.keep_photo(photo)
    except BaseException:
        with suppress(Missing):  # its session was removed meanwhile
            shelf.drop_photo(id)
        raise
    return photo


def take_mask(shelf: Shelf, photo: PhotoRecord, name: str, data: bytes, limits: Limits) -> MaskRecord:
    """Keeps an uploaded mask at its photo's size: as it is, or scaled where the aspect is the same.

    Raises ValueError, in one sentence, for a picture that is no mask of this photo.
    """
    check_room(shelf.folder, 4 * len(data), limits.room)
    picture = read_mask(data, limits.pixels)
    values = picture.values if picture.values.dtype == np.uint8 else (picture.values >> 8).astype(np.uint8)
    notes = ["the picture is a cut-out: what is left in it is the region"] if picture.cut_out else []
    if values.shape != (photo.height, photo.width):
        height, width = values.shape
        fit = PhotoFrame(photo.height, photo.width, 1).fit(height, width, turnable=False)
        if fit is None:
            raise ValueError(
                f"the mask is {width}x{height} and the photo {photo.width}x{photo.height}: it must have the photo's "
                "size or its aspect"
            )
        values = cv2.resize(values, (photo.width, photo.height), interpolation=cv2.INTER_LINEAR)
        notes.append(f"the mask of {width}x{height} was scaled to the photo's size")
    return keep_mask(shelf, photo, name, np.asarray(values, np.uint8), notes)


def keep_mask(shelf: Shelf, photo: PhotoRecord, name: str, values: NDArray[np.uint8], notes: list[str]) -> MaskRecord:
    """values: (H, W) uint8 in [0, 255], of the photo's size. Raises Missing if the photo is gone by now."""
    assert values.shape == (photo.height, photo.width), values.shape
    share = float(values.mean() / 255)
    if not values.any():
        notes = [*notes, "the mask is black everywhere: its region is empty"]
    mask = MaskRecord(
        id=new_id(), photo=photo.id, name=name, width=photo.width, height=photo.height, share=share, notes=notes
    )
    shelf.keep_mask(mask, as_png(Image.fromarray(values)))
    if photo.own:
        try:
            shelf.photo(photo.id)
        except Missing:  # it was removed meanwhile, with its other masks
            shelf.drop_mask(mask.id)
            raise
    return mask


def shown(path: Path, longest: int | None) -> tuple[bytes, str]:
    """A photo's file as a picture in sRGB, at most `longest` pixels on its longer side, and its media type."""
    image = _in_srgb(path, longest)
    if image.size[0] * image.size[1] <= (LOSSLESS_PIXELS if longest is None else LOSSLESS_PIXELS // 2):
        return as_png(image), "image/png"
    return as_jpeg(image), "image/jpeg"


def _in_srgb(path: Path, longest: int | None) -> Image.Image:
    source = read_photo(path)
    image = source.image
    if longest and max(image.size) > longest:
        image = scaled_down(image, longest)
    return to_srgb(image, source.icc_profile)[0] if source.icc_profile else image


def small_copy(path: Path, kept: Path) -> bytes:
    """A photo's thumbnail as JPEG; kept: where it is, once it was made."""
    if kept.exists():
        return kept.read_bytes()
    data = as_jpeg(_in_srgb(path, THUMBNAIL))
    with suppress(OSError):  # a full disk: then it is made again
        commit(kept, data)
    return data


def scaled_down(image: Image.Image, longest: int) -> Image.Image:
    """The picture at most `longest` pixels on its longer side."""
    scale = min(1.0, longest / max(image.size))
    size = max(1, round(image.size[0] * scale)), max(1, round(image.size[1] * scale))
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def as_png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def as_jpeg(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "JPEG", quality=_QUALITY, subsampling=0)
    return file.getvalue()


def png_at(path: Path, longest: int | None) -> bytes:
    """A PNG of ours, smaller where it is larger than that."""
    if not longest:
        return path.read_bytes()
    with Image.open(path, formats=("PNG",)) as image:
        image.load()
        return as_png(scaled_down(image, longest)) if max(image.size) > longest else path.read_bytes()
