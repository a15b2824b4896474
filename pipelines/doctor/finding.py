"""One line of what the doctor says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "missing"]


@dataclass(frozen=True)
class Finding:
    """level: "missing" where a build cannot run with it. what: the thing looked at; text: how it is, in one line.
    fix: what to do; empty where there is nothing to."""

    level: Level
    what: str
    text: str
    fix: str = ""


def first_line(error: Exception) -> str:
    """An exception's own words, shortened, on one line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:160]
