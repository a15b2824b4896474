"""Pictures side by side with their labels: a photo, its mask and the result, or one photo at several scales."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from instructrestore.dataengine.reporting.drawing import INK, OPACITY, PAPER, RGB, colours
from instructrestore.model.instruction.instruction import Instruction
from instructrestore.model.restoring.careful import CarefulArea, counted

MAX_CELL = 1024  # px, the longer side of a picture on a sheet
MIN_CELL = 160  # px; a label needs this width


@dataclass(frozen=True)
class LabelledPicture:
    """A picture (mode RGB) under its label: lines of text, each with or without a swatch of colour."""

    image: Image.Image
    label: Sequence[tuple[str, RGB | None]]


@dataclass(frozen=True)
class HeldOnSheet:
    """What was held closer, and with which scale."""

    scale: float
    areas: Sequence[CarefulArea]


def comparison(
    photo: Image.Image,
    masks: NDArray[np.floating],
    restored: Image.Image,
    instruction: Instruction,
    rest_kept: bool = False,
    held: HeldOnSheet | None = None,
) -> Image.Image:
    """The LQ photo, the same with its regions tinted and outlined, and the restored photo.

    photo, restored: mode RGB; the sheet shows all at the size of `restored`, at most MAX_CELL. masks: (R, H, W) in
    [0, 1] at any size; R = 0 if a scale map replaced them. held: outlined in
    the second picture.
    """
    size, width = _shown(restored.size), photo.width
    photo, restored = _at(photo, size), _at(restored, size)
    cells = [LabelledPicture(photo, [("LQ photo", None)])]
    if len(masks):
        palette = colours(len(masks))
        scales = [(f"{r.scale:g}  {r.caption}", ink) for r, ink in zip(instruction.regions, palette, strict=True)]
        others = f"{instruction.others:g}  other parts{', bokeh' if instruction.bokeh else ''}"
        others = "other parts, kept as they are" if rest_kept else others
        label = [*scales, (others, None)]
        shown = tinted(photo, masks)
        if held:
            label.append((f"{held.scale:g}  held closer: {counted(held.areas)}", None))
            outline(shown, held.areas, size[0] / width)
        cells.append(LabelledPicture(shown, label))
    return sheet([*cells, LabelledPicture(restored, [("restored", None)])], columns=3)


def scale_sheet(
    photo: Image.Image, restored: Sequence[tuple[float, Image.Image]], instruction: Instruction
) -> Image.Image:
    """The LQ photo, then the results over the scale of the instruction's first region."""
    size = _shown(restored[0][1].size)
    caption = instruction.regions[0].caption
    cells = [LabelledPicture(_at(photo, size), [("LQ photo", None)])]
    cells += [LabelledPicture(_at(image, size), [(f"{scale:g}  {caption}", None)]) for scale, image in restored]
    return sheet(cells, columns=len(cells) if len(cells) <= 4 else math.ceil(math.sqrt(len(cells))))


def tinted(photo: Image.Image, masks: NDArray[np.floating]) -> Image.Image:
    """The photo with each region's colour laid over it as strongly as its mask says, and its outline at 0.5."""
    picture = photo.copy()
    line = max(1, round(max(photo.size) / 400))
    layers = [mask_image(mask, photo.size) for mask in masks]
    for layer, colour in zip(layers, colours(len(layers)), strict=True):
        picture.paste(Image.new("RGB", photo.size, colour), mask=layer.point([round(OPACITY * v) for v in range(256)]))
    for layer, colour in zip(layers, colours(len(layers)), strict=True):
        inside = layer.point([0] * 128 + [255] * 128)
        # A white line around the coloured one makes it visible on any background.
        for width, ink in ((2 * line, (255, 255, 255)), (line, colour)):
            edge = ImageChops.subtract(inside, inside.filter(ImageFilter.MinFilter(2 * width + 1)))
            picture.paste(Image.new("RGB", photo.size, ink), mask=edge)
    return picture


def outline(photo: Image.Image, areas: Sequence[CarefulArea], scale: float) -> None:
    """Draws a white line with a dark border around each. scale: of the photo, over that in which the areas lie."""
    pen, line = ImageDraw.Draw(photo), max(1, round(max(photo.size) / 400))
    for width, ink in ((3 * line, INK), (line, PAPER)):
        for area in areas:
            corners = [(x * scale, y * scale) for x, y in area.corners]
            pen.line([*corners, *corners[:2]], fill=ink, width=width, joint="curve")


def mask_image(mask: NDArray[np.floating], size: tuple[int, int]) -> Image.Image:
    """A mask (H, W) in [0, 1] as mode L, 255 inside, at size (W, H)."""
    image = Image.fromarray(np.clip(np.round(mask * 255), 0, 255).astype(np.uint8))
    return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)


def sheet(cells: Sequence[LabelledPicture], columns: int) -> Image.Image:
    """Labelled pictures of one size in rows of at most `columns`."""
    width, height = cells[0].image.size
    assert all(cell.image.size == (width, height) for cell in cells), "the pictures of a sheet have one size"
    room = max(width, MIN_CELL)
    unit = max(11, min(22, round(room / 24)))  # the text's size
    line, gap = round(1.5 * unit), max(4, unit // 2)
    head = line * max(len(cell.label) for cell in cells)
    rows, columns = math.ceil(len(cells) / columns), min(columns, len(cells))
    page = Image.new("RGB", (columns * (room + gap) + gap, rows * (head + height + gap) + gap), PAPER)
    pen = ImageDraw.Draw(page)
    for number, cell in enumerate(cells):
        left, top = gap + number % columns * (room + gap), gap + number // columns * (head + height + gap)
        page.paste(cell.image, (left, top + head))
        for row, (text, swatch) in enumerate(cell.label):
            # Labels are aligned at the bottom, whatever number of lines the neighbours have.
            middle = top + head - line * (len(cell.label) - row) + line // 2
            indent = 0
            if swatch:
                pen.rectangle((left, middle - unit // 2, left + unit - 1, middle + unit // 2 - 1), fill=swatch)
                indent = round(1.4 * unit)
            pen.text((left + indent, middle), _cut(text, unit, room - indent), fill=INK, font=_font(unit), anchor="lm")
    return page


def _shown(size: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, MAX_CELL / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _at(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


def _cut(label: str, unit: int, width: int) -> str:
    """The label, cut with an ellipsis if it is wider than `width` pixels."""
    # A lone surrogate cannot be encoded for the font.
    clean = label.encode("utf-8", "replace").decode("utf-8")
    if _font(unit).getlength(clean) <= width:
        return clean
    # Halving: a caption may have thousands of characters.
    lengths = range(1, len(clean))
    kept = bisect_right(lengths, width, key=lambda length: _font(unit).getlength(clean[:length].rstrip() + "..."))
    return clean[:kept].rstrip() + "..."


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
