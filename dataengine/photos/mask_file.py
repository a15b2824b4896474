"""From the bytes of a picture to a mask or a map: the only reader of mask pictures, whoever names them.

What a mask picture says is decided here, once: white on black, or, in a picture with parts cut out, what is left in it
(what background removers write). A picture of which neither is certain is refused.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from instructrestore.dataengine.photos.faults import PILLOW_ERRORS, UnusablePhoto
from instructrestore.dataengine.photos.picture_file import open_picture, upright
from instructrestore.shards.rle import MAX_PIXELS

NOT_GREY = "not grey"
NO_CUT_OUT = "transparent without a cut-out"
TWO_MASKS = "grey and transparent"
LOW_VALUES = "of too low values"

_ADVICE = "save it white on black"
# Levels between the channels of a pixel that still is grey: what lossy formats make of grey.
_GREY_SPREAD = 8
# A drawing in black and white: nearly all pixels are one or the other, and some of each.
_BLACK, _WHITE, _DRAWN, _SOME = 16, 239, 0.9, 0.005


class UnusableMask(UnusablePhoto):
    """A picture that can be read, but is no mask; the reason is one of those above."""


@dataclass(frozen=True)
class MaskPicture:
    """A mask as its file has it.

    values: (H, W), upright by the file's own EXIF: uint8 in [0, 255], or uint16 of a picture of more than 8 bits.
    cut_out: whether it is the picture's opacity, not its grey values.
    turned: whether the file's own EXIF has turned it, so that it cannot be as a photo is stored.
    """

    values: NDArray[Any]
    cut_out: bool = False
    turned: bool = False

    @property
    def inside(self) -> NDArray[np.bool_]:
        """(H, W) bool: where the mask is at least half."""
        return self.values >= (128 if self.values.dtype == np.uint8 else 128 * 256)


def read_mask(data: bytes, max_pixels: int = MAX_PIXELS) -> MaskPicture:
    """The mask in a picture: its opacity where parts are cut out, otherwise its grey values.

    A colour picture counts as grey if its channels are equal, but for what lossy formats change.
    Raises UnusablePhoto as `open_picture` does, and UnusableMask: NOT_GREY (a colour picture without a
    cut-out); NO_CUT_OUT (transparent, but nowhere more and elsewhere less than half); TWO_MASKS (a drawing in black and
    white with another in its transparency); LOW_VALUES (0 and 1, or 8-bit values in 16 bits: nearly black throughout).
    """
    image, turned = _opened(data, max_pixels)
    try:
        alpha = _alpha(image)
        values = _grey(image) if alpha is None else _cut_out(image, alpha)
    except UnusablePhoto:
        raise
    except PILLOW_ERRORS as error:
        raise UnusablePhoto("corrupt photo", str(error) or type(error).__name__) from None
    greatest, low = int(values.max()), 1 if values.dtype == np.uint8 else 255
    if 0 < greatest <= low:
        raise UnusableMask(LOW_VALUES, f"its values go up to {greatest}: save it with the region white")
    return MaskPicture(values, alpha is not None, turned)


def read_map(data: bytes, max_pixels: int = MAX_PIXELS) -> NDArray[Any]:
    """A map of grey values, (H, W), upright: uint8 in [0, 255] or uint16, as stored.

    Raises UnusablePhoto as `read_mask` does, and for any transparency: it would be lost.
    """
    image, _ = _opened(data, max_pixels)
    try:
        if _alpha(image) is not None:
            raise UnusablePhoto("it is transparent in places", _ADVICE)
        return _grey(image)
    except UnusablePhoto:
        raise
    except PILLOW_ERRORS as error:
        raise UnusablePhoto("corrupt photo", str(error) or type(error).__name__) from None


def read_segments(data: bytes, max_pixels: int = MAX_PIXELS) -> MaskPicture:
    """A panoptic PNG; its values are segment ids, (H, W) int32: R + 256 G + 65536 B. Raises UnusablePhoto."""
    image, turned = _opened(data, max_pixels)
    try:
        red, green, blue = np.moveaxis(np.asarray(image.convert("RGB")).astype(np.int32), -1, 0)
    except PILLOW_ERRORS as error:
        raise UnusablePhoto("corrupt photo", str(error) or type(error).__name__) from None
    return MaskPicture(red + 256 * green + 65536 * blue, turned=turned)


def _opened(data: bytes, max_pixels: int) -> tuple[Image.Image, bool]:
    """The picture, upright, and whether its EXIF has turned it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about metadata
        picture = open_picture(data, max_pixels)
    turned = upright(picture.image, picture)
    turned.info = picture.image.info  # a key of its transparency
    return turned, picture.orientation != 1


def _alpha(image: Image.Image) -> NDArray[np.uint8] | None:
    """(H, W) opacity in [0, 255]; None for an opaque picture."""
    if "transparency" not in image.info and image.mode not in ("LA", "La", "PA", "RGBA", "RGBa"):
        return None
    alpha = np.asarray((image.convert("LA") if image.mode == "La" else image.convert("RGBA")).getchannel("A"))
    return None if alpha.min() == 255 else alpha


def _cut_out(image: Image.Image, alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The opacity as a mask, unless it is none or the picture itself is another."""
    least, most = int(alpha.min()), int(alpha.max())
    if least >= 128 or most < 128:
        raise UnusableMask(NO_CUT_OUT, f"its opacity lies between {least} and {most} of 255: {_ADVICE}")
    try:
        grey = _grey(image)
    except UnusableMask:
        return alpha  # a colour photo, cut out
    shown = (grey if grey.dtype == np.uint8 else grey >> 8)[alpha >= 128]
    black, white = float((shown <= _BLACK).mean()), float((shown >= _WHITE).mean())
    if black + white >= _DRAWN and min(black, white) >= _SOME:
        raise UnusableMask(TWO_MASKS, f"it may be meant by its grey values or by its transparency: {_ADVICE}")
    return alpha


def _grey(image: Image.Image) -> NDArray[Any]:
    """(H, W) grey values, uint8 or uint16, whatever the picture's transparency. Raises UnusableMask(NOT_GREY)."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise UnusableMask(NOT_GREY, f"values from {values.min()} to {values.max()} fit no grey of 16 bits")
        return values.astype(np.uint16)
    if image.mode == "F" and np.isfinite(np.asarray(image)).all():
        return np.asarray(image.convert("L"))
    if image.mode in ("1", "L", "LA", "La"):
        return np.asarray((image.convert("LA") if image.mode == "La" else image).convert("L"))
    if image.mode not in ("P", "PA", "RGB", "RGBA", "RGBa"):
        raise UnusableMask(NOT_GREY, f"Pillow mode {image.mode}")
    plain = image.convert("RGBA").convert("RGB")
    channels = np.asarray(plain)
    if (channels.max(-1) - channels.min(-1) > _GREY_SPREAD).any():
        raise UnusableMask(NOT_GREY, "its colours differ from one another")
    return np.asarray(plain.convert("L"))
