"""A triplet's training crop: photo, mask and caption, centred on the region as the paper does (section 4.1).

Which pixels are cut out is found from the mask's runs; only the crop's own part of the mask is ever decoded, and of
the photo only the crop is scaled and copied.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile
from pydantic import BaseModel, ConfigDict, Field

from instructrestore.model.training.instances import drawn_piece, single_piece
from instructrestore.model.training.jpeg_part import part_of_jpeg
from instructrestore.shards.errors import one_line
from instructrestore.shards.reading.reader import Fault, Triplet
from instructrestore.shards.rle import MAX_PIXELS, BoolArray, Mask, Runs
from instructrestore.shards.sample import Region

TRIES = 50
# Called directly: Image.open would try formats that no shard holds, and warn by a limit global to the process.
_OPENERS: dict[str, type[ImageFile.ImageFile]] = {"jpg": JpegImageFile, "png": PngImageFile, "webp": WebPImageFile}
# What Pillow's parsers let through on damaged bytes, which are all in memory by then: no I/O trouble is among them.
_DECODING_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError,
)  # fmt: skip

# "left" and "right" as words, with the endings that keep their meaning: "leftmost", "right-hand", "leftward".
_SIDE = re.compile(r"\b(left|right)(?=(?:most|hand|ward|wards|ish)?\b)", re.IGNORECASE)
_OTHER = {"left": "right", "right": "left", "Left": "Right", "Right": "Left", "LEFT": "RIGHT", "RIGHT": "LEFT"}
# Captions of which a flipped photo would be no example, and no exchange of words helps: what is written or counted
# round would stand mirrored; and "left" and "right" that mean no side.
_FIXED = re.compile(
    r"""\b(?: texts? | letter(?:s|ed|ing)? | words? | wordings? | writings? | written | handwritten | handwriting
            | inscriptions? | captions? | numbers? | numerals? | digits? | sign(?:s|age|boards?)? | billboards?
            | logos? | labels? | label(?:l)?ed | posters? | newspapers? | barcodes? | licen[cs]e[ ]plates?
            | clocks? | wristwatch(?:es)? | dials? | (?:anti|counter)?-?clockwise | calendars? | keyboards?
            | maps? | globes?
            | says? | saying | reads
            | left[ -](?:over|overs|behind|alone|open|out|empty|standing|unattended)
            | right[ -](?:angled?s? | angles | now | side[ -]up | behind | above | below | under | beside | next )
            | (?:all | up ) [ ]right )\b
        | ["“”„«»] """,
    re.IGNORECASE | re.VERBOSE,
)


class CropSettings(BaseModel):
    """How a crop is cut out. The defaults are the paper's, but for `least_share`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=512, ge=32, multiple_of=8, description="Side of the crop in pixels.")
    least_share: float = Field(default=0.01, ge=0, le=1, description="Of the crop that a random one's mask covers.")
    flip: float = Field(default=0.5, ge=0, le=1, description="Probability of a horizontal flip.")
    largest_side: int = Field(default=6000, ge=32, description="Larger photos are scaled down to it first, in pixels.")
    short_side: int | None = Field(
        default=None, ge=32, description="Photos are scaled to this shorter side first, in pixels; null: they are not."
    )


@dataclass(frozen=True)
class Neighbour:
    """Another region of a crop's photo. mask: (S, S) bool, its part of the crop, mostly with nothing set or little."""

    caption: str
    subject: str
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Crop:
    """A training sample before degradation.

    photo: (S, S, 3) uint8, HQ. mask: (S, S) bool. caption, subject, bokeh: of the region; left and right are swapped
    in a flipped crop's caption. position, seed: of the run's order, to seed what else is random about the sample.
    key: of the photo. dataset: its data set's number. region: its number in the photo. faults: as in `Triplet`.
    neighbours: the photo's other regions, where they were asked for.
    """

    photo: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    caption: str
    subject: str
    bokeh: bool
    position: int
    seed: int
    key: str
    dataset: int
    region: int
    faults: tuple[str, ...]
    neighbours: tuple[Neighbour, ...] = ()


@dataclass(frozen=True)
class Window:
    """Where a crop lies in its photo, in pixels; it may reach over the photo's edges."""

    left: int
    top: int
    size: int


class Cropper:
    """Cuts a crop out of each triplet; its choices are drawn from the triplet's own seed.

    instances: share of the samples of regions with several pieces that are of one piece (instances.py).
    """

    def __init__(self, settings: CropSettings, neighbours: bool = False, instances: float = 0) -> None:
        self.settings, self.neighbours, self.instances = settings, neighbours, instances

    def __call__(self, triplet: Triplet) -> Crop:
        """Raises Fault: "empty region", "corrupt photo", "pixel limit", "wrong size", "colour space"."""
        settings, region = self.settings, triplet.region
        chance = np.random.default_rng(triplet.seed_of("instance"))
        drawn = drawn_piece(region, self.instances, chance) if self.instances else None
        rng = np.random.default_rng(triplet.seed_of("crop"))
        photo_size = (triplet.photo.height, triplet.photo.width)
        height, width = scaled_size(*photo_size, settings)
        shown = drawn or region.mask
        runs = scaled_runs(shown, (height, width))
        if not runs.area:
            raise Fault("empty region", region.caption)
        window = choose_window(runs, settings, rng)
        flipped = flipped_caption(region.caption) if rng.random() < settings.flip else None
        others = [other for other in triplet.regions if other is not region]
        photo = cut_photo(triplet, (height, width), window, flipped is not None)

        def cut(mask: Mask) -> BoolArray:
            own = runs if mask is shown else scaled_runs(mask, (height, width))
            return _cut_mask(own, window, flipped is not None)

        single = single_piece(region, others, drawn, photo, cut, chance) if drawn else None
        return Crop(
            photo,
            single.mask if single else cut(region.mask),
            single.caption if single else region.caption if flipped is None else flipped,
            region.subject,
            region.bokeh,
            triplet.position,
            triplet.seed,
            triplet.photo.key,
            triplet.place.dataset,
            triplet.place.region,
            triplet.faults,
            tuple(_neighbour(other, (height, width), window, flipped is not None) for other in others)
            if self.neighbours
            else (),
        )


def flipped_caption(caption: str) -> str | None:
    """The caption that fits the mirrored photo, or None where there is none and the photo must stay as it is.

    "the cat on the left-hand side" becomes "the cat on the right-hand side"; "a sign that says stop" has no mirror
    image. Case is kept for "left", "Left" and "LEFT"; a caption in another mix of cases stays unflipped.
    """
    sides = [match[1] for match in _SIDE.finditer(caption)]
    if _FIXED.search(caption) or any(side not in _OTHER for side in sides):
        return None
    return _SIDE.sub(lambda match: _OTHER[match[1]], caption)


def stack(crops: Sequence[Crop]) -> tuple[torch.Tensor, torch.Tensor]:
    """Photos (B, 3, S, S) uint8, in channels-last memory, and masks (B, 1, S, S) bool."""
    photos = torch.from_numpy(np.stack([crop.photo for crop in crops])).permute(0, 3, 1, 2)
    return photos, torch.from_numpy(np.stack([crop.mask for crop in crops]))[:, None]


def scaled_size(height: int, width: int, settings: CropSettings) -> tuple[int, int]:
    """(height, width) to which a photo is scaled before it is cropped."""
    scale = settings.short_side / min(height, width) if settings.short_side else 1.0
    scale = min(scale, settings.largest_side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def choose_window(runs: Runs, settings: CropSettings, rng: np.random.Generator) -> Window:
    """The crop's window for a mask that is not empty.

    Centred on a random mask pixel among those at least half a crop from every edge. Where there is none: the first
    of `TRIES` uniformly random windows that the mask covers to `least_share`, or else one centred on a random mask
    pixel and then moved into the photo. A photo smaller than the crop lies in its middle.
    """
    size, half = settings.size, settings.size // 2
    # Rows and columns that can be a centre: half .. side - half.
    rows, columns = runs.height - size + 1, runs.width - size + 1
    if rows > 0 and columns > 0 and (inner := runs.count(half, half, rows, columns)):
        row, column = runs.pixel(int(rng.integers(inner)), half, half, rows, columns)
        return Window(column - half, row - half, size)
    least = max(1, settings.least_share * size * size)
    for _ in range(TRIES if runs.area >= least else 0):
        window = Window(_place(runs.width, size, rng), _place(runs.height, size, rng), size)
        if covered(runs, window) >= least:
            return window
    row, column = runs.pixel(int(rng.integers(runs.area)), 0, 0, runs.height, runs.width)
    return Window(_clamped(column - half, runs.width, size), _clamped(row - half, runs.height, size), size)


def covered(runs: Runs, window: Window) -> int:
    """How many pixels of a mask lie in a window."""
    return runs.count(*_inside(runs.height, runs.width, window))


def _place(side: int, size: int, rng: np.random.Generator) -> int:
    return int(rng.integers(side - size + 1)) if side > size else (side - size) // 2


def _clamped(start: int, side: int, size: int) -> int:
    return min(max(start, 0), side - size) if side > size else (side - size) // 2


def _inside(height: int, width: int, window: Window) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the part of a window that lies in a photo of that size."""
    top, left = max(window.top, 0), max(window.left, 0)
    bottom, right = min(window.top + window.size, height), min(window.left + window.size, width)
    return top, left, bottom - top, right - left


def _margins(window: Window, inside: tuple[int, int, int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """How far a window reaches over the photo: ((above, below), (left, right))."""
    top, left, height, width = inside
    above, before = top - window.top, left - window.left
    return (above, window.size - height - above), (before, window.size - width - before)


def cut_mask(runs: Runs, window: Window) -> NDArray[np.bool_]:
    """The window of a mask; nothing is set outside the photo."""
    inside = _inside(runs.height, runs.width, window)
    return np.pad(runs.window(*inside), _margins(window, inside))


def _cut_mask(runs: Runs, window: Window, mirrored: bool) -> NDArray[np.bool_]:
    mask = cut_mask(runs, window)
    return np.ascontiguousarray(mask[:, ::-1]) if mirrored else mask


def _neighbour(region: Region, scaled: tuple[int, int], window: Window, mirrored: bool) -> Neighbour:
    caption = (flipped_caption(region.caption) or region.caption) if mirrored else region.caption
    return Neighbour(caption, region.subject, _cut_mask(scaled_runs(region.mask, scaled), window, mirrored))


def scaled_runs(mask: Mask, size: tuple[int, int]) -> Runs:
    """The runs of a mask at another (height, width). Raises Fault where it is too large to be decoded for that."""
    if not (runs := Runs(mask)).area or (mask.height, mask.width) == size:
        return runs
    if mask.height * mask.width > MAX_PIXELS:
        raise Fault("pixel limit", f"{mask.width}x{mask.height} is over {MAX_PIXELS} pixels")
    return Runs(_scaled_mask(mask, *size))


def _scaled_mask(mask: Mask, height: int, width: int) -> Mask:
    """A mask at another size: set where at least half of a pixel was, or, if that is nowhere, where most of one was."""
    shares = Image.fromarray(mask.array().view(np.uint8) * 255)
    grey = np.asarray(shares.resize((width, height), _filter(mask.height, height)))
    return Mask.from_array(grey >= min(128, max(1, int(grey.max()))))


def _filter(old: int, new: int) -> Image.Resampling:
    """The mean over a pixel's area, or, enlarging, a bicubic."""
    return Image.Resampling.BOX if new < old else Image.Resampling.BICUBIC


def cut_photo(triplet: Triplet, scaled: tuple[int, int], window: Window, mirrored: bool) -> NDArray[np.uint8]:
    """The window of the photo as (size, size, 3) uint8; outside the photo it is reflected at its edges.

    scaled: the (height, width) at which the window is meant. Raises Fault.
    """
    inside = _inside(*scaled, window)
    decoded = _decoded(triplet, scaled, inside)
    pixels = decoded if isinstance(decoded, np.ndarray) else np.asarray(_scaled_part(decoded, scaled, inside))
    high, wide = _margins(window, inside)
    if mirrored:  # by OpenCV: numpy takes several times as long with pixels of three bytes
        pixels, wide = np.asarray(cv2.flip(pixels, 1), np.uint8), wide[::-1]
    if any((*high, *wide)):
        return np.pad(pixels, (high, wide, (0, 0)), mode="reflect")
    return np.ascontiguousarray(pixels)


def _decoded(
    triplet: Triplet, scaled: tuple[int, int], inside: tuple[int, int, int, int]
) -> Image.Image | NDArray[np.uint8]:
    """The photo, or a smaller version of a JPEG that is to be scaled down to (height, width) `scaled`, or its part
    `inside` alone. Raises Fault."""
    recorded = triplet.photo
    try:
        with _OPENERS[recorded.format](io.BytesIO(triplet.data)) as photo:
            width, height = photo.size
            if width * height > MAX_PIXELS:
                raise Fault("pixel limit", f"{width}x{height} is over {MAX_PIXELS} pixels")
            if (width, height) != (recorded.width, recorded.height):
                raise Fault("wrong size", f"{width}x{height} and not {recorded.width}x{recorded.height} pixels")
            if photo.mode != "RGB":
                raise Fault("colour space", f"Pillow mode {photo.mode} and not RGB")
            # A JPEG decodes at 1/2, 1/4 or 1/8 in less time; at twice the wanted size what that changes is invisible.
            if scaled[0] < height and isinstance(photo, JpegImageFile):
                photo.draft(None, (2 * scaled[1], 2 * scaled[0]))
            if scaled == (height, width) and isinstance(photo, JpegImageFile):
                part = part_of_jpeg(triplet.data, scaled, *inside)
                if part is not None:
                    return part
            photo.load()
            return photo
    except Fault:
        raise
    except _DECODING_ERRORS as error:
        raise Fault("corrupt photo", one_line(error)) from None


def _scaled_part(photo: Image.Image, scaled: tuple[int, int], inside: tuple[int, int, int, int]) -> Image.Image:
    """A part (top, left, height, width) of the photo, which lies at the grid that it has when scaled."""
    (height, width), (top, left, rows, columns) = scaled, inside
    if (photo.height, photo.width) == scaled:
        return photo.crop((left, top, left + columns, top + rows))
    down, across = photo.height / height, photo.width / width
    box = (left * across, top * down, (left + columns) * across, (top + rows) * down)
    return photo.resize((columns, rows), _filter(photo.height, height), box)
