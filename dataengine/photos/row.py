"""The one record that travels through the stages: a photo as its source lists it, and what each stage adds.

What a stage is, and how it takes rows and returns them, is in `running/stage.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from instructrestore.shards.sample import Photo, Piece, Region

_strict = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class PolygonMask:
    """A source's mask as COCO polygons, in pixels of the photo as stored; checked when used."""

    __pydantic_config__ = _strict

    rings: list[list[float]]
    kind: Literal["polygons"] = "polygons"


@dataclass(frozen=True)
class RunMask:
    """A source's mask as COCO RLE, compressed text or plain run lengths, of (height, width); checked when used."""

    __pydantic_config__ = _strict

    height: int
    width: int
    counts: str | list[int]
    kind: Literal["runs"] = "runs"


@dataclass(frozen=True)
class SegmentMask:
    """A segment of a panoptic PNG (id = R + 256 G + 65536 B), or, with id None, the whole of a mask image, where
    grey >= 128 is inside (a matte, or a mask file of Tri-IR)."""

    __pydantic_config__ = _strict

    uri: str
    id: int | None
    kind: Literal["segment"] = "segment"


@dataclass(frozen=True)
class Annotation:
    """A mask from the source, with the name or caption that the source gives it (empty if it gives none).

    label: a category name ("sky-other-merged"), or a caption if `is_caption` is set.
    subject: the source's own subject for a caption; empty if it has none.
    """

    __pydantic_config__ = _strict

    mask: Annotated[PolygonMask | RunMask | SegmentMask, Field(discriminator="kind")]
    label: str
    is_caption: bool = False
    subject: str = ""


@dataclass(frozen=True)
class SourcePhoto:
    """A photo as a source lists it, before anything is read: a row of the manifest.

    uri: a local path or any fsspec URI; `uri` + "#" + member for a photo inside a shard.
    name: relative to the source, for people.
    bokeh: what the source says about its photos (Tri-IR's `Bokeh/`); None if it says nothing.
    excluded: whether it is a test photo: it and its near-duplicates are dropped.
    problem: why the photo cannot be used although the source lists it ("missing photo"), or empty.
    cut_from: for a crop in a test set, the key of the photo it was cut from (or of the first of that photo's
        near-duplicates); empty for all others, and then left out of the serialised record.
    """

    __pydantic_config__ = _strict

    uri: str
    name: str
    source: str
    licence: str = ""
    url: str = ""
    annotations: tuple[Annotation, ...] | None = None
    bokeh: bool | None = None
    excluded: bool = False
    problem: str = ""
    cut_from: str = ""

    @model_serializer(mode="wrap")
    def _without_what_is_not_known(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values = handler(self)
        if not self.cut_from:
            del values["cut_from"]
        return values


@dataclass(frozen=True)
class Row:
    """The one record that travels through the stages. Each stage fills in its part and leaves the rest unchanged.

    photo: from intake on.   pieces: from masks on, emptied by merge.   regions: from merge on.
    counts: what the latest stage removed or noticed within the photo, by reason ("island dropped": 3).
    """

    __pydantic_config__ = _strict

    origin: SourcePhoto
    photo: Photo | None = None
    pieces: tuple[Piece, ...] = ()
    regions: tuple[Region, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def family(self) -> str:
        """Which shards the photo goes to: those of its format. Empty before intake."""
        return self.photo.format if self.photo else ""
