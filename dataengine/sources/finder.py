"""Finds the files that annotations and tables name, also where another system wrote the names.

Windows separates folders by backslashes, and macOS takes accented letters apart (Unicode's NFD) where others write
them as one (NFC). A name that is there as it is written is that file. Otherwise it is the one file that it can mean;
where it can mean two, nothing is guessed.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import unicodedata
from collections.abc import Collection, Sequence

from instructrestore.dataengine.photos.photo_file import UnusablePhoto, file_system, read_bytes
from instructrestore.dataengine.sources.places import (
    OUTSIDE,
    base_name,
    inside,
    is_local,
    join,
    parent,
    readable,
    uri_of,
)

SEVERAL = "name that fits several files"
_WINDOWS_DRIVE = re.compile(r"[A-Za-z]:/")


class FileFinder:
    """Finds files by names from data, each in the first of several folders that has it. No name leads outside.

    alike: those of the folders of which none is to be preferred: a name that fits different files in them fits none.
    """

    def __init__(self, folders: Sequence[str], alike: Collection[str] = ()) -> None:
        self.folders, self.alike = folders, alike
        self._listed: dict[str, dict[str, list[str]]] = {}

    def find(self, name: str) -> str | None:
        """The file's URI, or None if no folder has it.

        Raises UnusablePhoto: "path outside its folder" (with backslashes as separators too), or SEVERAL.
        """
        place = self._find(name)
        return uri_of(place) if place and is_local(place) else place

    def place(self, name: str) -> str:
        """The file's place, as `places.inside` gives it; where it is not there, in the first folder, under the name as
        it is written. Nothing is looked up of a name that can only mean one file. Raises UnusablePhoto as `find`."""
        written = inside(self.folders[0], name)
        return (self._find(name) or written) if _has_variants(name) else written

    def uri(self, name: str) -> str:
        """The same as a URI."""
        place = self.place(name)
        return uri_of(place) if is_local(place) else readable(place)

    def _find(self, name: str) -> str | None:
        for folder in self.folders:
            if self._has(place := inside(folder, name)):
                if folder in self.alike:
                    self._check_alone(name)
                return place
        if not _has_variants(name):
            return None
        fits = {fit for folder in self.folders for fit in self._fits(folder, name)}
        if len(fits) > 1:
            raise UnusablePhoto(SEVERAL, readable(name))
        return fits.pop() if fits else None

    def _has(self, place: str) -> bool:
        return os.path.lexists(place) if is_local(place) else self._is_listed(place)

    def _is_listed(self, place: str) -> bool:
        name = base_name(place)
        return name in self._names(parent(place)).get(comparable(name), ())

    def _check_alone(self, name: str) -> None:
        """Raises UnusablePhoto where different files have the name in folders that are alike."""
        fitting = [place for folder in self.alike if self._is_listed(place := inside(folder, name))]
        if len(fitting) > 1 and not _same_bytes(fitting):
            raise UnusablePhoto(SEVERAL, readable(name))

    def _fits(self, folder: str, name: str) -> list[str]:
        """Every file below a folder that the name can mean."""
        plain = comparable(name.replace("\\", "/"))
        inside(folder, plain)
        if _WINDOWS_DRIVE.match(plain):
            raise UnusablePhoto(OUTSIDE, readable(name))
        found = [""]
        for part in posixpath.normpath(plain).split("/"):
            found = [
                join(above, entry) if above else entry
                for above in found
                for entry in self._names(join(folder, above) if above else folder).get(part, ())
            ]
        return [join(folder, each) for each in found]

    def _names(self, folder: str) -> dict[str, list[str]]:
        """The names in a folder, by what they are compared by."""
        # A folder is listed once: in an object store, a request per photo would take longer than reading the photos.
        if folder not in self._listed:
            try:
                if is_local(folder):
                    found = os.listdir(folder)
                else:
                    files, path = file_system(folder)
                    found = map(base_name, files.ls(path, detail=False))
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                found = []
            listed: dict[str, list[str]] = {}
            for entry in found:
                listed.setdefault(comparable(entry), []).append(entry)
            self._listed[folder] = listed
        return self._listed[folder]


def place_beside(files: FileFinder, name: str) -> str:
    """Where a local file is that a user's own table names: an absolute path, or one that leads out of the table's
    folder, as it is written; others as `files` finds them. Raises UnusablePhoto as that does."""
    written = os.path.join(files.folders[0], name)
    leads_out = os.path.isabs(name) or os.path.normpath(name).split(os.sep, 1)[0] == os.pardir
    return written if leads_out or not name or os.path.lexists(written) else files.place(name)


def _has_variants(name: str) -> bool:
    """Whether another system may write the name in another way."""
    return "\\" in name or not name.isascii()


def _same_bytes(places: Sequence[str]) -> bool:
    try:
        contents = (read_bytes(uri_of(place) if is_local(place) else place) for place in places)
        return len({hashlib.sha256(content).digest() for content in contents}) == 1
    except (OSError, UnusablePhoto):
        return False


def comparable(name: str) -> str:
    """The name with its accented letters as one character each."""
    return unicodedata.normalize("NFC", name)
