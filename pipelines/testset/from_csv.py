"""A CSV of photos, masks and captions as a source of test samples, possibly of real LQ/HQ pairs."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from instructrestore.dataengine.masks.placing import PhotoFrame
from instructrestore.dataengine.noun_phrases.english.caption_length import MAX_CAPTION_TOKENS, clip_tokens
from instructrestore.dataengine.noun_phrases.english.noun_phrase import fold
from instructrestore.dataengine.noun_phrases.grammar import Grammar
from instructrestore.dataengine.photos import photo_file
from instructrestore.dataengine.photos.mask_file import read_mask
from instructrestore.dataengine.photos.row import SourcePhoto
from instructrestore.dataengine.sources.finder import FileFinder, place_beside
from instructrestore.dataengine.sources.places import readable, uri_of
from instructrestore.pipelines.testset.material import Material, UnfitPhoto
from instructrestore.pipelines.testset.settings import TestSetSettings
from instructrestore.shards.parsing import read_bounded
from instructrestore.shards.plain_text import visible_line
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import Answer, Piece, Region, key_of

NEEDED = ("hq", "mask", "caption")
COLUMNS = (*NEEDED, "lq", "bokeh", "subject", "name", "licence", "url")
FACTORS = (1, 2, 3, 4)  # side of the HQ photo divided by that of the LQ photo
ANNOTATED = "annotated"  # provenance of captions and masks that come from the source itself
_FLAGS = {"": False, "true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}


@dataclass(frozen=True)
class _Row:
    """line: its number in the file. cells: by column, stripped. surplus: it has more cells than the header."""

    line: int
    cells: dict[str, str]
    surplus: bool


class CsvSource:
    """The rows of a CSV, in its order; relative paths in it start from its folder.

    Raises ValueError, in one sentence, if it cannot be read or has other columns.
    """

    def __init__(self, path: Path) -> None:
        data = read_bounded(path)
        self.name = readable(path.stem)
        self.sha256 = hashlib.sha256(data).hexdigest()
        self._files = FileFinder([os.path.abspath(path.parent)])
        self._rows = _rows(path, data)
        self.has_bokeh = "bokeh" in self._rows[0].cells

    def __len__(self) -> int:
        return len(self._rows)

    def name_of(self, row: int) -> str:
        line = f"line {self._rows[row].line}"
        hq = self._rows[row].cells["hq"]
        return f"{hq} ({line})" if hq else line

    def read(self, row: int, settings: TestSetSettings) -> Material:
        """The photo of a row. Raises UnfitPhoto, UnusablePhoto or OSError if it gives no sample."""
        cells = self._rows[row].cells
        if self._rows[row].surplus:
            raise UnfitPhoto("row with more cells than columns", "put quotes around a caption that contains commas")
        for column in NEEDED:
            if not cells[column]:
                raise UnfitPhoto(f"row without {column}")
        for column in ("hq", "mask", "lq"):
            if "://" in cells.get(column, ""):
                raise UnfitPhoto("file in an object store, not on this machine", cells[column])
        bokeh = _flag(cells.get("bokeh", ""))
        caption = _caption(cells["caption"])
        data = photo_file.read_bytes(uri_of(self._place(cells["hq"])))
        decoded = photo_file.decode(data)
        hq = decoded.rgb
        mask = self._mask(cells["mask"], PhotoFrame(hq.shape[0], hq.shape[1], decoded.orientation))
        subject = fold(cells.get("subject", "")) or _head_noun(caption)
        answer = Answer(ANNOTATED, "", 0, caption, subject)
        piece = Piece(mask, ANNOTATED, caption, ANNOTATED, caption, subject, (answer,))
        name = cells.get("name") or _plain_name(cells["hq"])
        return Material(
            SourcePhoto("", name, self.name, cells.get("licence", ""), cells.get("url", "")),
            key_of(hashlib.sha256(data).hexdigest()),
            hq,
            (Region(caption, subject, mask, bokeh, (piece,)),),
            self._lq(cells["lq"], hq) if cells.get("lq") else None,
        )

    def _place(self, cell: str) -> str:
        """Where a cell's file is. Raises UnusablePhoto where two files fit its name."""
        return place_beside(self._files, cell)

    def _mask(self, cell: str, frame: PhotoFrame) -> Mask:
        try:
            picture = read_mask(photo_file.read_bytes(uri_of(self._place(cell))))
        except FileNotFoundError:
            raise UnfitPhoto("mask not found", cell) from None
        except photo_file.UnusablePhoto as fault:
            raise UnfitPhoto("mask that cannot be used", f"{cell}: {fault}") from None
        height, width = picture.values.shape
        fit = frame.fit(height, width, turnable=not picture.turned)
        if fit is None or fit.scaled:  # the mask is what is measured: it has to be exact
            raise UnfitPhoto(
                "mask that differs from its photo in size", f"{width}x{height} and {frame.width}x{frame.height}"
            )
        inside = frame.laid(picture.inside, fit)
        if not inside.any():
            raise UnfitPhoto("empty mask", cell)
        return Mask.from_array(inside)

    def _lq(self, cell: str, hq: NDArray[np.uint8]) -> NDArray[np.uint8]:
        try:
            lq = photo_file.decode(photo_file.read_bytes(uri_of(self._place(cell)))).rgb
        except FileNotFoundError:
            raise UnfitPhoto("LQ photo not found", cell) from None
        except photo_file.UnusablePhoto as fault:
            raise UnfitPhoto("LQ photo that cannot be used", f"{cell}: {fault}") from None
        if not any(hq.shape[:2] == (lq.shape[0] * factor, lq.shape[1] * factor) for factor in FACTORS):
            raise UnfitPhoto(
                "LQ photo of a size that does not fit",
                f"{lq.shape[1]}x{lq.shape[0]}; it must be {hq.shape[1]}x{hq.shape[0]} or exactly 1/2, 1/3 or 1/4 of it",
            )
        return lq


def _rows(path: Path, data: bytes) -> list[_Row]:
    name = visible_line(str(path))
    rows: list[_Row] = []
    if b"\0" in data:
        raise ValueError(f"{name} cannot be read as CSV: it holds NUL bytes; save it as UTF-8 text")
    try:
        table = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        header = [column.strip().lower() for column in next(table, [])]
        _check_header(name, header)
        for texts in table:
            cells = dict.fromkeys(header, "") | dict(zip(header, map(str.strip, texts), strict=False))
            if any(cells.values()):
                rows.append(_Row(table.line_num, cells, len(texts) > len(header)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{name} cannot be read as CSV: {error}") from None
    if not rows:
        raise ValueError(f"{name} has no rows: after the line that names the columns, write one line per photo")
    return rows


def _check_header(name: str, header: list[str]) -> None:
    missing = [column for column in NEEDED if column not in header]
    if missing or len(set(header)) < len(header):
        begins = ",".join(header)[:80]
        raise ValueError(
            f"{name} must begin with a line that names its columns, separated by commas: {', '.join(NEEDED)} and, "
            f"optionally, {', '.join(COLUMNS[len(NEEDED) :])}; it begins with {begins!r}"
        )
    unknown = [column for column in header if column not in COLUMNS]
    if unknown:
        raise ValueError(
            f"{name} has the column {unknown[0]!r}, which is unknown: the columns are {', '.join(COLUMNS)}"
        )


def _flag(text: str) -> bool:
    if text.lower() not in _FLAGS:
        raise UnfitPhoto("bokeh is neither true nor false", text)
    return _FLAGS[text.lower()]


def _caption(text: str) -> str:
    caption = " ".join(text.split())
    tokens = clip_tokens(caption)
    if tokens > MAX_CAPTION_TOKENS:
        raise UnfitPhoto("caption too long", f"about {tokens} tokens, over the limit of {MAX_CAPTION_TOKENS}")
    return caption


def _head_noun(caption: str) -> str:
    """The caption's subject; its last word if the grammar finds none."""
    parsed = Grammar()(caption)
    return fold(parsed.subject if parsed else caption.split()[-1])


def _plain_name(cell: str) -> str:
    """The photo's name as in the CSV; for an absolute path, which means nothing elsewhere, its last part."""
    return os.path.basename(cell) if os.path.isabs(cell) else cell
