"""A photo's record and what people judged of it -> the new record.

Whatever is judged, a record stays what the data engine makes: each region the union of its pieces, the largest region
first. Pieces keep what models said of them; where a person drew, a piece says so. A score of agreement is of the
caption and the mask that it was given for, and goes with either.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from instructrestore.dataengine.judging.judgement import (
    MAX_REGIONS,
    AddRegion,
    Judgement,
    MergeRegions,
    Reject,
    RejectPhoto,
    SetBokeh,
    SetCaption,
    SetMask,
    SetSubject,
    SplitRegion,
    region_id,
)
from instructrestore.dataengine.judging.log import LogEntry
from instructrestore.dataengine.masks.cleanup import CleanupSettings
from instructrestore.dataengine.noun_phrases.english.noun_phrase import fold
from instructrestore.dataengine.noun_phrases.grammar import Grammar
from instructrestore.shards.rle import BoolArray, Mask, union
from instructrestore.shards.sample import AnnotatedPhoto, Answer, Correction, Piece, Region

SPECK = CleanupSettings.gentle().island  # share of the photo below which a connected piece is no region


@dataclass(frozen=True)
class Judged:
    """What became of a photo.

    record: with its regions as they were judged, the same object where nothing changed; None: the photo is to go,
        because it was rejected or no region is left.
    changes: the numbers of the judgements that changed something, in order.
    lost: the numbers of those that no longer apply: the region is not there, or not as it would have to be.
    """

    record: AnnotatedPhoto | None
    changes: tuple[int, ...]
    lost: tuple[int, ...]


class _Live:
    """A region as it stands, and the ids under which judgements may still name it: its own, and those it had before
    its caption or mask was changed."""

    def __init__(self, region: Region, names: Iterable[str] = ()) -> None:
        self.region = region
        self.id = region_id(region)
        self.names = {self.id, *names}


def apply(sample: AnnotatedPhoto, entries: Sequence[LogEntry]) -> Judged:
    """entries: the standing judgements of this photo, in the log's order. Pure: equal arguments give equal results."""
    live = [_Live(region) for region in sample.regions]
    changes: list[int] = []
    lost: list[int] = []
    gone = False
    for entry in entries:
        judgement = entry.judgement
        assert judgement.key == sample.photo.key, entry
        if isinstance(judgement, RejectPhoto):
            gone = True
            changes.append(entry.number)
            continue
        made = _after(live, judgement, sample)
        if made is None:
            lost.append(entry.number)
        elif made is not live:
            changes.append(entry.number)
            live = made
    if gone or not live:
        return Judged(None, tuple(changes), tuple(lost))
    if not changes:
        return Judged(sample, (), tuple(lost))
    regions = sorted((each.region for each in live), key=lambda region: (-region.mask.area(), region.subject))
    return Judged(replace(sample, regions=tuple(regions)), tuple(changes), tuple(lost))


def _after(live: list[_Live], judgement: Judgement, sample: AnnotatedPhoto) -> list[_Live] | None:
    """The regions after one judgement: the same list where it changes nothing, None where it does not apply."""
    if isinstance(judgement, AddRegion):
        return _added(live, judgement, sample)
    at = _find(live, judgement.region)
    if at is None:
        return None
    now = live[at]
    if isinstance(judgement, Reject):
        return live[:at] + live[at + 1 :]
    if isinstance(judgement, MergeRegions):
        return _merged(live, at, judgement)
    if isinstance(judgement, SplitRegion):
        return _split(live, at, judgement, sample)
    region = _changed(now.region, judgement, sample)
    if region is None or region is now.region:
        return live if region else None
    return [*live[:at], _Live(region, now.names), *live[at + 1 :]]


def _changed(region: Region, judgement: Judgement, sample: AnnotatedPhoto) -> Region | None:
    """One region with another caption, subject, mask or bokeh flag; the same object where it has these already."""
    corrections = (*(region.corrections or ()), _correction(judgement))
    if isinstance(judgement, SetCaption) and judgement.caption != region.caption:
        subject = subject_of(judgement.caption, region.subject)
        return replace(region, caption=judgement.caption, subject=subject, agreement=None, corrections=corrections)
    if isinstance(judgement, SetSubject) and judgement.subject.lower() != region.subject:
        return replace(region, subject=judgement.subject.lower(), corrections=corrections)
    if isinstance(judgement, SetBokeh) and judgement.bokeh != region.bokeh:
        return replace(region, bokeh=judgement.bokeh, corrections=corrections)
    if isinstance(judgement, SetMask):
        if not _fits(judgement.mask, sample):
            return None
        if judgement.mask.counts != region.mask.counts:
            pieces = _pieces_within(region, judgement.mask, judgement.who)
            return replace(region, mask=judgement.mask, pieces=pieces, agreement=None, corrections=corrections)
    return region


def subject_of(caption: str, before: str) -> str:
    """The subject of a new caption: the one before where it still stands there, otherwise the caption's head noun."""
    words = [fold(word.strip(".,'\"")) for word in caption.split()]
    old = fold(before).split()
    if any(words[at : at + len(old)] == old for at in range(len(words) - len(old) + 1)):
        return before
    found = Grammar()(caption)
    return found.subject if found else before


def _added(live: list[_Live], judgement: AddRegion, sample: AnnotatedPhoto) -> list[_Live] | None:
    if not _fits(judgement.mask, sample):
        return None
    subject = judgement.subject.lower()
    piece = _drawn(judgement.mask, judgement.caption, subject, judgement.who)
    region = Region(judgement.caption, subject, judgement.mask, False, (piece,), corrections=(_correction(judgement),))
    made = _Live(region)
    return live if _find(live, made.id) is not None else [*live, made]


def _merged(live: list[_Live], at: int, judgement: MergeRegions) -> list[_Live] | None:
    found = [_find(live, other) for other in judgement.others]
    places = [at, *(place for place in found if place is not None)]
    if None in found or len(set(places)) < len(places):
        return None
    regions = [live[place].region for place in places]
    merged = Region(
        judgement.caption,
        judgement.subject.lower(),
        union([region.mask for region in regions]),
        bokeh=all(region.bokeh for region in regions),
        pieces=tuple(piece for region in regions for piece in region.pieces),
        corrections=(
            *(correction for region in regions for correction in region.corrections or ()),
            _correction(judgement),
        ),
    )
    return [_Live(merged), *(each for place, each in enumerate(live) if place not in places)]


def _split(live: list[_Live], at: int, judgement: SplitRegion, sample: AnnotatedPhoto) -> list[_Live] | None:
    region = live[at].region
    corrections = (*(region.corrections or ()), _correction(judgement))
    whole = replace(region, agreement=None, corrections=corrections)
    if judgement.by == "pieces":
        made = [
            replace(
                whole,
                caption=piece.noun_phrase or region.caption,
                subject=piece.subject.lower() or region.subject,
                mask=piece.mask,
                pieces=(piece,),
            )
            for piece in region.pieces
        ]
    else:
        masks = judgement.masks if judgement.by == "masks" else _connected(region.mask)
        if not all(_fits(mask, sample) for mask in masks):
            return None
        made = [replace(whole, mask=mask, pieces=_pieces_within(region, mask, judgement.who)) for mask in masks]
    if len(made) < 2:
        return None
    return [*live[:at], *map(_Live, made), *live[at + 1 :]]


def _connected(mask: Mask) -> list[Mask]:
    """The 8-connected pieces of a mask that are no specks, the largest first."""
    array = mask.array()
    count, labels, stats, _ = cv2.connectedComponentsWithStats(array.view(np.uint8), connectivity=8)
    large = [label for label in range(1, count) if stats[label, cv2.CC_STAT_AREA] >= SPECK * array.size]
    large.sort(key=lambda label: (-int(stats[label, cv2.CC_STAT_AREA]), label))
    return [Mask.from_array(np.asarray(labels) == label) for label in large[:MAX_REGIONS]]


def _pieces_within(region: Region, mask: Mask, who: str) -> tuple[Piece, ...]:
    """The region's pieces cut to a mask, and a piece of the judge for what none of them covers: their union is it."""
    wanted = mask.array()
    if len(region.pieces) == 1:
        same = region.pieces[0].mask.counts == mask.counts
        return region.pieces if same else (replace(region.pieces[0], mask=mask, segmenter=_name(who)),)
    left: BoolArray = wanted.copy()
    pieces = []
    for piece in region.pieces:
        had = piece.mask.array()
        kept = had & wanted
        if kept.any():
            cut = not np.array_equal(kept, had)
            pieces.append(replace(piece, mask=Mask.from_array(kept), segmenter=_name(who)) if cut else piece)
            left &= ~kept
    if left.any():
        pieces.append(_drawn(Mask.from_array(left), region.caption, region.subject, who))
    return tuple(pieces)


def _drawn(mask: Mask, caption: str, subject: str, who: str) -> Piece:
    """A piece that a person drew and named."""
    name = _name(who)
    said = Answer("judge", who, 0, caption, subject)
    return Piece(mask, name, caption, name, caption, subject, (said,))


def _name(who: str) -> str:
    return f"judge {who}"


def _correction(judgement: Judgement) -> Correction:
    return Correction(judgement.act, judgement.who, judgement.when)


def _find(live: Sequence[_Live], name: str) -> int | None:
    for place, each in enumerate(live):
        if each.id == name:
            return place
    return next((place for place, each in enumerate(live) if name in each.names), None)


def _fits(mask: Mask, sample: AnnotatedPhoto) -> bool:
    return (mask.height, mask.width) == (sample.photo.height, sample.photo.width)
