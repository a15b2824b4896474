"""The bytes of shards, wherever they are: local files directly, remote ones through a bounded cache folder.

Remote shards are fetched whole: within a window of the order every photo of a shard is asked for, once a region, and
one request of hundreds of megabytes costs less than thousands of small ones. Local files are opened for each read:
nothing is held that a forked worker would share.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from instructrestore.shards.index import Dataset

SUFFIX = ".tar"
PARTIAL = ".partial"
BLOCK = 8 * 2**20
ATTEMPTS = 3
WAIT_S = 0.2


class ShardCache:
    """A folder of fetched shards for all processes of this machine: the least recently used go first.

    folder: made when needed. max_bytes: of all files in it, those being fetched included.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes

    def open(self, uri: str, identity: str, size: int) -> int:
        """A descriptor of a local copy of the file at `uri`, which is `size` bytes long; the caller closes it.

        identity: names the content. Raises OSError where it cannot be fetched in `ATTEMPTS` attempts or is not of
        that size, and ValueError where it is larger than the whole cache.
        """
        if size > self.max_bytes:
            raise ValueError(
                f"{uri} has {size} bytes but the cache is limited to {self.max_bytes}: make the cache larger"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.blake2b(f"{uri}\0{identity}".encode(), digest_size=16).hexdigest() + SUFFIX
        final, partial = self.folder / name, self.folder / (name + PARTIAL)
        while True:
            try:
                descriptor = os.open(final, os.O_RDONLY)
            except FileNotFoundError:
                self._obtain(uri, size, final, partial)
            else:
                os.utime(descriptor)
                return descriptor

    def _obtain(self, uri: str, size: int, final: Path, partial: Path) -> None:
        """Fetches a file, or waits for the process that is fetching it, or for room."""
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if not _locked(descriptor, wait=False):
                _locked(descriptor, wait=True)  # another process fetches it; what it ended with is seen on return
                return
            with self._exclusive():
                if final.exists() or not _same_file(descriptor, partial):
                    if _same_file(descriptor, partial):
                        partial.unlink()
                    return
                room = self._make_room(size, partial)
                if room:
                    os.truncate(descriptor, size)  # so that others count it at its full size from now on
            if not room:
                partial.unlink()
                time.sleep(WAIT_S)
                return
            try:
                _fetch(uri, size, descriptor)
                os.fsync(descriptor)  # else a power cut can leave a shard of zeros that counts as fetched
                with self._exclusive():  # else who counts meanwhile may see it under both names
                    partial.rename(final)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
        finally:
            os.close(descriptor)

    def _make_room(self, size: int, own: Path) -> bool:
        """Removes what was not used for longest, and what killed processes left, until `size` bytes fit."""
        files = sorted(
            ((status.st_mtime_ns, status.st_size, path) for path in self.folder.iterdir() if (status := _status(path))),
            key=lambda file: file[0],
        )
        total = sum(held for _, held, path in files if path != own)
        for _, held, path in files:
            if total + size <= self.max_bytes:
                break
            if path.name.endswith(SUFFIX) or (path.name.endswith(PARTIAL) and path != own and _is_left(path)):
                path.unlink(missing_ok=True)
                total -= held
        return total + size <= self.max_bytes

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


class ShardFiles:
    """The shards of one data set, to be read at any place. Raises ValueError for a remote one without a cache."""

    def __init__(self, dataset: Dataset, cache: ShardCache | None = None) -> None:
        files, root = fsspec.url_to_fs(dataset.path)
        self._root = str(root) if isinstance(files, LocalFileSystem) else None
        if self._root is None and cache is None:
            raise ValueError(f"{dataset.path} is not on this machine: give a cache folder for its shards")
        self.uri = dataset.path
        self.cache = cache if self._root is None else None  # a local data set needs none
        self._entries = {entry.name: entry for entry in dataset.card.shards}

    def read(self, shard: str, *spans: tuple[int, int]) -> list[bytes]:
        """The bytes at each (offset, size) of a shard, fewer than `size` where it ends. Raises OSError."""
        if self._root is not None:
            descriptor = os.open(f"{self._root}/{shard}", os.O_RDONLY)
        else:
            assert self.cache is not None
            entry = self._entries[shard]
            descriptor = self.cache.open(f"{self.uri}/{shard}", entry.sha256, entry.bytes)
        try:
            return [os.pread(descriptor, size, offset) for offset, size in spans]
        finally:
            os.close(descriptor)

    def window_bytes(self, shards: int) -> int:
        """The most bytes that a window of `shards` shards can take."""
        return sum(sorted(entry.bytes for entry in self._entries.values())[-shards:])


def check_windows(files: Sequence[ShardFiles], shards: int) -> None:
    """Raises ValueError where a cache cannot hold a window of each of its data sets, which are read in turn."""
    for cache in {each.cache for each in files if each.cache}:
        remote = [each for each in files if each.cache is cache]
        needed = sum(each.window_bytes(shards) for each in remote)
        if needed > cache.max_bytes:
            raise ValueError(
                f"{shards} shards of {' and of '.join(each.uri for each in remote)} take {needed} bytes and the cache "
                f"has {cache.max_bytes}: make the cache larger or the order's window smaller"
            )


def _fetch(uri: str, size: int, descriptor: int) -> None:
    for attempt in range(ATTEMPTS):
        try:
            files, path = fsspec.url_to_fs(uri)
            os.lseek(descriptor, 0, os.SEEK_SET)
            with files.open(path, "rb") as source, os.fdopen(os.dup(descriptor), "wb") as target:
                shutil.copyfileobj(source, target, BLOCK)
                if target.tell() != size:
                    raise OSError(f"{uri} has {target.tell()} bytes and should have {size}")
        except OSError:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(2**attempt)
        else:
            return


def _locked(descriptor: int, wait: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _is_left(partial: Path) -> bool:
    """Whether nobody is fetching this file any more."""
    try:
        descriptor = os.open(partial, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        return _locked(descriptor, wait=False)
    finally:
        os.close(descriptor)


def _same_file(descriptor: int, path: Path) -> bool:
    """Whether the path still names the file that was opened: it may have been renamed or removed since."""
    status = _status(path)
    return status is not None and os.path.samestat(status, os.fstat(descriptor))


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
