"""`instructrestore build`: photos in, verified training triplets out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from instructrestore.dataengine.judging.accuracy import stated
from instructrestore.dataengine.judging.log import JudgementLog, log_path
from instructrestore.dataengine.judging.version import still_applying
from instructrestore.dataengine.lineage.openlineage import LineageEvents
from instructrestore.dataengine.photos.encode import entry_of, written
from instructrestore.dataengine.photos.row import SourcePhoto
from instructrestore.dataengine.reporting import annotation_counts, card, report, statistics
from instructrestore.dataengine.run_folder import Appended, RunFolder
from instructrestore.dataengine.running.executor import Executor
from instructrestore.dataengine.running.on_ray import environments
from instructrestore.dataengine.running.on_ray.runner import Cluster, cluster
from instructrestore.dataengine.running.outcomes import defects
from instructrestore.dataengine.running.part_files import PartFile
from instructrestore.dataengine.running.run import Run
from instructrestore.dataengine.running.stage_summary import StageSummary
from instructrestore.dataengine.settings import BuildSettings
from instructrestore.dataengine.sources import SourceSettings, list_photos
from instructrestore.dataengine.stages import build_stages
from instructrestore.pipelines.building.presets import is_sealed, read_sources, sealed, to_toml
from instructrestore.pipelines.terminal.amounts import counts_text
from instructrestore.pipelines.terminal.damage import print_line
from instructrestore.pipelines.terminal.progress import StageProgress
from instructrestore.shards.addresses import has_secret
from instructrestore.shards.errors import DamagedFile
from instructrestore.shards.files import commit, sweep
from instructrestore.shards.index import INDEX_SCHEMA, Dataset, DatasetCard
from instructrestore.shards.paths import Place, names, reaching, read_if_there, remove
from instructrestore.shards.write import finish_dataset

OWN_NAMES = ("dataset", "tri-ir")
# Where things lie on this machine, and how it runs, is no part of what made the data set.
_OF_THIS_MACHINE: Any = {
    **dict.fromkeys(("sources", "limit", "run", "name"), True),
    "masks": {"semantic_sam": {"checkout", "detectron2", "checkpoint"}},
    "descriptions": {"osprey": {"checkout"}, "vision_language": {"server": {"vllm"}}},
    "noun_phrases": {"small": {"server": {"vllm"}}, "large": {"server": {"vllm"}}},
}


LeftOut = dict[SourceSettings, Counter[str]]


@dataclass(frozen=True)
class BuildResult:
    """What a build left: the data set's folder and card, what each stage did, and what became of the sources'
    annotations."""

    dataset: Place
    card: DatasetCard
    summaries: list[StageSummary]
    annotations: list[annotation_counts.Annotations] = field(default_factory=list)

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
    left_out: LeftOut = {}
    photos = listed(settings, left_out)
    first = next(photos)  # a source that is empty or wrong leaves no folder behind
    how = settings.run

    def ray() -> AbstractContextManager[Cluster]:  # a build with nothing left to do needs no cluster
        console.print("starting Ray", highlight=False)
        return cluster(how.address, how.cpus, how.object_store_mib, how.wait_for_nodes_s)

    say = partial(print_line, console=console)
    with (
        folder.lock() as check,
        Executor(ray, partial(StageProgress, console), how.max_failures_in_a_row, check) as executor,
    ):
        appended = folder.append(chain([first], photos), settings.photos_per_part)
        without_photo = folder.note_left_out(left_out)
        parts = folder.parts()
        record = to_toml(_with_earlier_sources(settings, out, say))
        if has_secret(record):
            folder.keep_private()
        commit(out / "settings.toml", sealed(record).encode())
        console.print(_said(appended, len(parts), out), highlight=False, markup=False)
        for title in _shared_titles(settings):
            say(f"several sources are called {title} and are counted as one: ?name= tells them apart")
        ended = _lineage(settings, folder, say)
        run = Run(folder.stages, folder.tables, executor, retry_failed, [folder.answers], say, ended)
        shards = run.through(build_stages(settings, folder), parts)
        check()
        result = finish(folder, settings, shards, run.summaries, without_photo, record)
        with reaching(folder.dataset):
            if said := _said_of_judgements(Dataset(str(folder.dataset))):
                say(said)
    return result


def finish(
    folder: RunFolder, settings: BuildSettings, shards: Sequence[PartFile], summaries: list[StageSummary],
    without_photo: dict[str, int], record: str,
) -> BuildResult:  # fmt: skip
    """The shards as a data set with its card, and the run's report. without_photo: annotations of no photo, by reason.
    record: the settings as text."""
    found = annotation_counts.of_stages(summaries, without_photo)
    dataset_card = publish(folder, settings, shards)
    with reaching(folder.dataset):
        dataset = Dataset(str(folder.dataset))
        stats = statistics.of_dataset(dataset, folder.tables)
        accuracy = stated(dataset)
        card.write_card(folder.dataset, dataset_card, stats, found, accuracy)
        report.write_report(folder.path / "report.html", dataset, stats, summaries, record, 24, found, accuracy)
    return BuildResult(folder.dataset, dataset_card, summaries, found)


def _lineage(settings: BuildSettings, folder: RunFolder, say: Callable[[str], None]) -> Callable[[StageSummary], None]:
    """What is told of each stage that ends: nothing, unless OpenLineage events are asked for."""
    target = settings.run.openlineage
    if target is None:
        return lambda _: None
    return LineageEvents(target, settings.name, str(folder.dataset), say).ended


def listed(settings: BuildSettings, left_out: LeftOut) -> Iterator[SourcePhoto]:
    """The excluded photos, which no limit leaves out and which stay excluded if another source lists them too; then
    the photos of all other sources.

    left_out: gets, by source, the annotations that are part of no photo, by reason.
    """
    if not settings.sources:
        raise ValueError(
            "a build needs a source: name a folder of photos, annotations or a manifest, as in build photos/ --out run"
        )

    def photos_of(excluded: bool) -> Iterator[SourcePhoto]:
        for source in settings.sources:
            if source.exclude == excluded:
                left_out[source] = Counter()
                yield from list_photos(source, left_out[source])

    return chain(photos_of(excluded=True), islice(photos_of(excluded=False), settings.limit))


def _with_earlier_sources(settings: BuildSettings, out: Place, say: Callable[[str], None]) -> BuildSettings:
    """The settings with the sources of earlier builds in the same folder before their own: together they give the
    photos of the run."""
    path = out / "settings.toml"
    content = read_if_there(path)
    try:
        earlier = () if content is None else read_sources(content, str(path))
    except ValueError:
        raise DamagedFile(path, "remove it, and name all sources of the run again") from None
    if content is not None and not is_sealed(content.decode("utf-8")):
        say(f"{path} is not as the last build left it: the sources that it names now are taken")
    return settings.model_copy(update={"sources": tuple(dict.fromkeys((*earlier, *settings.sources)))})


def _shared_titles(settings: BuildSettings) -> list[str]:
    """Names that records and statistics give to several sources of photos; data sets bring names of their own."""
    named = (source for source in dict.fromkeys(settings.sources) if source.name or source.kind not in OWN_NAMES)
    often = Counter(source.title for source in named if not source.exclude)
    return [title for title, count in often.items() if count > 1]


def _said_of_judgements(dataset: Dataset) -> str:
    """How many judgements beside the data set still apply: a build that gives other regions leaves some behind."""
    if "://" in dataset.path or not (entries := JudgementLog(log_path(dataset.path)).entries()):
        return ""
    apply, lost = still_applying(dataset, entries)
    return (
        f"{apply:,} judgements beside the data set apply to it, {lost:,} no longer do; revise makes a version of them"
    )


def _said(appended: Appended, parts: int, out: Place) -> str:
    text = f"{counts_text(new_photo=appended.new, part=parts)} in {out}"
    if appended.twice:
        text += f"; {appended.twice:,} photos are listed more than once, and the first listing counts"
    if appended.signed:
        text += "; addresses of photos are signed, so only you can open the folder"
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
    if result.annotations:
        console.print(annotation_counts.console(result.annotations))
    failed = sum(sum(summary.failed.values()) for summary in result.summaries)
    console.print("At every stage: input = ok + dropped + failed.", highlight=False)
    if failed:
        console.print(f"{failed} failed; --retry-failed does those alone again.", highlight=False)
    for place, count in result.defects.items():
        said = f"a defect of this program, met by {count} rows: {place}; tracebacks are in the stage's parts"
        console.print(said, highlight=False, markup=False, soft_wrap=True)
    made = result.card
    if not made.photos:
        console.print(
            "No photo came through: the data set is empty. The table says at which stage photos were dropped and why; "
            "--preset demo takes smaller and plainer photos, into another folder.",
            highlight=False,
            soft_wrap=True,
        )
    console.print(
        f"{counts_text(photo=made.photos, triplet=made.regions, shard=len(made.shards))} in {result.dataset}",
        highlight=False,
        markup=False,
    )
