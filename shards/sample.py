"""The record that travels from a source photo to a training triplet, and its only (de)serialisation.

    Photo          what is known of the photo itself
    Piece          one mask and what was said of it, as segmented and described
    Region         the pieces of one subject merged: the mask and the caption of a training triplet
    AnnotatedPhoto a photo with its regions: one sample of a shard

A training triplet is (photo, one region's mask, the same region's caption).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
)

from instructrestore.shards.errors import first_error
from instructrestore.shards.rle import MAX_PIXELS, Mask

SCHEMA_VERSION = 2
# Schema 1 differs in how a mask lies in a record: {"height": ..., "width": ..., "counts": ...} (rle.py reads both).
READ_VERSIONS = (1, SCHEMA_VERSION)
KEY_LENGTH = 20
PHOTO_FORMATS = ("jpg", "png", "webp")

_strict = ConfigDict(extra="forbid")


def key_of(sha256: str) -> str:
    """A photo's key: the first 20 hex digits of the sha256 of its source bytes."""
    return sha256[:KEY_LENGTH]


@dataclass(frozen=True)
class Photo:
    """What is known of a photo. Sizes are of the upright photo, in pixels.

    key: names the photo everywhere; a prefix of sha256.
    sha256: hex digest of the source's bytes.
    name: the original name, relative to its source; for people, never used as a path.
    source: which source it came from (a folder's name, a data set's name).
    licence, url: as the source states them; empty where it does not.
    width, height: upright size in pixels.
    bytes: size of the source file.
    format: how it lies in a shard: "jpg", "png" or "webp".
    quality: no-reference quality score, 0 (worst) to 100; None before the gate.
    quality_metric: what gave the score: "embedded", "brisque" and its version, or "musiq" and then the versions of its
        code and weights.
    perceptual_hash: 64-bit DCT hash, 16 hex digits.
    group: key of the first photo of its near-duplicate group (its own key when alone). A split by group never
        has a photo in training and its near-duplicate in validation.
    """

    __pydantic_config__ = _strict

    key: Annotated[str, Field(pattern=rf"^[0-9a-f]{{{KEY_LENGTH}}}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    name: str
    source: str
    licence: str
    url: str
    width: Annotated[int, Field(ge=1, le=MAX_PIXELS)]
    height: Annotated[int, Field(ge=1, le=MAX_PIXELS)]
    bytes: Annotated[int, Field(ge=1, lt=2**63)]
    format: Literal["jpg", "png", "webp"]
    perceptual_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    group: str = ""
    quality: Annotated[float, Field(ge=0, le=100)] | None = None
    quality_metric: str = ""


@dataclass(frozen=True)
class Answer:
    """One attempt to turn a description into a noun phrase and its subject.

    model: who answered; "annotated" for a source's own caption and subject.
    round: 1, 2 or 3 (paper: one round of Qwen-7B, two of Qwen-72B); 0 for what was given with the description.
    noun_phrase, subject: the answer; empty where there was none.
    faults: the names of what is wrong with it, separated by spaces; empty for a valid answer. (Text and not a list:
        loaders that infer types from the first samples take a list that is empty there for a list of nothing.)
    """

    __pydantic_config__ = _strict

    model: str
    revision: str
    round: int
    noun_phrase: str
    subject: str
    faults: str = ""


@dataclass(frozen=True)
class Piece:
    """One mask as it was segmented, and what was said of it.

    mask: at the photo's upright full size.
    segmenter, describer: model and revision that gave the mask and the description ("annotated" for a source's own).
    description: the captioner's text, or the source's category made into a phrase.
    noun_phrase, subject: the accepted answer; empty before the noun-phrase rounds.
    answers: every attempt, in order; never empty once there is a noun phrase.
    """

    __pydantic_config__ = _strict

    mask: Mask
    segmenter: str
    description: str = ""
    describer: str = ""
    noun_phrase: str = ""
    subject: str = ""
    answers: tuple[Answer, ...] = ()


@dataclass(frozen=True)
class Agreement:
    """How well a region's caption fits its pixels.

    score: 0 (not at all) to 100. By "clip": CLIPScore, 100 times the cosine of picture and text; by "named": how much
        more of the subject the embedded annotator finds in the region than in the rest of the photo.
    model: model and revision that gave it.
    """

    __pydantic_config__ = _strict

    score: Annotated[float, Field(ge=0, le=100)]
    model: str


@dataclass(frozen=True)
class Correction:
    """What a person changed of a region.

    act: caption, subject, merge, split, mask, bokeh or add. who: the name that they chose. when: UTC,
        "2026-01-31T12:00:00Z".
    """

    __pydantic_config__ = _strict

    act: str
    who: str
    when: str


@dataclass(frozen=True)
class Region:
    """The pieces of one subject in a photo, merged: one training triplet's mask and caption.

    caption: a noun phrase of at most 40 CLIP tokens.
    subject: the caption's head noun, folded in case.
    mask: the union of the pieces' masks.
    bokeh: sharp inside and blurred outside: decides the instruction template in training.
    agreement: how well caption and pixels fit; None, and then no field of the record, where no model was asked.
    corrections: what people changed of the region, in order; None, and then no field of the record, where nobody did.
    """

    __pydantic_config__ = _strict

    caption: Annotated[str, Field(min_length=1)]
    subject: Annotated[str, Field(min_length=1)]
    mask: Mask
    bokeh: bool
    pieces: tuple[Piece, ...]
    agreement: Agreement | None = None
    corrections: tuple[Correction, ...] | None = None

    @model_serializer(mode="wrap")
    def _without_what_was_not_asked(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values = handler(self)
        if self.agreement is None:
            del values["agreement"]
        if self.corrections is None:
            del values["corrections"]
        return values


@dataclass(frozen=True)
class AnnotatedPhoto:
    """One sample of a shard: a photo and its regions, the largest first."""

    __pydantic_config__ = _strict

    photo: Photo
    regions: tuple[Region, ...]


_adapter = TypeAdapter(AnnotatedPhoto)


def to_json(sample: AnnotatedPhoto) -> bytes:
    """The sample as UTF-8 JSON; equal samples give equal bytes."""
    return _adapter.dump_json(sample)


def from_json(data: bytes) -> AnnotatedPhoto:
    """The sample that `to_json` wrote. Raises ValueError, in one sentence, for anything else."""
    try:
        sample = _adapter.validate_json(data, strict=True)
    except ValidationError as error:
        raise ValueError(f"not an annotated photo: {first_error(error)}") from None
    if sample.photo.width * sample.photo.height > MAX_PIXELS:
        raise ValueError(f"a photo of {sample.photo.width}x{sample.photo.height} is over {MAX_PIXELS} pixels")
    for region in sample.regions:
        # Once each: the mask of a region of one piece is the piece's.
        for mask in dict.fromkeys((region.mask, *(piece.mask for piece in region.pieces))):
            if (mask.height, mask.width) != (sample.photo.height, sample.photo.width):
                raise ValueError(
                    f"a mask of {mask.width}x{mask.height} on a photo of {sample.photo.width}x{sample.photo.height}"
                )
            mask.check()
    return sample


def split_member(name: str) -> tuple[str, str]:
    """A tar member's name as (key, extension), cut at the first dot of its last component, as webdataset does."""
    match = re.fullmatch(r"((?:.*/)?[^./]+)\.([^/]*)", name)
    return (match[1], match[2].lower()) if match else (name, "")
