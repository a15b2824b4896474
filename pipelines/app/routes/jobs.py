"""Instructions, jobs, their results, and the stream of what happens to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import FileResponse
from sse_starlette import EventSourceResponse, ServerSentEvent

from instructrestore.model.instruction.instruction import Instruction
from instructrestore.pipelines.app import pictures
from instructrestore.pipelines.app.job_queue import Entry
from instructrestore.pipelines.app.records import (
    EDITS,
    Asked,
    ErrorSentence,
    InstructionGiven,
    InstructionRead,
    Job,
    Jobs,
    Result,
    WishGiven,
    WishRead,
)
from instructrestore.pipelines.app.reproduction import OF_RESTORING_ALONE, Reproduction
from instructrestore.pipelines.app.routes.here import FAULTS, Here, Visitor
from instructrestore.pipelines.app.routes.photos import PRIVATE, Longest
from instructrestore.pipelines.app.saving import saved_as
from instructrestore.pipelines.app.shelf import Missing, now
from instructrestore.pipelines.app.stream import Stream
from instructrestore.pipelines.app.work import Work
from instructrestore.pipelines.pictures.output_file import ENDINGS, AskedFormat

router = APIRouter(tags=["jobs"], responses=FAULTS)  # pyright: ignore[reportArgumentType]
PING_SECONDS = 15


@router.post("/instructions")
def read_instruction(given: Annotated[InstructionGiven, Body()]) -> InstructionRead:
    """Text to its parts, or parts to a text; 422 says where a text is not understood."""
    return InstructionRead.of(given.instruction())


@router.post("/wishes", responses={502: {"model": ErrorSentence, "description": "The language model cannot be asked."}})
def read_wish(here: Visitor, given: Annotated[WishGiven, Body()]) -> WishRead:
    """A wish in any words to its parts: by the grammar, or else by the language model that the app was started with."""
    understood = here.app.wishes.read(given.text)
    return WishRead(**InstructionRead.of(understood.instruction).model_dump(), model=understood.model)


@router.post("/jobs", status_code=201)
def ask(here: Visitor, asked: Annotated[Asked, Body()]) -> Job:
    """Puts a job into the queue."""
    return submit(here, asked)


def submit(here: Here, asked: Asked, folder: str | None = None) -> Job:
    """Raises ValueError, in one sentence, for what cannot be done, and Missing for a photo or mask that is gone."""
    check_queue(here, 1)
    return queued(here, prepared(here, asked, folder))


def check_queue(here: Here, more: int) -> None:
    """Raises ValueError where there is no place for so many jobs more."""
    queue, limits = here.app.queue, here.app.settings.limits
    if queue.length + more > limits.waiting or queue.count(here.shelf) + more > limits.jobs:
        raise ValueError("too many jobs: wait for some to end, or remove old ones")


def queued(here: Here, entry: Entry) -> Job:
    job = here.app.queue.submit(entry)
    try:
        here.photo(job.photo)
    except Missing:  # it was removed meanwhile, with its other jobs
        here.app.queue.forget_all(here.shelf, job.photo)
        raise
    return job


def prepared(here: Here, asked: Asked, folder: str | None) -> Entry:
    """A job with nothing of it on the disk. Raises as `submit`."""
    app, photo = here.app, here.photo(asked.photo)
    instruction = asked.understood()
    if asked.kind == "sweep" and not asked.sweep:
        raise ValueError("a sweep needs scales, such as 0.5, 0.8 and 1.1")
    if asked.masks and len(asked.masks) != len(instruction.regions):
        raise ValueError(
            f"there must be one mask for each region, or null: {len(asked.masks)} for {len(instruction.regions)}"
        )
    if asked.kind == "mask" and (any(asked.masks) or asked.scale_map):
        raise ValueError("a job of kind mask shows where the model finds the regions: leave out the masks")
    if asked.kind == "mask" and asked.protect:
        raise ValueError("a job of kind mask restores nothing, so there is nothing to change: leave out protect")
    if asked.scale_map and (any(asked.masks) or asked.unite or asked.intersect or asked.subtract):
        raise ValueError("give masks or a scale map, not both: a scale map sets the scale of every pixel")
    if asked.scale_map and asked.kind == "sweep":
        raise ValueError("a sweep varies the scale of a region, but a scale map already sets that of every pixel")
    if asked.scale_range and not asked.scale_map:
        raise ValueError("a scale range says what black and white mean in a scale map: give one too")
    masks = tuple(_mask_file(here, id, asked.photo) if id else None for id in asked.masks)
    edits = {name: tuple(_mask_file(here, id, asked.photo) for id in getattr(asked, name)) for name in EDITS}
    scale_map = _mask_file(here, asked.scale_map, asked.photo) if asked.scale_map else None
    deep = asked.deep if asked.deep is not None else folder is None
    asked = asked.model_copy(update={"instruction": str(instruction), "deep": deep})
    size = (photo.height, photo.width)
    app.bench.check(asked, instruction, size)
    id, out = here.shelf.begin_job()
    again = _reproduction(here, asked, instruction, photo.name)
    job = Job(
        id=id, photo=photo.id, folder=folder, kind=asked.kind, asked=asked, instruction=str(instruction),
        created=now(), expected_seconds=app.bench.expected(asked, size), steps=app.bench.passes(asked, size),
        command=again.command(), python=again.script(),
    )  # fmt: skip
    work = Work(asked, instruction, here.photo_file(photo.id), masks, out, app.settings.out, edits, scale_map)
    return Entry(job, here.shelf, work, size)


def _mask_file(here: Here, id: str, photo: str) -> Path:
    if here.shelf.mask(id).photo != photo:
        raise ValueError("this mask was made for another photo")
    return here.shelf.mask_file(id)


def _reproduction(here: Here, asked: Asked, instruction: Instruction, photo: str) -> Reproduction:
    bench = here.app.bench
    own, chosen = bench.own.model_dump(mode="json"), bench.sampling(asked).model_dump(mode="json")
    settings = {name: value for name, value in chosen.items() if value != own.get(name)}
    if asked.kind == "mask":
        settings = {name: value for name, value in settings.items() if name not in OF_RESTORING_ALONE}
    return Reproduction(
        photo, instruction, asked.seed, settings, bench.source,
        masks=len(asked.masks) if any(asked.masks) else 0,
        edits={name: len(getattr(asked, name)) for name in EDITS if getattr(asked, name)},
        has_scale_map=bool(asked.scale_map), scale_range=asked.scale_range,
        sweep=asked.sweep if asked.kind == "sweep" else (), mask_only=asked.kind == "mask",
    )  # fmt: skip


@router.get("/jobs")
def all_jobs(here: Visitor, photo: str | None = None) -> Jobs:
    """This visitor's, the newest first."""
    return Jobs(jobs=here.app.queue.jobs(here.shelf, photo))


@router.get("/jobs/{id}")
def one_job(here: Visitor, id: str) -> Job:
    return here.app.queue.job(here.shelf, id)


@router.delete("/jobs/{id}", status_code=204)
def remove_job(here: Visitor, id: str) -> Response:
    here.app.queue.forget(here.shelf, id)
    return Response(status_code=204)


@router.post("/jobs/{id}/cancel")
def cancel(here: Visitor, id: str) -> Job:
    """At once if it waits, before the networks' next pass if it is being done."""
    return here.app.queue.cancel(here.shelf, id)


@router.post("/jobs/{id}/again", status_code=201)
def again(here: Visitor, id: str) -> Job:
    """A new job, the same in all that was asked."""
    job = here.app.queue.job(here.shelf, id)
    return submit(here, job.asked, job.folder)


@router.get("/events", response_class=EventSourceResponse)
async def events(here: Visitor, request: Request) -> EventSourceResponse:
    """Server-sent events: `job`, with the job, whenever one of this visitor's changes or goes a step on."""
    stream = Stream(here.app.queue, here.shelf.folder.name)

    async def changes() -> AsyncIterator[ServerSentEvent]:
        while True:
            job = await stream.next()
            yield ServerSentEvent(job.model_dump_json(), event="job")

    return _Events(stream, changes())


class _Events(EventSourceResponse):
    """The stream ends with the answer, also where the page was gone before the first event."""

    def __init__(self, stream: Stream, changes: AsyncIterator[ServerSentEvent]) -> None:
        super().__init__(changes, ping=PING_SECONDS, headers={"Cache-Control": "no-store"})
        self._stream = stream

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.end()


@router.get("/jobs/{id}/results/{name}", response_class=Response)
def result(
    here: Visitor, id: str, name: str, format: AskedFormat = "png", longest: Longest = None, download: bool = False
) -> Response:
    """A picture that a job made; `longest` for a smaller PNG to look at. A restored photo in another format has its
    photo's own data too; TIFF has 16 bits a channel."""
    job = here.app.queue.job(here.shelf, id)
    found = result_named(job, name)
    path = here.shelf.job_folder(id) / f"{found.name}.png"
    if longest:
        return Response(pictures.png_at(path, longest), media_type="image/png", headers=PRIVATE)
    stem = _stem(here, job.photo)
    stem = stem if found.name == "restored" else f"{stem}-{found.name}"
    disposition = "attachment" if download else "inline"
    if format == "png" or found.kind == "mask":
        return FileResponse(
            path, media_type="image/png", headers=PRIVATE, filename=f"{stem}.png", content_disposition_type=disposition
        )
    kind, data = saved_as(format, here.photo_file(job.photo), path)
    quoted = quote(f"{stem}{ENDINGS[kind]}", safe="")
    headers = {**PRIVATE, "Content-Disposition": f"{disposition}; filename*=utf-8''{quoted}"}
    return Response(data, media_type=f"image/{kind}", headers=headers)


def _stem(here: Here, photo: str) -> str:
    """What a photo's results are called; there may be results of one that the app was started with another time."""
    try:
        return Path(here.photo(photo).name).stem
    except Missing:
        return "restored"


def result_named(job: Job, name: str) -> Result:
    for each in job.results:
        if each.name == name:
            return each
    raise Missing
