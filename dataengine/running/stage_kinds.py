"""The kinds of stages that a list of stages has (run.py runs it): by what each makes of the parts before it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from instructrestore.dataengine.running.checkpoints import Execute, Outputs
from instructrestore.dataengine.running.integrity import digest
from instructrestore.dataengine.running.part_files import Slice
from instructrestore.dataengine.running.side_table import SideTable
from instructrestore.dataengine.running.stage import StageSpec, Task
from instructrestore.dataengine.running.stage_summary import StageSummary
from instructrestore.shards.paths import Place

if TYPE_CHECKING:  # whoever names stages need not wait for it
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class Part:
    """A part as one stage left it, and so as the next one finds it. content: hash of its rows."""

    part: int
    where: Slice
    content: str


@dataclass(frozen=True)
class PartStage:
    """Maps part k to part k. folder: its name within the run. table: the TableStage that it gets slices of."""

    spec: StageSpec
    folder: str
    table: str = ""

    @property
    def name(self) -> str:
        return self.spec.name

    def tasks(self, parts: Sequence[Part], table: SideTable | None, folder: Place) -> list[Task]:
        return [
            Task(
                part=part.part,
                slices=(part.where,),
                folder=folder,
                input=digest(self.spec.identity, part.content, table.hashes.get(part.part, "") if table else ""),
                side_table=table.path if table else None,
            )
            for part in parts
        ]


class TableStage(ABC):
    """Makes one table of all parts, which it leaves as they are.

    file: what the table's file is called, before its hash. follows_from: what the table follows from besides the
    parts, as JSON. values: what its values are.
    """

    name: str
    file: str
    follows_from: tuple[Any, ...]
    values: type

    @abstractmethod
    def make(
        self, parts: Sequence[Part], execute: Execute, retry_failed: bool, database: DuckDBPyConnection
    ) -> tuple[Iterable[tuple[int, dict[str, Any]]], dict[str, Any]]:
        """The slices, (part, {key: value}) in the parts' order, and what there is to say of the whole, as JSON.

        database: empty, and there until the slices were taken (scratch.py): for what does not belong in memory.
        """

    def is_final(self, facts: dict[str, Any]) -> bool:
        """Whether --retry-failed would find nothing to do again."""
        return True

    def summary(self, facts: dict[str, Any]) -> StageSummary | None:
        """What it did with its input, where it counts any."""
        return None


@dataclass(frozen=True)
class ShardStage:
    """Cuts the ok rows of all parts that are of one family, in order, into runs of `size`, and writes each to `target`.

    family: as the rows' attribute of that name says. outputs: what is in `target`.
    """

    spec: StageSpec
    folder: str
    family: str
    size: int
    target: Place
    outputs: Outputs

    @property
    def name(self) -> str:
        return self.spec.name

    def tasks(self, parts: Sequence[Part], counts: Sequence[int], folder: Place) -> list[Task]:
        """counts: rows of the family in each part."""
        runs: list[list[tuple[Part, Slice]]] = []
        room = 0
        for part, count in zip(parts, counts, strict=True):
            start = 0
            while start < count:
                if room == 0:
                    runs.append([])
                    room = self.size
                stop = min(count, start + room)
                runs[-1].append((part, Slice(part.where.path, start, stop)))
                room -= stop - start
                start = stop
        return [
            Task(
                part=number,
                slices=tuple(replace(piece, family=self.family) for _, piece in run),
                folder=folder,
                input=digest(self.spec.identity, [(part.content, piece.start, piece.stop) for part, piece in run]),
                target=self.target,
            )
            for number, run in enumerate(runs)
        ]
