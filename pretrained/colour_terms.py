"""Names of colours: the eleven basic terms of English (Berlin & Kay, "Basic Color Terms", 1969), with light and dark.

Hue, chroma and lightness are those of OKLab (Ottosson, 2020), which keeps the hue of blues as they grow lighter,
where CIELAB turns them purple. The bounds between the terms are our own, fitted to the CSS colours whose names say
what people call them (navy, olive, maroon, tan, hotpink ...).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TERMS = (
    "black", "dark grey", "grey", "light grey", "white", "dark red", "red", "pink", "orange", "dark brown", "brown",
    "light brown", "yellow", "pale yellow", "dark green", "green", "light green", "dark blue", "blue", "light blue",
    "dark purple", "purple", "light purple",
)  # fmt: skip
BASIC = tuple(term.split()[-1] for term in TERMS)

_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
_STEP = 8  # the table has one entry per cube of 8x8x8 colours, which is finer than the bounds are certain


def oklab(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(..., 3) sRGB in 0..255 as OKLab: lightness 0..1, then a and b, about -0.3..0.3."""
    encoded = rgb.astype(np.float64) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T


def term_of(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The index in TERMS of each of (..., 3) sRGB colours."""
    lab = oklab(rgb)
    light = lab[..., 0]
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    hue = np.degrees(np.arctan2(lab[..., 2], lab[..., 1])) % 360

    # Dark and very light colours need more chroma before a hue is visible.
    colourless = (chroma < np.where(light < 0.4, 0.035, 0.028)) | (light < 0.15) | ((light > 0.95) & (chroma < 0.035))
    purplish_red, reddish = hue >= 340, hue < 38
    to_orange, to_yellow, to_green = hue < 85, hue < 118, hue < 190
    to_blue, to_purple = hue < 290, hue < 340
    rules = (  # the first that holds applies
        (colourless & (light < 0.27), "black"),
        (colourless & (light < 0.54), "dark grey"),
        (colourless & (light < 0.73), "grey"),
        (colourless & (light < 0.91), "light grey"),
        (colourless, "white"),
        ((purplish_red | (hue < 10)) & (light >= 0.5) & (chroma >= 0.1), "pink"),
        ((purplish_red | reddish) & (light >= 0.66) & (chroma < 0.19), "pink"),
        (purplish_red & (chroma < 0.09), "purple"),
        (reddish & (chroma < 0.09) & (light < 0.38), "dark brown"),
        (reddish & (chroma < 0.09), "brown"),
        ((purplish_red | reddish) & (light < 0.45), "dark red"),
        (purplish_red | reddish, "red"),
        (to_orange & (chroma >= 0.125) & (light >= 0.66), "orange"),
        (to_orange & (light >= 0.88) & (hue >= 65), "pale yellow"),
        (to_orange & (light >= 0.88), "pink"),
        (to_orange & (light < 0.38), "dark brown"),
        (to_orange & (light < 0.65), "brown"),
        (to_orange, "light brown"),
        (to_yellow & (light >= 0.72) & (chroma >= 0.12), "yellow"),
        (to_yellow & (light >= 0.85) & (chroma >= 0.09), "yellow"),
        (to_yellow & (light >= 0.85), "pale yellow"),
        (to_yellow & (hue < 103) & (light < 0.38), "dark brown"),
        (to_yellow & (hue < 103) & (light < 0.65), "brown"),
        (to_yellow & (hue < 103), "light brown"),
        (to_green & (light < 0.45), "dark green"),
        (to_green & (light > 0.78) & (chroma < 0.24), "light green"),
        (to_green, "green"),
        (to_blue & (light < 0.40), "dark blue"),
        (to_blue & (light > 0.74), "light blue"),
        (to_blue, "blue"),
        (to_purple & (light < 0.40), "dark purple"),
        (to_purple & (light > 0.74), "light purple"),
    )
    names = [TERMS.index(name) for _, name in rules]
    return np.select([holds for holds, _ in rules], names, TERMS.index("purple")).astype(np.uint8)


class ColourTerms:
    """Names the colour of every pixel of a photo, by a table that is made once (in about 10 ms)."""

    def __init__(self) -> None:
        levels = np.arange(_STEP // 2, 256, _STEP, dtype=np.uint8)
        levels[0], levels[-1] = 0, 255  # black and white themselves, not the middle of their cubes
        self._table = term_of(np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1))

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) sRGB uint8 -> (H, W) indices in TERMS."""
        cubes = rgb // _STEP
        return self._table[cubes[..., 0], cubes[..., 1], cubes[..., 2]]
