"""Where a run's files lie: in a local folder, or in an object store behind the same few questions.

A request to a store takes as long as reading thousands of local files' names. So a folder is listed and never asked
about file by file, what many files hold is asked for all at once, and nothing is looked up that a name tells.
Credentials and endpoints are the store's client's own business: its environment and its files.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec

from instructrestore.shards.addresses import check_address

# Stores in which an object is there once all of it is, and in which one can be created on condition that it is not.
STORES = ("s3", "s3a", "gs", "gcs")  # Azure's client cannot read a file's end
AT_ONCE = 32  # files asked for in one go: bounds what is held in memory
BLOCK_BYTES = 1 << 20
_CLIENTS = {"aiobotocore", "aiohttp", "botocore", "fsspec", "gcsfs", "google", "requests", "s3fs", "urllib3"}
_UNPLAIN = re.compile(r"[*?\[\]#\\\x00-\x1f]|::|/(\.{0,2})/|/\.{1,2}$")


@dataclass(frozen=True, order=True)
class ObjectPath:
    """An object of a store, or a folder of objects: those whose names begin with this one and a slash.

    uri: "s3://bucket/run", without a slash at its end.
    """

    uri: str

    def __truediv__(self, name: str) -> ObjectPath:
        return ObjectPath(f"{self.uri}/{name}")

    def __str__(self) -> str:
        return self.uri

    @property
    def name(self) -> str:
        return self.uri.rsplit("/", 1)[-1]

    @property
    def parent(self) -> ObjectPath:
        return ObjectPath(self.uri.rsplit("/", 1)[0])

    def absolute(self) -> ObjectPath:
        return self

    def opened(self) -> tuple[fsspec.AbstractFileSystem, str]:
        """The store's client, one per process, and the object's name in it."""
        return fsspec.url_to_fs(self.uri)


Place = Path | ObjectPath


def place_of(text: str) -> Place:
    """What `str` made of a place, as that place."""
    return ObjectPath(text) if "://" in text else Path(text)


def parse_place(text: str) -> Place:
    """A folder as a user names it: a local path, or the URI of a folder in an object store.

    Raises ValueError, in one sentence, for a URI that is no such folder or whose protocol cannot be spoken here.
    """
    check_address(text)
    protocol, mark, rest = text.partition("://")
    if not mark:
        return Path(text)
    if protocol in ("file", "local"):
        return Path(rest)
    if protocol not in STORES:
        raise ValueError(
            f"{text} is neither a local folder nor one in an object store ({', '.join(STORES)}): elsewhere a file can "
            "be seen before all of it is there"
        )
    rest = rest.rstrip("/")
    if not rest or rest.startswith("/") or _UNPLAIN.search(f"{rest}/"):
        raise ValueError(f"{text} is not a plain folder in an object store, such as {protocol}://bucket/run")
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        raise ValueError(f"{text} cannot be reached: {error}") from None
    return ObjectPath(f"{protocol}://{rest}")


@contextmanager
def reaching(place: Place) -> Iterator[None]:
    """Turns whatever a store's client raises in the block into an OSError that names the place.

    A place that is not there is a FileNotFoundError, one that may not be used a PermissionError, and so on. Errors of
    local files and of this program pass as they are.
    """
    try:
        yield
    except Exception as error:
        if isinstance(place, Path) or not _is_the_clients(error):
            raise
        raise _located(error, place) from error


def _is_the_clients(error: Exception) -> bool:
    """Clients have exceptions of their own, many of them no OSError; Python's other ones are defects."""
    if isinstance(error, OSError):
        return error.filename is None
    return isinstance(error, ImportError) or type(error).__module__.partition(".")[0] in _CLIENTS


def _located(error: Exception, place: ObjectPath) -> OSError:
    kinds = {FileNotFoundError: errno.ENOENT, PermissionError: errno.EACCES, FileExistsError: errno.EEXIST}
    number = next((code for kind, code in kinds.items() if isinstance(error, kind)), errno.EIO)
    said = " ".join(str(error).split()).rstrip(".")
    return OSError(
        number, said if " " in said else f"{os.strerror(number)} ({said or type(error).__name__})", str(place)
    )


def names(folder: Place) -> list[str]:
    """The names in a folder, sorted; none where there is no such folder."""
    if isinstance(folder, Path):
        try:
            return sorted(os.listdir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return []
    return sorted(sizes(folder))


def sizes(folder: Place) -> dict[str, int]:
    """The files of a folder by name, and the bytes of each; one listing."""
    if isinstance(folder, Path):
        try:
            with os.scandir(folder) as entries:
                return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
        except FileNotFoundError:
            return {}
    with reaching(folder):
        files, key = folder.opened()
        files.invalidate_cache(key)  # other machines write here too
        try:
            entries = files.ls(f"{key}/", detail=True)
        except FileNotFoundError:
            return {}
    found = {str(entry["name"]).rstrip("/"): int(entry.get("size") or 0) for entry in entries}
    return {path[len(key) + 1 :]: size for path, size in found.items() if path.startswith(f"{key}/")}


def read(place: Place) -> bytes:
    """A file's content. Raises FileNotFoundError where it is not there."""
    if isinstance(place, Path):
        return place.read_bytes()
    with reaching(place):
        files, key = place.opened()
        return cast(bytes, files.cat_file(key))


def read_if_there(place: Place) -> bytes | None:
    """A file's content; None where it is not there."""
    try:
        return read(place)
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_many(places: Sequence[ObjectPath], last: int | None = None) -> Iterator[bytes]:
    """The files' contents in their order, or the `last` bytes of each, asked for some at a time."""
    for start in range(0, len(places), AT_ONCE):
        some = places[start : start + AT_ONCE]
        with reaching(some[0]):
            files, _ = some[0].opened()
            keys = [str(files._strip_protocol(place.uri)) for place in some]
            # From byte 0: of a file as a whole s3fs asks the size first, a request more.
            begin = [0 if last is None else -last] * len(some)
            found = cast(list[Any], files.cat_ranges(keys, begin, [None] * len(some), on_error="return"))
        for place, content in zip(some, found, strict=True):
            if isinstance(content, Exception) and last is None:
                content = read(place)  # of a file without a byte there is no range
            with reaching(place):
                if isinstance(content, Exception):
                    raise content
            yield content


def open_ranges(place: ObjectPath) -> BinaryIO:
    """A file of which some ranges are to be read; reading it belongs in `reaching`."""
    with reaching(place):
        files, key = place.opened()
        return cast(BinaryIO, files.open(key, "rb", block_size=BLOCK_BYTES))


def remove(places: Iterable[Place]) -> None:
    """Removes files of one folder; those that are not there are passed over."""
    stored: list[ObjectPath] = []
    for place in places:
        if isinstance(place, Path):
            place.unlink(missing_ok=True)
        else:
            stored.append(place)
    if not stored:
        return
    with reaching(stored[0]):
        files, _ = stored[0].opened()
        try:
            files.rm([str(files._strip_protocol(place.uri)) for place in stored])
        except FileNotFoundError:
            return


def make_folder(folder: Place) -> None:
    """Makes a folder that may be there already, and those above it; a store needs none."""
    if isinstance(folder, Path):
        folder.mkdir(parents=True, exist_ok=True)


def remove_folder(folder: Place) -> None:
    """Removes an empty folder; in a store there is none without files."""
    if isinstance(folder, Path):
        folder.rmdir()
