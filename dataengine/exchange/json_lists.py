"""JSON whose lists are too long for memory: each grows in a file of its own, and becomes part of the whole at the end.

All of it is ASCII: what is not, control characters and halves of surrogate pairs too, is escaped.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any


class JsonLists:
    """An object of lists, in a file that is there when it is finished; with `only`, that one list and no object."""

    def __init__(self, path: Path, *names: str, only: bool = False) -> None:
        assert names and (not only or len(names) == 1)
        self._path, self._only = path, only
        self._stack = ExitStack()
        self._lists: dict[str, IO[str]] = {}
        for name in names:
            spool = tempfile.TemporaryFile("w+", encoding="ascii", dir=path.parent)  # noqa: SIM115  (`finish` closes it)
            self._lists[name] = self._stack.enter_context(spool)
        self._counts = dict.fromkeys(names, 0)

    def add(self, name: str, value: Any) -> int:
        """Appends to a list, and returns the value's number, from 1."""
        self._lists[name].write((",\n" if self._counts[name] else "") + json.dumps(value))
        self._counts[name] += 1
        return self._counts[name]

    def finish(self, **first: Any) -> None:
        """Writes the file. first: what stands before the lists."""
        with self._stack, self._path.open("w", encoding="ascii") as file:
            parts = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in first.items()]
            file.write("" if self._only else "{" + "".join(f"{part},\n" for part in parts))
            for place, (name, found) in enumerate(self._lists.items()):
                found.seek(0)
                file.write("" if self._only else (",\n" if place else "") + json.dumps(name) + ": ")
                file.write("[\n")
                shutil.copyfileobj(found, file)
                file.write("\n]")
            file.write("\n" if self._only else "\n}\n")
