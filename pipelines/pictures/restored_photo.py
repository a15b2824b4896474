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
    """The picture as a PNG with a record of how it was made; equal input gives equal bytes.

    image: mode RGB or L. record: what goes into the text chunk `instructrestore`, as JSON. alpha: mode L of any size,
    scaled to the image's. exif: any size that it states is changed to this image's.
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
    # With None, Pillow would use what the image itself carries.
    image.save(file, "PNG", compress_level=6, pnginfo=text, icc_profile=icc_profile or b"", exif=sized, dpi=dpi or ())
    return file.getvalue()


def read_record(path: Path) -> dict[str, Any]:
    """The record that `to_png` wrote into a PNG. Raises ValueError if it has none, OSError if it is unreadable."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            text = image.info.get(RECORD_KEY)
        record = json.loads(text) if isinstance(text, str) else None
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except DECODING_ERRORS:
        record = None
    if not isinstance(record, dict):
        raise ValueError(f"{path} has no record of how it was made: it is not a PNG by this program")
    return record
