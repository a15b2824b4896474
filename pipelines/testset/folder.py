"""The folder of a test set: whole once `dataset.json` is there, and until then this program's alone to clear."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from instructrestore.dataengine.running.lock import locked
from instructrestore.shards.checksums import CHECKSUMS
from instructrestore.shards.files import sweep
from instructrestore.shards.plain_text import visible_line

UNFINISHED = ".unfinished"  # lies in the folder, locked, as long as it is being written; a killed run leaves it behind
PLAIN_FILES = "files"


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A new or empty folder, or one that a killed run left half written, to write a test set to.

    When the block raises, what it wrote goes away again. Raises ValueError, in one sentence, where the folder holds
    anything else or another run is at work in it.
    """
    there = out.is_dir()
    if out.exists() and not there:
        raise ValueError(f"{visible_line(str(out))} is a file: --out names the folder for the test set")
    if there:
        _check_free(out)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out, UNFINISHED):
        _check_free(out)  # a run that held the lock until now has just ended
        try:
            _clear(out)
            yield out
        except BaseException:  # Ctrl-C as well
            _clear(out)
            (out / UNFINISHED).unlink()
            if not there:
                with suppress(OSError):  # somebody has put a file of his own there
                    out.rmdir()
            raise
        (out / UNFINISHED).unlink()


def _check_free(out: Path) -> None:
    found = os.listdir(out)
    if found and (UNFINISHED not in found or "dataset.json" in found):
        raise ValueError(f"{visible_line(str(out))} is not empty: name a new folder for the test set with --out")


def _clear(out: Path) -> None:
    """Removes what this program writes there, and nothing else."""
    written = ("pairs.parquet", "index.parquet", "dataset.json", CHECKSUMS)
    for file in (*out.glob("png-*.tar"), *(out / name for name in written)):
        file.unlink(missing_ok=True)
    if (out / PLAIN_FILES).is_dir():
        shutil.rmtree(out / PLAIN_FILES)
    sweep(out)
