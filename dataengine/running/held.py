"""Things within a row that are counted like rows (a photo's annotations): in = kept + lost.

A row or result that holds any has `held`, their number, and a result `lost`: why those that it does not keep were lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Held:
    """What came in with a row, and those of it that did not come through, by reason."""

    count: int
    lost: dict[str, int]


def held(row: Any, kept: int, lost: Mapping[str, int], rest: str = "") -> Held | None:
    """What the row held, given how much of it is kept and why some was lost; None where it held nothing.

    rest: why all that is left was lost (its row was dropped).
    """
    count = getattr(row, "held", 0)
    left = count - kept - sum(lost.values())
    assert left == 0 or (rest and left > 0), (count, kept, lost, rest)
    return Held(count, {**lost, rest: left} if left else dict(lost)) if count else None
