"""Statistics of a data set, from its index alone: Table 1 of the paper, subject frequencies (Fig. 3), histograms,
licences, near-duplicates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from instructrestore.dataengine.reporting.index_totals import (
    AREAS,
    MEGAPIXELS,
    PIECE,
    REGIONS,
    SHORT_SIDES,
    WORDS,
    IndexTotals,
)
from instructrestore.dataengine.running.scratch import add, rows_of, scratch
from instructrestore.shards.index import INDEX_SCHEMA, Dataset
from instructrestore.shards.paths import Place
from instructrestore.shards.plain_text import json_text, visible_line

METRIC_NAMES = {
    "musiq": "MUSIQ",
    "brisque": "BRISQUE score",
    "embedded": "embedded score",
}  # by a metric's first word; versions follow
METRIC_SAMPLES = 16


@dataclass(frozen=True)
class DatasetFigures:
    """A data set as it is compared in Table 1.

    annotations: (photo, region, caption) triplets.
    min_resolution, max_resolution: "WxH" in pixels of the photos with the fewest and the most pixels; empty for a
    data set without photos.
    quality: mean no-reference score of the photos, 0..100; None if none was scored.
    metric: the metric of the scores. Means of different metrics must not be compared.
    """

    name: str
    annotations: int
    min_resolution: str
    max_resolution: str
    quality: float | None
    metric: str


# Table 1 of the InstructRestore paper (arXiv 2503.24357): the published data sets that a new one is compared with.
PUBLISHED = (
    DatasetFigures("RefClef", 99_523, "320x480", "360x480", 67.06, "MUSIQ"),
    DatasetFigures("RefCOCO", 196_771, "157x160", "640x637", 69.73, "MUSIQ"),
    DatasetFigures("RefCOCO+", 196_737, "157x160", "640x637", 69.73, "MUSIQ"),
    DatasetFigures("RefCOCOg", 208_960, "157x160", "640x637", 69.73, "MUSIQ"),
    DatasetFigures("InstructRestore (paper)", 536_945, "540x540", "4464x2244", 71.87, "MUSIQ"),
)


@dataclass(frozen=True)
class Count:
    """How often a name occurs. share: of all that were counted, 0..1."""

    name: str
    count: int
    share: float


@dataclass(frozen=True)
class Histogram:
    """Counts per bin. what: the things counted ("regions"); of: what they are binned by, with its unit."""

    what: str
    of: str
    labels: tuple[str, ...]
    counts: tuple[int, ...]

    def filled(self) -> list[tuple[str, int]]:
        """Label and count of each bin, up to the last that is not empty."""
        last = max((place for place, count in enumerate(self.counts, 1) if count), default=0)
        return list(zip(self.labels[:last], self.counts[:last], strict=True))


@dataclass(frozen=True)
class NearDuplicates:
    """Groups of at least two near-duplicate photos. photos: in all groups; largest: photos in the largest group."""

    groups: int
    photos: int
    largest: int


@dataclass(frozen=True)
class Statistics:
    """The figures of one data set.

    table_1: this data set as a row of the paper's Table 1, with the name of its quality metric.
    subjects: by falling count, ties alphabetical, so that a subject's rank is its place; shares of all regions.
    areas: by the region's share of the photo. short_sides, megapixels: of the photos. caption_words: words a caption.
    formats, licences, sources: shares of all photos; "not stated" if the source states none.
    bokeh_regions, bokeh_photos: regions flagged, and photos with at least one of them.
    """

    name: str
    photos: int
    regions: int
    table_1: DatasetFigures
    subjects: tuple[Count, ...]
    areas: Histogram
    short_sides: Histogram
    megapixels: Histogram
    regions_per_photo: Histogram
    caption_words: Histogram
    formats: tuple[Count, ...]
    licences: tuple[Count, ...]
    sources: tuple[Count, ...]
    near_duplicates: NearDuplicates
    bokeh_regions: int
    bokeh_photos: int

    @property
    def bokeh_share(self) -> float:
        """Share of the regions that are sharp before a blurred background, 0..1."""
        return self.bokeh_regions / self.regions if self.regions else 0.0


def of_dataset(dataset: Dataset, tables: Place | None = None) -> Statistics:
    """The statistics of a data set, of whose index a piece at a time is in memory. The index does not name the metric
    of the scores: a few records are read.

    tables: a run's folder for tables, where what does not fit in memory is counted; None: a temporary folder.
    """
    metrics = {dataset.record_at(place).photo.quality_metric for place in _metric_places(dataset)}
    return of_index(dataset.index_batches(PIECE), dataset.card.name, sorted(metrics), tables)


def check_metric(dataset: Dataset) -> None:
    """Raises ValueError where a shard is damaged of which the metric's name is read: nothing else knows it."""
    shards = {place["shard"] for place in _metric_places(dataset)}
    if damaged := dataset.damaged_shards(shards):
        raise ValueError(f"{dataset.path}/{damaged[0]} is damaged: copy it again, or build it again")


def _metric_places(dataset: Dataset) -> list[dict[str, Any]]:
    """The index's rows of a few photos that have a score, spread evenly."""
    scored = sum(len(piece) - piece["quality"].null_count for piece in dataset.index_batches(PIECE))
    wanted = np.linspace(0, scored - 1, min(METRIC_SAMPLES, scored)).astype(int)
    rows: list[int] = []
    first = before = 0
    for piece in dataset.index_batches(PIECE) if scored else ():
        valid = np.flatnonzero(piece["quality"].is_valid().to_numpy())
        inside = wanted[(wanted >= before) & (wanted < before + len(valid))]
        rows += (first + valid[inside - before]).tolist()
        first, before = first + len(piece), before + len(valid)
    return dataset.places(rows)


def of_index(
    index: Iterable[pa.Table], name: str, metrics: Sequence[str], tables: Place | None = None
) -> Statistics:  # fmt: skip
    """index: its pieces, in order (columns of `shards.index.INDEX_SCHEMA`). metrics: the metrics of the scores, from
    the records. tables: as `of_dataset` takes it."""
    totals = IndexTotals()
    with scratch(tables) as database:
        for piece in chain([INDEX_SCHEMA.empty_table()], index):
            totals.take(piece)
            add(database, "photo_groups", piece.select(["group"]))
        sizes = 'SELECT count(*) AS size FROM photo_groups WHERE "group" <> \'\' GROUP BY "group" HAVING count(*) > 1'
        duplicates = next(rows_of(database, f"SELECT count(*), sum(size), max(size) FROM ({sizes})"))
    return Statistics(
        name=name,
        photos=totals.photos,
        regions=totals.regions,
        table_1=DatasetFigures(name, totals.regions, *totals.resolutions, totals.quality, _metric(metrics)),
        subjects=_ranked(totals.names["subjects"]),
        areas=_histogram("regions", "share of the photo, %", totals.bins["areas"], AREAS),
        short_sides=_histogram("photos", "short side, px", totals.bins["short_sides"], SHORT_SIDES),
        megapixels=_histogram("photos", "megapixels", totals.bins["megapixels"], MEGAPIXELS),
        regions_per_photo=_histogram("photos", "regions in the photo", totals.bins["regions"], REGIONS),
        caption_words=_histogram("regions", "words in the caption", totals.bins["words"], WORDS),
        formats=_ranked(totals.names["format"]),
        licences=_ranked(totals.names["licence"]),
        sources=_ranked(totals.names["source"]),
        near_duplicates=NearDuplicates(*(int(number or 0) for number in duplicates)),
        bokeh_regions=totals.bokeh_regions,
        bokeh_photos=totals.bokeh_photos,
    )


def to_json(stats: Statistics) -> str:
    """All figures as JSON, with the published rows of Table 1 next to this data set's."""
    content = asdict(stats) | {"bokeh_share": stats.bokeh_share, "published": [asdict(row) for row in PUBLISHED]}
    return json_text(content, indent=2)


def console(stats: Statistics, subjects: int = 20) -> RenderableType:
    """The statistics for a terminal, with the `subjects` most common subjects. Text from the data is shown as it is and
    never read as markup."""
    duplicates = stats.near_duplicates
    facts = Text(
        f"{stats.photos:,} photos, {stats.regions:,} regions, {len(stats.subjects):,} subjects; "
        f"{stats.bokeh_share:.1%} of the regions are bokeh; "
        f"{duplicates.groups:,} near-duplicate groups with {duplicates.photos:,} photos, "
        f"{duplicates.largest:,} in the largest"
    )
    compared = _table("Table 1", "data set", "annotations", "min resolution", "max resolution", "mean quality")
    for row in (*PUBLISHED, stats.table_1):
        cells = (row.name, f"{row.annotations:,}", row.min_resolution, row.max_resolution, quality_text(row))
        compared.add_row(*(Text(visible_line(cell)) for cell in cells), style="bold" if row is stats.table_1 else "")
    ranked = _table(f"Most common subjects (of {len(stats.subjects):,})", "subject", "rank", "regions", "share")
    for rank, entry in enumerate(stats.subjects[:subjects], 1):
        ranked.add_row(Text(visible_line(entry.name)), str(rank), f"{entry.count:,}", f"{entry.share:.1%}")
    named = [
        _named_counts(title, entries) for title, entries in (("Licence", stats.licences), ("Source", stats.sources))
    ]
    drawn = [_bars(histogram) for histogram in histograms(stats)]
    return Group(facts, compared, ranked, *drawn, *named)


def histograms(stats: Statistics) -> tuple[Histogram, ...]:
    """The histograms, in the order in which they are shown."""
    return stats.areas, stats.short_sides, stats.megapixels, stats.regions_per_photo, stats.caption_words


def quality_text(row: DatasetFigures) -> str:
    """The mean quality with its metric, so that figures of different metrics are never confused."""
    return "not scored" if row.quality is None else f"{row.quality:.2f} ({row.metric})"


def _metric(metrics: Sequence[str]) -> str:
    named = (METRIC_NAMES.get(metric.split(" ")[0], metric or "unnamed score") for metric in metrics)
    return " and ".join(dict.fromkeys(named))


def _ranked(totals: Counter[str]) -> tuple[Count, ...]:
    """Names by falling count, ties alphabetical."""
    whole = totals.total()
    ranked = sorted(totals.items(), key=lambda entry: (-entry[1], entry[0]))
    return tuple(Count(name, count, count / whole) for name, count in ranked)


def _histogram(what: str, of: str, counts: NDArray[np.int64], bins: Mapping[str, float]) -> Histogram:
    return Histogram(what, of, tuple(bins), tuple(counts.tolist()))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    return table


def _named_counts(title: str, entries: Sequence[Count]) -> Table:
    table = _table(title, "name", "photos", "share")
    for entry in entries:
        table.add_row(Text(visible_line(entry.name)), f"{entry.count:,}", f"{entry.share:.1%}")
    return table


def _bars(histogram: Histogram, width: int = 30) -> Table:
    table = Table(title=f"{histogram.what} by {histogram.of}", title_justify="left", title_style="bold", box=None)
    table.add_column(justify="right")
    table.add_column(min_width=width)
    table.add_column(justify="right")
    longest = max(1, *histogram.counts)
    for label, count in histogram.filled():
        table.add_row(label, Text("━" * -(-count * width // longest), style="cyan"), f"{count:,}")
    return table
