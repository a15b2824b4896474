"""Pairs of a photo and a soft matte of its main subject, as in matting data sets."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from instructrestore.dataengine.photos.row import Annotation, SegmentMask, SourcePhoto
from instructrestore.dataengine.sources import places
from instructrestore.dataengine.sources.finder import comparable
from instructrestore.dataengine.sources.folder import list_folder
from instructrestore.dataengine.sources.settings import SourceSettings

MISSING_MATTE = "missing matte"
SEVERAL_MATTES = "several mattes of one name"
SEVERAL_PHOTOS = "several photos of one name for a matte"
_LAYOUTS = (("original", "alpha"), ("original", "mask"), ("image", "alpha"), ("images", "masks"))


@dataclass
class _Pair:
    photos: list[SourcePhoto] = field(default_factory=list)
    mattes: list[SourcePhoto] = field(default_factory=list)

    @property
    def problem(self) -> str:
        """Why its photos cannot be used with its mattes, or empty."""
        if len(self.mattes) != 1:
            return SEVERAL_MATTES if self.mattes else MISSING_MATTE
        return SEVERAL_PHOTOS if len(self.photos) > 1 else ""


def list_matte(source: SourceSettings) -> Iterator[SourcePhoto]:
    """The photos that have a matte of the same name, apart from the extension, in the order of their names.

    The mattes are either in a folder of their own (`source.masks`, or original/ and alpha/ as in P3M) or next to the
    photos (photo.jpg and photo.png). A photo without a matte and a matte without a photo are listed with that
    problem, and so are several photos or several mattes of one name: which belongs to which?
    """
    photos, mattes = _folders(source)
    pairs: dict[str, _Pair] = defaultdict(_Pair)
    for photo in _list(source, photos):
        if photos != mattes and photo.uri.startswith(mattes + "/"):
            continue  # the folder of the mattes is within that of the photos
        is_matte = photos == mattes and photo.name.lower().endswith(".png")
        pair = pairs[_stem(photo.name)]
        (pair.mattes if is_matte else pair.photos).append(photo)
    if photos != mattes:
        for matte in _list(source, mattes):
            pairs[_stem(matte.name)].mattes.append(matte)
    _join_spellings(pairs)
    for _, pair in sorted(pairs.items()):
        for photo in pair.photos:
            masks = tuple(Annotation(SegmentMask(matte.uri, None), source.label) for matte in pair.mattes)
            yield replace(photo, annotations=masks, problem=photo.problem or pair.problem)
        if not pair.photos:
            for matte in pair.mattes:
                mask = Annotation(SegmentMask(matte.uri, None), source.label)
                yield replace(matte, annotations=(mask,), problem=matte.problem or places.MISSING_PHOTO)


def _join_spellings(pairs: dict[str, _Pair]) -> None:
    """Brings together a photo and a matte whose name another system spelt (finder.py), where there is one of each."""
    lone: dict[str, list[str]] = defaultdict(list)
    for name, pair in pairs.items():
        if not (pair.photos and pair.mattes):
            lone[comparable(name)].append(name)
    for names in lone.values():
        with_photo = [name for name in names if pairs[name].photos]
        with_matte = [name for name in names if pairs[name].mattes]
        if len(with_photo) == len(with_matte) == 1:
            pairs[with_photo[0]].mattes = pairs.pop(with_matte[0]).mattes


def _list(source: SourceSettings, folder: str) -> Iterator[SourcePhoto]:
    return list_folder(source.model_copy(update={"path": folder, "name": source.title}))


def _folders(source: SourceSettings) -> tuple[str, str]:
    """The folders of the photos and of the mattes."""
    root = places.absolute(source.path)
    photos = places.given_folder(source.images, root, "photos") if source.images else root
    if source.masks:
        return photos, places.given_folder(source.masks, root, "mattes")
    present = set(places.subfolders(root))
    for names in _LAYOUTS:
        if set(names) <= present and not source.images:
            return places.join(root, names[0]), places.join(root, names[1])
    return photos, photos


def _stem(name: str) -> str:
    return posixpath.splitext(name)[0]  # not from a point in a folder's name on
