"""A visitor's folder: photos with their pictures, masks, jobs with their results. What is in it survives the program.

    photos/ID/file/NAME  photo.json  segments.json  segments.png
    masks/ID.png  ID.json
    jobs/ID/job.json  NAME.png ...

Ids are random and are looked up by their form before they are part of a path; a name is a file's last part alone.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from instructrestore.pipelines.app.records import ID, Job, MaskRecord, PhotoRecord
from instructrestore.shards.files import TEMPORARY, commit
from instructrestore.shards.plain_text import visible_line

Record = TypeVar("Record", bound=BaseModel)
_LONGEST_NAME = 120  # bytes
_NO_NAME = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')


class Missing(LookupError):
    """There is no such photo, mask, job or result, or it is somebody else's: nobody learns which."""


def new_id() -> str:
    """128 random bits."""
    return secrets.token_hex(16)


def safe_name(name: str) -> str:
    """A file's name as it may stand on this disk and on a page: its last part, without what acts there."""
    last = re.split(r"[/\\]", name)[-1]
    clean = _NO_NAME.sub("_", visible_line(last)).strip(" .")
    stem, dot, ending = clean.rpartition(".")
    while len(clean.encode()) > _LONGEST_NAME:
        stem = stem[:-1]
        clean = f"{stem}{dot}{ending[:10]}" if stem else clean[: _LONGEST_NAME // 4]
    return clean or "photo"


class Shelf:
    """One visitor's things. Every method that takes an id raises Missing where there is none of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self) -> None:
        for name in ("photos", "masks", "jobs"):
            (self.folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)

    def photo(self, id: str) -> PhotoRecord:
        return _read(self._place("photos", id) / "photo.json", PhotoRecord)

    def photo_folder(self, id: str) -> Path:
        return self._place("photos", id)

    def photo_file(self, id: str) -> Path:
        return self._place("photos", id) / "file" / self.photo(id).name

    def photos(self) -> list[PhotoRecord]:
        """The newest first."""
        return sorted(_all(self.folder / "photos", "photo.json", PhotoRecord), key=lambda each: -each.created)

    def photo_count(self) -> int:
        with os.scandir(self.folder / "photos") as found:
            return sum(1 for _ in found)

    def begin_photo(self, name: str) -> tuple[str, Path]:
        """An id, and the place where the photo's file is to be written before `keep_photo`."""
        id = new_id()
        file = self.folder / "photos" / id / "file" / safe_name(name)
        file.parent.mkdir(mode=0o700, parents=True)
        return id, file

    def keep_photo(self, photo: PhotoRecord) -> None:
        """From here on the photo is there."""
        commit(self.folder / "photos" / photo.id / "photo.json", photo.model_dump_json().encode())

    def drop_photo(self, id: str) -> None:
        """With its masks. Its jobs are dropped by who knows whether they are at work."""
        self.drop_masks_of(id)
        shutil.rmtree(self._place("photos", id), ignore_errors=True)
        self.drop_masks_of(id)  # those that came while it went

    def drop_masks_of(self, photo: str) -> None:
        for mask in self.masks():
            if mask.photo == photo:
                self.drop_mask(mask.id)

    def mask(self, id: str) -> MaskRecord:
        return _read(self._mask(id).with_suffix(".json"), MaskRecord)

    def mask_file(self, id: str) -> Path:
        return self._mask(id)

    def masks(self) -> list[MaskRecord]:
        return list(_all(self.folder / "masks", "", MaskRecord))

    def keep_mask(self, mask: MaskRecord, png: bytes) -> None:
        """All of it or nothing, where the disk is full."""
        path = self.folder / "masks" / f"{mask.id}.png"
        try:
            commit(path, png)
            commit(path.with_suffix(".json"), mask.model_dump_json().encode())
        except OSError:
            self.drop_mask(mask.id)
            raise

    def drop_mask(self, id: str) -> None:
        for ending in (".json", ".png"):
            (self.folder / "masks" / f"{id}{ending}").unlink(missing_ok=True)

    def jobs(self) -> list[Job]:
        return list(_all(self.folder / "jobs", "job.json", Job))

    def job_folder(self, id: str) -> Path:
        return self._place("jobs", id)

    def begin_job(self) -> tuple[str, Path]:
        """An id, and the folder that `keep_job` makes."""
        id = new_id()
        return id, self.folder / "jobs" / id

    def keep_job(self, job: Job) -> None:
        folder = self.folder / "jobs" / job.id
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        commit(folder / "job.json", job.model_dump_json().encode())

    def drop_job(self, id: str) -> None:
        shutil.rmtree(self.folder / "jobs" / id, ignore_errors=True)

    def expire(self, before: float, jobs: Collection[Job]) -> None:
        """Removes what was made before that time, but for what a job needs. jobs: those that are left."""
        photos, masks = {job.photo for job in jobs}, {mask for job in jobs for mask in job.asked.masks}
        for photo in self.photos():
            if photo.created < before and photo.id not in photos:
                self.drop_photo(photo.id)
        for mask in self.masks():
            if mask.id not in masks and _changed(self.folder / "masks" / f"{mask.id}.json") < before:
                self.drop_mask(mask.id)
        for path in [*self.folder.glob("photos/*/photo.json"), *self.folder.glob("jobs/*/job.json")]:
            if _changed(path) < before and not _is_whole(path):
                shutil.rmtree(path.parent, ignore_errors=True)
        self.tidy(before)

    def tidy(self, before: float) -> None:
        """Removes what was begun before that time and never finished: a killed program's, or a full disk's."""
        for kind, name in (("photos", "photo.json"), ("jobs", "job.json")):
            for place in list((self.folder / kind).glob("*")):
                if not (place / name).exists() and _changed(place) < before:
                    shutil.rmtree(place, ignore_errors=True)
        masks = self.folder / "masks"
        lone = [path for path in masks.glob("*.png") if not path.with_suffix(".json").exists()]
        lone += [path for path in masks.glob("*.json") if not path.with_suffix(".png").exists()]
        for path in [*lone, *self.folder.glob(f"**/{TEMPORARY}*")]:
            if _changed(path) < before:
                path.unlink(missing_ok=True)

    def _place(self, kind: str, id: str) -> Path:
        if not re.match(ID, id) or not (self.folder / kind / id).is_dir():
            raise Missing
        return self.folder / kind / id

    def _mask(self, id: str) -> Path:
        path = self.folder / "masks" / f"{id}.png"
        if not re.match(ID, id) or not path.is_file():
            raise Missing
        return path


def check_room(folder: Path, needed: int, room: int) -> None:
    """Raises OSError where the disk would have less than `room` bytes left."""
    if shutil.disk_usage(folder).free < needed + room:
        raise OSError(errno.ENOSPC, "the disk of the app's folder is nearly full: remove photos, or make room")


def said_of(error: OSError) -> str:
    """What a person reads of a fault of the disk: a sentence, without the place."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk of the app's folder is full: remove photos, or make room"
    return error.strerror or str(error)


def now() -> float:
    return time.time()


def _is_whole(path: Path) -> bool:
    """Whether a photo's or a job's record can be read."""
    try:
        _read(path, PhotoRecord if path.name == "photo.json" else Job)
    except Missing:
        return False
    return True


def _changed(path: Path) -> float:
    """When it was changed last; now, if somebody else has removed it."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return now()


def _read(path: Path, kind: type[Record]) -> Record:
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):  # half written by a killed program, or gone
        raise Missing from None


def _all(folder: Path, name: str, kind: type[Record]) -> Iterator[Record]:
    """The records in a folder's folders, or without a name in the folder itself; what is damaged is left out."""
    paths = folder.glob(f"*/{name}") if name else folder.glob("*.json")
    for path in paths:
        try:
            yield _read(path, kind)
        except Missing:
            continue
