"""A folder that one kind of work owns: known by its marker, and held by one run at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from instructrestore.dataengine.running.lock import locked
from instructrestore.shards.errors import DamagedFile
from instructrestore.shards.files import commit, sweep
from instructrestore.shards.parsing import parse_object
from instructrestore.shards.paths import Place, make_folder, names, read_if_there


class WorkFolder:
    """The folder `path`, local or in a store, which need not be there yet.

    marker: the file, relative to the folder, that says what the folder is: `{"schema": schema, **facts}` as JSON.
    what: the work in words, "a build". facts: what else the marker says where this run is the first one.
    found: what the marker said when the folder was opened; empty where there is none yet.
    Raises ValueError, in one sentence, where the folder is something else, or was made by another version.
    """

    def __init__(
        self, path: Place, marker: str, schema: int, what: str, facts: Mapping[str, Any] | None = None
    ) -> None:
        self.path = path.absolute()  # workers have other current folders
        self.found: dict[str, Any] = {}
        self._marker = self.path / marker
        self._content = json.dumps({"schema": schema, **(facts or {})}).encode()
        if isinstance(self.path, Path) and self.path.exists() and not self.path.is_dir():
            raise ValueError(f"{path} is a file; --out names a folder")
        content = read_if_there(self._marker)
        if content is not None:
            self.found = _read(content, schema, self._marker, self._content, what)
        elif any(_is_foreign(name, self.path, marker) for name in names(self.path)):
            raise ValueError(f"{path} is not empty and was not made by {what}; name another folder with --out")

    def create(self, *folders: Place) -> None:
        """Makes the folder and those within it that are not there yet."""
        make_folder(self.path)
        make_folder(self._marker.parent)
        if read_if_there(self._marker) is None:  # first of all: the folder is known whatever happens next
            commit(self._marker, self._content)
        for folder in folders:
            make_folder(folder)

    @contextmanager
    def lock(self, folders: Sequence[Place] = ()) -> Iterator[Callable[[], None]]:
        """Held by the one run that works here; makes the folders, and sweeps away what killed runs left in them.

        Gives what raises StopStage if the lock is lost on the way. Raises ValueError where another run holds it. A
        lock in a local folder goes with its process, however that ends.
        """
        self.create(*folders)
        with locked(self.path) as check:
            for folder in (self.path, *folders):
                sweep(folder)
            yield check


def _read(content: bytes, schema: int, marker: Place, wanted: bytes, what: str) -> dict[str, Any]:
    """What the marker says. wanted: what it would say if this run had made the folder."""
    try:
        found = parse_object(content, str(marker))
        made_with = found["schema"]
    except (ValueError, KeyError):
        remedy = f"if its folder is of {what}, write {wanted.decode()} into it; else name another folder with --out"
        raise DamagedFile(marker, remedy) from None
    if made_with != schema:
        raise ValueError(
            f"{marker}: the folder was made by another version of this program (schema {made_with} of {what}; this one "
            f"has schema {schema}); name another folder with --out"
        )
    return found


def _is_foreign(name: str, path: Place, marker: str) -> bool:
    """Whether an entry is not what is left of a run that ended before its marker was written."""
    inside = path / name
    begun = (
        "/" in marker
        and name == marker.split("/")[0]
        and not (isinstance(inside, Path) and inside.is_file())
        and all(each.startswith(".") for each in names(inside))
    )
    return not name.startswith(".") and not begun
