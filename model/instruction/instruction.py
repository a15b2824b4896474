"""What is asked of a restoration: regions with their scales, the scale of the rest, and whether the rest is bokeh.

A scale multiplies the ControlNet's residuals inside its region (paper, eq. 2-3). A lower scale lets the prior generate
more detail, a higher one holds closer to the LQ photo; 0.5 to 1.2 is the useful range and 1 changes nothing. Where the
other parts are bokeh, a lower scale of theirs blurs them more and 1 blurs them least.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real

from instructrestore.model.instruction.scanner import MAX_SCALE
from instructrestore.model.instruction.wishes import reads_bare

MAX_REGIONS = 64
MAX_CAPTION_LENGTH = 500

# What the released checkpoint was trained with ("other part", not "other parts" as in the paper).
BOKEH_CONTROL_TEXT = "make {caption} clear and keep other part bokeh blur"
BOKEH_UNET_SUFFIX = " in front of bokeh background"


@dataclass(frozen=True)
class RegionScale:
    """One region by its caption, and its scale.

    caption: 1 to 500 characters; runs of white space become one blank; no control characters.
    scale: 0 to 4.
    """

    caption: str
    scale: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "caption", _checked_caption(self.caption))
        object.__setattr__(self, "scale", checked_scale(self.scale, f"the scale of {_shortened(self.caption)}"))


@dataclass(frozen=True)
class Instruction:
    """What to do with a photo. `str()` gives its canonical text, which `parse` reads back to an equal instruction.

    regions: 1 to 64, no caption twice (case aside).
    others: the scale of all that lies in no region, 0 to 4.
    bokeh: the other parts are, or are to be, blurred as by a wide aperture.
    """

    regions: tuple[RegionScale, ...]
    others: float = 1.0
    bokeh: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "regions", tuple(self.regions))
        object.__setattr__(self, "others", checked_scale(self.others, "the scale of the other parts"))
        if not 1 <= len(self.regions) <= MAX_REGIONS:
            raise ValueError(f"an instruction has 1 to {MAX_REGIONS} regions, not {len(self.regions)}")
        seen: set[str] = set()
        for caption in self.captions:
            if caption.casefold() in seen:
                raise ValueError(f"each region needs its own caption, but {_shortened(caption)} is there twice")
            seen.add(caption.casefold())

    @property
    def captions(self) -> tuple[str, ...]:
        return tuple(region.caption for region in self.regions)

    def __str__(self) -> str:
        """The template of the release where there is one region: it reads it too, unless the caption is quoted."""
        regions = ", ".join(f"make {_written(r.caption)} clear with {_decimal(r.scale)}" for r in self.regions)
        state = "bokeh blur" if self.bokeh else "clear"
        return f"{regions} and keep other parts {state} with {_decimal(self.others)}"


def control_text(caption: str, bokeh: bool, bokeh_template: str = BOKEH_CONTROL_TEXT) -> str:
    """The ControlNet's text for one region; an empty caption (text dropped in training) gives an empty text.

    bokeh_template: holds "{caption}"; a checkpoint trained with another wording brings its own.
    """
    if "{caption}" not in bokeh_template:
        raise ValueError(f'the bokeh control text must contain "{{caption}}", not {bokeh_template!r}')
    if not caption:
        return ""
    return bokeh_template.replace("{caption}", caption) if bokeh else f"make {caption} clear"


def unet_text(captions: Sequence[str], bokeh: bool) -> str:
    """The UNet's text for a whole photo; no captions give an empty text."""
    if not captions:
        return ""
    return ", ".join(captions) + (BOKEH_UNET_SUFFIX if bokeh else "")


def checked_scale(scale: float, what: str) -> float:
    """`scale` as a float in [0, MAX_SCALE]; ValueError says what `what` must be otherwise."""
    if isinstance(scale, bool) or not isinstance(scale, Real) or not math.isfinite(scale):
        raise ValueError(f"{what} must be a number from 0 to {MAX_SCALE:g}, not {scale!r}")
    if not 0 <= scale <= MAX_SCALE:
        raise ValueError(f"{what} must be from 0 to {MAX_SCALE:g}, not {float(scale):g}")
    return float(scale) + 0.0  # no negative zero


def _checked_caption(caption: str) -> str:
    if not isinstance(caption, str):
        raise ValueError(f"a caption must be text, not {type(caption).__name__}")
    joined = " ".join(caption.split())
    if not any(unicodedata.category(c)[0] not in "CZ" for c in joined):
        raise ValueError("a caption must name something, but this one is empty")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in joined):
        raise ValueError(f"a caption must not hold control characters, but {_shortened(joined)} does")
    if len(joined) > MAX_CAPTION_LENGTH:
        raise ValueError(f"a caption has at most {MAX_CAPTION_LENGTH} characters, not {len(joined)}")
    return joined


def _written(caption: str) -> str:
    """The caption as it stands in an instruction: in quotes only where it would be read differently without."""
    if reads_bare(caption):
        return caption
    escaped = caption.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _decimal(scale: float) -> str:
    """The shortest decimal that gives the same float back, without an exponent: "0.8", "1"."""
    return f"{Decimal(repr(scale)):f}".removesuffix(".0")


def _shortened(caption: str) -> str:
    return repr(caption if len(caption) <= 40 else caption[:37] + "...")
