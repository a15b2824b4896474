"""Takes a run folder through the stages: plans what is to be done, has it done, adds up what came of it.

Planning reads names only: a part is done if its stage's folder holds a file whose name carries the hash of what the
part follows from.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from operator import itemgetter
from sys import intern
from typing import Any

import pandas as pd
import pyarrow as pa
from pydantic import TypeAdapter

from instructrestore.dataengine import stages
from instructrestore.dataengine.noun_phrases import rounds as retry
from instructrestore.dataengine.noun_phrases.answers import AnswerCache
from instructrestore.dataengine.noun_phrases.parser import PhraseResult, cache_identity
from instructrestore.dataengine.noun_phrases.rounds import Rounds
from instructrestore.dataengine.photos import near_duplicates
from instructrestore.dataengine.photos.encode import entry_of, written
from instructrestore.dataengine.photos.near_duplicates import Assignment, assign
from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.run_folder import RunFolder
from instructrestore.dataengine.running.part_files import (
    PartFile,
    Slice,
    StageSummary,
    add_up,
    digest,
    list_parts,
    read_rows_of,
    summaries,
)
from instructrestore.dataengine.running.side_table import SideTable, write_side_table
from instructrestore.dataengine.running.stage import StageSpec, StopStage, Task
from instructrestore.dataengine.settings import BuildSettings
from instructrestore.shards.files import commit, sweep
from instructrestore.shards.paths import Place, make_folder, names, place_of, read_if_there, remove, sizes
from instructrestore.shards.sample import PHOTO_FORMATS

_rows = TypeAdapter(Row)


@dataclass(frozen=True)
class Part:
    """A part as one stage left it, and so as the next one finds it."""

    part: int
    where: Slice
    content: str


RunStage = Callable[[StageSpec, Sequence[Task]], None]


class Engine:
    """One build in one folder.

    run: has tasks of a stage done and committed (runner.run_stage with a progress display around it).
    retry_failed: rows that failed in an earlier build are done again, alone.
    """

    def __init__(self, folder: RunFolder, settings: BuildSettings, run: RunStage, retry_failed: bool) -> None:
        self.folder = folder
        self.settings = settings
        self.summaries: list[StageSummary] = []
        self._run = run
        self._retry_failed = retry_failed

    def build(self) -> list[PartFile]:
        """All stages over all photos of the manifest; returns the shards' part files, in the shards' order."""
        parts = [Part(part.part, part.where, part.content) for part in self.folder.parts()]
        tables: dict[str, Callable[[Sequence[Part]], SideTable]] = {
            stages.DEDUPLICATE: self._duplicates,
            stages.MERGE: self._phrases,
        }
        number = 0
        for spec in stages.photo_stages(self.settings, self.folder.answers):
            # Not always there, so it takes no number of its own: what follows it finds its folders again.
            number += spec.name != stages.AGREEMENT
            table = tables[spec.name](parts) if spec.name in tables else None
            files = self._stage(number, spec, [self._task(spec, number, part, table) for part in parts])
            parts = [Part(file.part, Slice(str(file.path)), file.content) for file in files]
        return self._shards(number + 1, parts)

    def _task(self, spec: StageSpec, number: int, part: Part, table: SideTable | None) -> Task:
        side = table.hashes.get(part.part, "") if table else ""
        return Task(
            part.part,
            (part.where,),
            self._stage_folder(number, spec),
            digest(spec.identity, part.content, side),
            side_table=table.path if table else None,
        )

    def _stage_folder(self, number: int, spec: StageSpec) -> Place:
        return self.folder.stages / f"{number:02d}-{spec.name.replace(' ', '-')}"

    def _stage(self, number: int, spec: StageSpec, planned: Sequence[Task]) -> list[PartFile]:
        """Does those of the planned tasks that are not done yet; removes what no plan names any more."""
        folder = self._stage_folder(number, spec)
        make_folder(folder)
        sweep(folder)
        found = list_parts(folder)
        done = {task.part: file for task in planned if (file := _match(found.get(task.part, ()), task))}
        todo = [task for task in planned if task.part not in done]
        if self._retry_failed:
            todo += _again(spec, [(task, done[task.part]) for task in planned if task.part in done])
        if todo:
            self._run(spec, todo)
            found = list_parts(folder)
            done = {task.part: file for task in planned if (file := _match(found.get(task.part, ()), task))}
        if len(done) < len(planned):
            raise StopStage(
                f"parts of the {spec.name} stage that workers committed are not in {folder}: "
                "the run's folder must be one that every node sees"
            )
        files = [done[task.part] for task in planned]
        _remove_stale(found, files)
        self.summaries.append(_summary(folder, spec.name, files))
        return files

    def _duplicates(self, parts: Sequence[Part]) -> SideTable:
        """Who duplicates whom, over all photos that passed intake."""
        bits = self.settings.near_duplicate_bits
        identity = digest(near_duplicates.REVISION, bits, [part.content for part in parts])
        path = self.folder.tables / f"duplicates-{identity}.parquet"
        values = TypeAdapter(Assignment)
        if path.name not in names(path.parent):
            known = ("name", "uri", "sha256", "perceptual_hash", "excluded", "cut_from")
            owners, columns = [], {name: [] for name in known}
            for part, photos in zip(parts, read_rows_of([part.where for part in parts], _rows), strict=True):
                for _, row in photos:
                    assert row.photo
                    owners.append(part.part)
                    columns["name"].append(row.origin.name)
                    columns["uri"].append(row.origin.uri)
                    columns["sha256"].append(row.photo.sha256)
                    columns["perceptual_hash"].append(row.photo.perceptual_hash)
                    columns["excluded"].append(row.origin.excluded)
                    columns["cut_from"].append(row.origin.cut_from)
            assigned = assign(pa.table(columns), bits) if owners else []
            by_part = groupby(zip(owners, columns["uri"], assigned, strict=True), key=itemgetter(0))
            slices = ((owner, {uri: found for _, uri, found in photos}) for owner, photos in by_part)
            self._replace_table(path, slices, values, {})
        return SideTable(path, values)

    def _phrases(self, parts: Sequence[Part]) -> SideTable:
        """What the noun-phrase rounds made of every description of the data set."""
        settings = self.settings.noun_phrases
        identity = digest(
            retry.REVISION,
            settings.model_dump(mode="json", exclude={"small", "large"}),
            cache_identity(settings.small),
            cache_identity(settings.large),
            [part.content for part in parts],
        )
        path = self.folder.tables / f"phrases-{identity}.parquet"
        values = TypeAdapter(PhraseResult)
        table = SideTable(path, values) if path.name in names(path.parent) else None
        if table is None or (self._retry_failed and retry.UNANSWERED in table.facts["counts"]):
            described, given = self._described(parts)
            totals = described.groupby("description", as_index=False).agg({"count": "sum"})
            rounds = Rounds(totals, given, settings)
            cache = AnswerCache(
                self.folder.answers, self._run, self._retry_failed, stages.resources(self.settings, retry.NAME)
            )
            rounds.run(lambda n, texts: cache.ask(settings.small if n == 1 else settings.large, n, texts))
            slices = (
                (part, rounds.phrases(group.to_list())) for part, group in described.groupby("part")["description"]
            )
            self._replace_table(path, slices, values, asdict(rounds.summary()))
            commit(self.folder.tables / "subjects.csv", rounds.frequencies().to_csv(index=False).encode())
            table = SideTable(path, values)
        self.summaries.append(StageSummary(**table.facts))
        return table

    def _described(self, parts: Sequence[Part]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """(part, description, count) of the pieces to be phrased, and (subject, count) of those that bring both."""
        counted: list[tuple[int, str, int]] = []
        given: Counter[str] = Counter()
        for part, photos in zip(parts, read_rows_of([part.where for part in parts], _rows), strict=True):
            described: Counter[str] = Counter()
            for _, row in photos:
                given.update(piece.subject for piece in row.pieces if piece.noun_phrase)
                described.update(intern(piece.description) for piece in row.pieces if not piece.noun_phrase)
            counted += [(part.part, text, count) for text, count in sorted(described.items())]
        return (
            pd.DataFrame(counted, columns=["part", "description", "count"], dtype=object).astype(
                {"part": "int64", "count": "int64"}
            ),
            pd.DataFrame(sorted(given.items()), columns=["subject", "count"]).astype({"count": "int64"}),
        )

    def _replace_table(self, path: Place, slices: Any, values: TypeAdapter[Any], facts: dict[str, Any]) -> None:
        write_side_table(path, slices, values, facts)
        kind = path.name.split("-")[0]
        old = [name for name in names(path.parent) if name.startswith(f"{kind}-") and name.endswith(".parquet")]
        remove([path.parent / name for name in old if name != path.name])

    def _shards(self, number: int, parts: Sequence[Part]) -> list[PartFile]:
        """Cuts the photos that came through, in order, into shards of one format each and writes those not done."""
        files = [PartFile.parse(place_of(part.where.path)) for part in parts]
        counts = list(zip(parts, (s.families for s in summaries([file for file in files if file])), strict=True))
        done: list[PartFile] = []
        for photo_format in PHOTO_FORMATS:
            spec = stages.shard_stage(self.settings, photo_format)
            folder = self._stage_folder(number, spec)
            sizes = [(part, families.get(photo_format, 0)) for part, families in counts]
            planned = [
                Task(
                    part=shard,
                    slices=tuple(replace(piece, family=photo_format) for _, piece in pieces),
                    folder=folder,
                    input=digest(spec.identity, [(part.content, piece.start, piece.stop) for part, piece in pieces]),
                    target=self.folder.dataset,
                )
                for shard, pieces in enumerate(_cut(sizes, self.settings.shards.photos_per_shard))
            ]
            if planned:
                self._unpublish(planned, folder)
                done += self._stage(number, spec, planned)
        return done

    def _unpublish(self, planned: Sequence[Task], folder: Place) -> None:
        """Takes the data set's card away where shards are to be written: until they are it is no data set."""
        _forget_lost_shards(folder, self.folder.dataset)
        found = list_parts(folder)
        to_write: list[Task] = []
        for task in planned:
            file = _match(found.get(task.part, ()), task)
            if file and not (self._retry_failed and "f" in file.summary().outcomes):
                continue
            to_write.append(task)
        if not to_write:
            return
        # A part file says what is in a tar that is to be replaced: it goes first, so that it never says it of the tar
        # that comes.
        remove([stale.path for task in to_write for stale in found.get(task.part, ())])
        remove(
            [self.folder.dataset / name for name in ("dataset.json", "index.parquet", "README.md", "croissant.json")]
        )


def _cut(sizes: Sequence[tuple[Part, int]], photos_per_shard: int) -> Iterator[list[tuple[Part, Slice]]]:
    """The ok rows of all parts, in order, as runs of `photos_per_shard`."""
    pieces: list[tuple[Part, Slice]] = []
    room = photos_per_shard
    for part, size in sizes:
        start = 0
        while start < size:
            stop = min(size, start + room)
            pieces.append((part, Slice(part.where.path, start, stop)))
            room -= stop - start
            start = stop
            if room == 0:
                yield pieces
                pieces, room = [], photos_per_shard
    if pieces:
        yield pieces


def _match(files: Sequence[PartFile], task: Task) -> PartFile | None:
    """The part's file that this task would give, of several the latest attempt."""
    matching = [file for file in files if file.input == task.input]
    return max(matching, key=lambda file: (file.attempt, file.content), default=None)


def _again(spec: StageSpec, done: Sequence[tuple[Task, PartFile]]) -> Iterator[Task]:
    """The tasks that do the failed rows of committed parts again."""
    for (task, file), summary in zip(done, summaries([file for _, file in done]), strict=True):
        if "f" in summary.outcomes:
            alone = file.path if spec.row_type is spec.result_type else None
            yield replace(task, attempt=file.attempt + 1, retry=alone)


def _forget_lost_shards(folder: Place, dataset: Place) -> None:
    """Removes the part files of shards that are no longer there, or not whole, so that they are written again."""
    files = [file for of_part in list_parts(folder).values() for file in of_part]
    there = sizes(dataset)
    entries = map(entry_of, written(files))
    lost = [f.path for f, entry in zip(files, entries, strict=True) if entry and there.get(entry.name) != entry.bytes]
    remove(lost)


def _remove_stale(found: dict[int, list[PartFile]], current: Sequence[PartFile]) -> None:
    keep = {file.path for file in current}
    remove([file.path for files in found.values() for file in files if file.path not in keep])


def _summary(folder: Place, name: str, files: Sequence[PartFile]) -> StageSummary:
    """The stage's counts; read from the parts' footers once, then kept beside them."""
    path = folder / "summary.json"
    key = digest([file.path.name for file in files])
    if content := read_if_there(path):
        stored = json.loads(content)
        if stored["parts"] == key:
            return StageSummary(**stored["summary"])
    summary = add_up(name, summaries(files))
    commit(path, json.dumps({"parts": key, "summary": asdict(summary)}, indent=1, ensure_ascii=False).encode())
    return summary
