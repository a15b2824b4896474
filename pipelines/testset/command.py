"""`instructrestore testset`: from what was typed to a test set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from instructrestore.dataengine.photos.photo_file import UnusablePhoto
from instructrestore.pipelines.terminal.arguments import check_local
from instructrestore.pipelines.terminal.console import PlainConsole
from instructrestore.pipelines.terminal.damage import say_damaged
from instructrestore.pipelines.testset.from_csv import CsvSource
from instructrestore.pipelines.testset.from_dataset import DatasetSource
from instructrestore.pipelines.testset.material import UnfitPhoto
from instructrestore.pipelines.testset.sample import make_sample
from instructrestore.pipelines.testset.settings import TestSetSettings
from instructrestore.pipelines.testset.writer import SampleWriter
from instructrestore.shards.new_folder import new_folder
from instructrestore.shards.plain_text import visible_line

NAMED = 3  # of the photos passed over for a reason, so many are named
TWICE = "the same crop twice"


@dataclass
class TestSetSummary:
    """What became of the photos that were looked at: input = made + passed over.

    passed_over: reason -> name and detail of each photo.
    """

    made: int = 0
    passed_over: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def input(self) -> int:
        return self.made + sum(map(len, self.passed_over.values()))

    def reasons(self) -> list[str]:
        """How many photos gave no sample for each reason, the most frequent first, and the first of them."""
        ranked = sorted(self.passed_over.items(), key=lambda item: (-len(item[1]), item[0]))
        return [
            f"{len(names)} {reason}: {'; '.join(names[:NAMED])}{'; ...' if names[NAMED:] else ''}"
            for reason, names in ranked
        ]


def make_testset(
    source: str,
    out: Path,
    *,
    settings: TestSetSettings | None = None,
    limit: int | None = None,
    files: bool = False,
    console: Console | None = None,
) -> TestSetSummary:
    """Makes a test set of a data set or a CSV in the folder `out`, and says what became of the photos.

    limit: at most so many samples, evenly spread over the source. files: also as plain files.
    Raises ValueError, in one sentence, for what cannot be meant and where no photo gives a sample, and OSError where
    `out` cannot be written to; whatever is wrong with a single photo is in the summary.
    """
    settings, console = settings or TestSetSettings(), console or PlainConsole()
    if limit is not None and limit < 1:
        raise ValueError("--limit is at least 1")
    check_local(out)
    opened = _open(source)
    if isinstance(opened, DatasetSource):
        say_damaged(opened.dataset, console)
    if settings.bokeh and isinstance(opened, CsvSource) and not opened.has_bokeh:
        raise ValueError(f"--bokeh takes the rows whose column bokeh says true, and {visible_line(source)} has none")
    summary = TestSetSummary()
    with new_folder(out) as folder:
        writer = SampleWriter(folder, settings, files)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress, writer:
            order = spread(len(opened), limit)
            for row in progress.track(order, description="making samples"):
                if summary.made == limit:
                    break
                try:
                    sample = make_sample(opened.read(row, settings), settings)
                    if sample.record.photo.key in writer.keys:
                        raise UnfitPhoto(TWICE)
                except (UnfitPhoto, UnusablePhoto, OSError) as error:
                    reason, detail = _why(error)
                    name = visible_line(opened.name_of(row))
                    summary.passed_over[reason].append(f"{name} ({visible_line(detail)})" if detail else name)
                    continue
                writer.add(sample)
                summary.made += 1
        if not summary.made:
            reasons = ", ".join(summary.reasons())
            raise ValueError(f"no photo of {visible_line(source)} gives a sample: {reasons or 'it has none'}")
        writer.finish(opened.name, {"source": opened.name, "source_sha256": opened.sha256, "limit": limit})
    for line in _said(summary, len(opened), out):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return summary


def spread(count: int, limit: int | None) -> list[int]:
    """The order in which rows are looked at: as they are, or, of as many even stretches as there are to be samples,
    the first row of each, then the second of each, and so on, so that a photo passed over has others in its place."""
    if limit is None or limit >= count:
        return list(range(count))
    starts = [count * number // limit for number in range(limit + 1)]
    longest = -(-count // limit)
    return [start + offset for offset in range(longest) for start, end in pairwise(starts) if start + offset < end]


def _open(source: str) -> DatasetSource | CsvSource:
    path = Path(source)
    if source.lower().endswith(".csv") and "://" not in source:
        if not path.is_file():
            raise ValueError(f"there is no file {visible_line(source)}")
        return CsvSource(path)
    if "://" not in source and not path.is_dir():
        raise ValueError(f"{visible_line(source)} is neither the folder of a data set nor a CSV")
    return DatasetSource(source)


def _why(error: UnfitPhoto | UnusablePhoto | OSError) -> tuple[str, str]:
    if isinstance(error, FileNotFoundError):
        return "photo not found", ""
    if isinstance(error, OSError):
        return "file that cannot be read", error.strerror or str(error)
    return error.reason, error.detail


def _said(summary: TestSetSummary, count: int, out: Path) -> Iterator[str]:
    of_all = f" (of {count} in all)" if summary.input < count else ""
    passed_over = summary.input - summary.made
    yield f"input {summary.input}{of_all} = made {summary.made} + passed over {passed_over}"
    for line in summary.reasons():
        yield f"  {line}"
    yield f"{visible_line(str(out))}: a test set of {summary.made} photos"
