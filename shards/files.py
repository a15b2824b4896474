"""Files that appear whole or not at all.

Local ones are written under a temporary name, synced and renamed. To an object store a file goes in one upload, at
whose end, and not before, the object is there; until then it lies in this machine's temporary folder.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from instructrestore.shards.paths import ObjectPath, Place, reaching

TEMPORARY = ".partial-"
_CHUNK = 1 << 20  # bytes


@contextmanager
def replacing(path: Place) -> Iterator[BinaryIO]:
    """A binary file that takes `path`'s place when the block ends well and vanishes when it does not.

    Raises OSError where the disk is full or the folder or store cannot be written; `path` is then as it was before.
    """
    if isinstance(path, ObjectPath):
        with _uploading(path) as file:
            yield file
        return
    temporary = temporary_in(path.parent)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) and not error.filename:  # writing does not say where
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def temporary_in(folder: Path) -> Path:
    """A name of its own in a local folder, for what is not whole yet: `sweep` knows it.

    What is made under it with open() or mkdir() may be read by whom the umask says; tempfile's are their owner's alone.
    """
    return folder / f"{TEMPORARY}{secrets.token_hex(8)}"


def follow_umask(files: Iterable[Path]) -> None:
    """Gives local files of one folder or tree the permissions that open() would have given them, whoever made them."""
    mode = None
    for path in files:
        if mode is None:
            probe = temporary_in(path.parent)
            with probe.open("xb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            probe.unlink()
        path.chmod(mode)


@contextmanager
def _uploading(path: ObjectPath) -> Iterator[BinaryIO]:
    try:
        with tempfile.TemporaryFile() as file:  # without a name, so that nothing of it outlives this process
            yield cast(BinaryIO, file)
            file.flush()
            file.seek(0)  # where /dev/fd gives the same open file again, and not another one of the same content
            with reaching(path):
                store, key = path.opened()
                store.put_file(f"/dev/fd/{file.fileno()}", key)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) and not error.filename:
            where = f"{os.strerror(error.errno)} in {tempfile.gettempdir()}, from where files go to the store"
            raise OSError(error.errno, where, str(path)) from None
        raise


def commit(path: Place, data: bytes) -> None:
    """Writes `data` to `path`, whole or not at all."""
    if isinstance(path, ObjectPath):
        with reaching(path):
            store, key = path.opened()
            store.pipe_file(key, data)
        return
    with replacing(path) as file:
        file.write(data)


def create(path: ObjectPath, data: bytes) -> None:
    """Writes `data` to an object that is not there yet. Raises FileExistsError where it is."""
    with reaching(path):
        store, key = path.opened()
        store.pipe_file(key, data, mode="create")


def sync(path: Path) -> None:
    """Makes a file's content, or a rename in a folder, outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Place) -> None:
    """Removes what killed writers left in `folder`. For the one process that owns the folder."""
    if isinstance(folder, ObjectPath):
        return  # what is not whole is not there
    for left in folder.glob(f"{TEMPORARY}*"):
        left.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """The sha256 of a local file's content, in hex digits, read a little at a time."""
    known = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            known.update(chunk)
    return known.hexdigest()
