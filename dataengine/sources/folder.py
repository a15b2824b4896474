"""A folder of photos: every file below it that is a photo by its content or claims to be one by its extension."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Iterator

from instructrestore.dataengine.photos.photo_file import file_system
from instructrestore.dataengine.photos.picture_file import MAGIC_BYTES, format_of
from instructrestore.dataengine.photos.row import SourcePhoto
from instructrestore.dataengine.sources import places
from instructrestore.dataengine.sources.settings import SourceSettings

logger = logging.getLogger(__name__)


def list_folder(source: SourceSettings) -> Iterator[SourcePhoto]:
    """The photos below a folder, in the order of their names, folder by folder.

    Hidden files are left out. A file with a photo's extension is listed whatever it holds, so that it is accounted for
    by name: broken links, pipes and unreadable folders carry a problem. Links to folders are followed after the rest,
    and no folder is read twice, so that loops end. In remote folders the extension alone decides; only files without
    one are opened.
    """
    root = places.absolute(source.path)
    found = _local(root) if places.is_local(root) else _remote(root)
    for name, uri, problem in found:
        yield SourcePhoto(
            uri=uri,
            name=places.readable(name),
            source=source.title,
            licence=source.licence,
            excluded=source.exclude,
            problem=problem,
        )


def _local(root: str) -> Iterator[tuple[str, str, str]]:
    """Name relative to the root, URI and problem of each photo."""
    seen: set[tuple[int, int]] = set()
    waiting, linked = [root], list[str]()
    others = 0
    while waiting or linked:
        folder = waiting.pop() if waiting else linked.pop(0)
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                continue
            with os.scandir(folder) as entries:
                ordered = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if folder == root:
                raise
            yield os.path.relpath(folder, root), places.uri_of(folder), f"folder {_cause(error)}"
            continue
        seen.add((status.st_dev, status.st_ino))
        below: list[str] = []
        for entry in ordered:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                below.append(entry.path)
            elif entry.is_symlink() and os.path.isdir(entry.path):
                linked.append(entry.path)
            elif (problem := _problem(entry)) is not None:
                yield os.path.relpath(entry.path, root), places.uri_of(entry.path), problem
            else:
                others += 1
        waiting.extend(reversed(below))
    if others:
        logger.info("%d files in %s are not photos", others, places.readable(root))


def _problem(entry: os.DirEntry[str]) -> str | None:
    """ "" for a photo, None for another file, or why a file with a photo's extension cannot be read."""
    claims = entry.name.lower().endswith(places.PHOTO_ENDINGS)
    try:
        if not stat.S_ISREG(os.stat(entry.path).st_mode):
            return "not a regular file" if claims else None
        if claims:  # whatever is inside, intake will say so by name
            return ""
        with open(entry.path, "rb") as file:
            return "" if format_of(file.read(MAGIC_BYTES)) else None
    except OSError as error:
        return _cause(error) if claims else None


def _cause(error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.ELOOP):
        return "broken link"
    return "unreadable"


def _remote(root: str) -> Iterator[tuple[str, str, str]]:
    for name in places.remote_files(root):
        uri = places.join(root, name)
        ending = os.path.splitext(name)[1]
        if ending.lower() in places.PHOTO_ENDINGS or (not ending and _is_photo(uri)):
            yield name, uri, ""


def _is_photo(uri: str) -> bool:
    files, path = file_system(uri)
    head = files.cat_file(path, start=0, end=MAGIC_BYTES)
    assert isinstance(head, bytes)
    return bool(format_of(head))
