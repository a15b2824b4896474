"""The one record that travels through the stages: a photo as its source lists it, and what each stage adds.

What a stage is, and how it takes rows and returns them, is in `running/stage.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from instructrestore.shards.sample import Photo, Piece, Region

ANNOTATED = "annotated"  # the segmenter of a piece whose mask is its source's
_strict = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class PolygonMask:
    """A source's mask as COCO polygons, in pixels of the size that the source states (`SourcePhoto.annotated_size`), or
    else of the upright photo; checked when used."""

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
    """A segment of a panoptic PNG (id = R + 256 G + 65536 B), or, with id None, the whole of a mask image (a matte, a
    cut-out, a mask file of Tri-IR), as photos/mask_file.py reads it."""

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


NO_MASK = PolygonMask([])  # in the place of a mask that cannot be made out, so that it is counted
UNUSABLE = Annotation(NO_MASK, "")


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
    annotated_size: (height, width) in pixels of the photo that the polygons were drawn on, as the source states it;
        None, and left out of the serialised record, where it states none or has no polygons.
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
    annotated_size: tuple[int, int] | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_not_known(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values = handler(self)
        if not self.cut_from:
            del values["cut_from"]
        if self.annotated_size is None:
            del values["annotated_size"]
        return values


def count_annotated(pieces: Iterable[Piece]) -> int:
    """How many of the pieces are annotations of the source."""
    return sum(piece.segmenter == ANNOTATED for piece in pieces)


@dataclass(frozen=True)
class Row:
    """The one record that travels through the stages. Each stage fills in its part and leaves the rest unchanged.

    photo: from intake on.   pieces: from masks on, emptied by merge.   regions: from merge on.
    counts: what the latest stage removed or noticed within the photo, by reason ("island dropped": 3).
    read_by: `DecodedPhoto.read_by`, left out of the serialised record where empty: every stage decodes the photo, so
        where its reading changes, what follows is made again, for its part alone.
    orientation: the EXIF orientation (1 to 8) of the photo's file, by which `photo` is upright; from intake to masks,
        and left out of the serialised record where it is 1.
    lost: of the source's annotations, those that the latest stage did not keep, by reason; no part of what is written.
    """

    __pydantic_config__ = _strict

    origin: SourcePhoto
    photo: Photo | None = None
    pieces: tuple[Piece, ...] = ()
    regions: tuple[Region, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    lost: Annotated[dict[str, int], Field(exclude=True)] = field(default_factory=dict)
    read_by: str = ""
    orientation: int = 1

    @model_serializer(mode="wrap")
    def _without_what_is_usual(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values = handler(self)
        if not self.read_by:
            del values["read_by"]
        if self.orientation == 1:
            del values["orientation"]
        return values

    @property
    def held(self) -> int:
        """How many of the source's annotations it holds."""
        pieces = (*self.pieces, *chain.from_iterable(region.pieces for region in self.regions))
        return len(self.origin.annotations or ()) + count_annotated(pieces)

    @property
    def family(self) -> str:
        """Which shards the photo goes to: those of its format. Empty before intake."""
        return self.photo.format if self.photo else ""
