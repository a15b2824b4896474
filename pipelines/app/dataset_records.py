"""What the data set's routes give. Texts are the data's own, whatever is in them; addresses are without secrets."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from instructrestore.dataengine.catalogue.catalogue import DroppedLine, Facet, PhotoLine, ReasonLine, SubjectLine
from instructrestore.dataengine.judging.judgement import region_id
from instructrestore.dataengine.judging.log import LogEntry
from instructrestore.dataengine.reporting.drawing import colours
from instructrestore.shards.plain_text import visible_line
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import Agreement, AnnotatedPhoto, Answer, Correction, Piece, Region


class DatasetAbout(BaseModel):
    """state: of the index. records: photos read so far, of the index and, once that is ready, of the records; null once
    all were: only then is it known what needs them (agreement, who said what). reasons: why photos were left out, where
    the run is beside it."""

    name: str
    folder: str
    sha256: str
    photos: int
    regions: int
    state: Literal["being read", "ready", "failed"]
    error: str
    records: int | None
    sources: list[Facet]
    licences: list[Facet]
    said: list[Facet]
    reasons: list[ReasonLine]


class DatasetPhotos(BaseModel):
    """count: of all that are asked for. photos: those from `offset`."""

    count: int
    offset: int
    photos: list[PhotoLine]


class Subjects(BaseModel):
    count: int
    offset: int
    subjects: list[SubjectLine]


class DroppedPhoto(BaseModel):
    """name: the last part of its address. shown: whether there may be a picture of it."""

    number: int
    stage: str
    kind: str
    reason: str
    detail: str
    uri: str
    name: str

    @classmethod
    def of(cls, line: DroppedLine) -> DroppedPhoto:
        uri = visible_line(line.uri)
        return cls(
            number=line.number, stage=line.stage, kind=line.kind, reason=line.reason, detail=visible_line(line.detail),
            uri=uri, name=uri.rstrip("/").rsplit("/", 1)[-1],
        )  # fmt: skip


class DroppedPhotosGiven(BaseModel):
    count: int
    offset: int
    photos: list[DroppedPhoto]


class PieceRecord(BaseModel):
    """One mask as it was segmented, and what was said of it. area: share of the photo."""

    segmenter: str
    description: str
    describer: str
    noun_phrase: str
    subject: str
    area: float
    answers: list[Answer]

    @classmethod
    def of(cls, piece: Piece) -> PieceRecord:
        return cls(
            segmenter=piece.segmenter, description=piece.description, describer=piece.describer,
            noun_phrase=piece.noun_phrase, subject=piece.subject, area=_share(piece.mask), answers=list(piece.answers),
        )  # fmt: skip


class JudgementLine(BaseModel):
    """A judgement of the log in short. region: its id, or "" where it is of the photo."""

    number: int
    when: str
    who: str
    act: str
    key: str
    region: str

    @classmethod
    def of(cls, entry: LogEntry) -> JudgementLine:
        said = entry.judgement
        return cls(number=entry.number, when=said.when, who=said.who, act=said.act, key=said.key, region=said.region)


class RegionRecord(BaseModel):
    """id: names it in judgements. colour: as pictures show it, "#rrggbb". area: share of the photo. box: x, y, width,
    height in pixels. corrections: what people changed. judged: whether somebody has, where judgements count."""

    id: str
    caption: str
    subject: str
    bokeh: bool
    colour: str
    area: float
    box: tuple[int, int, int, int]
    agreement: Agreement | None
    corrections: list[Correction]
    judged: bool = False
    pieces: list[PieceRecord]

    @classmethod
    def of(cls, region: Region, colour: tuple[int, int, int]) -> RegionRecord:
        red, green, blue = colour
        return cls(
            id=region_id(region), caption=region.caption, subject=region.subject, bokeh=region.bokeh,
            colour=f"#{red:02x}{green:02x}{blue:02x}", corrections=list(region.corrections or ()),
            area=_share(region.mask), box=region.mask.box(), agreement=region.agreement,
            pieces=[PieceRecord.of(piece) for piece in region.pieces],
        )  # fmt: skip


class DatasetPhoto(BaseModel):
    """A photo with its regions, the largest first. group: the key of the first of its near-duplicates.

    gone, judgements: where judgements count, whether the photo is to go, and those that stand.
    """

    key: str
    name: str
    source: str
    licence: str
    url: str
    width: int
    height: int
    bytes: int
    format: str
    quality: float | None
    quality_metric: str
    group: str
    regions: list[RegionRecord]
    gone: bool = False
    judgements: list[JudgementLine] = []

    @classmethod
    def of(cls, sample: AnnotatedPhoto) -> DatasetPhoto:
        photo = sample.photo
        palette = colours(len(sample.regions))
        return cls(
            key=photo.key, name=photo.name, source=photo.source, licence=photo.licence, url=visible_line(photo.url),
            width=photo.width, height=photo.height, bytes=photo.bytes, format=photo.format, quality=photo.quality,
            quality_metric=photo.quality_metric, group=photo.group,
            regions=[RegionRecord.of(*each) for each in zip(sample.regions, palette, strict=True)],
        )  # fmt: skip


def _share(mask: Mask) -> float:
    return mask.area() / (mask.width * mask.height)
