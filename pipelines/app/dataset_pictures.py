"""Pictures of a data set's photos: small ones, whole ones, ones with coloured regions, and masks."""

from __future__ import annotations

from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from instructrestore.dataengine.photos.photo_file import UnusablePhoto, decode
from instructrestore.dataengine.reporting.drawing import overlay
from instructrestore.pipelines.app.pictures import THUMBNAIL, as_png, scaled_down
from instructrestore.pipelines.pictures.source_photo import DECODING_ERRORS
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import AnnotatedPhoto

_FORMATS = ("JPEG", "PNG", "WEBP")
_QUALITY = 82


def small(data: bytes, width: int, height: int) -> bytes:
    """A thumbnail as JPEG of a stored photo of that size. Raises UnusablePhoto where it is another or damaged.

    A JPEG is decoded at a fraction of its size, which takes a fifth of the time.
    """
    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as image:
            if image.size != (width, height):
                raise UnusablePhoto("corrupt photo", f"it is {image.size[0]}x{image.size[1]}")
            image.draft("RGB", (2 * THUMBNAIL, 2 * THUMBNAIL))
            return _jpeg(scaled_down(image.convert("RGB"), THUMBNAIL))
    except UnusablePhoto:
        raise
    except DECODING_ERRORS as error:
        raise UnusablePhoto("corrupt photo", str(error) or type(error).__name__) from None


def small_of_any(data: bytes, max_pixels: int) -> bytes:
    """A thumbnail as JPEG of a photo as it may come to a build. Raises UnusablePhoto."""
    return _jpeg(scaled_down(Image.fromarray(decode(data, max_pixels).rgb), THUMBNAIL))


def small_with_regions(sample: AnnotatedPhoto, data: bytes) -> bytes:
    """A thumbnail as JPEG with the regions in colour. Raises UnusablePhoto."""
    rgb = decode(data, sample.photo.width * sample.photo.height).rgb
    return _jpeg(overlay(rgb, sample, THUMBNAIL))


def whole(data: bytes, width: int, height: int, longest: int | None) -> bytes:
    """A stored photo as JPEG, at most `longest` pixels on its longer side. Raises UnusablePhoto."""
    image = Image.fromarray(decode(data, width * height).rgb)
    return _jpeg(scaled_down(image, longest) if longest else image, 90)


def mask_picture(mask: Mask, longest: int | None) -> bytes:
    """A mask as PNG: white, and clear outside. Soft at the edge where it is scaled down."""
    values = mask.array().astype(np.uint8) * np.uint8(255)
    if longest and max(values.shape) > longest:
        scale = longest / max(values.shape)
        size = max(1, round(values.shape[1] * scale)), max(1, round(values.shape[0] * scale))
        values = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
    alpha = Image.fromarray(np.asarray(values, np.uint8))
    return as_png(Image.merge("LA", (Image.new("L", alpha.size, 255), alpha)))


def _jpeg(image: Image.Image, quality: int = _QUALITY) -> bytes:
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()
