"""Intake: reads a photo for the first time and records what it is, or why it cannot be used."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field

from instructrestore.dataengine.photos import photo_file
from instructrestore.dataengine.photos.near_duplicates import perceptual_hash
from instructrestore.dataengine.photos.row import Row, SourcePhoto
from instructrestore.dataengine.running.stage import Drop
from instructrestore.shards.sample import Photo, key_of

REVISION = "2"  # raised whenever intake or the perceptual hash gives other results


# A photo on an exclude list that cannot be read: its near-duplicates are kept, which people should know.
UNUSABLE_TEST_PHOTO = "test photo that excludes nothing"


class IntakeSettings(BaseModel):
    """What intake lets in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_pixels: int = Field(
        default=photo_file.MAX_PIXELS,
        description="Photos whose header states more pixels than this are not decoded.",
        ge=1,
        le=photo_file.MAX_PIXELS,
    )
    max_bytes: int = Field(default=photo_file.MAX_BYTES, description="Files larger than this are not read.", ge=1)
    licences: tuple[str, ...] | None = Field(
        default=None,
        description="The licences to keep, by name, short form (CC-BY-4.0) or URL; case and punctuation do not matter, "
        "and a name without a version (CC-BY) allows every version. Photos with any other licence, or none, are "
        "dropped. Unset: all photos are kept.",
    )


class Intake:
    """The stage that reads a photo and fills in `Row.photo`; its group stays empty until duplicates are known.

    The reason of a drop is `SourcePhoto.problem`, "licence" or one of those of `photo_file.decode`. Raises OSError if
    the file cannot be read.
    """

    def __init__(self, settings: IntakeSettings) -> None:
        self.settings = settings
        self.licences = None if settings.licences is None else frozenset(map(licence_name, settings.licences))

    def __call__(self, rows: Sequence[Row]) -> list[Row | Drop]:
        results = [self._take(row) for row in rows]
        return [
            Drop(f"{UNUSABLE_TEST_PHOTO}: {result.reason}", result.detail)
            if isinstance(result, Drop) and row.origin.excluded
            else result
            for row, result in zip(rows, results, strict=True)
        ]

    def _take(self, row: Row) -> Row | Drop:
        origin = row.origin
        if origin.problem:
            return Drop(origin.problem, origin.name)
        if self.licences is not None and not origin.excluded and not _is_allowed(origin.licence, self.licences):
            return Drop("licence", origin.licence or "no licence is known")
        try:
            data = photo_file.read_bytes(origin.uri, self.settings.max_bytes)
            decoded = photo_file.decode(data, self.settings.max_pixels)
        except photo_file.UnusablePhoto as fault:
            return Drop(fault.reason, fault.detail)
        photo, counts = describe(origin, data, decoded), dict(Counter(decoded.notes))
        return replace(row, photo=photo, counts=counts, read_by=decoded.read_by, orientation=decoded.orientation)


def describe(origin: SourcePhoto, data: bytes, decoded: photo_file.DecodedPhoto) -> Photo:
    """The record of a photo from its bytes and its decoded pixels; its group is left empty."""
    sha256 = hashlib.sha256(data).hexdigest()
    height, width = decoded.rgb.shape[:2]
    return Photo(
        key=key_of(sha256),
        sha256=sha256,
        name=origin.name,
        source=origin.source,
        licence=origin.licence,
        url=origin.url,
        width=width,
        height=height,
        bytes=len(data),
        format=decoded.format if decoded.as_is else "png",  # pyright: ignore[reportArgumentType]
        perceptual_hash=perceptual_hash(decoded.rgb),
    )


_CC_URL = re.compile(r"creativecommons\.org/(?:licenses|publicdomain)/([a-z-]+)(?:/(\d\.\d))?")
_SHORT_FORMS = {
    "creative commons": "cc",
    "cc0": "cc zero",
    "attribution": "by",
    "non-commercial": "nc",
    "noncommercial": "nc",
    "sharealike": "sa",
    "noderivatives": "nd",
    "noderivs": "nd",
}
_SAYS_NOTHING = ("license", "licence", "the", "version", "international", "unported", "generic", "universal")


def licence_name(text: str) -> str:
    """A licence in one spelling, so that its name, its SPDX identifier and its URL compare equal.

    "CC BY-NC 4.0", "CC-BY-NC-4.0" and "http://creativecommons.org/licenses/by-nc/4.0/" all give "cc by nc 4.0".
    A licence without a version, as COCO writes them ("Attribution-NonCommercial License"), gives "cc by nc".
    Other licences only lose their case and punctuation.
    """
    text = text.lower()
    if url := _CC_URL.search(text):
        text = f"cc {url[1]} {url[2] or ''}"
    for long, short in _SHORT_FORMS.items():
        text = text.replace(long, short)
    words = [word for word in re.findall(r"\d+(?:\.\d+)*|[^\W\d_]+", text) if word not in _SAYS_NOTHING]
    return " ".join(["cc", *words] if words[:1] == ["by"] else words)


def _is_allowed(licence: str, allowed: frozenset[str]) -> bool:
    """Whether a licence is allowed. A licence listed without a version is allowed in every version."""
    name = licence_name(licence)
    return name in allowed or re.sub(r" \d+(\.\d+)*$", "", name) in allowed
