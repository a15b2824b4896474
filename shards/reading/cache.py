"""The bytes of shards, wherever they are: local files directly, remote ones through a bounded cache folder.

Remote shards are fetched whole: within a window of the order every photo of a shard is asked for, once a region, and
one request of hundreds of megabytes costs less than thousands of small ones. Local files are opened for each read:
nothing is held that a forked worker would share.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from instructrestore.shards.files import file_sha256
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

    def open(self, uri: str, sha256: str, size: int) -> int:
        """A descriptor of a local copy of the file at `uri`, which is `size` bytes long; the caller closes it.

        The file is compared with its sha256 as it is fetched; a copy that is there is taken as it is (`drop_damaged`).
        Raises OSError where it cannot be fetched in `ATTEMPTS` attempts or is another one, and ValueError where it is
        larger than the whole cache.
        """
        if size > self.max_bytes:
            raise ValueError(
                f"{uri} has {size} bytes but the cache is limited to {self.max_bytes}: make the cache larger"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        final = self._copy(uri, sha256)
        partial = self.folder / (final.name + PARTIAL)
        while True:
            try:
                descriptor = os.open(final, os.O_RDONLY)
            except FileNotFoundError:
                self._obtain(uri, sha256, size, final, partial)
            else:
                os.utime(descriptor)
                return descriptor

    def drop_damaged(self, uri: str, sha256: str) -> bool:
        """Reads a copy whole, and removes it where its sha256 is another one; whether it is to be fetched anew.

        For whoever found a fault in it: each copy is read many times, and hashing it each time would cost more than
        what is done with a photo.
        """
        copy = self._copy(uri, sha256)
        try:
            damaged = file_sha256(copy) != sha256
        except FileNotFoundError:
            return True
        if damaged:
            copy.unlink(missing_ok=True)
        return damaged

    def _copy(self, uri: str, sha256: str) -> Path:
        return self.folder / (hashlib.blake2b(f"{uri}\0{sha256}".encode(), digest_size=16).hexdigest() + SUFFIX)

    def _obtain(self, uri: str, sha256: str, size: int, final: Path, partial: Path) -> None:
        """Fetches a file, or waits for the process that is fetching it, or for room."""
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT, 0o666)
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
                _fetch(uri, sha256, size, descriptor)
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
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
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

    def drop_damaged(self, shard: str) -> bool:
        """Whether a shard in which a fault was found is a damaged copy, which is then to be fetched anew."""
        return self.cache is not None and self.cache.drop_damaged(f"{self.uri}/{shard}", self._entries[shard].sha256)

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


def _fetch(uri: str, sha256: str, size: int, descriptor: int) -> None:
    for attempt in range(ATTEMPTS):
        try:
            files, path = fsspec.url_to_fs(uri)
            os.lseek(descriptor, 0, os.SEEK_SET)
            with files.open(path, "rb") as source, os.fdopen(os.dup(descriptor), "wb") as target:
                known = hashlib.sha256()
                while block := source.read(BLOCK):
                    known.update(block)
                    target.write(block)
                if target.tell() != size:
                    raise OSError(f"{uri} has {target.tell()} bytes and should have {size}")
                if known.hexdigest() != sha256:
                    raise OSError(f"{uri} is not the shard that dataset.json lists: put a sound copy there")
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
