"""What people changed in another tool, as judgements of the data set that was exported: a line of JSON each.

Photos are told by the keys in their files' names. A region that came back is told by its mask: the same, or the one
that it overlaps most. Regions that did not come back were removed, and what overlaps none was drawn anew. Bokeh flags
are not taken back.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from instructrestore.dataengine.exchange.label_studio import label_of
from instructrestore.dataengine.judging.judgement import MAX_CAPTION, MAX_NAME, MAX_SUBJECT, region_id
from instructrestore.dataengine.masks.annotated import NOTES, each_mask
from instructrestore.dataengine.noun_phrases.english.caption_length import MAX_CAPTION_TOKENS, clip_tokens
from instructrestore.dataengine.photos.row import Annotation, SourcePhoto
from instructrestore.shards.index import Dataset
from instructrestore.shards.plain_text import visible_line
from instructrestore.shards.rle import BoolArray, Mask
from instructrestore.shards.sample import KEY_LENGTH, AnnotatedPhoto, Region

LEAST_OVERLAP = 0.5  # IoU from which on two masks are of one thing
# What is left out, by reason.
NOT_THERE = "photos that the data set does not have"
NOT_LOOKED_AT = "photos that nobody has looked at"
TWICE = "photos that came back twice"
NOT_READ = "regions not found, on photos of which a mask could not be read"
BAD_CAPTION = f"captions that are empty, over {MAX_CAPTION_TOKENS} CLIP tokens, or have signs that cannot be seen"
BAD_SUBJECT = f"subjects that are empty, over {MAX_SUBJECT} characters, or have signs that cannot be seen"
_KEY = re.compile(rf"(?<![0-9a-f])[0-9a-f]{{{KEY_LENGTH}}}(?![0-9a-f])")


@dataclass(frozen=True)
class Corrector:
    """Who corrected what, and how masks are compared.

    who: a name that people choose. when: UTC, such as "2026-01-31T12:00:00Z". dataset: sha256 of its `dataset.json`.
    same: IoU from which on a mask counts as unchanged: 1 where a tool gives masks back exactly, less where it draws
    outlines anew.
    """

    who: str
    when: str
    dataset: str
    same: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < len(self.who) <= MAX_NAME or visible_line(self.who) != self.who or self.who != self.who.strip():
            raise ValueError(f"--who is a name of 1 to {MAX_NAME} visible characters")

    def judgement(self, key: str, region: str, act: str, **fields: Any) -> dict[str, Any]:
        told = {"when": self.when, "who": self.who, "dataset": self.dataset, "key": key, "region": region}
        return {**told, "act": act, **fields}


def judgements(
    dataset: Dataset, photos: Iterable[SourcePhoto], by: Corrector, left_out: Counter[str]
) -> Iterator[dict[str, Any]]:
    """The judgements that turn the data set's regions into those of `photos`; a region that came back as it was is
    accepted. left_out: gets what is none, by reason. Raises ValueError for a damaged shard."""
    rows = {key: row for row, key in enumerate(dataset.index["key"].to_pylist())}
    seen: set[str] = set()
    for photo in photos:
        found = _KEY.search(photo.name)
        key = found[0] if found else ""
        if key not in rows:
            left_out[NOT_THERE] += 1
        elif photo.annotations is None:
            left_out[NOT_LOOKED_AT] += 1
        elif key in seen:
            left_out[TWICE] += 1
        else:
            seen.add(key)
            yield from _of_photo(dataset.record(rows[key]), photo, by, left_out)


def _of_photo(
    sample: AnnotatedPhoto, photo: SourcePhoto, by: Corrector, left_out: Counter[str]
) -> Iterator[dict[str, Any]]:
    key, unread = sample.photo.key, Counter[str]()
    size = (sample.photo.height, sample.photo.width)
    drawn = list(each_mask(photo.annotations or (), *size, unread, annotated_size=photo.annotated_size))
    lost = {reason: count for reason, count in unread.items() if reason not in NOTES}
    left_out.update(lost)
    matched = _matched(sample.regions, drawn)
    for region, place in zip(sample.regions, matched, strict=True):
        if place is not None:
            yield from _changes(key, region, *drawn[place], by, left_out)
        elif lost:  # it may be the one that could not be read
            left_out[NOT_READ] += 1
        else:
            yield by.judgement(key, region_id(region), "reject")
    for place, (mask, said) in enumerate(drawn):
        if place not in matched:
            caption, subject = said.label, said.subject or said.label
            if not _is_caption(caption):
                left_out[BAD_CAPTION] += 1
            elif not _is_subject(subject):
                left_out[BAD_SUBJECT] += 1
            else:
                yield by.judgement(key, "", "add", mask=_coco(mask), caption=caption, subject=subject)


def _matched(regions: Sequence[Region], drawn: Sequence[tuple[BoolArray, Annotation]]) -> list[int | None]:
    """For each region the place of what came back of it: of two that it overlaps equally the one that says the same."""
    fits = []
    for number, region in enumerate(regions):
        mask = region.mask.array()
        for place, (other, said) in enumerate(drawn):
            overlap = _overlap(mask, other)
            if overlap >= LEAST_OVERLAP:
                fits.append((-overlap, said.label != region.caption, not _is_same(said, region), number, place))
    found: list[int | None] = [None] * len(regions)
    for *_, number, place in sorted(fits):
        if found[number] is None and place not in found:
            found[number] = place
    return found


def _overlap(one: BoolArray, other: BoolArray) -> float:
    """Intersection over union, 0 to 1."""
    return float(np.count_nonzero(one & other)) / max(int(np.count_nonzero(one | other)), 1)


def _is_same(said: Annotation, region: Region) -> bool:
    return (said.subject if said.is_caption else said.label) in (region.subject, label_of(region.subject), "")


def _changes(
    key: str, region: Region, mask: BoolArray, said: Annotation, by: Corrector, left_out: Counter[str]
) -> Iterator[dict[str, Any]]:
    name, before = region_id(region), left_out.total()
    acts = []
    if said.is_caption and said.label != region.caption:
        if _is_caption(said.label):
            acts.append(by.judgement(key, name, "caption", caption=said.label))
        else:
            left_out[BAD_CAPTION] += 1
    if not _is_same(said, region):
        subject = said.subject if said.is_caption else said.label
        if _is_subject(subject):
            acts.append(by.judgement(key, name, "subject", subject=subject))
        else:
            left_out[BAD_SUBJECT] += 1
    if _overlap(region.mask.array(), mask) < by.same:
        acts.append(by.judgement(key, name, "mask", mask=_coco(mask)))
    if not acts and left_out.total() == before:
        acts.append(by.judgement(key, name, "accept"))
    yield from acts


def _is_plain(text: str, most: int) -> bool:
    return 0 < len(text) <= most and visible_line(text) == text == text.strip()


def _is_caption(text: str) -> bool:
    return _is_plain(text, MAX_CAPTION) and clip_tokens(text) <= MAX_CAPTION_TOKENS


def _is_subject(text: str) -> bool:
    return _is_plain(text, MAX_SUBJECT)


def _coco(mask: BoolArray) -> dict[str, Any]:
    made = Mask.from_array(mask)
    return {"size": [made.height, made.width], "counts": made.counts}


def to_lines(found: Iterable[dict[str, Any]]) -> bytes:
    """Judgements as JSON Lines, all ASCII."""
    return "".join(json.dumps(each) + "\n" for each in found).encode("ascii")
