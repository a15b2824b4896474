"""How a mask that was made on another version of the photo lies on it: on its side, as the file is stored, or scaled.

The size decides, for it is all that annotations state. A mask of the upright photo's size lies as it is. One of the
size of the photo as stored, where the camera's EXIF orientation turns that on its side, is turned with the photo. One
of the aspect of either is scaled, for the photo was made smaller or larger since. Any other is of another photo.

Where a size fits both ways (a square photo; one that is mirrored or upside down; no size stated), the mask lies
upright: what shows photos to annotators, browsers first of all, has turned them by their EXIF since about 2020.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TOLERANCE = Fraction(1, 100)  # of an aspect: sides of a smaller photo are rounded

# Orientations that lay a photo on its side, and how pixels as stored are turned upright (as photo_file does).
_TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    5: lambda stored: stored.T,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].T,
    8: lambda stored: np.rot90(stored),
}


@dataclass(frozen=True)
class Fit:
    """How a mask of some size comes to lie on the photo.

    height, width: the photo's own size in pixels, as the mask sees it: upright, or as stored.
    turned: whether it is turned upright with the photo. scaled: whether it first is scaled to that size.
    """

    height: int
    width: int
    turned: bool
    scaled: bool


@dataclass(frozen=True)
class PhotoFrame:
    """A photo's upright size in pixels, and the EXIF orientation (1 to 8) of its file."""

    height: int
    width: int
    orientation: int = 1

    def fit(self, height: int, width: int, turnable: bool = True) -> Fit | None:
        """How a mask of (height, width) lies on the photo; None if it is of another.

        turnable: whether the mask may be as the photo is stored; one that has an orientation of its own is not.
        """
        if height < 1 or width < 1:
            return None
        sizes = [(self.height, self.width)]
        if turnable and self.orientation in _TURNS:
            sizes.append((self.width, self.height))
        for turned, size in enumerate(sizes):
            if size == (height, width):
                return Fit(*size, bool(turned), scaled=False)
        ratios = [Fraction(width * size[0], height * size[1]) for size in sizes]  # of the aspects
        nearest = min(range(len(sizes)), key=lambda place: max(ratios[place], 1 / ratios[place]))  # upright if equal
        return Fit(*sizes[nearest], bool(nearest), scaled=True) if abs(ratios[nearest] - 1) <= TOLERANCE else None

    def laid(self, mask: NDArray[Any], fit: Fit) -> NDArray[Any]:
        """A mask of the size that `fit` is for, (h, w) of any type, on the upright photo: (H, W) of the same type."""
        if fit.scaled:
            mask = np.asarray(Image.fromarray(mask).resize((fit.width, fit.height), Image.Resampling.NEAREST))
        return np.ascontiguousarray(_TURNS[self.orientation](mask) if fit.turned else mask)
