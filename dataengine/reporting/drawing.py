"""A photo with its regions in colour, numbered, and a legend of their captions."""

from __future__ import annotations

import colorsys
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from instructrestore.shards.sample import AnnotatedPhoto, Region

RGB = tuple[int, int, int]

# Okabe and Ito's palette, distinct for all common kinds of colour vision, without black, the colour of shadows.
OKABE_ITO: tuple[RGB, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
OPACITY = 0.38
PAPER, INK, FAINT = (250, 250, 248), (24, 24, 27), (105, 105, 112)
MIN_LEGEND = 300  # px; a narrower legend wraps captions into a column of single words


def colours(count: int) -> list[RGB]:
    """`count` distinct colours as 8-bit RGB: Okabe-Ito first, then hues a golden angle apart."""
    further = range(max(0, count - len(OKABE_ITO)))
    hues = ((0.09 + 0.381966 * step) % 1 for step in further)
    made = [colorsys.hls_to_rgb(hue, (0.42, 0.62)[step % 2], 0.75) for step, hue in enumerate(hues)]
    return [*OKABE_ITO[:count], *((round(255 * r), round(255 * g), round(255 * b)) for r, g, b in made)]


def draw(rgb: NDArray[np.uint8], sample: AnnotatedPhoto, max_side: int = 1600) -> Image.Image:
    """The photo with coloured regions, and a legend below it (landscape) or beside it (portrait).

    rgb: (H, W, 3) uint8, upright sRGB, of the sample's size. max_side: of the photo in the picture, in pixels;
    smaller photos keep their size. The legend is added to that.
    """
    photo = overlay(rgb, sample, max_side)
    beside = photo.height > photo.width
    unit = max(12, round(max(photo.size) / 64))  # the text's size
    legend = _legend(sample, unit, max(MIN_LEGEND, 26 * unit) if beside else max(MIN_LEGEND, photo.width), beside)
    size = (
        (photo.width + legend.width, max(photo.height, legend.height))
        if beside
        else (max(photo.width, legend.width), photo.height + legend.height)
    )
    picture = Image.new("RGB", size, PAPER)
    picture.paste(photo, (0, 0))
    picture.paste(legend, (photo.width, 0) if beside else (0, photo.height))
    return picture


def overlay(rgb: NDArray[np.uint8], sample: AnnotatedPhoto, max_side: int) -> Image.Image:
    """The photo alone with coloured regions, contours, and the regions' numbers from 1, scaled to `max_side`.

    Smaller regions are drawn on top of larger ones; all contours stay visible. Raises ValueError if rgb does not have
    the sample's size.
    """
    height, width = rgb.shape[:2]
    if (height, width) != (sample.photo.height, sample.photo.width):
        raise ValueError(
            f"the photo {sample.photo.key} is {width}x{height} but its record says "
            f"{sample.photo.width}x{sample.photo.height}"
        )
    scale = min(1.0, max_side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) if scale < 1 else rgb
    masks = [_shrink(region, size) for region in sample.regions]
    by_area = sorted(range(len(masks)), key=lambda index: -int(masks[index].sum()))
    palette = colours(len(masks))
    canvas = small.astype(np.float32)
    for index in by_area:
        inside = masks[index]
        canvas[inside] += OPACITY * (np.array(palette[index], np.float32) - canvas[inside])
    picture = np.ascontiguousarray(canvas.round().astype(np.uint8))
    line = max(1, round(max(size) / 500))
    for index in by_area:
        # A white line under the coloured one makes it visible on any background.
        edges, _ = cv2.findContours(masks[index].astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(picture, edges, -1, (255, 255, 255), 2 * line + 1, cv2.LINE_AA)
        cv2.drawContours(picture, edges, -1, palette[index], line, cv2.LINE_AA)
    image = Image.fromarray(picture)
    _number(image, masks, by_area, palette, [region.bokeh for region in sample.regions])
    return image


def share_text(share: float) -> str:
    """A share of the photo, 0..1, as text for people: what exists is never shown as 0%."""
    return "under 0.1% of the photo" if 0 < share < 0.001 else f"{share:.1%} of the photo"


def _shrink(region: Region, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The region's mask as (H, W) bool at size (W, H); a pixel is inside if half of it is."""
    mask = region.mask.array().astype(np.uint8)
    if mask.shape[::-1] == size:
        return mask.astype(bool)
    return cv2.resize(mask * np.uint8(255), size, interpolation=cv2.INTER_AREA) >= 128


def _number(
    image: Image.Image, masks: list[NDArray[np.bool_]], by_area: list[int], palette: list[RGB], bokeh: list[bool]
) -> None:
    """Writes each region's number where the region is widest, clear of smaller regions on top of it if possible. The
    number of a region too small to be visible around it is written next to the region."""
    pen = ImageDraw.Draw(image)
    radius = max(9, round(max(image.size) / 90))
    taken = np.zeros((image.height, image.width), bool)
    placed: list[tuple[int, int]] = []
    for index in reversed(by_area):
        free = masks[index] & ~taken
        ground = free if free.any() else masks[index]
        taken |= masks[index]
        if not ground.any():
            continue
        # The border counts as outside, so that no number is cut at the photo's edge.
        depth = cv2.distanceTransform(np.pad(ground.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        y, x = (int(place) for place in np.unravel_index(int(depth.argmax()), depth.shape))
        if depth[y, x] < 2 * radius:
            x, y = _beside(masks[index], (x, y), radius + 4, placed)
        placed.append((x, y))
        _badge(pen, x, y, radius, index, palette[index], bokeh[index])


def _beside(
    mask: NDArray[np.bool_], inside: tuple[int, int], radius: int, placed: list[tuple[int, int]]
) -> tuple[int, int]:
    """A place (x, y) for a number next to the part of the mask around `inside`: above, below, right or left, the first
    that is within the photo and free; otherwise `inside` itself."""
    _, parts = cv2.connectedComponents(mask.astype(np.uint8))
    x, y = inside
    rows, columns = np.nonzero(parts == parts[y, x])
    middle = int(columns.min() + columns.max()) // 2, int(rows.min() + rows.max()) // 2
    places = (
        (middle[0], int(rows.min()) - radius),
        (middle[0], int(rows.max()) + radius),
        (int(columns.max()) + radius, middle[1]),
        (int(columns.min()) - radius, middle[1]),
    )
    for at in places:
        within = radius <= at[0] < mask.shape[1] - radius and radius <= at[1] < mask.shape[0] - radius
        if within and all(max(abs(at[0] - px), abs(at[1] - py)) > 2 * radius for px, py in placed):
            return at
    return inside


def _badge(pen: ImageDraw.ImageDraw, x: int, y: int, radius: int, index: int, colour: RGB, bokeh: bool) -> None:
    """A disc with the region's number, with rings around it for a bokeh region."""
    if bokeh:
        ring = max(2, radius // 6)
        for grown, tint in ((3 * ring, (255, 255, 255)), (3 * ring - 1, colour), (2 * ring - 1, (255, 255, 255))):
            reach = radius + grown
            pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=tint)
    else:
        pen.ellipse((x - radius - 1, y - radius - 1, x + radius + 1, y + radius + 1), fill=(255, 255, 255))
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    red, green, blue = colour
    ink = INK if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else (255, 255, 255)
    pen.text((x, y), str(index + 1), fill=ink, font=_font(round(radius * 1.2)), anchor="mm")


def _legend(sample: AnnotatedPhoto, unit: int, width: int, single: bool) -> Image.Image:
    """A panel of `width` px: the photo's name and figures, then each region's badge, caption, subject and share."""
    photo, margin, gap = sample.photo, unit, unit
    inner = width - 2 * margin
    columns = 1 if single else max(1, min(len(sample.regions), inner // (22 * unit), 3))
    column = (inner - gap * (columns - 1)) // columns
    indent = round(2.6 * unit)
    quality = "" if photo.quality is None else f", quality {photo.quality:.1f} ({photo.quality_metric or 'unnamed'})"
    heading = _wrap(photo.name, _font(unit), inner)
    facts = _wrap(f"{photo.key}, {photo.width}x{photo.height}{quality}", _font(round(unit * 0.85)), inner)
    entries = []
    for region in sample.regions:
        note = f"{region.subject}, {share_text(region.mask.area() / (photo.width * photo.height))}"
        note += ", bokeh" if region.bokeh else ""
        caption = _wrap(region.caption, _font(unit), column - indent)
        entries.append((caption, _wrap(note, _font(round(unit * 0.85)), column - indent), region.bokeh))
    line = round(unit * 1.35)
    top = margin + line * (len(heading) + len(facts)) + gap // 2
    heights = [line * (len(caption) + len(note)) + gap for caption, note, _ in entries]
    rows = [max(heights[at : at + columns]) for at in range(0, len(heights), columns)]
    panel = Image.new("RGB", (width, top + (sum(rows) if rows else line) + margin), PAPER)
    pen = ImageDraw.Draw(panel)
    _lines(pen, margin, margin, heading, unit, INK, line)
    _lines(pen, margin, margin + line * len(heading), facts, round(unit * 0.85), FAINT, line)
    if not entries:
        _lines(pen, margin, top, ["no regions"], unit, FAINT, line)
    palette = colours(len(entries))
    for index, (caption, note, bokeh) in enumerate(entries):
        x = margin + index % columns * (column + gap)
        y = top + gap // 2 + sum(rows[: index // columns])
        _badge(pen, x + unit, y + line // 2, round(unit * 0.75), index, palette[index], bokeh)
        _lines(pen, x + indent, y, caption, unit, INK, line)
        _lines(pen, x + indent, y + line * len(caption), note, round(unit * 0.85), FAINT, line)
    return panel


def _lines(pen: ImageDraw.ImageDraw, x: int, y: int, lines: list[str], size: int, ink: RGB, step: int) -> None:
    for number, text in enumerate(lines):
        pen.text((x, y + number * step + step // 2), text, fill=ink, font=_font(size), anchor="lm")


@lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """The text in lines of at most `width` px, broken between words, or inside a word wider than a line."""
    lines = [""]
    # Control characters would break a line themselves; a lone surrogate cannot be encoded for the font.
    clean = "".join(c if c.isprintable() else " " for c in text.encode("utf-8", "replace").decode("utf-8"))
    for word in clean.split():
        joined = f"{lines[-1]} {word}".strip()
        if font.getlength(joined) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines
