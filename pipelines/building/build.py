"""`instructrestore build`: photos in, verified training triplets out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from instructrestore.dataengine.photos.encode import entry_of, written
from instructrestore.dataengine.photos.row import SourcePhoto
from instructrestore.dataengine.reporting import card, report, statistics
from instructrestore.dataengine.run_folder import Appended, RunFolder
from instructrestore.dataengine.running.executor import Executor
from instructrestore.dataengine.running.on_ray import environments
from instructrestore.dataengine.running.on_ray.runner import Cluster, cluster
from instructrestore.dataengine.running.outcomes import defects
from instructrestore.dataengine.running.part_files import PartFile, StageSummary
from instructrestore.dataengine.running.run import Run
from instructrestore.dataengine.settings import BuildSettings
from instructrestore.dataengine.sources import list_photos
from instructrestore.dataengine.stages import build_stages
from instructrestore.pipelines.building.presets import read_sources, to_toml
from instructrestore.pipelines.terminal.progress import StageProgress
from instructrestore.shards.files import commit, sweep
from instructrestore.shards.index import INDEX_SCHEMA, Dataset, DatasetCard
from instructrestore.shards.paths import Place, names, reaching, read_if_there, remove
from instructrestore.shards.write import finish_dataset

# Where things lie on this machine, and how it runs, is no part of what made the data set.
_OF_THIS_MACHINE: Any = {
    **dict.fromkeys(("sources", "limit", "run", "name"), True),
    "masks": {"semantic_sam": {"checkout", "detectron2", "checkpoint"}},
    "descriptions": {"osprey": {"checkout"}, "vision_language": {"server": {"vllm"}}},
    "noun_phrases": {"small": {"server": {"vllm"}}, "large": {"server": {"vllm"}}},
}


@dataclass(frozen=True)
class BuildResult:
    """What a build left: the data set's folder and card, and what each stage did."""

    dataset: Place
    card: DatasetCard
    summaries: list[StageSummary]

    @property
    def defects(self) -> dict[str, int]:
        """Faults of the program that rows met: stage, kind and place -> rows."""
        met = [(summary.name, defects(summary.failed)) for summary in self.summaries]
        return {f"{stage}: {place}": count for stage, of_stage in met for place, count in of_stage.items()}


def build(settings: BuildSettings, out: Place, console: Console, retry_failed: bool = False) -> BuildResult:
    """Builds, or goes on building, the data set in `out`.

    Raises ValueError for a user's mistake and StopStage where going on is pointless, each with one sentence; what
    was done by then stays and is not done again.
    """
    for name, given in {"default": settings.run.default, **settings.run.stages}.items():
        environments.check(name, given.runtime_env)
    folder = RunFolder(out)
    photos = listed(settings)
    first = next(photos)  # a source that is empty or wrong leaves no folder behind
    how = settings.run

    def ray() -> AbstractContextManager[Cluster]:  # a build with nothing left to do needs no cluster
        console.print("starting Ray", highlight=False)
        return cluster(how.address, how.cpus, how.object_store_mib, how.wait_for_nodes_s)

    with (
        folder.lock() as check,
        Executor(ray, partial(StageProgress, console), how.max_failures_in_a_row, check) as executor,
    ):
        appended = folder.append(chain([first], photos), settings.photos_per_part)
        parts = folder.parts()
        record = to_toml(_with_earlier_sources(settings, out))
        commit(out / "settings.toml", record.encode())
        console.print(_said(appended, len(parts), out), highlight=False, markup=False)
        run = Run(folder.stages, folder.tables, executor, retry_failed)
        shards = run.through(build_stages(settings, folder), parts)
        check()
        dataset_card = publish(folder, settings, shards)
        with reaching(folder.dataset):
            dataset = Dataset(str(folder.dataset))
            stats = statistics.of_dataset(dataset)
            card.write_card(folder.dataset, dataset_card, stats)
            report.write_report(out / "report.html", dataset, stats, run.summaries, record)
    return BuildResult(folder.dataset, dataset_card, run.summaries)


def listed(settings: BuildSettings) -> Iterator[SourcePhoto]:
    """The excluded photos, which no limit leaves out and which stay excluded if another source lists them too; then
    the photos of all other sources."""
    if not settings.sources:
        raise ValueError(
            "a build needs a source: name a folder of photos, annotations or a manifest, as in build photos/ --out run"
        )
    wanted = chain.from_iterable(list_photos(source) for source in settings.sources if not source.exclude)
    excluded = chain.from_iterable(list_photos(source) for source in settings.sources if source.exclude)
    return chain(excluded, islice(wanted, settings.limit))


def _with_earlier_sources(settings: BuildSettings, out: Place) -> BuildSettings:
    """The settings with the sources of earlier builds in the same folder before their own: together they give the
    photos of the run."""
    content = read_if_there(out / "settings.toml")
    earlier = read_sources(content.decode("utf-8")) if content is not None else ()
    return settings.model_copy(update={"sources": tuple(dict.fromkeys((*earlier, *settings.sources)))})


def _said(appended: Appended, parts: int, out: Place) -> str:
    text = f"{appended.new:,} new photos; {parts:,} parts in {out}"
    if appended.twice:
        text += f"; {appended.twice:,} photos are listed more than once, and the first listing counts"
    if appended.gone:
        text += f"; {appended.gone:,} photos of earlier builds are listed no more, and stay"
    return text


def publish(folder: RunFolder, settings: BuildSettings, shards: Sequence[PartFile]) -> DatasetCard:
    """Index and card of the shards; shards of an earlier build that are no part of this one are removed."""
    entries = [entry for photos in written(shards) if (entry := entry_of(photos))]
    tables = (pa.Table.from_pylist([photo.index for photo in photos], INDEX_SCHEMA) for photos in written(shards))
    made_by = settings.model_dump(mode="json", exclude=_OF_THIS_MACHINE)
    made = finish_dataset(folder.dataset, settings.name, entries, tables, made_by)
    current = {entry.name for entry in entries}
    shards_there = [name for name in names(folder.dataset) if name.endswith(".tar")]
    remove([folder.dataset / name for name in shards_there if name not in current])
    sweep(folder.dataset)
    return made


def print_summary(result: BuildResult, console: Console) -> None:
    """What each stage did, and that nothing was lost on the way."""
    table = Table("stage", "in", "ok", "dropped", "failed", "why", box=None, pad_edge=False)
    for summary in result.summaries:
        dropped, failed = sum(summary.dropped.values()), sum(summary.failed.values())
        assert summary.input == summary.ok + dropped + failed, summary
        reasons = {**summary.dropped, **{f"failed: {reason}": n for reason, n in summary.failed.items()}}
        why = ", ".join(f"{reason} {n}" for reason, n in sorted(reasons.items(), key=lambda item: -item[1]))
        table.add_row(summary.name, *(f"{n:,}" for n in (summary.input, summary.ok, dropped, failed)), why)
    console.print(table)
    failed = sum(sum(summary.failed.values()) for summary in result.summaries)
    console.print("At every stage: input = ok + dropped + failed.", highlight=False)
    if failed:
        console.print(f"{failed} failed; --retry-failed does those alone again.", highlight=False)
    for place, count in result.defects.items():
        said = f"a defect of this program, met by {count} rows: {place}; tracebacks are in the stage's parts"
        console.print(said, highlight=False, markup=False, soft_wrap=True)
    made = result.card
    if not made.photos:
        console.print("No photo came through: the data set is empty.", highlight=False)
    console.print(
        f"{made.photos:,} photos, {made.regions:,} triplets, {len(made.shards):,} shards in {result.dataset}",
        highlight=False,
        markup=False,
    )


def _counted(photos: Iterable[SourcePhoto], listings: Counter[str]) -> Iterator[SourcePhoto]:
    for photo in photos:
        listings[f"{photo.source} (exclude list)" if photo.excluded else photo.source] += 1
        yield photo


def print_plan(settings: BuildSettings, out: Place, console: Console) -> None:
    """What a build would do, without doing it: the photos of each source, and the stages."""
    folder = RunFolder(out)
    known = folder.known()
    listings = Counter[str]()
    new = sum(photo.uri not in known for photo in _counted(listed(settings), listings))
    for title, photos in listings.items():
        console.print(f"{photos:>9,}  photos of {title}", highlight=False, markup=False)
    console.print(f"{new:>9,}  of them are new to {out}, which has {len(known):,}", highlight=False, markup=False)
    names = [stage.name for stage in build_stages(settings, folder)]
    console.print("stages: " + " -> ".join(names), highlight=False, markup=False)
    console.print(f"preset {settings.preset or 'none'}; nothing was written", highlight=False, markup=False)
