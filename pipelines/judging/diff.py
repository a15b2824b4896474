"""`instructrestore diff`: what photos and regions came, went and changed between two versions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from rich.console import Console

from instructrestore.dataengine.judging.difference import Difference, RegionChange, difference, to_json
from instructrestore.shards.index import Dataset
from instructrestore.shards.plain_text import visible_line

SHOWN = 40  # lines; --json has them all


def diff(before: str, after: str, as_json: bool, console: Console) -> None:
    """Prints the difference. Raises ValueError if one of the two is no data set."""
    first, second = Dataset(before), Dataset(after)
    found = difference(first, second)
    if as_json:
        print(to_json(first, second, found))
        return
    lines = list(_lines(found))
    for line in islice(lines, SHOWN):
        console.print(visible_line(line), highlight=False, markup=False, soft_wrap=True)
    if len(lines) > SHOWN:
        console.print(f"... and {len(lines) - SHOWN:,} more: --json lists them all", highlight=False)
    console.print(
        f"photos: {len(found.photos_came):,} came, {len(found.photos_went):,} went, "
        f"{len(found.photos_changed):,} changed, {found.photos_same:,} are the same; regions of those: "
        f"{len(found.regions_came):,} came, {len(found.regions_went):,} went, {len(found.regions_changed):,} changed",
        highlight=False,
        soft_wrap=True,
    )


def _lines(found: Difference) -> Iterator[str]:
    for sign, keys in (("-", found.photos_went), ("+", found.photos_came)):
        yield from (f"{sign} {key}" for key in keys)
    for sign, regions in (("-", found.regions_went), ("+", found.regions_came)):
        yield from (f"{sign} {each.key}#{each.region} {each.caption}" for each in regions)
    yield from (f"~ {each.key}#{each.before} {_said(each)}" for each in found.regions_changed)


def _said(change: RegionChange) -> str:
    parts = [
        f"{name} {pair[0]!r} -> {pair[1]!r}"
        for name, pair in (("caption", change.caption), ("subject", change.subject), ("bokeh", change.bokeh))
        if pair
    ]
    parts += [name for name in ("mask", "pieces", "agreement") if getattr(change, name)]
    return ", ".join(parts) or "who judged it"
