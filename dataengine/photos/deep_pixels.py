"""The 16 bits a channel of a PNG or a TIFF, which Pillow reduces to 8 in colour: the low bytes, by its own decoders.

Pillow unpacks 16-bit colours by taking the high byte of each value. Told that the file has the other byte order, the
same decoder takes the low one: every layout and compression that it reads is read alike.
"""

from __future__ import annotations

import sys
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import TiffImageFile

from instructrestore.dataengine.photos.picture_file import OpenPicture, opener, upright
from instructrestore.dataengine.photos.tiff_pages import with_one_page

_OTHER = "16B" if sys.byteorder == "little" else "16L"
_SWAPPED = {"16B": "16L", "16L": "16B", "16N": _OTHER}
_PLANAR = 284  # a TIFF's tag: 2 where each channel lies by itself
_WHOLE = ("RGB", "RGBA")  # layouts whose values Pillow takes the high byte of, and does nothing else with


def deep_pixels(data: bytes, picture: OpenPicture) -> NDArray[np.uint16] | None:
    """The picture's values as they are stored, upright: (H, W) grey, (H, W, 3) RGB, or (H, W, 4) with transparency.

    data: its file. None where it has no 16 bits a channel, or where they cannot be had (CMYK, transparency that is
    multiplied into the colours, grey with transparency, a TIFF of separate channels). Raises what Pillow raises over
    damaged bytes.
    """
    image = upright(picture.image, picture)
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if picture.format not in ("png", "tiff"):
        return None
    again = opener(picture.format)(BytesIO(with_one_page(data) if picture.format == "tiff" else data))
    if isinstance(again, TiffImageFile) and again.tag_v2.get(_PLANAR, 1) != 1:
        return None
    tiles = []
    for tile in again.tile:
        # Of a TIFF that libtiff decodes, the layout comes first among other arguments.
        first, *others = (tile.args,) if isinstance(tile.args, str) else (tile.args or ("",))
        raw, _, order = str(first).partition(";")
        if order not in _SWAPPED or raw not in _WHOLE or raw != again.mode:
            return None
        swapped = f"{raw};{_SWAPPED[order]}"
        tiles.append(tile._replace(args=swapped if isinstance(tile.args, str) else (swapped, *others)))
    if not tiles:
        return None
    again.tile = tiles
    again.load()
    low = upright(again, picture)
    assert (low.size, low.mode) == (image.size, image.mode), "the same file"
    return np.asarray(image).astype(np.uint16) * np.uint16(256) + np.asarray(low)
