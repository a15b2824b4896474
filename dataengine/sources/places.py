"""Places of a source: the same few functions for local folders and fsspec URIs, and names from data made safe."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_from_bytes

import fsspec

from instructrestore.dataengine.photos.photo_file import BYTE_RANGE, UnusablePhoto, file_system, local_path
from instructrestore.shards.parsing import parse_json, read_at_most
from instructrestore.shards.paths import STORES

MISSING_PHOTO = "missing photo"
MOST_ANNOTATIONS = 16 << 30  # bytes of a JSON file; the largest that is published has 6 GB
OUTSIDE = "path outside its folder"
PHOTO_ENDINGS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".gif", ".mpo", ".ppm",
    ".pgm", ".jp2", ".j2k", ".jpx", ".heic", ".heif", ".avif", ".jxl",
)  # fmt: skip


def readable(text: str) -> str:
    """Text for people and for UTF-8 files: what cannot be encoded (undecodable bytes in a file name, lone surrogates in
    a JSON string) becomes a visible escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def is_local(place: str) -> bool:
    return local_path(place) is not None


def absolute(place: str) -> str:
    """A local place as an absolute path, so that it means the same in every worker; a URI unchanged."""
    local = local_path(place)
    return place.rstrip("/") if local is None else os.path.abspath(local)


def uri_of(path: str) -> str:
    """An absolute local path as a photo's URI: the path itself, or percent-encoded if it is not UTF-8 or would be read
    as a byte range."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "file://" + quote_from_bytes(os.fsencode(path))
    return "file://" + quote_from_bytes(os.fsencode(path)) if BYTE_RANGE.fullmatch(path) else path


def join(folder: str, name: str) -> str:
    """The place `name` in `folder`. In a chained URI (zip://in::s3://there) the first part is the folder."""
    if is_local(folder):
        return os.path.join(folder, name)
    head, chain, tail = folder.partition("::")
    return (head if head.endswith("://") else head.rstrip("/") + "/") + name + chain + tail


def inside(folder: str, name: str) -> str:
    """The place of a name, taken from data, within a folder.

    Raises UnusablePhoto("path outside its folder") for a name that is absolute, a URI, or climbs out with "..".
    """
    plain = posixpath.normpath(name)
    if (
        not name
        or plain.split("/", 1)[0] == ".."
        or name.startswith(("/", "\\"))
        or "://" in name
        or "::" in name
        or "\0" in name
    ):
        raise UnusablePhoto(OUTSIDE, readable(name))
    return join(folder, plain)


def parent(place: str) -> str:
    head, chain, tail = place.partition("::")
    return posixpath.dirname(head.rstrip("/")) + chain + tail


def base_name(place: str) -> str:
    return posixpath.basename(place.partition("::")[0].rstrip("/"))


def exists(place: str) -> bool:
    if (local := local_path(place)) is not None:
        return os.path.exists(local)
    files, path = file_system(place)
    return files.exists(path)


def is_folder(place: str) -> bool:
    if (local := local_path(place)) is not None:
        return os.path.isdir(local)
    files, path = file_system(place)
    if place.partition("://")[0] not in STORES:
        return files.isdir(path)
    try:  # a store's `isdir` lists the folder to its end
        return files.info(path)["type"] == "directory"
    except FileNotFoundError:
        return False


def subfolders(folder: str) -> list[str]:
    """Names of the folders directly in `folder`, sorted, without hidden ones; empty if there is no such folder."""
    if not is_folder(folder):
        return []
    if is_local(folder):
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
    else:
        files, path = file_system(folder)
        names = [base_name(entry["name"]) for entry in files.ls(path, detail=True) if entry["type"] == "directory"]
    return sorted(name for name in names if not name.startswith("."))


def remote_files(folder: str) -> Iterator[str]:
    """Names, relative to a remote folder, of all the files below it, sorted, without hidden ones."""
    files, path = file_system(folder)
    root = path.rstrip("/")
    for found in sorted(files.find(root)):
        name = found[len(root) :].lstrip("/")
        if name and not any(part.startswith(".") for part in name.split("/")):
            yield name


def read_json(place: str) -> Any:
    """The content of a JSON file. Raises ValueError, in one sentence, if it is not valid JSON."""
    with fsspec.open(place, "rb") as file:
        content = read_at_most(file, MOST_ANNOTATIONS, place)  # pyright: ignore[reportArgumentType]
    return parse_json(content, place, any_number=True)


def given_folder(option: str, beside: str, what: str) -> str:
    """The folder that a user names: as given, or relative to the source. Raises ValueError if it does not exist."""
    for folder in (absolute(option), join(beside, option) if is_local(option) else option):
        if is_folder(folder):
            return folder
    raise ValueError(f"the folder of {what} {option} does not exist")
