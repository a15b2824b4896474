"""What one looks for in a data set, and in which order: filters and an order, as typed values and as SQL.

Conditions on regions (subject, caption, area, bokeh, agreement, provenance) are met by a photo of which one and the
same region meets all of them. Whatever comes from outside is a parameter of the SQL, never a part of its text.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from instructrestore.dataengine.catalogue.tables import SEPARATOR

MAX_TEXT = 200  # characters of what is looked for
Order = Literal[
    "stored", "shuffled", "quality", "-quality", "agreement", "-agreement", "regions", "-regions", "pixels", "-pixels"
]  # fmt: skip
_COLUMNS = {
    "stored": "row", "shuffled": "key", "quality": "quality", "agreement": "least_agreement", "regions": "region_count",
    "pixels": "width::BIGINT * height",
}  # fmt: skip


class Query(BaseModel):
    """Which photos, in which order. None and empty: anything.

    caption: words that are all in one caption, in any case. area: a region's share of its photo. quality: 0..100, of
    the photo. agreement: 0..100, how well a caption fits its region. said: who said what, as
    `Catalogue.facets` lists it.
    order: "-" puts the greatest first; photos without the value are last. "shuffled" is the same for everybody.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: str = Field(default="", max_length=MAX_TEXT)
    caption: str = Field(default="", max_length=MAX_TEXT)
    area_from: float | None = Field(default=None, ge=0, le=1)
    area_to: float | None = Field(default=None, ge=0, le=1)
    bokeh: bool | None = None
    agreement_from: float | None = Field(default=None, ge=0, le=100)
    agreement_to: float | None = Field(default=None, ge=0, le=100)
    said: str = Field(default="", max_length=1000)
    quality_from: float | None = Field(default=None, ge=0, le=100)
    quality_to: float | None = Field(default=None, ge=0, le=100)
    source: str | None = Field(default=None, max_length=1000)
    licence: str | None = Field(default=None, max_length=1000)
    key: str = Field(default="", pattern=r"^[0-9a-f]{0,20}$")
    order: Order = "stored"

    def sql(self) -> tuple[str, list[Any]]:
        """A SELECT of the photos' rows in the order that is asked for, and its parameters."""
        photos, of_photos = self._of_photos()
        regions, of_regions = self._of_regions()
        words = self.caption.lower().split()
        if words and len(regions) == len(words):
            photos.append(f"row IN (SELECT row FROM texts WHERE {_all_in_one_caption(len(words))})")
            of_regions = words * (1 if len(words) == 1 else 2)
        elif regions:
            photos.append(f"row IN (SELECT row FROM regions WHERE {' AND '.join(regions)})")
        where = f" WHERE {' AND '.join(photos)}" if photos else ""
        column = _COLUMNS[self.order.lstrip("-")]
        falling = " DESC" if self.order.startswith("-") else ""
        return f"SELECT row FROM photos{where} ORDER BY {column}{falling} NULLS LAST, row", [*of_photos, *of_regions]

    def _of_photos(self) -> tuple[list[str], list[Any]]:
        return _conditions(
            ("quality >= ?", self.quality_from),
            ("quality <= ?", self.quality_to),
            ("source = ?", self.source),
            ("licence = ?", self.licence),
            ("starts_with(key, ?)", self.key or None),
        )

    def _of_regions(self) -> tuple[list[str], list[Any]]:
        return _conditions(
            ("subject = ?", self.subject or None),
            *(("contains(caption, ?)", word) for word in self.caption.lower().split()),
            ("area >= ?", self.area_from),
            ("area <= ?", self.area_to),
            ("bokeh = ?", self.bokeh),
            ("agreement >= ?", self.agreement_from),
            ("agreement <= ?", self.agreement_to),
            ("said IN (SELECT id FROM said WHERE list_contains(parts, ?))", self.said or None),
        )


def _all_in_one_caption(words: int) -> str:
    """Of a photo's captions as one text: each word is in it, and, where there are several, all in one caption."""
    in_text = " AND ".join(["contains(text, ?)"] * words)
    if words == 1:
        return in_text
    in_caption = " AND ".join(["contains(caption, ?)"] * words)
    captions = f"string_split(text, '{SEPARATOR}')"
    return f"{in_text} AND list_bool_or(list_transform({captions}, lambda caption: {in_caption}))"


def _conditions(*asked: tuple[str, Any]) -> tuple[list[str], list[Any]]:
    """Those conditions whose value is not None, and the values."""
    wanted = [(text, value) for text, value in asked if value is not None]
    return [text for text, _ in wanted], [value for _, value in wanted]
