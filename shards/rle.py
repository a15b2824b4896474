"""Masks as COCO run-length encoding: the only file that talks to pycocotools.

COCO RLE counts runs down the columns (Fortran order), starting with zeros, and packs the counts into text. In JSON a
mask is COCO's own object, {"size": [height, width], "counts": "..."}, which pycocotools takes as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pycocotools.mask
from numpy.typing import NDArray
from pydantic import model_serializer, model_validator

BoolArray = NDArray[np.bool_]

coco: Any = pycocotools.mask  # its type stubs say other things than its code does
MAX_SIDE = 65_535
MAX_PIXELS = 100_000_000  # of a photo, and so of every mask and map: what is larger is never decoded
# The longest outline that polygons() draws, in half circumferences of the photo: pycocotools needs memory for every
# pixel of it, without a bound of its own. The outline of a very ragged thing has some 20.
MAX_OUTLINE = 200


@dataclass(frozen=True)
class Mask:
    """A binary mask as compressed COCO RLE.

    height, width: of the photo the mask belongs to, upright, in pixels (1..65535).
    counts: the compressed run lengths, ASCII.
    """

    height: int
    width: int
    counts: str

    @model_serializer
    def _as_coco(self) -> dict[str, Any]:
        return {"size": [self.height, self.width], "counts": self.counts}

    @model_validator(mode="before")
    @classmethod
    def _of_either_schema(cls, value: Any) -> Any:
        """COCO's object, or a mask of schema 1, whose height and width stand apart."""
        if not isinstance(value, dict) or "size" not in value:
            return value
        size = value["size"]
        if not (isinstance(size, list) and len(size) == 2) or not value.keys() <= {"size", "counts"}:
            raise ValueError("it is not {size: [height, width], counts: text}")
        return {"height": size[0], "width": size[1], **{key: value[key] for key in value if key != "size"}}

    @classmethod
    def from_array(cls, array: BoolArray) -> Mask:
        """array: (H, W) bool."""
        assert array.ndim == 2 and array.dtype == np.bool_, (array.shape, array.dtype)
        rle = coco.encode(np.asfortranarray(array.view(np.uint8)))
        return cls(array.shape[0], array.shape[1], rle["counts"].decode("ascii"))

    def array(self) -> BoolArray:
        """The mask as (H, W) bool. Raises ValueError where the runs do not fill the mask exactly."""
        self.check()
        return coco.decode(self._rle()).view(np.bool_)

    def area(self) -> int:
        """Pixels set, from the runs alone: nothing is decoded."""
        return int(run_lengths(self.counts)[1::2].sum())

    def box(self) -> tuple[int, int, int, int]:
        """The bounding box, XYWH in pixels, from the runs alone; (0, 0, 0, 0) for an empty mask.

        Raises ValueError where the runs do not fill the mask exactly.
        """
        runs = self._checked_runs()
        ends = np.cumsum(runs)[1::2]
        some = runs[1::2] > 0
        first, last = (ends - runs[1::2])[some], ends[some] - 1
        if not first.size:
            return 0, 0, 0, 0
        left, right = int(first[0]) // self.height, int(last[-1]) // self.height
        if (first // self.height != last // self.height).any():  # a run from one column into the next touches both ends
            return left, 0, right - left + 1, self.height
        top, bottom = int((first % self.height).min()), int((last % self.height).max())
        return left, top, right - left + 1, bottom - top + 1

    def check(self) -> None:
        """Raises ValueError unless the runs are well formed and cover height x width pixels exactly."""
        self._checked_runs()

    def _checked_runs(self) -> NDArray[np.int64]:
        if not (0 < self.height <= MAX_SIDE and 0 < self.width <= MAX_SIDE):
            raise ValueError(f"a mask of {self.width}x{self.height} pixels is outside 1..{MAX_SIDE}")
        if self.height * self.width > MAX_PIXELS:
            raise ValueError(f"a mask of {self.width}x{self.height} is over {MAX_PIXELS} pixels")
        runs = run_lengths(self.counts)
        if runs.size and int(runs.min()) < 0:
            raise ValueError("the mask has a negative run")
        if int(runs.sum()) != self.height * self.width:
            raise ValueError(f"the mask's runs cover {int(runs.sum())} of {self.height * self.width} pixels")
        return runs

    def _rle(self) -> dict[str, object]:
        return {"size": [self.height, self.width], "counts": self.counts.encode("ascii")}


class Runs:
    """The runs of a mask with their sums, to count, find and cut out pixels without decoding the whole mask.

    A window of 512x512 of a photo of 2 megapixels takes about a fifth of the time that decoding all of it takes.
    Raises ValueError where the runs do not fill the mask exactly.
    """

    def __init__(self, mask: Mask) -> None:
        runs = mask._checked_runs()
        self.height, self.width = mask.height, mask.width
        self._ends = np.cumsum(runs)  # the place after each run, counted down the columns
        runs[::2] = 0
        self._ones = np.cumsum(runs)  # the pixels set up to there
        self.area = int(self._ones[-1])

    def count(self, top: int, left: int, height: int, width: int) -> int:
        """Pixels set in a window that lies inside the mask."""
        return int(self._by_column(top, left, height, width)[1].sum())

    def pixel(self, number: int, top: int, left: int, height: int, width: int) -> tuple[int, int]:
        """(row, column) in the mask of pixel `number` of those set in a window, down its columns, from 0."""
        before, counts = self._by_column(top, left, height, width)
        totals = np.cumsum(counts)
        assert 0 <= number < totals[-1], (number, totals[-1])
        column = int(np.searchsorted(totals, number, side="right"))
        rank = int(before[column]) + number - int(totals[column] - counts[column])
        run = int(np.searchsorted(self._ones, rank, side="right"))
        place = int(self._ends[run]) - (int(self._ones[run]) - rank)
        return place % self.height, place // self.height

    def window(self, top: int, left: int, height: int, width: int) -> BoolArray:
        """A window that lies inside the mask as (height, width) bool."""
        begin, end = left * self.height, (left + width) * self.height
        first = int(np.searchsorted(self._ends, begin, side="right"))
        last = int(np.searchsorted(self._ends, end, side="left"))
        # Where the runs end when counted down the window's columns alone: what is above or below it has no length.
        columns, rows = np.divmod(np.minimum(self._ends[first : last + 1], end), self.height)
        ends = (columns - left) * height + np.clip(rows - top, 0, height)
        ones = np.repeat(np.arange(first, last + 1) & 1 == 1, np.diff(ends, prepend=0))
        return np.ascontiguousarray(ones.reshape(width, height).T)

    def _by_column(self, top: int, left: int, height: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each column of a window: the pixels set before its first place, and those set in it."""
        assert top >= 0 and left >= 0 and top + height <= self.height and left + width <= self.width
        first = np.arange(left, left + width) * self.height + top
        before = self._before(first)
        return before, self._before(first + height) - before

    def _before(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        run = np.searchsorted(self._ends, places, side="left")
        return self._ones[run] - np.where(run & 1, self._ends[run] - places, 0)


def run_lengths(counts: str) -> NDArray[np.int64]:
    """The run lengths, zeros first, of compressed COCO counts. Raises ValueError for text that is no such code.

    Read here and not by pycocotools, whose C code trusts its input: a mask that comes from a file must not be
    able to write outside its array. Each run is a chain of 5-bit groups, low first, bit 5 saying that more
    follow, the last group sign-extended; from the third run on it is the difference to the run before last.
    """
    try:
        code = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError:
        raise ValueError("the mask's counts are not ASCII text") from None
    if code.size == 0:
        return np.zeros(0, np.int64)
    if int(code.min()) < 0 or int(code.max()) > 63 or code[-1] & 32:
        raise ValueError("the mask's counts are not COCO run-length code")
    ends = np.flatnonzero((code & 32) == 0)
    starts = np.concatenate(([0], ends[:-1] + 1))
    if int((ends - starts).max()) > 6:
        raise ValueError("the mask's counts hold a run too long for any photo")
    place = np.arange(code.size) - np.repeat(starts, ends - starts + 1)
    runs = np.add.reduceat((code & 31) << (5 * place), starts)
    runs -= np.where(code[ends] & 16, np.int64(1) << (5 * (ends - starts + 1)), 0)
    # Undo the differences: odd and even runs are two independent sums, the first three runs being plain
    # (the format takes differences from index 3 on: run i follows run i - 2).
    runs[1::2] = np.cumsum(runs[1::2])
    if runs.size > 2:
        runs[2::2] = np.cumsum(runs[2::2])
    return runs


def union(masks: Sequence[Mask]) -> Mask:
    """The union of masks of one size."""
    assert masks and all((m.height, m.width) == (masks[0].height, masks[0].width) for m in masks)
    for mask in masks:
        mask.check()
    merged = coco.merge([mask._rle() for mask in masks])
    return Mask(masks[0].height, masks[0].width, merged["counts"].decode("ascii"))


def polygons(rings: Sequence[Sequence[float]], height: int, width: int) -> Mask:
    """COCO polygons ([x0, y0, x1, y1, ...] each, in pixels) as one mask.

    Raises ValueError for a ring of fewer than three points, an odd number of numbers, values that are not finite or
    far outside, or outlines longer in all than any thing has.
    """
    if not rings:
        raise ValueError("the annotation has no polygon")
    length = 0.0
    for ring in rings:
        if len(ring) < 6 or len(ring) % 2:
            raise ValueError(f"a polygon of {len(ring)} numbers is not at least three points")
        points = np.reshape(np.asarray(ring, np.float64), (-1, 2))
        if not (np.abs(points) <= 2 * MAX_SIDE).all():
            raise ValueError("a polygon has a coordinate that is not a place near the photo")
        length += float(np.abs(np.diff(points, axis=0, append=points[:1])).sum())
    if length > MAX_OUTLINE * (height + width):
        raise ValueError("the polygons' outline is too long for an outline")
    merged = coco.merge(coco.frPyObjects([list(map(float, ring)) for ring in rings], height, width))
    return Mask(height, width, merged["counts"].decode("ascii"))


def uncompressed(counts: Sequence[int], height: int, width: int) -> Mask:
    """COCO's uncompressed run lengths (as crowd annotations have them) as a mask. Raises ValueError if they do
    not fill it."""
    if any(run < 0 for run in counts) or sum(counts) != height * width:
        raise ValueError(f"the annotation's runs cover {sum(counts)} of {height * width} pixels")
    packed = coco.frPyObjects({"size": [height, width], "counts": list(counts)}, height, width)
    return Mask(height, width, packed["counts"].decode("ascii"))
