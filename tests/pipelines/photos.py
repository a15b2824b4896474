"""Small photos for builds in tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

BY_COLOUR = {"masks": {"segmenter": "colour"}, "descriptions": {"describer": "colour"}}
"""Settings that find regions in these photos, which show nothing that has a name."""

BY_COLOUR_SET = ("--set", "masks.segmenter=colour", "--set", "descriptions.describer=colour")


def make_photos(folder: Path, count: int, first: int = 0) -> None:
    """Photos with coloured rectangles on a textured ground, JPEG and PNG in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        pixels = rng.integers(60, 120, (96, 128, 3)).astype(np.uint8)
        for _ in range(3):
            y, x = rng.integers(0, 60), rng.integers(0, 80)
            pixels[y : y + 36, x : x + 48] = rng.integers(0, 255, 3)
        Image.fromarray(pixels).save(folder / f"photo {number:03d}.{'png' if number % 2 else 'jpg'}", quality=95)
