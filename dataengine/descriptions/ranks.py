"""Words that tell regions apart whose phrases are the same: "leftmost", "second", "rightmost"."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

_ORDINALS = ("second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def repeated(phrases: Sequence[str]) -> list[list[int]]:
    """The places of each phrase that stands there more than once."""
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, phrase in enumerate(phrases):
        places[phrase].append(place)
    return [each for each in places.values() if len(each) > 1]


def ranks(count: int, first: str, last: str) -> list[str]:
    """A word for each of `count` regions in a row, two or more: `first`, "second", ..., `last`."""
    between = [_ORDINALS[n] if n < len(_ORDINALS) else f"number {n + 2}" for n in range(count - 2)]
    return [first, *between, last]
