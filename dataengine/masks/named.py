"""The embedded segmenter that knows what it sees: the annotator's segments, those that it is sure of.

What it is not sure of is "not known", counted, and no region: the data engine does not need every pixel, and a region
with a wrong name would teach a wrong instruction.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

REVISION = "2"  # raised with new weights too
NOT_KNOWN = "not known"


class NamedSegmenter:
    """Called with a photo, (H, W, 3) uint8 RGB upright sRGB, it returns its known segments, (H, W) bool each, the
    largest first and without overlap, and how many were not known.

    Raises ValueError where the weights are not installed or damaged.
    """

    def __init__(self) -> None:
        from instructrestore.dataengine.annotator.annotator import load_annotator  # noqa: PLC0415  (imports torch)
        from instructrestore.dataengine.annotator.naming import name_segments  # noqa: PLC0415  (the same)

        self.annotator, self._calibration = load_annotator()
        self._name = name_segments

    def __call__(self, rgb: NDArray[np.uint8]) -> tuple[list[NDArray[np.bool_]], Counter[str]]:
        known, unknown = self._name(self.annotator(rgb), self._calibration)
        return [each.segment.mask for each in known], Counter({NOT_KNOWN: unknown} if unknown else {})
