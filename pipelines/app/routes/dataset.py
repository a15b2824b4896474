"""The data set that the app was started with: its photos by what one looks for, its subjects, and what was left out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from instructrestore.dataengine.catalogue.query import Query as Wanted
from instructrestore.pipelines.app import dataset_pictures
from instructrestore.pipelines.app.dataset_records import (
    DatasetAbout,
    DatasetPhoto,
    DatasetPhotos,
    DroppedPhoto,
    DroppedPhotosGiven,
    Subjects,
)
from instructrestore.pipelines.app.open_dataset import OpenDataset
from instructrestore.pipelines.app.routes.here import FAULTS, Visitor
from instructrestore.pipelines.app.routes.photos import PRIVATE, Longest
from instructrestore.pipelines.app.shelf import Missing
from instructrestore.shards.plain_text import visible_line
from instructrestore.shards.rle import Mask

router = APIRouter(tags=["data set"], prefix="/dataset", responses=FAULTS)  # pyright: ignore[reportArgumentType]
MOST_AT_ONCE = 500  # photos or subjects in one answer
_FACETS = 200
Offset = Annotated[int, Query(ge=0, le=1 << 40)]
Limit = Annotated[int, Query(ge=1, le=MOST_AT_ONCE)]


class Listing(Wanted):
    """What is looked for, and which of all that is found."""

    offset: Offset = 0
    limit: Limit = 100


def opened(here: Visitor) -> OpenDataset:
    """Raises Missing where the app was started without a data set."""
    if here.app.dataset is None:
        raise Missing
    return here.app.dataset


Opened = Annotated[OpenDataset, Depends(opened)]


@router.get("")
def card(opened: Opened) -> DatasetAbout:
    """What it is, how far it was read, and the values that photos can be chosen by."""
    ready = opened.state == "ready"
    known = opened.dataset.card
    return DatasetAbout(
        name=known.name, folder=visible_line(opened.dataset.path), sha256=opened.sha256, photos=known.photos,
        regions=known.regions, state=opened.state, error=visible_line(opened.error), records=opened.records,
        sources=opened.catalogue.facets("source", _FACETS) if ready else [],
        licences=opened.catalogue.facets("licence", _FACETS) if ready else [],
        said=opened.catalogue.facets("said", _FACETS) if ready else [],
        reasons=opened.catalogue.reasons() if ready else [],
    )  # fmt: skip


@router.get("/photos")
def photos(opened: Opened, asked: Annotated[Listing, Query()]) -> DatasetPhotos:
    """The photos of which one region (and the photo itself) is what is asked for, in the order that is asked for."""
    wanted = Wanted(**asked.model_dump(exclude={"offset", "limit"}))
    rows = opened.catalogue.rows(wanted)
    lines = opened.catalogue.photos(rows[asked.offset : asked.offset + asked.limit].tolist())
    return DatasetPhotos(count=len(rows), offset=asked.offset, photos=lines)


@router.get("/subjects")
def subjects(
    opened: Opened, part: Annotated[str, Query(max_length=200)] = "", offset: Offset = 0, limit: Limit = 100
) -> Subjects:
    """The subjects that have a text in them, the most frequent first."""
    count, lines = opened.catalogue.subjects(part, offset, limit)
    return Subjects(count=count, offset=offset, subjects=lines)


@router.get("/photos/{key}")
def one_photo(opened: Opened, key: str) -> DatasetPhoto:
    """With its regions, their pieces, and who said what in which round."""
    return DatasetPhoto.of(opened.record(key))


@router.get("/photos/{key}/thumbnail", response_class=Response)
def thumbnail(opened: Opened, key: str, regions: bool = False) -> Response:
    """At most 256 pixels on the longer side; regions: in colour."""
    return Response(opened.thumbnail(key, regions), media_type="image/jpeg", headers=PRIVATE)


@router.get("/photos/{key}/picture", response_class=Response)
def picture(opened: Opened, key: str, longest: Longest = None) -> Response:
    """The photo as JPEG."""
    sample, data = opened.photo(key)
    content = dataset_pictures.whole(data, sample.photo.width, sample.photo.height, longest)
    return Response(content, media_type="image/jpeg", headers=PRIVATE)


@router.get("/photos/{key}/regions/{number}/mask", response_class=Response)
def mask(opened: Opened, key: str, number: int, longest: Longest = None) -> Response:
    """White where the region is, clear elsewhere. number: in the photo's order, from 0."""
    regions = opened.record(key).regions
    if not 0 <= number < len(regions):
        raise Missing
    return masked(regions[number].mask, longest)


@router.get("/photos/{key}/regions/{number}/pieces/{piece}/mask", response_class=Response)
def piece_mask(opened: Opened, key: str, number: int, piece: int, longest: Longest = None) -> Response:
    """The same of one of a region's pieces."""
    regions = opened.record(key).regions
    if not (0 <= number < len(regions) and 0 <= piece < len(regions[number].pieces)):
        raise Missing
    return masked(regions[number].pieces[piece].mask, longest)


def masked(mask: Mask, longest: int | None) -> Response:
    return Response(dataset_pictures.mask_picture(mask, longest), media_type="image/png", headers=PRIVATE)


@router.get("/dropped")
def dropped(
    opened: Opened,
    stage: Annotated[str, Query(max_length=200)] = "",
    reason: Annotated[str, Query(max_length=1000)] = "",
    offset: Offset = 0,
    limit: Limit = 100,
) -> DroppedPhotosGiven:
    """The photos that the run left out on the way, each with its stage and reason; none where no run is beside it."""
    count, lines = opened.catalogue.dropped(stage, reason, offset, limit)
    return DroppedPhotosGiven(count=count, offset=offset, photos=[DroppedPhoto.of(line) for line in lines])


@router.get("/dropped/{number}/thumbnail", response_class=Response)
def dropped_thumbnail(here: Visitor, opened: Opened, number: Annotated[int, Path(ge=0, lt=1 << 31)]) -> Response:
    """Where its file is still there; only of an app that listens on this machine alone."""
    line = opened.catalogue.dropped_photo(number)
    if line is None:
        raise Missing
    data = opened.dropped_thumbnail(line, here.app.settings.limits.pixels)
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"})
