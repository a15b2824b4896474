"""Judgements of the data set's photos and regions: made, taken back, and who does which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Body, Query, Response
from pydantic import BaseModel, Field

from instructrestore.dataengine.catalogue.query import Query as Wanted
from instructrestore.dataengine.judging.judgement import MAX_NAME, region_id
from instructrestore.pipelines.app.dataset_records import DatasetPhoto, JudgementLine
from instructrestore.pipelines.app.open_dataset import OpenDataset
from instructrestore.pipelines.app.records import Given
from instructrestore.pipelines.app.routes.dataset import Opened, masked
from instructrestore.pipelines.app.routes.here import FAULTS
from instructrestore.pipelines.app.routes.photos import Longest
from instructrestore.pipelines.app.shelf import Missing

router = APIRouter(tags=["judging"], prefix="/dataset", responses=FAULTS)  # pyright: ignore[reportArgumentType]
MOST_LINES = 1000
_CHUNK = 200  # photos whose keys are asked for at once
Who = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
Act = Literal[
    "accept", "reject", "caption", "subject", "merge", "split", "mask", "bokeh", "audit", "add", "reject_photo", "undo"
]


class JudgementGiven(Given):
    """who: a name that the judge chose. region: its id; "" where the judgement is of the photo.

    The other fields belong to acts: caption and subject (also to merge and add), others (merge: ids), by and masks
    (split), mask (also to add; `{"size": [height, width], "counts": "..."}`), bokeh, mask_right and caption_right
    (audit), of (undo: a number).
    """

    who: Who
    key: str
    region: str = ""
    act: Act
    caption: str | None = None
    subject: str | None = None
    others: list[str] | None = None
    by: Literal["connected", "pieces", "masks"] | None = None
    masks: list[dict[str, Any]] | None = None
    mask: dict[str, Any] | None = None
    bokeh: bool | None = None
    mask_right: bool | None = None
    caption_right: bool | None = None
    of: int | None = None


class JudgementTaken(BaseModel):
    """number: in the log. photo: as it is judged now."""

    number: int
    photo: DatasetPhoto


class Judgements(BaseModel):
    """count: of the log's lines, undoing ones too. by: how many each judge has made. judgements: the latest."""

    count: int
    by: dict[str, int]
    judgements: list[JudgementLine]


class Led(Wanted):
    """Who asks for the next photo to judge, of what, and after which."""

    who: Who
    after: str = Field(default="", pattern=r"^[0-9a-f]{0,20}$")


class Next(BaseModel):
    """key: of a photo that has something left to judge and that nobody else was led to; null: there is none."""

    key: str | None


class AuditNext(BaseModel):
    """drawn, done: regions of the sample, and those that this judge has judged. key, region: of the next one."""

    drawn: int
    done: int
    key: str | None = None
    region: str | None = None


@router.post("/judgements", status_code=201)
def judge(opened: Opened, given: Annotated[JudgementGiven, Body()]) -> JudgementTaken:
    """One judgement: one line in the log beside the data set, which is on the disk once this is answered."""
    sample = opened.record(given.key)
    number = opened.judging.add(sample, given.model_dump(exclude_none=True))
    return JudgementTaken(number=number, photo=judged_photo(opened, given.key))


@router.get("/judgements")
def judgements(opened: Opened, limit: Annotated[int, Query(ge=1, le=MOST_LINES)] = 50) -> Judgements:
    """The latest, the last one first."""
    entries = opened.judging.entries()
    by = Counter(entry.judgement.who for entry in entries)
    lines = [JudgementLine.of(entry) for entry in islice(reversed(entries), limit)]
    return Judgements(count=len(entries), by=dict(by), judgements=lines)


@router.get("/photos/{key}/judged")
def judged(opened: Opened, key: str) -> DatasetPhoto:
    """The photo as it was judged so far."""
    return judged_photo(opened, key)


@router.get("/photos/{key}/judged/{region}/mask", response_class=Response)
def judged_mask(opened: Opened, key: str, region: str, longest: Longest = None) -> Response:
    """The mask of a region as it was judged, by its id."""
    sample = opened.record(key)
    record = opened.judging.judged(sample).record
    regions = [*(record.regions if record else ()), *sample.regions]
    found = next((each for each in regions if region_id(each) == region), None)
    if found is None:
        raise Missing
    return masked(found.mask, longest)


@router.post("/queue")
def lead(opened: Opened, asked: Annotated[Led, Body()]) -> Next:
    """The next photo to judge among those that are looked for: several people are led to different ones."""
    wanted = Wanted(**asked.model_dump(exclude={"who", "after"}))
    keys = _keys_after(opened, wanted, asked.after)
    return Next(key=opened.judging.lead(asked.who, keys, opened.record))


@router.get("/audit")
def audit(opened: Opened, who: Annotated[str, Query(min_length=1, max_length=MAX_NAME)]) -> AuditNext:
    """The next region of the sample that was drawn to be audited (`instructrestore audit`) for this judge."""
    drawn, done = opened.judging.audit(who)
    left = next((each for each, known in zip(drawn, done, strict=True) if not known), None)
    answer = AuditNext(drawn=len(drawn), done=sum(done))
    return answer if left is None else answer.model_copy(update={"key": left.key, "region": left.region})


def judged_photo(opened: OpenDataset, key: str) -> DatasetPhoto:
    sample = opened.record(key)
    judged = opened.judging.judged(sample)
    entries = opened.judging.of_photo(key)
    record = judged.record
    photo = DatasetPhoto.of(record or sample)
    known = opened.judging.is_judged(key).values(record or sample)
    for region, is_judged in zip(photo.regions, known, strict=True):
        region.judged = is_judged
    photo.gone = record is None
    photo.judgements = [JudgementLine.of(entry) for entry in entries]
    return photo


def _keys_after(opened: OpenDataset, wanted: Wanted, after: str) -> Iterator[str]:
    """All keys that are asked for: those after one first, then those before it."""
    rows = opened.catalogue.rows(wanted)
    start = 0
    if after and (row := opened.catalogue.row(after)) is not None:
        found = np.flatnonzero(rows == row)
        start = int(found[0]) + 1 if len(found) else 0
    ordered = np.concatenate((rows[start:], rows[:start]))
    for first in range(0, len(ordered), _CHUNK):
        yield from (line.key for line in opened.catalogue.photos(ordered[first : first + _CHUNK].tolist()))
