"""Table 1 of the InstructRestore paper (arXiv 2503.24357): the published data sets a new one is set beside."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TableRow:
    """A data set as Table 1 compares it.

    annotations: (photo, region, caption) triplets.
    min_resolution, max_resolution: "WxH" in pixels of the photos with the fewest and the most pixels; empty for a
    data set without photos.
    quality: mean no-reference score of the photos, 0..100; None where nothing was scored.
    metric: what gave the score. Means of different metrics must not be compared.
    """

    name: str
    annotations: int
    min_resolution: str
    max_resolution: str
    quality: float | None
    metric: str


PUBLISHED = (
    TableRow("RefClef", 99_523, "320x480", "360x480", 67.06, "MUSIQ"),
    TableRow("RefCOCO", 196_771, "157x160", "640x637", 69.73, "MUSIQ"),
    TableRow("RefCOCO+", 196_737, "157x160", "640x637", 69.73, "MUSIQ"),
    TableRow("RefCOCOg", 208_960, "157x160", "640x637", 69.73, "MUSIQ"),
    TableRow("InstructRestore (paper)", 536_945, "540x540", "4464x2244", 71.87, "MUSIQ"),
)
