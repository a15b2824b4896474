"""Results from elsewhere: a folder of KEY.png, or of files with the photos' original names."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from instructrestore.dataengine.photos.photo_file import UnusablePhoto, read_bytes
from instructrestore.dataengine.running.outcomes import describe_error
from instructrestore.dataengine.running.part_files import Outcome
from instructrestore.dataengine.sources.places import uri_of
from instructrestore.pipelines.evaluation.methods.method import Method
from instructrestore.pipelines.evaluation.row import EvaluationRow
from instructrestore.shards.pairs import TestSet

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp")
NO_RESULT = "no result"


@dataclass(frozen=True)
class GivenResults:
    """A method whose results were made elsewhere and lie in `folder`."""

    method: Method
    folder: Path


def find_results(folder: Path, testset: TestSet, rows: Sequence[EvaluationRow]) -> list[Outcome[EvaluationRow]]:
    """Each row with its result in `folder`, or why it has none.

    A result is KEY.png (or .jpg, .webp), or has the stem of the photo's original name if that is unique in the test
    set. Names are only compared, never made into paths.
    Raises ValueError if there is no such folder, or nothing of the test set in it.
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS)
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(
            f"there is no folder {folder}: --results takes NAME=FOLDER, with a result KEY.png for each photo"
        ) from None
    by_stem: dict[str, list[Path]] = {}
    for path in files:
        by_stem.setdefault(path.stem, []).append(path)
    stems = {} if {row.key for row in rows} <= set(by_stem) else _stems(testset, rows)
    often = Counter(stems.values())
    outcomes = []
    for row in rows:
        stem = stems.get(row.key, "")
        matching = by_stem.get(row.key) or (by_stem.get(stem, []) if often[stem] == 1 else [])
        outcomes.append(_outcome(row, matching))
    if all(outcome.reason == NO_RESULT for outcome in outcomes):
        raise ValueError(
            f"{folder} has no result for {testset.path}: name each after its photo's key, as in {rows[0].key}.png"
        )
    return outcomes


def _stems(testset: TestSet, rows: Sequence[EvaluationRow]) -> dict[str, str]:
    """Key -> stem of the photo's original name, for photos whose records can be read."""
    stems: dict[str, str] = {}
    for row in rows:
        try:
            stems[row.key] = PurePosixPath(testset.record(row.place).photo.name).stem
        except (OSError, ValueError):
            continue  # reported when the row is scored
    return stems


def _outcome(row: EvaluationRow, matching: Sequence[Path]) -> Outcome[EvaluationRow]:
    if len(matching) != 1:
        reason = "several results" if matching else NO_RESULT
        return Outcome(row.key, "failed", row, reason, ", ".join(path.name for path in matching), 1)
    try:
        data = read_bytes(uri_of(os.path.abspath(matching[0])))
    except UnusablePhoto as fault:
        return Outcome(row.key, "failed", row, f"result: {fault.reason}", matching[0].name, 1)
    except OSError as error:
        return Outcome(row.key, "failed", row, f"result: {describe_error(error)[0]}", matching[0].name, 1)
    known = replace(row, file=str(matching[0].absolute()), sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    return Outcome(row.key, "ok", known)
