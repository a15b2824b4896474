"""The masks a source brings: polygons, run lengths, segments of a panoptic PNG, mattes and mask files.

The paper reuses EntitySeg's own annotations. What people and other programs wrote is never trusted: an unusable mask is
left out and counted under one of the reasons below, and the photo is kept.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np

from instructrestore.dataengine.masks.placing import Fit, PhotoFrame
from instructrestore.dataengine.photos import mask_file, photo_file
from instructrestore.dataengine.photos.mask_file import MaskPicture, UnusableMask
from instructrestore.dataengine.photos.row import Annotation, PolygonMask, RunMask, SegmentMask
from instructrestore.shards import rle
from instructrestore.shards.rle import BoolArray

FEW_POINTS = "polygon of fewer than three points"
BAD_POLYGON = "bad polygon"
OUTSIDE = "polygon outside the photo"
BAD_RUNS = "bad run-length code"
OTHER_SIZE = "mask of another size"
NOT_FOUND = "mask not found"
NOT_READABLE = "mask not readable"
NO_SEGMENT = "segment not in the picture"
EMPTY = "empty mask"

RING_LEFT_OUT = "ring of fewer than three points left out"
SCALED = "mask scaled to the photo"
TURNED = "mask turned with the photo"
CUT_OUT = "mask from a cut-out"
NOTES = frozenset((RING_LEFT_OUT, SCALED, TURNED, CUT_OUT))
"""Reasons that are noticed of masks which are used; all others stand for one mask that is left out."""


class _UnusableMask(ValueError):
    """A mask that is left out; the text is the reason under which it is counted."""


def each_mask(
    annotations: Sequence[Annotation],
    height: int,
    width: int,
    counts: Counter[str],
    orientation: int = 1,
    annotated_size: tuple[int, int] | None = None,
) -> Iterator[tuple[BoolArray, Annotation]]:
    """The usable masks, (height, width) bool each, with their annotations, in the order given; the others are counted
    in `counts` by reason, and so is what is noticed of those used (`NOTES`). Masks come one at a time, so that those of
    a large photo need not all be in memory.

    height, width: the photo's upright size in pixels. orientation: the EXIF orientation of its file.
    annotated_size: (height, width) that the source states for the photo its polygons were drawn on; None: as upright.
    Masks that were made on the photo as stored on its side, or on a smaller or larger one, are laid on it
    (placing.py). Raises OSError if a mask's file exists but its storage does not answer.
    """
    reader = _Reader(PhotoFrame(height, width, orientation), annotated_size or (height, width))
    for annotation in annotations:
        try:
            notes = Counter[str]()
            mask = reader.mask(annotation.mask, notes)
            if not mask.any():
                raise _UnusableMask(EMPTY)
        except _UnusableMask as unusable:
            counts[str(unusable)] += 1
        else:
            counts.update(notes)
            yield mask, annotation


class _Reader:
    """Reads a photo's masks; a panoptic PNG with many segments is read once."""

    def __init__(self, frame: PhotoFrame, annotated_size: tuple[int, int]) -> None:
        self.frame, self.annotated_size = frame, annotated_size
        self.max_pixels = max(photo_file.MAX_PIXELS, frame.height * frame.width)
        self._segments: dict[str, MaskPicture | _UnusableMask] = {}

    def mask(self, mask: PolygonMask | RunMask | SegmentMask, notes: Counter[str]) -> BoolArray:
        """(H, W) bool on the upright photo. Raises _UnusableMask."""
        if isinstance(mask, PolygonMask):
            return self._polygons(mask.rings, notes)
        if isinstance(mask, RunMask):
            return self._runs(mask, notes)
        if mask.id is None:
            picture = self._picture(mask.uri)
            notes.update([CUT_OUT] if picture.cut_out else [])
            return self.frame.laid(picture.inside, self._fit(picture.values.shape, notes, not picture.turned))
        picture = self._segments_of(mask.uri)
        fit = self._fit(picture.values.shape, notes, not picture.turned)
        segment = picture.values == mask.id
        if not segment.any():
            raise _UnusableMask(NO_SEGMENT)
        return self.frame.laid(segment, fit)

    def _fit(self, size: tuple[int, ...], notes: Counter[str], turnable: bool = True) -> Fit:
        """How a mask of (height, width) lies on the photo."""
        height, width = size
        fit = self.frame.fit(height, width, turnable)
        if fit is None or height * width > self.max_pixels:
            raise _UnusableMask(OTHER_SIZE)
        notes.update(note for note, noticed in ((SCALED, fit.scaled), (TURNED, fit.turned)) if noticed)
        return fit

    def _polygons(self, rings: list[list[float]], notes: Counter[str]) -> BoolArray:
        fit = self._fit(self.annotated_size, notes)
        # What people click by mistake encloses nothing, so the thing is the same without it.
        drawn = [ring for ring in rings if len(ring) >= 6]
        if rings and not drawn:
            raise _UnusableMask(FEW_POINTS)
        if not rings or any(len(ring) % 2 for ring in drawn) or not all(map(math.isfinite, chain.from_iterable(drawn))):
            raise _UnusableMask(BAD_POLYGON)
        if len(drawn) < len(rings):
            notes[RING_LEFT_OUT] += len(rings) - len(drawn)
        points = [np.reshape(ring, (-1, 2)) for ring in drawn]
        height, width = fit.height, fit.width
        if fit.scaled:
            scale = (width / self.annotated_size[1], height / self.annotated_size[0])
            points = [ring * scale for ring in points]
        # People click slightly past the edge but never far: a point far outside was drawn on a photo of another size.
        slack = 2 + 0.02 * max(height, width)
        every = np.concatenate(points)
        if (every < -slack).any() or (every > (width + slack, height + slack)).any():
            raise _UnusableMask(OUTSIDE)
        try:
            mask = rle.polygons([ring.ravel().tolist() for ring in points], height, width).array()
        except ValueError:
            raise _UnusableMask(BAD_POLYGON) from None
        # The points are scaled already, which is more exact than to scale pixels.
        return self.frame.laid(mask, Fit(height, width, fit.turned, scaled=False))

    def _runs(self, mask: RunMask, notes: Counter[str]) -> BoolArray:
        if mask.height < 1 or mask.width < 1:
            raise _UnusableMask(BAD_RUNS)
        fit = self._fit((mask.height, mask.width), notes)
        try:
            if isinstance(mask.counts, str):
                return self.frame.laid(rle.Mask(mask.height, mask.width, mask.counts).array(), fit)
            return self.frame.laid(rle.uncompressed(mask.counts, mask.height, mask.width).array(), fit)
        except ValueError:
            raise _UnusableMask(BAD_RUNS) from None

    def _segments_of(self, uri: str) -> MaskPicture:
        if uri not in self._segments:
            try:
                self._segments[uri] = mask_file.read_segments(self._bytes(uri), self.max_pixels)
            except _UnusableMask as unusable:
                self._segments[uri] = unusable
            except photo_file.UnusablePhoto:
                self._segments[uri] = _UnusableMask(NOT_READABLE)
        found = self._segments[uri]
        if isinstance(found, _UnusableMask):
            raise _UnusableMask(str(found))
        return found

    def _picture(self, uri: str) -> MaskPicture:
        try:
            return mask_file.read_mask(self._bytes(uri), self.max_pixels)
        except UnusableMask as unusable:
            raise _UnusableMask(f"mask {unusable.reason}") from None
        except photo_file.UnusablePhoto:
            raise _UnusableMask(NOT_READABLE) from None

    def _bytes(self, uri: str) -> bytes:
        try:
            return photo_file.read_bytes(uri)
        except FileNotFoundError:
            raise _UnusableMask(NOT_FOUND) from None
        except photo_file.UnusablePhoto:
            raise _UnusableMask(NOT_READABLE) from None
