"""A folder that is there whole or not at all: it is filled under another name beside its own."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from instructrestore.shards.files import sync
from instructrestore.shards.plain_text import visible_line


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `out` when the block ends well and vanishes when it does not. What a kill leaves
    of it is a hidden folder beside `out`, which the next attempt clears.

    Raises ValueError, in one sentence, where `out` is there and not an empty folder, another run is making it, or the
    hidden folder is a link.
    """
    out = out.absolute()
    _check_new(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.parent / f".{out.name}.unfinished"
    if folder.is_symlink():  # what it leads to is not this program's to clear
        raise ValueError(f"{visible_line(str(folder))} is a link: remove it")
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another run is making {visible_line(str(out))}") from None
        try:
            _check_new(out)  # a run that held the lock until now has just ended
            _clear(folder)
            yield folder
            folder.rename(out)
        except BaseException:  # Ctrl-C as well
            shutil.rmtree(folder, ignore_errors=True)  # what is left the next attempt clears
            raise
        sync(out.parent)
    finally:
        os.close(descriptor)


def _check_new(out: Path) -> None:
    """Raises ValueError, in one sentence, unless `out` is not there or an empty folder."""
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise ValueError(f"{visible_line(str(out))} is there already: name a new folder")


def _clear(folder: Path) -> None:
    for left in folder.iterdir():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink()
