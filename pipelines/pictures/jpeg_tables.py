"""How strongly a JPEG is compressed: its quantization tables and the resolution of its colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL.JpegImagePlugin import JpegImageFile, get_sampling

_SAMPLINGS = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}  # as Pillow numbers them


@dataclass(frozen=True)
class JpegTables:
    """tables: of brightness, and of colour where it has its own, 64 numbers each in the order of rows. subsampling:
    "4:4:4", "4:2:2" or "4:2:0". progressive: whether it comes in passes."""

    tables: tuple[tuple[int, ...], ...]
    subsampling: str
    progressive: bool

    def options(self) -> dict[str, Any]:
        """What Pillow is told to compress alike."""
        return {"qtables": [list(table) for table in self.tables], "subsampling": self.subsampling,
                "progressive": self.progressive}  # fmt: skip


def jpeg_tables(image: JpegImageFile) -> JpegTables | None:
    """Of an open JPEG; None where it is compressed as no RGB picture is (CMYK), or without tables of 8 bits.

    A subsampling that Pillow cannot write (4:4:0, 4:1:1) becomes 4:4:4, which loses nothing.
    """
    stored: Mapping[int, Any] = getattr(image, "quantization", {})
    tables = tuple(tuple(int(each) for each in stored[number]) for number in sorted(stored))
    usable = image.mode in ("L", "RGB") and 1 <= len(tables) <= 3 and sorted(stored) == list(range(len(tables)))
    if not usable or not all(len(table) == 64 and all(1 <= each <= 255 for each in table) for table in tables):
        return None
    sampling = _SAMPLINGS.get(get_sampling(image) if image.mode == "RGB" else 0, "4:4:4")
    return JpegTables(tables, sampling, bool(image.info.get("progressive")))
