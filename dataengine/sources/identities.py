"""Ids and names in annotation files and tables: each stands for one thing, or the file is refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from instructrestore.dataengine.sources.places import readable

Thing = TypeVar("Thing")
_SHOWN = 60  # characters


def by_id(path: str, what: str, pairs: Iterable[tuple[Any, Thing]]) -> dict[Any, Thing]:
    """What each id in the file stands for; the same thing may be said twice.

    what: in words, "images of one id". Raises ValueError, in one sentence, where an id stands for two different things.
    """
    found: dict[Any, Thing] = {}
    for key, thing in pairs:
        if found.setdefault(key, thing) != thing:
            raise ValueError(
                f"{path} has two different {what}, {_shown(key)} ({_shown(found[key])} and {_shown(thing)}): nobody "
                "can say which one is meant, so correct the file"
            )
    return found


def _shown(thing: object) -> str:
    text = readable(repr(thing))
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
