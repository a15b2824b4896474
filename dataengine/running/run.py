"""A list of stages over the parts of a run: the loop, and where each stage commits.

    parts of the manifest -> PartStage -> parts -> PartStage -> parts -> ... -> ShardStage -> shards, and their parts
                                            |                    ^
                                            +--> TableStage -----+  a table, of which a stage gets each part's slice

Stages run one after the other. Every part of every stage is one file in the stage's folder, committed by a rename
(part_files.py), and so is every table (side_table.py): what exists is done. A run that is killed at any moment loses
the parts in hand, and the same call goes on (checkpoints.py). What is read is compared with its hash: a part or a
table that is damaged is made again, and where it comes out as it was, nothing after it. stage_kinds.py has the kinds
of stages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter

from instructrestore.dataengine.running.checkpoints import Execute, Outputs, complete
from instructrestore.dataengine.running.integrity import digest
from instructrestore.dataengine.running.part_files import PartFile, Slice, summaries
from instructrestore.dataengine.running.scratch import remove_scratch, scratch
from instructrestore.dataengine.running.side_table import SideTable, write_side_table
from instructrestore.dataengine.running.stage import StageSpec, Task
from instructrestore.dataengine.running.stage_kinds import Part, PartStage, ShardStage, TableStage
from instructrestore.dataengine.running.stage_summary import StageSummary, add_up
from instructrestore.shards.errors import DamagedFile
from instructrestore.shards.files import commit
from instructrestore.shards.parsing import parse_object
from instructrestore.shards.paths import Place, names, place_of, read_if_there, remove


class Run:
    """One run in one folder.

    stages, tables: the folders within it for the stages' parts and for tables.
    execute: has tasks done (executor.py). retry_failed: rows that failed in an earlier run are done again, alone.
    kept: folders for what else stages make and keep, a file of which they make again where it is gone. say: is told in
    one line of what was damaged and is made again. ended: is told of each stage that has come to its end.
    summaries: what each stage did, as soon as it is done.
    """

    def __init__(
        self,
        stages: Place,
        tables: Place,
        execute: Execute,
        retry_failed: bool,
        kept: Sequence[Place] = (),
        say: Callable[[str], None] = print,
        ended: Callable[[StageSummary], None] = lambda _: None,
    ) -> None:
        self.summaries: list[StageSummary] = []
        self._ended = ended
        self._stages, self._tables = stages, tables
        self._execute, self._retry_failed = execute, retry_failed
        self._made = [f"{folder}/" for folder in (stages, tables, *kept)]
        self._say = say

    def through(self, stages: Sequence[PartStage | TableStage | ShardStage], parts: Sequence[Part]) -> list[PartFile]:
        """All parts through all stages; returns the parts that the ShardStages committed, in order.

        Raises DamagedFile for a file that this run did not make, or that was damaged again when it had been made anew.
        """
        remove_scratch(self._tables)
        mended: set[str] = set()
        while True:
            try:
                return self._through(stages, parts)
            except DamagedFile as damage:
                if damage.place in mended or not damage.place.startswith(tuple(self._made)):
                    raise
                mended.add(damage.place)
                remove([place_of(damage.place)])
                self._say(f"{damage.place} was damaged: it is made again")

    def _through(self, stages: Sequence[PartStage | TableStage | ShardStage], parts: Sequence[Part]) -> list[PartFile]:
        self.summaries.clear()
        tables: dict[str, SideTable] = {}
        families: list[dict[str, int]] | None = None
        written: list[PartFile] = []
        for stage in stages:
            if isinstance(stage, TableStage):
                tables[stage.name] = self._table(stage, parts)
                continue
            folder = self._stages / stage.folder
            if isinstance(stage, PartStage):
                table = tables[stage.table] if stage.table else None
                files = self._parts(stage.spec, stage.tasks(parts, table, folder))
                parts = [Part(file.part, Slice(str(file.path)), file.content) for file in files]
                families = None
            else:
                families = families or _families(parts)
                counts = [of_part.get(stage.family, 0) for of_part in families]
                written += self._parts(stage.spec, stage.tasks(parts, counts, folder), stage.outputs)
        return written

    def _parts(self, spec: StageSpec, tasks: Sequence[Task], outputs: Outputs | None = None) -> list[PartFile]:
        """The committed part of every task; what is not done yet is done."""
        files = complete(spec, tasks, self._execute, retry_failed=self._retry_failed, outputs=outputs, say=self._say)
        if tasks:
            self._end(_summary(tasks[0].folder, spec.name, files))
        return files

    def _end(self, summary: StageSummary) -> None:
        self.summaries.append(summary)
        self._ended(summary)

    def _table(self, stage: TableStage, parts: Sequence[Part]) -> SideTable:
        """The stage's table of these parts; made if it is not there yet."""
        identity = digest(*stage.follows_from, [part.content for part in parts])
        path = self._tables / f"{stage.file}-{identity}.parquet"
        values = TypeAdapter(stage.values)
        table = SideTable(path, values) if path.name in names(self._tables) else None
        if table is None or (self._retry_failed and not stage.is_final(table.facts)):
            with scratch(self._tables) as database:
                slices, facts = stage.make(parts, self._execute, self._retry_failed, database)
                write_side_table(path, slices, values, facts)
            others = [name for name in names(self._tables) if name.startswith(f"{stage.file}-") and name != path.name]
            remove([self._tables / name for name in others if name.endswith(".parquet")])
            table = SideTable(path, values)
        if summary := stage.summary(table.facts):
            self._end(summary)
        return table


def _families(parts: Sequence[Part]) -> list[dict[str, int]]:
    """How many ok rows of each family every part has."""
    files = [PartFile.parse(place_of(part.where.path)) for part in parts]
    return [summary.families for summary in summaries([file for file in files if file])]


def _summary(folder: Place, name: str, files: Sequence[PartFile]) -> StageSummary:
    """The stage's counts; read from the parts' footers once, then kept beside them."""
    path = folder / "summary.json"
    key = digest([file.path.name for file in files])
    if (known := _known_summary(read_if_there(path), key)) is not None:
        return StageSummary(**known)
    summary = add_up(name, summaries(files))
    known = asdict(summary)
    stored = {"parts": key, "summary": known, "hash": digest(key, known)}
    commit(path, json.dumps(stored, indent=1, ensure_ascii=False).encode())
    return summary


def _known_summary(content: bytes | None, key: str) -> dict[str, Any] | None:
    """The summary kept of the parts that `key` stands for; None where there is none that is whole."""
    try:
        stored = parse_object(content or b"{}", "the summary")
    except ValueError:
        return None
    return stored["summary"] if stored.get("hash") == digest(key, stored.get("summary")) else None
