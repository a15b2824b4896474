"""Checks of what was typed that several commands share. Imports no torch."""

from __future__ import annotations

import os
import re
from pathlib import Path

MAX_SEED = 2**63 - 1


def check_local(out: Path) -> None:
    """Raises ValueError if --out names an object store and not a local folder."""
    if out.parts and re.fullmatch(r"\w[\w+.-]+:", out.parts[0]):  # what Path makes of s3://bucket/folder
        raise ValueError(
            f"--out {out.parts[0]}//{'/'.join(out.parts[1:])} is in an object store: name a local folder instead"
        )


def anchored_place(place: str) -> str:
    """A folder or file by its absolute path, since workers have other current folders; a hub id or URI unchanged."""
    path = Path(place).expanduser()
    return os.path.abspath(path) if path.exists() else place


def checked_seed(number: int, what: str) -> int:
    """The seed. Raises ValueError, in one sentence, if it is out of range."""
    if not 0 <= number <= MAX_SEED:
        raise ValueError(f"{what} must be a whole number from 0 to {MAX_SEED}, not {number}")
    return number


def check_estimate(dry_run: bool, measure: int | None, price: float | None) -> None:
    """Raises ValueError where options of an estimate are named without what they need."""
    if measure is not None and not dry_run:
        raise ValueError("--measure says what a job will take, and does not do it: add --dry-run")
    if price is not None and measure is None:
        raise ValueError("--price needs the time that --measure finds out: add --dry-run --measure 20")
