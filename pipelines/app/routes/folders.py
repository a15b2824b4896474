"""Many photos with one wish."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body
from fastapi.responses import StreamingResponse

from instructrestore.pipelines.app import pictures
from instructrestore.pipelines.app.records import ENDED, Asked, Folder, FolderAsked, Job
from instructrestore.pipelines.app.routes.here import FAULTS, Here, Visitor
from instructrestore.pipelines.app.routes.jobs import check_queue, prepared, queued
from instructrestore.pipelines.app.saving import deep_file, saved_as
from instructrestore.pipelines.app.shelf import Missing, new_id
from instructrestore.pipelines.pictures.output_file import ENDINGS, AskedFormat, Format

router = APIRouter(tags=["folders"], responses=FAULTS)  # pyright: ignore[reportArgumentType]


@router.post("/folders", status_code=201)
def ask(here: Visitor, asked: Annotated[FolderAsked, Body()]) -> Folder:
    """A job for every photo. A mask is scaled to every photo of its aspect; the others are refused, by name, before
    anything is begun."""
    if len(set(asked.photos)) < len(asked.photos):
        raise ValueError("a photo is named twice")
    asked.understood()
    check_queue(here, len(asked.photos))
    id = new_id()
    wish = asked.model_dump(exclude={"photos", "masks"})
    fitted: list[str] = []
    try:
        entries = []
        for photo in asked.photos:
            masks = tuple(_fitted(here, mask, photo, fitted) for mask in asked.masks)
            entries.append(prepared(here, Asked(photo=photo, masks=masks, **wish), id))
    except (ValueError, OSError, Missing):
        for mask in fitted:
            here.shelf.drop_mask(mask)
        raise
    for entry in entries:
        with suppress(Missing):  # a photo that was removed meanwhile
            queued(here, entry)
    return _folder(here, id)


def _fitted(here: Here, id: str, photo_id: str, fitted: list[str]) -> str:
    """A mask for another photo: itself, or a copy at that photo's size, whose id is added to `fitted`."""
    mask, photo = here.shelf.mask(id), here.photo(photo_id)
    if mask.photo == photo_id:
        return id
    try:
        data = here.shelf.mask_file(id).read_bytes()
        fitted.append(pictures.take_mask(here.shelf, photo, mask.name, data, here.app.settings.limits).id)
    except ValueError as error:
        raise ValueError(f"{photo.name}: {error}") from None
    return fitted[-1]


@router.get("/folders/{id}")
def one(here: Visitor, id: str) -> Folder:
    return _folder(here, id)


@router.post("/folders/{id}/cancel")
def cancel(here: Visitor, id: str) -> Folder:
    """What waits and what is being done."""
    for job in _jobs(here, id):
        here.app.queue.cancel(here.shelf, job.id)
    return _folder(here, id)


@router.get("/folders/{id}/zip", response_class=StreamingResponse)
def as_zip(here: Visitor, id: str, format: AskedFormat = "png") -> StreamingResponse:
    """The restored photos that are done, each under its photo's name. One that does not fit the format comes as PNG."""
    done = [job for job in _jobs(here, id) if job.state == "done"]
    if not done:
        raise ValueError("nothing of this folder is done yet")
    files = []
    for job in done:
        with suppress(Missing):  # removed meanwhile
            files.append((here.photo_file(job.photo), here.shelf.job_folder(job.id) / "restored.png"))
    if format == "tiff" and not all(deep_file(png).is_file() for _, png in files):
        raise ValueError("only 8 bits a channel were kept of this folder: ask for it again with deep, or take png")
    headers = {"Content-Disposition": 'attachment; filename="restored.zip"'}
    return StreamingResponse(_zipped(format, files), media_type="application/zip", headers=headers)


def _jobs(here: Here, id: str) -> list[Job]:
    """In the order in which they were asked for; of those done again the last."""
    jobs = [job for job in reversed(here.app.queue.jobs(here.shelf)) if job.folder == id]
    if not jobs:
        raise Missing
    return list({job.photo: job for job in jobs}.values())


def _folder(here: Here, id: str) -> Folder:
    jobs = _jobs(here, id)
    left = [job for job in jobs if job.state not in ENDED]
    expected = [job.expected_seconds for job in left]
    known = None if None in expected else sum(each for each in expected if each)
    done = sum(job.state == "done" for job in jobs)
    return Folder(
        id=id, jobs=jobs, done=done, failed=len(jobs) - done - len(left), left=len(left), expected_seconds=known
    )


def _free_name(stem: str, ending: str, taken: set[str]) -> str:
    """A file's name that no other has, even on a disk that ignores case."""
    name, number = f"{stem}{ending}", 2
    while name.casefold() in taken:
        name, number = f"{stem}_{number}{ending}", number + 1
    taken.add(name.casefold())
    return name


class _Pipe(io.RawIOBase):
    """What is written goes out at once: a zip of any size is never in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.chunks: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.chunks.append(bytes(data))
        return len(data)

    def taken(self) -> Iterator[bytes]:
        yield from self.chunks
        self.chunks.clear()


def _file_of(format: AskedFormat, photo: Path, png: Path) -> tuple[Format, bytes]:
    """A result, as PNG where it does not fit the format."""
    try:
        return saved_as(format, photo, png)
    except ValueError:
        return "png", png.read_bytes()


def _zipped(format: AskedFormat, files: list[tuple[Path, Path]]) -> Iterator[bytes]:
    """files: each photo, and its result. What is removed while the zip is on its way is not in it."""
    pipe, taken = _Pipe(), set[str]()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
        for photo, png in files:
            try:
                kind, data = _file_of(format, photo, png)
            except FileNotFoundError:  # removed meanwhile
                continue
            archive.writestr(zipfile.ZipInfo(_free_name(photo.stem, ENDINGS[kind], taken)), data)
            yield from pipe.taken()
    yield from pipe.taken()
