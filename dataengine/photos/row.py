"""The row that travels through the stages, and what a stage makes of it.

A stage is a class whose constructor takes its settings and loads its model, and whose call maps a batch of rows to
results of the same length and order: a row, or a `Drop` with a reason. A stage knows nothing of Ray, of files or of
resuming; an exception it raises is the outcome of the row it was given (`outcomes.apply` turns it into one).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from instructrestore.shards.sample import Photo, Piece, Region

_strict = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class PolygonMask:
    """A source's mask as COCO polygons, in pixels of the photo as stored; checked when it is used."""

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
    """A mask that the source brings, and the name or captions it gives it (empty where it gives none).

    label: a category name ("sky-other-merged") or a caption that already is one (`is_caption`).
    subject: the source's own subject for a caption; empty where it has none.
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
    bokeh: what the source says of its photos (Tri-IR's `Bokeh/`); None where it says nothing.
    excluded: a test photo: it and its near-duplicates are dropped.
    problem: why the photo cannot be used although the source lists it ("missing photo"), or empty.
    cut_from: of a crop in a test set the key of the photo that it was cut from (or of the first of that one's
        near-duplicates); empty, and then no field of the record, for all others.
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
    """The one record that travels through the stages. Each stage fills in its part and leaves the rest as it is.

    photo: from intake on.   pieces: from masks on, emptied by merge.   regions: from merge on.
    counts: what the latest stage removed or noticed inside the photo, by reason ("island": 3).
    """

    __pydantic_config__ = _strict

    origin: SourcePhoto
    photo: Photo | None = None
    pieces: tuple[Piece, ...] = ()
    regions: tuple[Region, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def family(self) -> str:
        """Which shards the photo goes to: those of its format; "" before intake."""
        return self.photo.format if self.photo else ""
