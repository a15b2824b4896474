"""Who may use the app, and whose folder is whose.

The token, from the address that the program prints or as `Authorization: Bearer`, lets in. A browser then gets a
cookie with a secret of its own, of which only a hash is kept, as its folder's name; those who send the token alone
share one folder.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import shutil
import threading
from pathlib import Path

from instructrestore.dataengine.photos.photo_file import UnusablePhoto
from instructrestore.pipelines.app.records import PhotoRecord
from instructrestore.pipelines.app.shelf import Missing, Shelf
from instructrestore.pipelines.pictures.source_photo import read_photo
from instructrestore.shards.files import commit
from instructrestore.shards.plain_text import visible_line

_SECRET = re.compile(r"[0-9a-f]{64}")
_OF_BEARERS = "bearers"


class Visitors:
    """folder: of all sessions. token: as the app was started with. names: see `shared`."""

    def __init__(self, folder: Path, token: str) -> None:
        self.folder, self._token = folder, token.encode()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chmod(folder, 0o700)

    def knows(self, token: str) -> bool:
        """Whether it is the token, in a time that does not tell how much of it is right."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self._token)

    def welcome(self) -> str:
        """The secret of a new session, for its cookie."""
        secret = secrets.token_hex(32)
        Shelf(self.folder / _name(secret)).make()
        return secret

    def of_cookie(self, secret: str) -> Shelf | None:
        """The session's folder; None for a secret that was never given out, or has expired."""
        folder = self.folder / _name(secret) if _SECRET.fullmatch(secret) else None
        return Shelf(folder) if folder and folder.is_dir() else None

    def of_bearers(self) -> Shelf:
        shelf = Shelf(self.folder / _OF_BEARERS)
        shelf.make()
        return shelf

    def all(self) -> list[Shelf]:
        return [Shelf(path) for path in sorted(self.folder.iterdir()) if path.is_dir()]

    def remove(self, shelf: Shelf) -> None:
        """Everything of a session, which goes on empty."""
        for kind in ("photos", "jobs", "masks"):  # a mask that comes meanwhile looks for its photo once it is kept
            shutil.rmtree(shelf.folder / kind, ignore_errors=True)
        shelf.make()


class SharedPhotos:
    """The photos that were named when the app was started. They are read where they are, and never removed.

    What is made of them (segments) is in the app's folder, under an id that cannot be guessed and stays the same.
    """

    def __init__(self, folder: Path, paths: tuple[Path, ...]) -> None:
        self._shelf = Shelf(folder)
        self._shelf.make()
        self._files: dict[str, Path] = {}
        self._one = threading.Lock()  # two pages at once read a photo once
        self.failed: list[tuple[str, str]] = []
        key = _key(folder.with_name("key"))
        for path in paths:
            place = os.path.abspath(path)
            id = hmac.new(key, os.fsencode(place), hashlib.sha256).hexdigest()[:32]
            self._files[id] = Path(place)

    def __contains__(self, id: str) -> bool:
        return id in self._files

    def file(self, id: str) -> Path:
        return self._files[id]

    def folder(self, id: str) -> Path:
        folder = self._shelf.folder / "photos" / id
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def photo(self, id: str) -> PhotoRecord:
        """Reads it the first time, and again when its file has changed. Raises Missing where it is no photo."""
        with self._one:
            return self._photo(id)

    def _photo(self, id: str) -> PhotoRecord:
        path = self._files[id]
        try:
            known = self._shelf.photo(id)
            stat = path.stat()
            if known.created == stat.st_mtime and known.bytes == stat.st_size:
                return known
        except (Missing, OSError):
            pass
        try:
            source, stat = read_photo(path), path.stat()
        except (OSError, UnusablePhoto):
            raise Missing from None
        shutil.rmtree(self.folder(id))
        self.folder(id)
        width, height = source.image.size
        photo = PhotoRecord(
            id=id, name=visible_line(path.name), width=width, height=height, bytes=stat.st_size,
            notes=list(source.notes), created=stat.st_mtime, own=False,
        )  # fmt: skip
        self._shelf.keep_photo(photo)
        return photo

    def photos(self) -> list[PhotoRecord]:
        found = []
        for id in self._files:
            try:
                found.append(self.photo(id))
            except Missing:
                continue
        return found


def _name(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()[:32]


def _key(path: Path) -> bytes:
    """Random bytes that stay in the app's folder."""
    if not path.exists():
        commit(path, secrets.token_bytes(32))
        path.chmod(0o600)
    return path.read_bytes()
