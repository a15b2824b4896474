"""The folder of an evaluation: what is done, what is to be done, and the scores at the end.

OUT/results/<method>/      <key>.png, and <key>-mask.png where the method predicts masks
OUT/parts/<method>/        planned: its rows; restored and scored: a Parquet file per part, which is the checkpoint
                           (dataengine.running.part_files): what exists is done
OUT/scores.parquet         a row per figure, once all are done
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from instructrestore.dataengine.running.integrity import digest
from instructrestore.dataengine.running.part_files import (
    Outcome,
    PartFile,
    Slice,
    list_parts,
    read_outcomes,
    write_part,
)
from instructrestore.dataengine.running.stage import Task
from instructrestore.dataengine.running.work_folder import WorkFolder
from instructrestore.pipelines.evaluation.methods.method import SCORE_COLUMNS, Method
from instructrestore.pipelines.evaluation.row import EvaluationRow
from instructrestore.pipelines.inference.batches import in_batches
from instructrestore.shards.errors import DamagedFile
from instructrestore.shards.files import file_sha256, replacing
from instructrestore.shards.paths import remove

FOLDER_SCHEMA = 1
PART_ROWS = 8  # an interruption costs at most so many photos of each worker
_NUMBERS = ("s1", "s2", "value")
_SCHEMA = pa.schema([(name, pa.float64() if name in _NUMBERS else pa.string()) for name in SCORE_COLUMNS])
MOST_NAME = 60
_PLAIN = re.compile(r"[A-Za-z0-9_=.]+( [A-Za-z0-9_=.]+)*")
_rows = TypeAdapter(EvaluationRow)

Step = Literal["restored", "scored"]


class EvaluationFolder:
    """The folder, which need not be there yet. testset: name and sha256 of the one test set that it is of.

    Raises ValueError where it is something else, of another version, or of another test set.
    """

    def __init__(self, path: Path, testset: dict[str, str]) -> None:
        facts = {"testset": testset}
        self._folder = WorkFolder(path, "parts/schema.json", FOLDER_SCHEMA, "an evaluation", facts)
        self.path = path = path.absolute()
        self.scores = path / "scores.parquet"
        if self._folder.found:
            _check_testset(path, self._folder.found, testset)

    @contextmanager
    def lock(self) -> Iterator[Callable[[], None]]:
        """Held by the one run that works here (`WorkFolder.lock`)."""
        there = [place for place in self.path.glob("*/**") if place.is_dir()] if self.path.is_dir() else []
        with self._folder.lock(there) as check:
            yield check

    def results(self, method: Method) -> Path:
        """Where the results of a method that is run here lie."""
        return self.path / "results" / folder_name(method.title)

    def parts(self, method: Method, step: Step | Literal["planned"]) -> Path:
        return self.path / "parts" / folder_name(method.title) / step

    def plan(self, method: Method, rows: Sequence[EvaluationRow], identity: str, batch: int) -> list[Task]:
        """The rows as parts to be restored, these in batches of one photo size.

        identity: hash of all that results follow from besides the rows. A part is known again by what it follows from,
        whatever its number.
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
                part=number,
                slices=(Slice(str(planned.path), PART_ROWS * number, PART_ROWS * (number + 1)),),
                folder=folder,
                input=digest(identity, [row.asked() for row in part]),
                target=self.path,
            )
            for number, part in enumerate(parts)
        ]

    def note_found(self, method: Method, found: Sequence[Outcome[EvaluationRow]]) -> list[PartFile]:
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

    def to_score(self, method: Method, restored: Sequence[PartFile], identity: str) -> list[Task]:
        """The restored parts as parts to be measured. identity: hash of all that figures follow from besides them."""
        folder = self.parts(method, "scored")
        folder.mkdir(parents=True, exist_ok=True)
        return [
            Task(number, (Slice(str(file.path)),), folder, digest(identity, file.content))
            for number, file in enumerate(restored)
        ]

    def lost(self, files: Sequence[PartFile]) -> list[PartFile]:
        """Parts that cannot be read, or whose results or masks are not there as they were made
        (`checkpoints.Outputs`)."""
        return [file for file in files if not self._is_whole(file)]

    def withdraw(self) -> None:
        """Nothing declares an evaluation complete but the files that are written anew at its end."""

    def write_scores(self, scores: pd.DataFrame) -> None:
        """Writes `scores.parquet` (columns: SCORE_COLUMNS); equal scores give equal bytes."""
        table = pa.Table.from_pandas(scores, _SCHEMA, preserve_index=False).replace_schema_metadata(None)
        with replacing(self.scores) as file:
            pq.write_table(table, file, compression="zstd")

    def _write(
        self, method: Method, step: Literal["planned"], part: int, known: str, rows: Sequence[EvaluationRow]
    ) -> PartFile:
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
        except (OSError, DamagedFile):
            return False
        files = [(row.file, row.sha256) for row in rows if row.file] + [(r.mask, r.mask_sha256) for r in rows if r.mask]
        try:
            return all(file_sha256(self.path / file) == sha256 for file, sha256 in files)
        except OSError:
            return False


def outcomes_of(file: PartFile) -> list[Outcome[EvaluationRow]]:
    """The outcomes of a committed part, in its rows' order."""
    return read_outcomes(file.path, _rows)


def folder_name(title: str) -> str:
    """A method's title as a file name: blanks become hyphens; where more has to change, a hash keeps it unique."""
    if len(title) <= MOST_NAME and _PLAIN.fullmatch(title) and not title.startswith("."):
        return title.replace(" ", "-")
    return f"{re.sub(r'[^A-Za-z0-9_=]+', '-', title).strip('-')[:MOST_NAME]}-{digest(title)[:8]}"


def _check_testset(path: Path, found: dict[str, Any], testset: dict[str, str]) -> None:
    of = found.get("testset")
    if not isinstance(of, dict) or of.get("sha256") != testset["sha256"]:
        name = of.get("name") if isinstance(of, dict) else None
        raise ValueError(
            f"{path} is an evaluation of another test set, {name}: name another folder for {testset['name']} with "
            "--out (or parts/schema.json in it was changed, which says of which one it is)"
        )
