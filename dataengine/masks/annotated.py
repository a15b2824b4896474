"""The masks a source brings: polygons, run lengths, segments of a panoptic PNG, mattes and mask files.

The paper reuses EntitySeg's own annotations. What people and other programs wrote is never trusted: an unusable mask is
left out and counted under one of the reasons below, and the photo is kept.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from instructrestore.dataengine.photos import photo_file
from instructrestore.dataengine.photos.row import Annotation, PolygonMask, RunMask, SegmentMask
from instructrestore.shards import rle
from instructrestore.shards.rle import BoolArray

_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
FEW_POINTS = "polygon of fewer than three points"
BAD_POLYGON = "bad polygon"
OUTSIDE = "polygon outside the photo"
BAD_RUNS = "bad run-length code"
OTHER_SIZE = "mask of another size"
NOT_FOUND = "mask not found"
NOT_READABLE = "mask not readable"
NO_SEGMENT = "segment not in the picture"
EMPTY = "empty mask"


class _UnusableMask(ValueError):
    """A mask that is left out; the text is the reason under which it is counted."""


def each_mask(
    annotations: Sequence[Annotation], height: int, width: int, counts: Counter[str]
) -> Iterator[tuple[BoolArray, Annotation]]:
    """The usable masks, (height, width) bool each, with their annotations, in the order given; the others are counted
    in `counts` by reason. Masks come one at a time, so that those of a large photo need not all be in memory.

    height, width: the photo's upright size in pixels. If a photo is stored on its side, a mask of that stored size is
    "mask of another size": this is not the place to guess which way it would have to be turned.
    Raises OSError if a mask's file exists but its storage does not answer.
    """
    pictures = _Pictures(height, width)
    for annotation in annotations:
        try:
            mask = _mask(annotation.mask, height, width, pictures)
            if not mask.any():
                raise _UnusableMask(EMPTY)
        except _UnusableMask as unusable:
            counts[str(unusable)] += 1
        else:
            yield mask, annotation


def _mask(mask: PolygonMask | RunMask | SegmentMask, height: int, width: int, pictures: _Pictures) -> BoolArray:
    if isinstance(mask, PolygonMask):
        return _polygons(mask.rings, height, width)
    if isinstance(mask, RunMask):
        return _runs(mask, height, width)
    if mask.id is None:
        return pictures.matte(mask.uri)
    segment = pictures.ids(mask.uri) == mask.id
    if not segment.any():
        raise _UnusableMask(NO_SEGMENT)
    return segment


def _polygons(rings: list[list[float]], height: int, width: int) -> BoolArray:
    if any(len(ring) < 6 for ring in rings):
        raise _UnusableMask(FEW_POINTS)
    if not rings or any(len(ring) % 2 for ring in rings) or not all(map(math.isfinite, chain.from_iterable(rings))):
        raise _UnusableMask(BAD_POLYGON)
    # People click slightly past the edge but never far: a point far outside was drawn on a photo of another size.
    slack = 2 + 0.02 * max(height, width)
    points = np.concatenate([np.reshape(ring, (-1, 2)) for ring in rings])
    if (points < -slack).any() or (points > (width + slack, height + slack)).any():
        raise _UnusableMask(OUTSIDE)
    try:
        return rle.polygons(rings, height, width).array()
    except ValueError:
        raise _UnusableMask(BAD_POLYGON) from None


def _runs(mask: RunMask, height: int, width: int) -> BoolArray:
    if (mask.height, mask.width) != (height, width):
        raise _UnusableMask(OTHER_SIZE)
    try:
        if isinstance(mask.counts, str):
            return rle.Mask(height, width, mask.counts).array()
        return rle.uncompressed(mask.counts, height, width).array()
    except ValueError:
        raise _UnusableMask(BAD_RUNS) from None


class _Pictures:
    """Reads a photo's mask images; a panoptic PNG with many segments is read once."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self._ids: dict[str, NDArray[np.uint32] | _UnusableMask] = {}

    def ids(self, uri: str) -> NDArray[np.uint32]:
        """A panoptic PNG as (H, W) uint32 segment ids: R + 256 G + 65536 B."""
        if uri not in self._ids:
            try:
                rgb = self._open(uri, exact=True, mode="RGB").astype(np.uint32)
                self._ids[uri] = rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]
            except _UnusableMask as unusable:
                self._ids[uri] = unusable
        ids = self._ids[uri]
        if isinstance(ids, _UnusableMask):
            raise _UnusableMask(str(ids))
        return ids

    def matte(self, uri: str) -> BoolArray:
        """A matte or mask file as (H, W) bool: inside where its grey value is at least half."""
        grey = self._open(uri, exact=False, mode="L")
        # 16-bit grey is compared as it is: Pillow would clip it, not scale it.
        inside = grey >= (128 if grey.dtype == np.uint8 else 128 * 256)
        if inside.shape != (self.height, self.width):
            inside = np.asarray(Image.fromarray(inside).resize((self.width, self.height), Image.Resampling.NEAREST))
        return np.ascontiguousarray(inside)

    def _open(self, uri: str, exact: bool, mode: str) -> NDArray[Any]:
        """The image's pixels, of the photo's size, or, unless `exact`, of its aspect within 1%.

        mode: the Pillow mode to convert to; for "L", 16-bit and 32-bit grey stay unchanged.
        """
        try:
            data = photo_file.read_bytes(uri)
        except FileNotFoundError:
            raise _UnusableMask(NOT_FOUND) from None
        except photo_file.UnusablePhoto:
            raise _UnusableMask(NOT_READABLE) from None
        try:
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
            size = image.size
            if size == (self.width, self.height) or (not exact and self._scaled(size)):
                image.load()
                keep = mode == "L" and image.mode.startswith("I")
                return np.asarray(image if keep else image.convert(mode))
        except photo_file.PILLOW_ERRORS:
            raise _UnusableMask(NOT_READABLE) from None
        raise _UnusableMask(OTHER_SIZE)

    def _scaled(self, size: tuple[int, int]) -> bool:
        """Whether an image of (width, height) can be the photo's mask at another size, and is not too big."""
        aspect = (size[0] * self.height) / (size[1] * self.width)
        return 0.99 <= aspect <= 1.01 and size[0] * size[1] <= photo_file.MAX_PIXELS
