"""A restored photo's PNG, with its photo's colour profile, EXIF and XMP, and the record of how it was made; and the
record of a result in any format (output_file.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from instructrestore.dataengine.photos.picture_file import MAGIC_BYTES, format_of
from instructrestore.pipelines.pictures.exif import sized_exif
from instructrestore.pipelines.pictures.iptc import PNG_KEY, png_text
from instructrestore.pipelines.pictures.sealed_record import RECORD_KEY, sealed_record
from instructrestore.pipelines.pictures.source_photo import DECODING_ERRORS, XMP_KEY
from instructrestore.shards.members import is_whole_png
from instructrestore.shards.parsing import parse_json


def to_png(
    image: Image.Image,
    record: Mapping[str, Any],
    icc_profile: bytes | None = None,
    exif: bytes | None = None,
    alpha: Image.Image | None = None,
    xmp: str = "",
    dpi: tuple[float, float] | None = None,
    iptc: bytes = b"",
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
    if iptc:
        text.add_text(PNG_KEY, png_text(iptc), zip=True)
    sized = sized_exif(exif, image.size) if exif else b""
    file = BytesIO()
    # With None, Pillow would use what the image itself carries.
    image.save(file, "PNG", compress_level=6, pnginfo=text, icc_profile=icc_profile or b"", exif=sized, dpi=dpi or ())
    return file.getvalue()


def read_record(path: Path) -> dict[str, Any]:
    """The record in a result's file. Raises ValueError if it has none or the file is damaged, OSError if it is
    unreadable."""
    record: Any = None
    try:
        with path.open("rb") as file:
            format = format_of(file.read(MAGIC_BYTES))
            file.seek(0)
            if format == "png":
                record = _png_record(file.read())
            elif format in ("jpg", "webp", "tiff", "avif"):
                record = sealed_record(file, format)
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except DECODING_ERRORS:
        record = None
    if not isinstance(record, dict):
        raise ValueError(f"{path} has no record of how it was made: it is no picture by this program, or damaged")
    return record


def _png_record(data: bytes) -> Any:
    with Image.open(BytesIO(data), formats=("PNG",)) as image:
        text = image.info.get(RECORD_KEY)
    return parse_json(text, "the record") if isinstance(text, str) and is_whole_png(data) else None
