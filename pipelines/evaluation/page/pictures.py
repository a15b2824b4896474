"""Pictures for a page: photos as JPEGs of one quality, a mask as the outline that an SVG path draws."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

PICTURES_BYTES = 9_000_000  # of all JPEGs of a page together; a third more as base64
_QUALITIES = (95, 90, 84, 75, 64)
_LARGEST_SIDE = 1024
_CONTOURS = 400  # of one mask, the largest; any others are specks
_ZOOM_MARGIN = 0.12  # around the region, of its larger side
_LARGEST_ZOOM = 8.0


def encoded(pictures: Sequence[Image.Image], max_bytes: int = PICTURES_BYTES) -> list[bytes]:
    """RGB pictures as JPEGs of at most `max_bytes` together.

    All have the same quality and largest side: they are to be compared, and none may look better just for its encoding.
    """
    side = _LARGEST_SIDE
    while True:
        fitting = [_fitted(picture, side) for picture in pictures]
        for quality in _QUALITIES:
            files = [_jpeg(picture, quality) for picture in fitting]
            if sum(map(len, files)) <= max_bytes or side < 32:
                return files
        side = side * 3 // 4


def data_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def outline(mask: np.ndarray) -> str:
    """The borders of a mask, (H, W) bool, holes too, as the `d` of an SVG path in pixels; "" for an empty mask."""
    # A frame of one pixel, so that a region's border is also drawn at the photo's edge.
    framed = np.pad(mask, 1).astype(np.uint8)
    contours, _ = cv2.findContours(framed, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    largest = sorted(contours, key=cv2.contourArea, reverse=True)[:_CONTOURS]
    tolerance = max(0.7, max(mask.shape) / 800)  # pixels
    paths = []
    for contour in largest:
        points = cv2.approxPolyDP(contour, tolerance, closed=True)[:, 0] - 0.5  # less the frame, at pixels' centres
        if len(points) > 2:
            paths.append("M" + "L".join(f"{x:g} {y:g}" for x, y in points) + "Z")
    return "".join(paths)


@dataclass(frozen=True)
class View:
    """The part of a photo to zoom to. left, top: its corner, from 0 to 1. zoom: the magnification."""

    left: float
    top: float
    zoom: float


def view_of(mask: np.ndarray) -> View:
    """The part of the photo, in the photo's proportions, that shows a mask (H, W) bool; all of it if that is empty."""
    if not mask.any():
        return View(0, 0, 1)
    spans = []
    for axis in (1, 0):  # across, then down
        at = np.flatnonzero(mask.any(axis=1 - axis))
        spans.append((at[0] / mask.shape[axis], (at[-1] + 1) / mask.shape[axis]))
    share = min(1.0, max(end - start for start, end in spans) * (1 + 2 * _ZOOM_MARGIN))
    share = max(share, 1 / _LARGEST_ZOOM)
    left, top = (min(max((start + end - share) / 2, 0.0), 1 - share) for start, end in spans)
    return View(round(float(left), 4), round(float(top), 4), round(1 / float(share), 3))


def _fitted(picture: Image.Image, side: int) -> Image.Image:
    if max(picture.size) <= side:
        return picture
    scale = side / max(picture.size)
    width, height = (max(1, round(length * scale)) for length in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    # Colour at full resolution. Not `optimize`, for which Pillow's buffer is too small if a picture is all noise.
    picture.save(file, "jpeg", quality=quality, subsampling=0)
    return file.getvalue()
