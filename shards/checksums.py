"""What the files of a data set must hold.

Shards and the index have their sha256 in `dataset.json`. `dataset.json` itself, and all that people read, have theirs
in `checksums.sha256`, which `sha256sum -c` reads too: it is written last and taken away first. Data sets of version 0.1
have none, and are read without.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from instructrestore.shards.errors import DamagedFile
from instructrestore.shards.files import commit, file_sha256
from instructrestore.shards.paths import Place, read_if_there

CHECKSUMS = "checksums.sha256"
COPY_AGAIN = "copy it again"
_LINE = re.compile(r"([0-9a-f]{64})  ([^\0\n]+)")


def add_checksums(folder: Place, files: Mapping[str, str]) -> None:
    """Adds the sha256 of files, by their names relative to the data set's folder, to its list of them."""
    path = folder / CHECKSUMS
    known = parse_checksums(read_if_there(path) or b"", path) | dict(files)
    commit(path, "".join(f"{known[name]}  {name}\n" for name in sorted(known)).encode())


def parse_checksums(content: bytes, where: object) -> dict[str, str]:
    """The sha256 of each file, by its name. Raises DamagedFile, which names `where`."""
    lines = content.decode("utf-8", "replace").split("\n")
    found = [_LINE.fullmatch(line) for line in lines[:-1]]
    known = {match[2]: match[1] for match in found if match and _is_inside(match[2])}
    if lines[-1] or len(known) < len(found):
        raise DamagedFile(where, COPY_AGAIN)
    return known


def _is_inside(name: str) -> bool:
    return "\\" not in name and all(part not in ("", ".", "..") for part in name.split("/"))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def is_as_written(place: Place, wanted: str) -> bool:
    """Whether a file that is there has this sha256. Of a store's objects this is not asked: the store compares their
    own checksums, and each would have to be fetched. One that is not there is not as written."""
    try:
        return not isinstance(place, Path) or file_sha256(place) == wanted
    except FileNotFoundError:
        return False
