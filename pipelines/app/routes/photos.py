"""Photos, their masks, and what is in them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from instructrestore.pipelines.app import pictures, samples
from instructrestore.pipelines.app.guard import fault
from instructrestore.pipelines.app.records import MaskRecord, PhotoRecord, Photos, Segments, SegmentsChosen
from instructrestore.pipelines.app.routes.here import FAULTS, Here, Visitor
from instructrestore.pipelines.app.segments import chosen_mask, segments_at
from instructrestore.pipelines.app.shelf import safe_name

router = APIRouter(tags=["photos"], responses=FAULTS)  # pyright: ignore[reportArgumentType]
PRIVATE = {"Cache-Control": "private, max-age=86400, immutable"}
Longest = Annotated[int | None, Query(ge=16, le=20_000, description="pixels of the longer side, at the most")]
_FILE = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"format": "binary"}}}}}


@router.post("/photos", status_code=201, openapi_extra=_FILE)
async def bring_photo(here: Visitor, request: Request, name: str = "photo") -> PhotoRecord:
    """The body is a photo's file."""
    data = await request.body()
    return await run_in_threadpool(_take, here, name, data)


def _take(here: Here, name: str, data: bytes) -> PhotoRecord:
    return pictures.take_photo(here.shelf, name, data, here.app.settings.limits)


@router.get("/photos")
def all_photos(here: Visitor) -> Photos:
    """This visitor's, the newest first, and those that the app was started with."""
    return Photos(photos=[*here.shelf.photos(), *here.app.shared.photos()])


@router.get("/photos/{id}")
def one_photo(here: Visitor, id: str) -> PhotoRecord:
    return here.photo(id)


@router.delete("/photos/{id}", status_code=204)
def remove_photo(here: Visitor, id: str) -> Response:
    """With its masks, jobs and results. A photo that the app was started with stays; what was made of it goes."""
    here.photo(id)
    here.app.queue.forget_all(here.shelf, id)
    if id in here.app.shared:
        here.shelf.drop_masks_of(id)
        return fault(409, "this photo is in a folder that the app was started with: its results were removed, it stays")
    here.shelf.drop_photo(id)
    here.app.queue.forget_all(here.shelf, id)  # those that were asked for while it went
    return Response(status_code=204)


@router.delete("/session", status_code=204)
def remove_everything(here: Visitor) -> Response:
    """All of this visitor's photos, masks, jobs and results."""
    here.app.queue.forget_all(here.shelf)
    here.app.visitors.remove(here.shelf)
    here.app.queue.forget_all(here.shelf)  # those that were asked for while it went
    return Response(status_code=204)


@router.get("/photos/{id}/picture", response_class=Response)
def picture(here: Visitor, id: str, longest: Longest = None) -> Response:
    """Upright, in sRGB: as PNG, or as JPEG if it is large."""
    here.photo(id)
    data, kind = pictures.shown(here.photo_file(id), longest)
    return Response(data, media_type=kind, headers=PRIVATE)


@router.get("/photos/{id}/thumbnail", response_class=Response)
def thumbnail(here: Visitor, id: str) -> Response:
    here.photo(id)
    data = pictures.small_copy(here.photo_file(id), here.photo_folder(id) / "thumbnail.jpg")
    return Response(data, media_type="image/jpeg", headers=PRIVATE)


@router.post("/photos/{id}/segments")
def segments(here: Visitor, id: str) -> Segments:
    """What is in the photo: found once, then kept."""
    here.photo(id)
    return here.app.segmenter.of_photo(here.photo_file(id), here.photo_folder(id))


@router.get("/photos/{id}/segments.png", response_class=Response)
def segments_picture(here: Visitor, id: str) -> Response:
    """RGB: a pixel's segment is R + 256 G; 0 for none."""
    here.photo(id)
    here.app.segmenter.of_photo(here.photo_file(id), here.photo_folder(id))
    data = (here.photo_folder(id) / "segments.png").read_bytes()
    return Response(data, media_type="image/png", headers=PRIVATE)


@router.post("/photos/{id}/masks", status_code=201, openapi_extra=_FILE)
async def bring_mask(here: Visitor, request: Request, id: str, name: str = "mask") -> MaskRecord:
    """The body is a picture: white where the region is, grey counts in between; or a cut-out. Of the photo's size, or
    of its aspect."""
    photo, data = here.photo(id), await request.body()
    limits = here.app.settings.limits
    return await run_in_threadpool(pictures.take_mask, here.shelf, photo, safe_name(name), data, limits)


@router.post("/photos/{id}/masks/segments", status_code=201)
def mask_of_segments(here: Visitor, id: str, chosen: Annotated[SegmentsChosen, Body()]) -> MaskRecord:
    """A mask of some segments together, named by their numbers, points in them or boxes around them."""
    photo = here.photo(id)
    here.app.segmenter.of_photo(here.photo_file(id), here.photo_folder(id))
    folder, size = here.photo_folder(id), (photo.height, photo.width)
    numbers = (*chosen.segments, *segments_at(folder, chosen.points, chosen.boxes, size))
    values = chosen_mask(folder, numbers, size, chosen.feather)
    return pictures.keep_mask(here.shelf, photo, "segments", values, [])


@router.get("/masks/{id}", response_class=Response)
def mask(here: Visitor, id: str, longest: Longest = None) -> Response:
    """Grey, white inside."""
    return Response(pictures.png_at(here.shelf.mask_file(id), longest), media_type="image/png", headers=PRIVATE)


@router.get("/samples")
def all_samples() -> dict[str, list[dict[str, str]]]:
    """Photos that come with installed packages, made worse, to try things with."""
    return {"samples": [{"name": sample.name, "title": sample.title} for sample in samples.installed()]}


@router.post("/samples/{name}", status_code=201)
def take_sample(here: Visitor, name: str) -> PhotoRecord:
    file, data = samples.sample(name)
    return _take(here, file, data)
