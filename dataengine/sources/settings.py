"""The settings of a source, and how people write one on the command line."""

from __future__ import annotations

import re
from typing import Literal, get_args
from urllib.parse import unquote

import fsspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from instructrestore.dataengine.sources import places
from instructrestore.shards.addresses import check_address, masked
from instructrestore.shards.errors import first_error

SourceKind = Literal["folder", "coco", "panoptic", "matte", "tri-ir", "dataset", "manifest", "label-studio"]
KINDS: tuple[SourceKind, ...] = get_args(SourceKind)


class SourceSettings(BaseModel):
    """One source of photos."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: SourceKind = Field(description="The layout: " + ", ".join(KINDS) + ".")
    path: str = Field(description="The folder, annotation file or manifest: a path or any fsspec URI.", min_length=1)
    images: str = Field(
        default="",
        description="Folder of the photos (coco, panoptic, matte, label-studio), if it is not found next to the "
        "annotations.",
    )
    masks: str = Field(
        default="",
        description="Folder of the mattes (matte) or of the panoptic PNGs, if it is not found next to the photos.",
    )
    label: str = Field(default="main subject", description="What a matte shows (matte; manifest rows without a label).")
    licence: str = Field(default="", description="The licence of photos for which the source states none.")
    name: str = Field(
        default="", description="The source's name in records and statistics; by default the path's last part."
    )
    exclude: bool = Field(default=False, description="Test photos: they and their near-duplicates are left out.")

    @field_validator("path", "images", "masks")
    @classmethod
    def _without_password(cls, place: str) -> str:
        check_address(place)
        return place

    @property
    def title(self) -> str:
        """The source's name in records: `name`, or the path's last part without its extension."""
        last = places.base_name(masked(places.absolute(self.path)))
        return places.readable(self.name or re.sub(r"\.(json|csv|parquet)$", "", last) or self.path)

    def anchored(self) -> SourceSettings:
        """The same source with local paths absolute, so that the settings mean the same from any folder. A folder of
        photos or masks that is not there from here stays relative: to the source."""
        places_of = {name: getattr(self, name) for name in ("path", "images", "masks")}
        update = {
            name: places.absolute(place)
            for name, place in places_of.items()
            if place and (name == "path" or not places.is_local(place) or places.exists(places.absolute(place)))
        }
        return self.model_copy(update=update)


def parse_source(text: str) -> SourceSettings:
    """A source as people write it: [KIND:]PATH[?option=value&...].

    Text that is an existing path is that path, whatever it looks like. Without KIND the layout is detected by content.
    Options are the fields of SourceSettings, percent-encoded where they contain "&" or "%".
    Raises ValueError, in one sentence, for a missing path, an unknown kind or option, or an unknown layout.
    """
    if not text.strip():
        raise ValueError("a source is empty: give a folder, an annotation file or a manifest")
    check_address(text)
    kind, path, options = "", text, {}
    if "://" in text or not places.exists(text):
        kind, path, options = _split(text)
    if not places.exists(path):
        raise ValueError(f"the source {path} does not exist")
    if not kind:
        kind = detect_kind(path)
    try:
        return SourceSettings.model_validate({"kind": kind, "path": path, **options})
    except ValidationError as error:
        raise ValueError(f"the source {text} is invalid: {first_error(error)}") from None


def _split(text: str) -> tuple[str, str, dict[str, str]]:
    prefix, colon, rest = text.partition(":")
    kind = prefix if colon and prefix in KINDS else ""
    if kind:
        text = rest
    elif colon and re.fullmatch(r"[a-z-]{2,}", prefix) and not rest.startswith("/") and ":" not in rest:
        raise ValueError(f"the source {text} does not exist, and {prefix} is not a kind of source ({', '.join(KINDS)})")
    path, mark, query = text.rpartition("?")
    if not mark or places.exists(text):
        return kind, text, {}
    pairs = [part.partition("=")[::2] for part in query.split("&")]
    known = {"images", "masks", "label", "licence", "name", "exclude"}
    if path.startswith(("http://", "https://")) and not known.intersection(name for name, _ in pairs):
        return kind, text, {}  # a web address has a query of its own
    for name, _ in pairs:
        if name not in known:
            raise ValueError(f"the source {text} has an unknown option {name!r}: known are {', '.join(sorted(known))}")
    return kind, path, {name: unquote(value) for name, value in pairs}


def detect_kind(path: str) -> SourceKind:
    """The layout of what is at `path`. Raises ValueError, in one sentence, if it is none that is known."""
    if places.is_folder(path):
        if places.exists(places.join(path, "dataset.json")):
            return "dataset"
        if is_tri_ir(path):
            return "tri-ir"
        return "folder"
    ending = places.base_name(path).rsplit(".", 1)[-1].lower()
    if ending in ("csv", "parquet"):
        return "manifest"
    if ending == "json":
        found = _mentioned(path, (b'"segments_info"', b'"images"', b'"original_width"'))
        if b'"images"' in found:
            return "panoptic" if b'"segments_info"' in found else "coco"
        if b'"original_width"' in found:  # of every result in an export of Label Studio
            return "label-studio"
        raise ValueError(f"{path} is neither COCO instances nor panoptic annotations: it lists no images")
    raise ValueError(f"{path} is not a source: give a folder, a COCO or panoptic .json, or a .csv or .parquet manifest")


def is_tri_ir(path: str) -> bool:
    """Whether a folder has the layout of the released Tri-IR: {Normal,Bokeh}/SET/{GT,masks,annotated_jsons}."""
    for part in ("Normal", "Bokeh"):
        for name in places.subfolders(places.join(path, part)):
            if {"GT", "annotated_jsons"} <= set(places.subfolders(places.join(places.join(path, part), name))):
                return True
    return False


def _mentioned(path: str, words: tuple[bytes, ...]) -> set[bytes]:
    """Which of the words a file contains; it is read in pieces, since annotation files can be big."""
    found: set[bytes] = set()
    overlap = max(map(len, words)) - 1
    tail = b""
    with fsspec.open(path, "rb") as file:
        while len(found) < len(words) and (piece := file.read(2**22)):  # pyright: ignore[reportAttributeAccessIssue]
            found.update(word for word in words if word in tail + piece)
            tail = piece[-overlap:]
    return found
