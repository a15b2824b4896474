"""A restored photo's PNG, with its photo's colour profile, EXIF and XMP, and the record of how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from instructrestore.pipelines.pictures.exif import sized_exif
from instructrestore.pipelines.pictures.source_photo import DECODING_ERRORS, XMP_KEY

RECORD_KEY = "instructrestore"


def to_png(
    image: Image.Image,
    record: Mapping[str, Any],
    icc_profile: bytes | None = None,
    exif: bytes | None = None,
    alpha: Image.Image | None = None,
    xmp: str = "",
    dpi: tuple[float, float] | None = None,
) -> bytes:
    """The picture as a PNG that carries how it was made; equal input gives equal bytes.

    image: mode RGB or L. record: what goes into the text chunk `instructrestore`, as JSON. alpha: mode L of any size,
    scaled to the image's. exif: where it says the picture's size, it is made to say this image's.
    """
    if alpha is not None:
        image = image.copy()
        scaled = alpha if alpha.size == image.size else alpha.resize(image.size, Image.Resampling.BICUBIC)
        image.putalpha(scaled)
    text = PngImagePlugin.PngInfo()
    text.add_text(RECORD_KEY, json.dumps(record, allow_nan=False))
    if xmp:
        text.add_itxt(XMP_KEY, xmp)
    sized = sized_exif(exif, image.size) if exif else b""
    file = BytesIO()
    # None would let Pillow take what the image itself carries along.
    image.save(file, "PNG", compress_level=6, pnginfo=text, icc_profile=icc_profile or b"", exif=sized, dpi=dpi or ())
    return file.getvalue()


def read_record(path: Path) -> dict[str, Any]:
    """How a PNG was made, as `to_png` wrote it. Raises ValueError where it does not say, OSError if unreadable."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            text = image.info.get(RECORD_KEY)
        record = json.loads(text) if isinstance(text, str) else None
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except DECODING_ERRORS:
        record = None
    if not isinstance(record, dict):
        raise ValueError(f"{path} does not say how it was made: it is no PNG of this program")
    return record
