"""Small pictures of a data set's photos, made once and kept on disk up to a number of bytes; the oldest go first."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from instructrestore.shards.files import TEMPORARY, commit

MOST_BYTES = 2 << 30
AT_ONCE = 2  # photos that are decoded at the same time: each may have 100 million pixels
_NAME = re.compile(r"[0-9a-z-]{3,64}")


class Thumbnails:
    """Kept in `folder`, of which it is the only user."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self._folder, self._most = folder, most_bytes
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._decoding = threading.BoundedSemaphore(AT_ONCE)
        self._counting = threading.Lock()
        self._bytes: int | None = None  # of all that is kept; None: not counted yet

    def get(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The picture called `name`, which `make` makes where it is not kept. name: lower-case letters, digits, "-"."""
        assert _NAME.fullmatch(name), name
        path = self._folder / name[:2] / f"{name}.jpg"
        with suppress(FileNotFoundError):
            return path.read_bytes()
        with self._decoding:
            with suppress(FileNotFoundError):  # made while this one waited
                return path.read_bytes()
            data = make()
        with suppress(OSError):  # a full disk: then it is made again
            path.parent.mkdir(mode=0o700, exist_ok=True)
            commit(path, data)
            self._bound(len(data))
        return data

    def _bound(self, added: int) -> None:
        """Removes the oldest where there is too much: a tenth at once, so that the folder is seldom listed."""
        with self._counting:
            if self._bytes is not None:
                self._bytes += added
                if self._bytes <= self._most:
                    return
            kept = []
            for path in self._folder.glob("*/*"):
                with suppress(OSError):
                    known = path.stat()
                    kept.append((known.st_mtime, known.st_size, path))
            left = sum(size for _, size, _ in kept)
            for _, size, path in sorted(kept) if left > self._most else ():
                if left <= 0.9 * self._most:
                    break
                if not path.name.startswith(TEMPORARY):
                    path.unlink(missing_ok=True)
                    left -= size
            self._bytes = left
