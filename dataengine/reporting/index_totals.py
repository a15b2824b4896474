"""What is counted of a data set's index, a piece of it at a time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from instructrestore.dataengine.noun_phrases.english.noun_phrase import fold

NOT_STATED = "not stated"
PIECE = 1 << 16  # rows of an index that are in memory at a time

# The label of each bin, and the lowest value in it; the last has no upper end.
AREAS = {"0-1": 0, "1-2": 0.01, "2-5": 0.02, "5-10": 0.05, "10-20": 0.1, "20-40": 0.2, "40-60": 0.4, "60-100": 0.6}
SHORT_SIDES = {"1-256": 1, "257-512": 257, "513-768": 513, "769-1024": 769, "1025-1536": 1025}
SHORT_SIDES |= {"1537-2048": 1537, "2049-3072": 2049, "3073+": 3073}
MEGAPIXELS = {"0-0.25": 0, "0.25-0.5": 0.25, "0.5-1": 0.5, "1-2": 1, "2-4": 2, "4-8": 4, "8-16": 8, "16+": 16}
REGIONS = {str(number): float(number) for number in range(16)} | {"16+": 16.0}
WORDS = {str(number): float(number) for number in range(1, 13)} | {"13+": 13.0}


class IndexTotals:
    """What was counted of the pieces of an index so far.

    names: how often each value occurs, by column. bins: counts of the histograms, by what is in them.
    """

    def __init__(self) -> None:
        self.photos = self.regions = self.bokeh_regions = self.bokeh_photos = 0
        self.names: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.bins: dict[str, NDArray[np.int64]] = {}
        self._sizes: list[tuple[int, int, int]] = []  # pixels, width, height of the smallest and the largest
        self._scores: list[NDArray[np.float64]] = []
        self._score, self._scored = 0.0, 0

    def take(self, piece: pa.Table) -> None:
        """Counts a further piece (columns: `INDEX_SCHEMA`)."""
        width, height = (piece[side].to_numpy().astype(np.int64) for side in ("width", "height"))
        per_photo = piece["region_count"].to_numpy()
        areas = _elements(piece["areas"]).to_numpy()
        words = _elements(piece["captions"]).to_pandas().str.count(r"\S+").to_numpy(np.int64)
        bokeh = _elements(piece["bokeh"]).to_numpy(zero_copy_only=False).astype(bool)
        self.photos += piece.num_rows
        self.regions += len(areas)
        self.bokeh_regions += int(bokeh.sum())
        self.bokeh_photos += len(np.unique(np.repeat(np.arange(piece.num_rows), per_photo)[bokeh]))
        self._bin("areas", areas, AREAS)
        self._bin("short_sides", np.minimum(width, height), SHORT_SIDES)
        self._bin("megapixels", width * height / 1e6, MEGAPIXELS)
        self._bin("regions", per_photo, REGIONS)
        self._bin("words", words, WORDS)
        self._count("subjects", _elements(piece["subjects"]), fold)
        for column in ("format", "licence", "source"):
            self._count(column, piece[column])
        if piece.num_rows:
            order = np.lexsort((height, width, width * height))[[0, -1]]  # by pixels; equal pixels by width
            ends = zip((width * height)[order].tolist(), width[order].tolist(), height[order].tolist(), strict=True)
            known = [*self._sizes, *ends]
            self._sizes = [min(known), max(known)]
        self._scores.append(piece["quality"].drop_null().to_numpy())
        if sum(map(len, self._scores)) >= PIECE:
            self._add_scores()

    @property
    def resolutions(self) -> tuple[str, str]:
        """Of the photos with the fewest and the most pixels, as "1024x768"; empty without photos."""
        if not self._sizes:
            return "", ""
        (_, *smallest), (_, *largest) = self._sizes
        return "{}x{}".format(*smallest), "{}x{}".format(*largest)

    @property
    def quality(self) -> float | None:
        """The mean score; None where no photo was scored."""
        self._add_scores()
        return float(self._score / self._scored) if self._scored else None

    def _add_scores(self) -> None:
        """Adds up a piece's scores at once, whatever the pieces are: the sum's last digits depend on it."""
        scores = np.concatenate(self._scores)
        self._score, self._scored = self._score + scores.sum(), self._scored + len(scores)
        self._scores = [scores[:0]]

    def _bin(self, what: str, values: NDArray[np.generic], bins: Mapping[str, float]) -> None:
        places = np.maximum(np.searchsorted(np.array(list(bins.values())), values, side="right") - 1, 0)
        self.bins[what] = self.bins.get(what, 0) + np.bincount(places, minlength=len(bins))

    def _count(self, what: str, names: pa.ChunkedArray, folded: Callable[[str], str] = str.strip) -> None:
        """folded: names that it maps to one name are counted together."""
        seen = names.value_counts()  # folding is slow: it runs once for each distinct name
        for name, count in zip(seen.field("values").to_pylist(), seen.field("counts").to_pylist(), strict=True):
            self.names[what][folded(name or "") or NOT_STATED] += count


def _elements(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The elements of a column of lists, one after the other."""
    return pa.chunked_array([chunk.flatten() for chunk in column.chunks], column.type.value_type)
