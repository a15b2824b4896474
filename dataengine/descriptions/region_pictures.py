"""The two pictures that show a vision-language model which region of a photo is meant, as JPEG.

    overview    the whole photo, the region outlined
    crop        the region with some of its surroundings, at the photo's own resolution, outlined as well

The outline is drawn around the region and covers none of it, except where the region reaches the picture's edge.
"""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

REVISION = "1"  # raised when the same region gives other pictures

OUTLINE = (230, 20, 30)
RIM = (255, 255, 255)
MAX_JPEG_BYTES = 1 << 20
_LINES = 256  # how many lines would fill the longer side: the thickness of the outline, and of its rim
_THINNEST = 2  # px; a single row of pixels is lost between JPEG's blocks
_MARGIN = 0.15  # around the region's box, as a share of its longer side
_LEAST_MARGIN = 16  # px of the photo
_SMALLEST = 224  # px; smaller crops are enlarged to this longer side: models see little in a few pixels


@dataclass(frozen=True)
class RegionPictures:
    """A region's pictures as they are sent. overview, crop: JPEG, sRGB, at most MAX_JPEG_BYTES each."""

    overview: bytes
    crop: bytes

    @property
    def digest(self) -> str:
        """64 hex digits of both pictures."""
        first = hashlib.sha256(self.overview).digest()
        return hashlib.sha256(first + self.crop).hexdigest()

    def urls(self) -> tuple[str, str]:
        """Overview and crop as data URLs."""
        overview, crop = (base64.b64encode(picture).decode() for picture in (self.overview, self.crop))
        return f"data:image/jpeg;base64,{overview}", f"data:image/jpeg;base64,{crop}"


class Pictures:
    """Makes the pictures of one photo's regions.

    rgb: (H, W, 3) uint8, sRGB. longest_side: of the pictures, in pixels. quality: of the JPEG, 1..100.
    """

    def __init__(self, rgb: NDArray[np.uint8], longest_side: int, quality: int) -> None:
        self._longest, self._quality = longest_side, quality
        self._photo = Image.fromarray(np.ascontiguousarray(rgb))
        self._small = _resized(self._photo, _fitting(self._photo.size, 1, longest_side))

    def of(self, mask: NDArray[np.bool_]) -> RegionPictures:
        """mask: (H, W) bool, not empty."""
        assert mask.shape == (self._photo.height, self._photo.width), mask.shape
        assert mask.any(), "an empty mask"
        left, top, right, bottom = _around(mask)
        near = self._photo.crop((left, top, right, bottom))
        near = _resized(near, _fitting(near.size, min(_SMALLEST, self._longest), self._longest))
        near_mask = np.ascontiguousarray(mask[top:bottom, left:right])
        return RegionPictures(
            _jpeg(outlined(self._small, _scaled(mask, self._small.size)), self._quality),
            _jpeg(outlined(near, _scaled(near_mask, near.size)), self._quality),
        )


def outlined(picture: Image.Image, mask: NDArray[np.bool_]) -> Image.Image:
    """A copy of `picture` (mode RGB) with a red line around the mask and a white one around that: one of the two is
    visible on any background. mask: (H, W) bool of its size."""
    line = max(_THINNEST, round(max(picture.size) / _LINES))
    pixels = np.array(picture)
    red, both = _grown(mask, line), _grown(mask, 2 * line)
    # Along the picture's edge there is no room around the region.
    edge = np.ones_like(mask)
    edge[line:-line, line:-line] = False
    pixels[both & ~mask] = RIM
    pixels[(red & ~mask) | (mask & edge)] = OUTLINE
    return Image.fromarray(pixels)


def _grown(mask: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * by + 1, 2 * by + 1))
    return cv2.dilate(mask.view(np.uint8), disc).astype(np.bool_)


def _around(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom (excluded) of the region's box with its margin, within the photo."""
    left, top, width, height = cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8))
    margin = max(_LEAST_MARGIN, round(_MARGIN * max(width, height)))
    return (
        max(0, left - margin),
        max(0, top - margin),
        min(mask.shape[1], left + width + margin),
        min(mask.shape[0], top + height + margin),
    )


def _fitting(size: tuple[int, int], least: int, most: int) -> tuple[int, int]:
    """(width, height) scaled so that the longer side is within least..most."""
    longer = max(size)
    scale = min(max(longer, least), most) / longer
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)


def _scaled(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask at (width, height), with at least one pixel, however small the region is."""
    if (mask.shape[1], mask.shape[0]) == size:
        return mask
    way = cv2.INTER_AREA if size[0] < mask.shape[1] else cv2.INTER_LINEAR
    scaled = cv2.resize(mask.view(np.uint8), size, interpolation=way).astype(np.bool_)
    if not scaled.any():  # too thin to fill half of any pixel
        cover = cv2.resize(mask.astype(np.float32), size, interpolation=way)
        scaled = np.asarray(cover >= 0.5 * cover.max(), np.bool_)
    return scaled


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    """As JPEG; scaled down if it exceeds MAX_JPEG_BYTES, as only noise does."""
    while True:
        data = io.BytesIO()
        picture.save(data, "jpeg", quality=quality, subsampling=0)  # full colour: the line is a few pixels wide
        if data.tell() <= MAX_JPEG_BYTES:
            return data.getvalue()
        picture = _resized(picture, _fitting(picture.size, 1, max(picture.size) * 3 // 4))
