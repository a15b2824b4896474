"""What people judged of a photo, from the log beside its data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from instructrestore.dataengine.judging.judgement import Undo, to_line
from instructrestore.dataengine.judging.log import JudgementLog, standing
from instructrestore.shards.parsing import parse_object


def judgements(log: Path, key: str) -> list[dict[str, Any]]:
    """The judgements of a photo, in the log's order; none where there is no log.

    Each has its number in the log as `line`, from 1, and `undone`: whether a later one takes it back. Raises
    DamagedFile for a line that nobody wrote so.
    """
    entries = [entry for entry in JudgementLog(log).entries() if entry.judgement.key == key]
    kept = {entry.number for entry in standing(entries)}
    return [
        {
            "line": entry.number,
            **parse_object(to_line(entry.judgement), "the judgement"),
            "undone": entry.number not in kept,
        }
        for entry in entries
        if not isinstance(entry.judgement, Undo)
    ]
