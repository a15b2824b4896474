"""Rows in batches of one photo size, each in its place from the plan on.

A photo's last bits depend on how many photos go through the networks with it, never on which. So every row has its
batch and its slot in it from the plan, and is restored in that slot of a batch of that size whatever becomes of the
others: the rows of a killed worker, done again one by one, come out with the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, TypeVar

Placed = TypeVar("Placed", bound=Any)  # a dataclass with height, width, slot and together
Ready = TypeVar("Ready")


def in_batches(part: Sequence[Placed], batch: int) -> Iterator[Placed]:
    """The rows with their places in batches: those of one size among each `batch` rows, which a worker gets at once."""
    for start in range(0, len(part), batch):
        for _, group in groupby(part[start : start + batch], lambda row: (row.height, row.width)):
            rows = list(group)
            yield from (replace(row, slot=slot, together=len(rows)) for slot, row in enumerate(rows))


def restore_in_batches(
    rows: Sequence[Placed],
    prepared: Sequence[Any],
    ready: type[Ready],
    restore: Callable[[list[Ready]], Sequence[Any]],
) -> list[Any]:
    """What becomes of the rows: a result where a row is ready, else what is there in its place.

    prepared: what goes into the networks, of type `ready`, or anything else. restore: of photos of one size, each in
    its slot. The slots of rows that are not here are filled with one of those that are.
    """
    results: list[Any] = []
    for _, group in groupby(zip(rows, prepared, strict=True), lambda each: (each[0].height, each[0].width)):
        pairs = list(group)
        present = [(row, each) for row, each in pairs if isinstance(each, ready)]
        made = iter(_in_slots(present, restore) if present else [])
        results += [next(made) if isinstance(each, ready) else each for _, each in pairs]
    return results


def _in_slots(present: Sequence[tuple[Placed, Ready]], restore: Callable[[list[Ready]], Sequence[Any]]) -> list[Any]:
    slots = [present[0][1]] * present[0][0].together
    for row, each in present:
        slots[row.slot] = each
    made = restore(slots)
    assert len(made) == len(slots), (len(made), len(slots))
    return [made[row.slot] for row, _ in present]
