"""Statistics of a data set, from its index alone: Table 1 of the paper, subject frequencies (Fig. 3), histograms,
licences, near-duplicates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from instructrestore.dataengine.noun_phrases.english.noun_phrase import fold
from instructrestore.shards.index import Dataset
from instructrestore.shards.plain_text import json_text, visible_line

NOT_STATED = "not stated"
METRIC_NAMES = {
    "musiq": "MUSIQ",
    "brisque": "BRISQUE score",
    "embedded": "embedded score",
}  # by a metric's first word; versions follow
METRIC_SAMPLES = 16

# The label of each bin, and the lowest value in it.
AREAS = {"0-1": 0, "1-2": 0.01, "2-5": 0.02, "5-10": 0.05, "10-20": 0.1, "20-40": 0.2, "40-60": 0.4, "60-100": 0.6}
SHORT_SIDES = {"1-256": 1, "257-512": 257, "513-768": 513, "769-1024": 769, "1025-1536": 1025}
SHORT_SIDES |= {"1537-2048": 1537, "2049-3072": 2049, "3073+": 3073}
MEGAPIXELS = {"0-0.25": 0, "0.25-0.5": 0.25, "0.5-1": 0.5, "1-2": 1, "2-4": 2, "4-8": 4, "8-16": 8, "16+": 16}


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


def of_dataset(dataset: Dataset) -> Statistics:
    """The statistics of a data set. The index does not name the metric of the scores: a few records are read."""
    metrics = {dataset.record(row).photo.quality_metric for row in _metric_rows(dataset)}
    return of_index(dataset.index, dataset.card.name, sorted(metrics))


def check_metric(dataset: Dataset) -> None:
    """Raises ValueError where a shard is damaged of which the metric's name is read: nothing else knows it."""
    shards = dataset.index["shard"].take(pa.array(_metric_rows(dataset), pa.int64())).to_pylist()
    if damaged := dataset.damaged_shards(set(shards)):
        raise ValueError(f"{dataset.path}/{damaged[0]} is damaged: copy it again, or build it again")


def _metric_rows(dataset: Dataset) -> list[int]:
    scored = np.flatnonzero(dataset.index["quality"].is_valid().to_numpy())
    return scored[np.linspace(0, len(scored) - 1, min(METRIC_SAMPLES, len(scored))).astype(int)].tolist()


def of_index(index: pa.Table, name: str, metrics: Sequence[str]) -> Statistics:
    """index: columns of `shards.index.INDEX_SCHEMA`. metrics: the metrics of the scores, from the records."""
    width = index["width"].to_numpy().astype(np.int64)
    height = index["height"].to_numpy().astype(np.int64)
    per_photo = index["region_count"].to_numpy()
    areas = _elements(index["areas"]).to_numpy()
    words = _elements(index["captions"]).to_pandas().str.count(r"\S+").to_numpy(np.int64)
    bokeh = _elements(index["bokeh"]).to_numpy(zero_copy_only=False).astype(bool)
    photo_of_region = np.repeat(np.arange(index.num_rows), per_photo)
    groups = index["group"].to_pandas()
    group_sizes = groups[groups != ""].value_counts()
    group_sizes = group_sizes[group_sizes > 1]
    return Statistics(
        name=name,
        photos=index.num_rows,
        regions=len(areas),
        table_1=_table_row(index, width, height, name, metrics),
        subjects=_counts(_elements(index["subjects"]), fold),
        areas=_binned("regions", "share of the photo, %", areas, AREAS),
        short_sides=_binned("photos", "short side, px", np.minimum(width, height), SHORT_SIDES),
        megapixels=_binned("photos", "megapixels", width * height / 1e6, MEGAPIXELS),
        regions_per_photo=_whole_numbers("photos", "regions in the photo", per_photo, 0, 16),
        caption_words=_whole_numbers("regions", "words in the caption", words, 1, 13),
        formats=_counts(index["format"]),
        licences=_counts(index["licence"]),
        sources=_counts(index["source"]),
        near_duplicates=NearDuplicates(
            groups=len(group_sizes),
            photos=int(group_sizes.sum()),
            largest=int(group_sizes.iloc[0]) if len(group_sizes) else 0,
        ),
        bokeh_regions=int(bokeh.sum()),
        bokeh_photos=len(np.unique(photo_of_region[bokeh])),
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


def _table_row(
    index: pa.Table, width: NDArray[np.int64], height: NDArray[np.int64], name: str, metrics: Sequence[str]
) -> DatasetFigures:
    order = np.lexsort((height, width, width * height))  # by pixels; equal pixels by width
    smallest, largest = (f"{width[row]}x{height[row]}" for row in order[[0, -1]]) if len(order) else ("", "")
    scores = index["quality"].drop_null().to_numpy()
    quality = float(scores.mean()) if len(scores) else None
    named = (METRIC_NAMES.get(metric.split(" ")[0], metric or "unnamed score") for metric in metrics)
    metric = " and ".join(dict.fromkeys(named))
    return DatasetFigures(name, int(np.sum(index["region_count"].to_numpy())), smallest, largest, quality, metric)


def _elements(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The elements of a column of lists, one after the other."""
    return pa.chunked_array([chunk.flatten() for chunk in column.chunks], column.type.value_type)


def _counts(names: pa.ChunkedArray, folded: Callable[[str], str] = str.strip) -> tuple[Count, ...]:
    """Names by falling count, ties alphabetical. folded: names that it maps to one name are counted together."""
    seen = names.value_counts()  # folding is slow: it runs once for each distinct name
    totals: Counter[str] = Counter()
    for name, count in zip(seen.field("values").to_pylist(), seen.field("counts").to_pylist(), strict=True):
        totals[folded(name or "") or NOT_STATED] += count
    whole = len(names)
    ranked = sorted(totals.items(), key=lambda entry: (-entry[1], entry[0]))
    return tuple(Count(name, count, count / whole) for name, count in ranked)


def _binned(what: str, of: str, values: NDArray[np.generic], bins: Mapping[str, float]) -> Histogram:
    """bins: the label of each bin and the lowest value in it, rising; the last has no upper end."""
    lowest = np.array(list(bins.values()))
    places = np.maximum(np.searchsorted(lowest, values, side="right") - 1, 0)
    counts = np.bincount(places, minlength=len(bins))
    return Histogram(what, of, tuple(bins), tuple(counts.tolist()))


def _whole_numbers(what: str, of: str, values: NDArray[np.generic], first: int, last: int) -> Histogram:
    """A bin per whole number from `first` on; the bin of `last` includes all greater ones."""
    labels = {str(number): float(number) for number in range(first, last)} | {f"{last}+": float(last)}
    return _binned(what, of, values, labels)


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
