"""The folder of a data set's restoration: what is done, what is to be done, and what is published at the end.

OUT/restore.json       schema of the folder
OUT/rows.parquet       what is to be restored, a row per (photo, region); parts are runs of these rows
OUT/parts/<output>/    a Parquet file per part: the checkpoint (dataengine.running.part_files); what exists is done
OUT/restored/          output "files": <key>-<region>.png
OUT/dataset/           output "shards": a data set of the restored photos
OUT/results.parquet    what became of every row, once all are done
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from instructrestore.dataengine.run_folder import GROUP_ROWS
from instructrestore.dataengine.running.part_files import PART_SCHEMA, Outcome, PartFile, Slice, digest, list_parts
from instructrestore.dataengine.running.stage import StopStage, Task
from instructrestore.pipelines.restoration.dataset_stage import FileSink, RestoredShardSink, Result, Triplet, results_of
from instructrestore.shards.files import commit, replacing, sweep
from instructrestore.shards.index import INDEX_SCHEMA, ShardEntry
from instructrestore.shards.paths import Place, remove
from instructrestore.shards.write import finish_dataset

FOLDER_SCHEMA = 1
RESULT_SCHEMA = pa.schema(
    [
        ("key", pa.string()),  # of the photo in the data set that was restored
        ("name", pa.string()),  # its original name; empty where its record cannot be read
        ("region", pa.int32()),  # the region's number in the photo's record, from 0
        ("caption", pa.string()),
        ("instruction", pa.string()),
        ("scales", pa.list_(pa.float64())),  # of the region, and of the rest of the photo
        ("seed", pa.int64()),
        ("file", pa.string()),  # relative to the folder; a photo in a shard as SHARD#KEY
        ("outcome", pa.string()),  # ok | failed
        ("reason", pa.string()),  # of a failed row
        ("detail", pa.string()),
        ("reports", pa.list_(pa.string())),
    ]
)
_PHOTO = re.compile(r"[0-9a-f]{20}-\d+\.png")
_triplets = TypeAdapter(Triplet)

Output = Literal["files", "shards"]
Placed = TypeVar("Placed", bound=Any)  # a dataclass with height, width, slot and together


class RestoreFolder:
    """The folder, which need not be there yet. output: how restored photos are kept.

    Raises ValueError where it is something else, or made by another version.
    """

    def __init__(self, path: Path, output: Output) -> None:
        self.path = path = path.absolute()  # workers have other current folders
        self.rows, self.results = path / "rows.parquet", path / "results.parquet"
        self.parts = path / "parts" / output
        self.target = path / ("restored" if output == "files" else "dataset")
        self.sink = FileSink if output == "files" else RestoredShardSink
        self._output = output
        self._marker = path / "restore.json"
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path} is a file; --out names a folder")
        if self._marker.exists():
            if self._marker.read_bytes() != _marker():
                raise ValueError(f"{path} was made by another version of this program; restore into another folder")
        elif path.is_dir() and any(not entry.name.startswith(".") for entry in path.iterdir()):
            raise ValueError(f"{path} is not empty and no data set's restoration; restore into another folder")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Held by the one run that works here; makes the folders, and sweeps away what killed runs left.

        Raises ValueError where another run holds it. The lock goes with its process, however that ends.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if not self._marker.exists():  # first of all, so that the folder is known whatever happens next
            commit(self._marker, _marker())
        self.parts.mkdir(parents=True, exist_ok=True)
        self.target.mkdir(exist_ok=True)
        descriptor = os.open(self.path / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"another run is at work in {self.path}") from None
            self._sweep()
            yield
        finally:
            os.close(descriptor)

    def plan(self, rows: Sequence[Triplet], rows_per_part: int, batch: int, identity: str) -> list[Task]:
        """The rows, written to the folder, cut into parts, and these into batches of one photo size.

        identity: hash of all that results follow from besides the rows. The batches are no part of it: with others
        the results differ in their last bits at most, and what is done stays done.
        """
        starts = range(0, len(rows), rows_per_part)
        parts = [rows[start : start + rows_per_part] for start in starts]
        self._write_rows([row for part in parts for row in in_batches(part, batch)])
        family = None if self._output == "files" else "png"
        return [
            Task(
                part=number,
                slices=(Slice(str(self.rows), start, start + rows_per_part, family),),
                folder=self.parts,
                input=digest(identity, [asdict(row) for row in part]),
                target=self.target,
            )
            for number, (start, part) in enumerate(zip(starts, parts, strict=True))
        ]

    def _write_rows(self, rows: Sequence[Triplet]) -> None:
        columns: dict[str, list[Any]] = {
            "name": [row.name for row in rows],
            "outcome": ["ok"] * len(rows),
            "reason": [""] * len(rows),
            "detail": [""] * len(rows),
            "attempts": [0] * len(rows),
            "row": [_triplets.dump_json(row) for row in rows],
        }
        with replacing(self.rows) as file:
            table = pa.table(columns, PART_SCHEMA)
            pq.write_table(table, file, row_group_size=GROUP_ROWS, compression="zstd")

    def undone(self, tasks: Sequence[Task], retry_failed: bool) -> list[Task]:
        """Those of the tasks that are to be done.

        What stands in their place goes first, and what was published with it: a part file never says of a photo that
        it is there while it is being replaced, and half a data set is none.
        """
        found = list_parts(self.parts)
        todo: list[Task] = []
        keep: set[Place] = set()
        for task in tasks:
            file = _match(found, task)
            if file and self._is_whole(file) and not (retry_failed and "f" in file.summary().outcomes):
                keep.add(file.path)
            else:
                todo.append(task)
        remove([file.path for files in found.values() for file in files if file.path not in keep])
        if todo:
            remove([self.results, self.target / "dataset.json", self.target / "index.parquet"])
        return todo

    def files(self, tasks: Sequence[Task]) -> list[PartFile]:
        """The committed part of every task, in order."""
        found = list_parts(self.parts)
        files = [file for task in tasks if (file := _match(found, task))]
        if len(files) < len(tasks):
            raise StopStage(
                f"parts that workers committed are not in {self.parts}: the folder must be one that every node sees"
            )
        return files

    def publish(
        self, files: Sequence[PartFile], name: str, configuration: dict[str, Any], original: Callable[[str], str]
    ) -> None:
        """The table of results and, of shards, the data set's index and card; removes what is no part of it.

        original: the original photo's name, given a failed row's, of which the parts do not tell it.
        """
        self._sweep()  # what workers left that were killed in this run
        entries: list[ShardEntry] = []
        tables: list[pa.Table] = []
        current: set[str] = set()
        with replacing(self.results) as file, pq.ParquetWriter(file, RESULT_SCHEMA, compression="zstd") as writer:
            for part in files:
                outcomes = results_of(part)
                results = [outcome.row for outcome in outcomes if outcome.row]
                entries += [result.entry for result in results if result.entry]
                index = [result.index for result in results if result.index]
                tables.append(pa.Table.from_pylist(index, INDEX_SCHEMA))
                current.update(result.file.split("#")[0] for result in results)
                writer.write_table(
                    pa.Table.from_pylist([self._result(each, original) for each in outcomes], RESULT_SCHEMA)
                )
        for path in self.target.iterdir():
            if path.name not in current and (_PHOTO.fullmatch(path.name) or path.suffix == ".tar"):
                path.unlink()
        if self._output == "shards":
            finish_dataset(self.target, name, entries, tables, configuration)

    def _sweep(self) -> None:
        for folder in (self.path, self.parts, self.target):
            sweep(folder)

    def _result(self, outcome: Outcome[Result], original: Callable[[str], str]) -> dict[str, Any]:
        result = outcome.row
        assert result
        known = {name: getattr(result, name) for name in ("key", "region", "caption", "instruction", "scales")}
        file = f"{self.target.name}/{result.file}" if result.file else ""
        said = {"reason": outcome.reason, "detail": outcome.detail, "reports": result.reports}
        photo = original(outcome.name) if outcome.kind == "failed" else result.photo
        return {**known, "name": photo, "seed": result.seed, "file": file, "outcome": outcome.kind, **said}

    def _is_whole(self, part: PartFile) -> bool:
        """Whether the photos or the shard that a part file tells of are there, by name and size."""
        results = [outcome.row for outcome in results_of(part) if outcome.kind == "ok" and outcome.row]
        if self._output == "files":
            return all(_has_size(self.target / result.file, result.bytes) for result in results)
        return all(_has_size(self.target / each.entry.name, each.entry.bytes) for each in results if each.entry)


def in_batches(part: Sequence[Placed], batch: int) -> Iterator[Placed]:
    """The rows with their places in batches: those of one size among each `batch` rows, which a worker gets at once."""
    for start in range(0, len(part), batch):
        for _, group in groupby(part[start : start + batch], lambda row: (row.height, row.width)):
            rows = list(group)
            yield from (replace(row, slot=slot, together=len(rows)) for slot, row in enumerate(rows))


def _marker() -> bytes:
    return json.dumps({"schema": FOLDER_SCHEMA}).encode()


def _match(found: dict[int, list[PartFile]], task: Task) -> PartFile | None:
    """The part's file that this task would give."""
    return next((file for file in found.get(task.part, ()) if file.input == task.input), None)


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False
