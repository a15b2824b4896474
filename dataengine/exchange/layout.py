"""What a layout is, what of a record it holds, and how photos are called in it.

A file is named by its photo's key, 20 hex digits, and never by anything that a source said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from instructrestore.shards.sample import AnnotatedPhoto, Photo

# What a record says beside its masks; a layout names those that it holds.
CAPTIONS = "captions"
SUBJECTS = "subjects"
BOKEH = "bokeh flags"
LICENCES = "licences"
URLS = "addresses of photos"
NAMES = "original names of photos"
SOURCES = "names of sources"
QUALITY = "quality scores"
AGREEMENT = "agreement scores"
GROUPS = "near-duplicate groups"
PIECES = "pieces (each mask and description that a region was merged from)"
ANSWERS = "answers of language models"
HASHES = "hashes of photos"
ALL = frozenset(
    (CAPTIONS, SUBJECTS, BOKEH, LICENCES, URLS, NAMES, SOURCES, QUALITY, AGREEMENT, GROUPS, PIECES, ANSWERS, HASHES)
)


@dataclass(frozen=True)
class Exported:
    """What a layout may want to know before the first photo.

    name: of the data set. subjects: of all its regions, each once, sorted; their order numbers the categories.
    folder: where the layout is written; it is there and empty.
    """

    name: str
    subjects: Sequence[str]
    folder: Path


class Layout(Protocol):
    """One layout of another tool, which is given the photos of a data set one by one."""

    def __init__(self, exported: Exported) -> None: ...

    @property
    def holds(self) -> frozenset[str]:
        """Which of `ALL` it keeps."""
        ...

    def add(self, sample: AnnotatedPhoto, data: bytes) -> Counter[str]:
        """Writes a photo, whose file is `data`. Returns what of its masks the layout could not hold, by reason."""
        ...

    def finish(self) -> None:
        """Writes what stands in files of the whole data set."""
        ...


def photo_name(photo: Photo) -> str:
    """The name of a photo's file."""
    return f"{photo.key}.{photo.format}"


def write_photo(folder: Path, photo: Photo, data: bytes) -> None:
    """Writes the shard's own bytes; the folder is made where it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / photo_name(photo)).write_bytes(data)


def facts(sample: AnnotatedPhoto) -> Counter[str]:
    """How much of each of `ALL` a record says."""
    photo, regions = sample.photo, sample.regions
    pieces = [piece for region in regions for piece in region.pieces]
    return +Counter(
        {
            CAPTIONS: len(regions),
            SUBJECTS: len(regions),
            BOKEH: sum(region.bokeh for region in regions),
            LICENCES: bool(photo.licence),
            URLS: bool(photo.url),
            NAMES: bool(photo.name),
            SOURCES: bool(photo.source),
            QUALITY: photo.quality is not None,
            AGREEMENT: sum(region.agreement is not None for region in regions),
            GROUPS: photo.group not in ("", photo.key),
            PIECES: len(pieces),
            ANSWERS: sum(len(piece.answers) for piece in pieces),
            HASHES: 1,
        }
    )
