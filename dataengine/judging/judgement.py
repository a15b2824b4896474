"""One judgement of a person on a photo or a region of it, and its only (de)serialisation: a line of JSON.

    on a region   accept | reject | caption | subject | merge | split | mask | bokeh | audit
    on a photo    add | reject_photo, and undo, which takes back another judgement

A region has no number: `region_id` names it inside its photo, and changes where its mask or its caption does. A
judgement is of the data set version that it names; a region may also be one that an earlier judgement made.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
)

from instructrestore.dataengine.noun_phrases.english.caption_length import MAX_CAPTION_TOKENS, clip_tokens
from instructrestore.shards.errors import first_error
from instructrestore.shards.parsing import parse_object
from instructrestore.shards.plain_text import visible_line
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import KEY_LENGTH, Region

ID_LENGTH = 16
MAX_NAME = 64  # characters of a judge's name
MAX_CAPTION = 400  # characters; the bound on tokens is narrower for all but the oddest words
MAX_SUBJECT = 100
MAX_REGIONS = 100  # merged with one, or split from one
MAX_LINE_BYTES = 8 * 2**20

_REGION = rf"^[0-9a-f]{{{ID_LENGTH}}}$"
_strict = ConfigDict(extra="forbid", strict=True)


def region_id(region: Region) -> str:
    """A region's name inside its photo: 16 hex digits that follow from its mask and its caption."""
    mask = region.mask
    said = f"{mask.height} {mask.width} {mask.counts}\n{region.caption}"
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:ID_LENGTH]


def now() -> str:
    """The time for `when`: UTC, to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(text: str) -> str:
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text, re.ASCII):
        raise ValueError("this is no time such as 2026-01-31T12:00:00Z")
    datetime.fromisoformat(text[:-1])
    return text


@lru_cache(maxsize=4096)  # a log says the same names and captions over and over
def _plain(text: str) -> str:
    if visible_line(text) != text or text != text.strip():
        raise ValueError("it has signs that cannot be seen, or spaces at an end")
    return text


@lru_cache(maxsize=4096)
def _short(caption: str) -> str:
    if clip_tokens(caption) > MAX_CAPTION_TOKENS:
        raise ValueError(f"it has over {MAX_CAPTION_TOKENS} CLIP tokens, where an instruction would be cut: shorten it")
    return caption


def _mask(value: Any) -> Any:
    """COCO's run-length object, checked: its counts come from a page or a file."""
    if isinstance(value, Mask):
        mask = value
    else:
        size = value.get("size") if isinstance(value, dict) and value.keys() == {"size", "counts"} else None
        sides = list(size) if isinstance(size, list | tuple) else []
        if len(sides) != 2 or any(type(side) is not int for side in sides) or type(value["counts"]) is not str:
            raise ValueError('this is no mask as {"size": [height, width], "counts": "..."}')
        mask = Mask(sides[0], sides[1], value["counts"])
    mask.check()
    if not mask.area():
        raise ValueError("the mask is empty")
    return mask


Time = Annotated[str, AfterValidator(_time)]
Judge = Annotated[str, Field(min_length=1, max_length=MAX_NAME), AfterValidator(_plain)]
RegionId = Annotated[str, Field(pattern=_REGION)]
GivenCaption = Annotated[
    str, Field(min_length=1, max_length=MAX_CAPTION), AfterValidator(_plain), AfterValidator(_short)
]
GivenSubject = Annotated[str, Field(min_length=1, max_length=MAX_SUBJECT), AfterValidator(_plain)]
GivenMask = Annotated[
    Mask,
    BeforeValidator(_mask),
    PlainSerializer(lambda mask: {"size": [mask.height, mask.width], "counts": mask.counts}),
]


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """when: UTC, "2026-01-31T12:00:00Z". who: a name that the judge chose. dataset: sha256 of the version's
    `dataset.json`. key: the photo's. Fields are written to the log in this order."""

    __pydantic_config__ = _strict

    when: Time
    who: Judge
    dataset: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    key: Annotated[str, Field(pattern=rf"^[0-9a-f]{{{KEY_LENGTH}}}$")]


@dataclass(frozen=True, kw_only=True)
class _OfPhoto(_Judged):
    region: Literal[""] = ""


@dataclass(frozen=True, kw_only=True)
class _OfRegion(_Judged):
    """region: the id of the region that is judged."""

    region: RegionId


@dataclass(frozen=True, kw_only=True)
class Accept(_OfRegion):
    """The region is right as it is."""

    act: Literal["accept"] = "accept"


@dataclass(frozen=True, kw_only=True)
class Reject(_OfRegion):
    """The region is to go."""

    act: Literal["reject"] = "reject"


@dataclass(frozen=True, kw_only=True)
class SetCaption(_OfRegion):
    """Another caption; where the subject does not stand in it, the caption's own head noun becomes the subject."""

    act: Literal["caption"] = "caption"
    caption: GivenCaption


@dataclass(frozen=True, kw_only=True)
class SetSubject(_OfRegion):
    """Another subject under the same caption."""

    act: Literal["subject"] = "subject"
    subject: GivenSubject


@dataclass(frozen=True, kw_only=True)
class MergeRegions(_OfRegion):
    """The region and others of the photo become one, with this caption and subject."""

    act: Literal["merge"] = "merge"
    others: Annotated[tuple[RegionId, ...], Field(min_length=1, max_length=MAX_REGIONS)]
    caption: GivenCaption
    subject: GivenSubject


@dataclass(frozen=True, kw_only=True)
class SplitRegion(_OfRegion):
    """The region becomes several: its connected pieces, the pieces it was merged from, or these masks."""

    act: Literal["split"] = "split"
    by: Literal["connected", "pieces", "masks"] = "connected"
    masks: Annotated[tuple[GivenMask, ...], Field(max_length=MAX_REGIONS)] = ()

    def __post_init__(self) -> None:
        if (self.by == "masks") != (len(self.masks) > 1):
            raise ValueError('two masks or more belong to a split by "masks", and to no other')


@dataclass(frozen=True, kw_only=True)
class SetMask(_OfRegion):
    """Another mask under the same caption."""

    act: Literal["mask"] = "mask"
    mask: GivenMask


@dataclass(frozen=True, kw_only=True)
class SetBokeh(_OfRegion):
    """Whether the region is sharp before a blurred background."""

    act: Literal["bokeh"] = "bokeh"
    bokeh: bool


@dataclass(frozen=True, kw_only=True)
class Audit(_OfRegion):
    """Whether mask and caption are right, of a region drawn to be audited; changes nothing."""

    act: Literal["audit"] = "audit"
    mask_right: bool
    caption_right: bool


@dataclass(frozen=True, kw_only=True)
class AddRegion(_OfPhoto):
    """A new region of the photo."""

    act: Literal["add"] = "add"
    mask: GivenMask
    caption: GivenCaption
    subject: GivenSubject


@dataclass(frozen=True, kw_only=True)
class RejectPhoto(_OfPhoto):
    """The photo is to go with all its regions."""

    act: Literal["reject_photo"] = "reject_photo"


@dataclass(frozen=True, kw_only=True)
class Undo(_OfPhoto):
    """Takes back a judgement of the same photo. of: its sequence number in the log, from 1."""

    act: Literal["undo"] = "undo"
    of: Annotated[int, Field(ge=1, lt=2**53)]


Judgement = (
    Accept
    | Reject
    | SetCaption
    | SetSubject
    | MergeRegions
    | SplitRegion
    | SetMask
    | SetBokeh
    | Audit
    | AddRegion
    | RejectPhoto
    | Undo
)
ACTS = tuple(sorted(kind.__dataclass_fields__["act"].default for kind in get_args(Judgement)))
_judgements: TypeAdapter[Judgement] = TypeAdapter(Annotated[Judgement, Field(discriminator="act")])


def to_line(judgement: Judgement) -> bytes:
    """The judgement as one line of UTF-8 JSON, with its line end."""
    return _judgements.dump_json(judgement) + b"\n"


def from_line(line: bytes | str, name: str = "the judgement") -> Judgement:
    """The judgement that `to_line` wrote, or a page posted. name: what sentences call it.

    Raises ValueError, in one sentence, for anything else.
    """
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"{name} has more than {MAX_LINE_BYTES} bytes, which no judgement has")
    values = parse_object(line, name)  # that nothing stands in it twice
    if values.get("act") not in ACTS:
        raise ValueError(f"{name} has an act that is none of {', '.join(ACTS)}")
    try:
        return _judgements.validate_json(line)
    except ValidationError as error:
        raise ValueError(f"{name} is none that can be: {first_error(error)}") from None


def judgement_of(values: Mapping[str, Any]) -> Judgement:
    """The judgement of plain values by name, "act" and lists of JSON among them. Raises as `from_line` does."""
    return from_line(json.dumps(dict(values)))
