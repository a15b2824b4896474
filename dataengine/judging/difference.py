"""What came, went and changed from one version of a data set to another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from instructrestore.dataengine.judging.judgement import region_id
from instructrestore.shards.index import Dataset
from instructrestore.shards.plain_text import json_text
from instructrestore.shards.sample import AnnotatedPhoto, Region


@dataclass(frozen=True)
class RegionName:
    """A region of one of the two versions. region: its id."""

    key: str
    region: str
    caption: str


@dataclass(frozen=True)
class RegionChange:
    """A region that is in both, but not the same. before, after: its ids. caption, subject, bokeh: before and after,
    where they differ. mask, pieces, agreement: whether they differ."""

    key: str
    before: str
    after: str
    caption: tuple[str, str] | None = None
    subject: tuple[str, str] | None = None
    bokeh: tuple[bool, bool] | None = None
    mask: bool = False
    pieces: bool = False
    agreement: bool = False


@dataclass
class Difference:
    """Keys of photos and regions, in the order of the data set that they are in.

    photos_changed: photos of both with another record. photos_same: photos of both that are equal.
    """

    photos_came: list[str] = field(default_factory=list)
    photos_went: list[str] = field(default_factory=list)
    photos_changed: list[str] = field(default_factory=list)
    photos_same: int = 0
    regions_came: list[RegionName] = field(default_factory=list)
    regions_went: list[RegionName] = field(default_factory=list)
    regions_changed: list[RegionChange] = field(default_factory=list)


def difference(before: Dataset, after: Dataset, on_photo: Callable[[], None] = lambda: None) -> Difference:
    """From `before` to `after`. Regions of photos that came or went are theirs and are not listed; photos in shards
    that both have are not read. Raises ValueError where a shard that has to be read is damaged."""
    found = Difference()
    places = [_rows(dataset) for dataset in (before, after)]
    found.photos_went = [key for key in places[0] if key not in places[1]]
    found.photos_came = [key for key in places[1] if key not in places[0]]
    hashes = [{entry.name: entry.sha256 for entry in dataset.card.shards} for dataset in (before, after)]
    for key, (row, shard) in places[0].items():
        if key not in places[1]:
            continue
        other, other_shard = places[1][key]
        if hashes[0].get(shard) == hashes[1].get(other_shard) or not _compare(
            before.record(row), after.record(other), found
        ):
            found.photos_same += 1
        else:
            found.photos_changed.append(key)
        on_photo()
    return found


def to_json(before: Dataset, after: Dataset, found: Difference) -> str:
    """All of it, with the two versions' names and the sha256 of their `dataset.json`."""
    named = {
        name: {"path": dataset.path, "name": dataset.card.name, "sha256": dataset.sha256}
        for name, dataset in (("before", before), ("after", after))
    }
    values = asdict(found)
    values["regions_changed"] = [
        {name: value for name, value in change.items() if value not in (None, False)}
        for change in values["regions_changed"]
    ]
    return json_text({**named, **values}, indent=2)


def _rows(dataset: Dataset) -> dict[str, tuple[int, str]]:
    """The row and the shard of each photo, by key."""
    table = dataset.index
    listed = zip(table["key"].to_pylist(), table["shard"].to_pylist(), strict=True)
    return {key: (row, shard) for row, (key, shard) in enumerate(listed)}


def _compare(before: AnnotatedPhoto, after: AnnotatedPhoto, found: Difference) -> bool:
    """Adds what differs; whether anything does."""
    if before == after:
        return False
    key = before.photo.key
    old, new = list(before.regions), list(after.regions)
    for one, other in _pairs(old, new):
        change = _change(key, one, other)
        if change is not None:
            found.regions_changed.append(change)
    found.regions_went += [RegionName(key, region_id(region), region.caption) for region in old]
    found.regions_came += [RegionName(key, region_id(region), region.caption) for region in new]
    return True


def _pairs(old: list[Region], new: list[Region]) -> Iterator[tuple[Region, Region]]:
    """Takes regions that are the same thing out of both lists: of the same name, else of the same mask, else of the
    same caption."""
    kinds: tuple[Callable[[Region], Any], ...] = (
        region_id,
        lambda region: region.mask,
        lambda region: region.caption,
    )
    for same in kinds:
        waiting: dict[Any, list[Region]] = {}
        for region in new:
            waiting.setdefault(same(region), []).append(region)
        for region in list(old):
            if others := waiting.get(same(region)):
                other = others.pop(0)
                _remove(old, region)
                _remove(new, other)
                yield region, other


def _remove(regions: list[Region], region: Region) -> None:
    del regions[next(place for place, each in enumerate(regions) if each is region)]


def _change(key: str, before: Region, after: Region) -> RegionChange | None:
    if before == after:
        return None
    return RegionChange(
        key,
        region_id(before),
        region_id(after),
        (before.caption, after.caption) if before.caption != after.caption else None,
        (before.subject, after.subject) if before.subject != after.subject else None,
        (before.bokeh, after.bokeh) if before.bokeh != after.bokeh else None,
        before.mask != after.mask,
        before.pieces != after.pieces,
        before.agreement != after.agreement,
    )
