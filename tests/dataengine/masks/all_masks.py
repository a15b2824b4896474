"""A source's masks all at once, as tests want them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from instructrestore.dataengine.masks.annotated import each_mask
from instructrestore.dataengine.photos.row import Annotation


def masks_of(
    annotations: Sequence[Annotation], height: int, width: int
) -> tuple[list[tuple[NDArray[np.bool_], Annotation]], dict[str, int]]:
    """All usable masks at once, and the number left out by reason."""
    counts = Counter[str]()
    return list(each_mask(annotations, height, width, counts)), dict(counts)
