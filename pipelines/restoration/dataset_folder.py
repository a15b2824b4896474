"""The folder of a data set's restoration: what is done, what is to be done, and what is published at the end.

OUT/restore.json       schema of the folder
OUT/rows.parquet       what is to be restored, a row per (photo, region); parts are runs of these rows
OUT/parts/<output>/    a Parquet file per part: the checkpoint (dataengine.running.part_files); what exists is done
OUT/restored/          output "files": <key>-<region>.png
OUT/dataset/           output "shards": a data set of the restored photos
OUT/results.parquet    what became of every row, once all are done
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from instructrestore.dataengine.running.integrity import digest
from instructrestore.dataengine.running.part_files import GROUP_ROWS, PART_SCHEMA, Outcome, PartFile, Slice
from instructrestore.dataengine.running.stage import Task
from instructrestore.dataengine.running.work_folder import WorkFolder
from instructrestore.pipelines.inference.batches import in_batches
from instructrestore.pipelines.restoration.dataset_stage import (
    FileSink,
    RestoredShardSink,
    RestoreResult,
    RestoreRow,
    results_of,
)
from instructrestore.shards.checksums import CHECKSUMS, is_as_written
from instructrestore.shards.errors import DamagedFile
from instructrestore.shards.files import replacing, sweep
from instructrestore.shards.index import INDEX_SCHEMA, ShardEntry
from instructrestore.shards.members import is_whole_png
from instructrestore.shards.paths import remove
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
_triplets = TypeAdapter(RestoreRow)

Output = Literal["files", "shards"]


class RestoreFolder:
    """The folder, which need not be there yet. output: how restored photos are kept.

    Raises ValueError where it is something else, or was made by another version.
    """

    def __init__(self, path: Path, output: Output) -> None:
        self._folder = WorkFolder(path, "restore.json", FOLDER_SCHEMA, "the restoration of a data set")
        self.path = path = path.absolute()
        self.rows, self.results = path / "rows.parquet", path / "results.parquet"
        self.parts = path / "parts" / output
        self.target = path / ("restored" if output == "files" else "dataset")
        self.sink = FileSink if output == "files" else RestoredShardSink
        self._output = output

    @contextmanager
    def lock(self) -> Iterator[Callable[[], None]]:
        """Held by the one run that works here (`WorkFolder.lock`)."""
        with self._folder.lock((self.parts, self.target)) as check:
            yield check

    def plan(self, rows: Sequence[RestoreRow], rows_per_part: int, batch: int, identity: str) -> list[Task]:
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

    def _write_rows(self, rows: Sequence[RestoreRow]) -> None:
        columns: dict[str, list[Any]] = {
            "name": [row.name for row in rows],
            "outcome": ["ok"] * len(rows),
            "reason": [""] * len(rows),
            "detail": [""] * len(rows),
            "attempts": [0] * len(rows),
            "row": [_triplets.dump_json(row) for row in rows],
            "held": [None] * len(rows),
        }
        with replacing(self.rows) as file:
            table = pa.table(columns, PART_SCHEMA)
            pq.write_table(table, file, row_group_size=GROUP_ROWS, compression="zstd")

    def lost(self, files: Sequence[PartFile]) -> list[PartFile]:
        """Parts that are damaged, or whose photos or shard are not there as written (`checkpoints.Outputs`)."""
        return [file for file in files if not self._is_whole(file)]

    def withdraw(self) -> None:
        """Takes away what is published at the end: half a data set is none."""
        remove([self.results, *(self.target / name for name in ("dataset.json", "index.parquet", CHECKSUMS))])

    def publish(
        self, files: Sequence[PartFile], name: str, configuration: dict[str, Any], original: Callable[[str], str]
    ) -> None:
        """The table of results and, of shards, the data set's index and card; removes what is no part of it.

        original: the original photo's name, given a failed row's, of which the parts do not tell it.
        """
        for place in (self.path, self.parts, self.target):  # what workers left that were killed in this run
            sweep(place)
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

    def _result(self, outcome: Outcome[RestoreResult], original: Callable[[str], str]) -> dict[str, Any]:
        result = outcome.row
        assert result
        known = {name: getattr(result, name) for name in ("key", "region", "caption", "instruction", "scales")}
        file = f"{self.target.name}/{result.file}" if result.file else ""
        said = {"reason": outcome.reason, "detail": outcome.detail, "reports": result.reports}
        photo = original(outcome.name) if outcome.kind == "failed" else result.photo
        return {**known, "name": photo, "seed": result.seed, "file": file, "outcome": outcome.kind, **said}

    def _is_whole(self, part: PartFile) -> bool:
        """Whether the photos or the shard that a part file tells of are there as they were written."""
        try:
            results = [outcome.row for outcome in results_of(part) if outcome.kind == "ok" and outcome.row]
            if self._output == "files":
                return all(_is_photo(self.target / result.file, result.bytes) for result in results)
            entries = [result.entry for result in results if result.entry]
            return all(is_as_written(self.target / entry.name, entry.sha256) for entry in entries)
        except (DamagedFile, FileNotFoundError):
            return False


def _is_photo(path: Path, size: int) -> bool:
    """Whether a restored photo has its size and, as every part of a PNG has a checksum, is whole."""
    data = path.read_bytes()
    return len(data) == size and is_whole_png(data)
