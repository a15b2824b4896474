"""The folder of an evaluation: what is done, what is to be done, and the scores at the end.

OUT/results/<method>/      <key>.png, and <key>-mask.png where the method predicts masks
OUT/parts/<method>/        planned: its rows; restored and scored: a Parquet file per part, which is the checkpoint
                           (dataengine.running.part_files): what exists is done
OUT/scores.parquet         a row per figure, once all are done
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from instructrestore.dataengine.running.part_files import (
    Outcome,
    PartFile,
    Slice,
    digest,
    list_parts,
    read_outcomes,
    write_part,
)
from instructrestore.dataengine.running.stage import StopStage, Task
from instructrestore.pipelines.evaluation.methods.method import SCORE_COLUMNS, Method
from instructrestore.pipelines.evaluation.row import Row
from instructrestore.pipelines.restoration.dataset_folder import in_batches
from instructrestore.shards.files import commit, file_sha256, replacing, sweep
from instructrestore.shards.paths import remove

FOLDER_SCHEMA = 1
PART_ROWS = 8  # an interruption costs at most so many photos of each worker
_NUMBERS = ("s1", "s2", "value")
_SCHEMA = pa.schema([(name, pa.float64() if name in _NUMBERS else pa.string()) for name in SCORE_COLUMNS])
MOST_NAME = 60
_PLAIN = re.compile(r"[A-Za-z0-9_=.]+( [A-Za-z0-9_=.]+)*")
_rows = TypeAdapter(Row)

Step = Literal["restored", "scored"]


class EvaluationFolder:
    """The folder, which need not be there yet. testset: name and sha256 of the one test set that it is of.

    Raises ValueError where it is something else, of another version, or of another test set.
    """

    def __init__(self, path: Path, testset: dict[str, str]) -> None:
        self.path = path = path.absolute()  # workers have other current folders
        self.scores = path / "scores.parquet"
        self._marker = path / "parts" / "schema.json"
        self._marked = json.dumps({"schema": FOLDER_SCHEMA, "testset": testset}).encode()
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path} is a file; --out names a folder")
        if self._marker.exists():
            _check_marker(path, self._marker.read_bytes(), testset)
        elif path.is_dir() and any(_is_somebodys(entry) for entry in path.iterdir()):
            raise ValueError(f"{path} is not empty and no evaluation; name another folder with --out")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Held by the one run that works here; makes the folder, and sweeps away what killed runs left.

        Raises ValueError where another run holds it. The lock goes with its process, however that ends.
        """
        self._marker.parent.mkdir(parents=True, exist_ok=True)
        if not self._marker.exists():  # first of all, so that the folder is known whatever happens next
            commit(self._marker, self._marked)
        descriptor = os.open(self.path / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"another run is at work in {self.path}") from None
            for folder in (self.path, *(place for place in self.path.glob("*/**") if place.is_dir())):
                sweep(folder)
            yield
        finally:
            os.close(descriptor)

    def results(self, method: Method) -> Path:
        """Where the results of a method that is run here lie."""
        return self.path / "results" / folder_name(method.title)

    def parts(self, method: Method, step: Step | Literal["planned"]) -> Path:
        return self.path / "parts" / folder_name(method.title) / step

    def plan(self, method: Method, rows: Sequence[Row], identity: str, batch: int, first: int) -> list[Task]:
        """The rows as parts to be restored, these in batches of one photo size.

        identity: hash of all that results follow from besides the rows. first: the parts' numbers begin here; a part
        is known again by what it follows from, whatever its number.
        """
        made = self.results(method)
        rows = [replace(row, file=f"results/{made.name}/{row.key}.png") for row in rows]
        parts = [list(in_batches(rows[start : start + PART_ROWS], batch)) for start in range(0, len(rows), PART_ROWS)]
        planned = self._write(method, "planned", 0, digest("planned"), [row for part in parts for row in part])
        self._keep_only(method, "planned", [planned])
        folder = self.parts(method, "restored")
        for place in (folder, made):
            place.mkdir(parents=True, exist_ok=True)
        return [
            Task(
                part=first + number,
                slices=(Slice(str(planned.path), PART_ROWS * number, PART_ROWS * (number + 1)),),
                folder=folder,
                input=digest(identity, [row.asked() for row in part]),
                target=self.path,
            )
            for number, part in enumerate(parts)
        ]

    def note_found(self, method: Method, found: Sequence[Outcome[Row]]) -> list[PartFile]:
        """Commits the parts of results that need not be made."""
        files = []
        for start in range(0, len(found), PART_ROWS):
            outcomes = found[start : start + PART_ROWS]
            known = digest("found", [(each.kind, each.row.asked() if each.row else "") for each in outcomes])
            folder = self.parts(method, "restored")
            folder.mkdir(parents=True, exist_ok=True)
            files.append(write_part(folder, start // PART_ROWS, known, 0, outcomes, _rows)[0])
        self._keep_only(method, "restored", files)
        return files

    def to_score(self, method: Method, restored: Sequence[PartFile], identity: str, first: int) -> list[Task]:
        """The restored parts as parts to be measured. identity: hash of all that figures follow from besides them."""
        folder = self.parts(method, "scored")
        folder.mkdir(parents=True, exist_ok=True)
        return [
            Task(first + number, (Slice(str(file.path)),), folder, digest(identity, file.content))
            for number, file in enumerate(restored)
        ]

    def undone(self, method: Method, step: Step, tasks: Sequence[Task], retry_failed: bool) -> list[Task]:
        """Those of a method's tasks that are to be done, or whose failed rows are.

        A part that is not whole goes first: a part file never says of a result that it is there while it is being
        replaced. Parts that follow from something else stay, for whoever asks for that again.
        """
        todo: list[Task] = []
        committed = _committed(self.parts(method, step))
        for task in tasks:
            of_task = committed.get(task.input, [])
            if not of_task or not self._is_whole(of_task[-1]):
                remove([file.path for file in of_task])
                todo.append(task)
            elif retry_failed and "f" in of_task[-1].summary().outcomes:
                todo.append(replace(task, attempt=of_task[-1].attempt + 1, retry=of_task[-1].path))
        return todo

    def files(self, method: Method, step: Step, tasks: Sequence[Task]) -> list[PartFile]:
        """The committed part of every task, in order; earlier attempts of them go."""
        committed = _committed(self.parts(method, step))
        found = [committed[task.input] for task in tasks if task.input in committed]
        if len(found) < len(tasks):
            raise StopStage(
                f"parts that workers committed are not in {self.path}: the folder must be one that every node sees"
            )
        remove([file.path for of_task in found for file in of_task[:-1]])
        return [of_task[-1] for of_task in found]

    def write_scores(self, scores: pd.DataFrame) -> None:
        """Writes `scores.parquet` (columns: SCORE_COLUMNS); equal scores give equal bytes."""
        table = pa.Table.from_pandas(scores, _SCHEMA, preserve_index=False).replace_schema_metadata(None)
        with replacing(self.scores) as file:
            pq.write_table(table, file, compression="zstd")

    def _write(self, method: Method, step: Literal["planned"], part: int, known: str, rows: Sequence[Row]) -> PartFile:
        folder = self.parts(method, step)
        folder.mkdir(parents=True, exist_ok=True)
        return write_part(folder, part, known, 0, [Outcome(row.key, "ok", row) for row in rows], _rows)[0]

    def _keep_only(self, method: Method, step: Step | Literal["planned"], files: Sequence[PartFile]) -> None:
        keep = {file.path for file in files}
        found = list_parts(self.parts(method, step)).values()
        remove([file.path for of_part in found for file in of_part if file.path not in keep])

    def _is_whole(self, part: PartFile) -> bool:
        """Whether the part can be read, and the results and masks that it tells of are there as they were made."""
        try:
            rows = [outcome.row for outcome in outcomes_of(part) if outcome.kind == "ok" and outcome.row]
        except (OSError, pa.ArrowException):
            return False
        files = [(row.file, row.sha256) for row in rows if row.file] + [(r.mask, r.mask_sha256) for r in rows if r.mask]
        try:
            return all(file_sha256(self.path / file) == sha256 for file, sha256 in files)
        except OSError:
            return False


def _committed(folder: Path) -> dict[str, list[PartFile]]:
    """The parts by what they follow from, the latest attempt of each last."""
    found: dict[str, list[PartFile]] = {}
    for file in sorted(chain(*list_parts(folder).values()), key=lambda file: (file.attempt, file.content)):
        found.setdefault(file.input, []).append(file)
    return found


def outcomes_of(file: PartFile) -> list[Outcome[Row]]:
    """The outcomes of a committed part, in its rows' order."""
    return read_outcomes(file.path, _rows)


def folder_name(title: str) -> str:
    """A method's title as a file name: blanks become hyphens; where more has to change, a hash keeps it unique."""
    if len(title) <= MOST_NAME and _PLAIN.fullmatch(title) and not title.startswith("."):
        return title.replace(" ", "-")
    return f"{re.sub(r'[^A-Za-z0-9_=]+', '-', title).strip('-')[:MOST_NAME]}-{digest(title)[:8]}"


def _is_somebodys(entry: Path) -> bool:
    """Not what an evaluation leaves that ended before its first file."""
    begun = entry.name == "parts" and entry.is_dir() and not any(entry.iterdir())
    return not entry.name.startswith(".") and not begun


def _check_marker(path: Path, found: bytes, testset: dict[str, str]) -> None:
    try:
        known = json.loads(found)
        schema, of = known["schema"], known["testset"]
        same = of["sha256"] == testset["sha256"]
    except (ValueError, KeyError, TypeError):
        schema, of, same = None, {}, False
    if schema != FOLDER_SCHEMA:
        raise ValueError(f"{path} was made by another version of this program; evaluate into another folder")
    if not same:
        raise ValueError(
            f"{path} is an evaluation of another test set, {of.get('name')}: name another folder for "
            f"{testset['name']} with --out"
        )
