"""The mask stage: every photo gets the masks of its regions, its source's own or a segmenter's, cleaned."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from instructrestore.dataengine.masks import annotated, colour, named, sam2_settings, semantic_sam_settings
from instructrestore.dataengine.masks.cleanup import CleanupSettings, clean
from instructrestore.dataengine.masks.sam2_settings import Sam2Settings
from instructrestore.dataengine.masks.semantic_sam_settings import SemanticSamSettings
from instructrestore.dataengine.photos import photo_file
from instructrestore.dataengine.photos.row import ANNOTATED, Annotation, Row
from instructrestore.dataengine.running.identity import NO_RESULT
from instructrestore.dataengine.running.stage import Drop, StopStage
from instructrestore.dataengine.weights.own_class import PATTERN, not_renamed, own_class
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import Answer, Piece

REVISION = "1"  # raised when the stage gives other results from the same masks (annotated.py, cleanup.py)

NOT_WANTED = "not used (masks.reuse_annotations is false)"

Segmenter = Callable[[NDArray[np.uint8]], tuple[Iterable[NDArray[np.bool_]], Counter[str]]]
"""A photo, (H, W, 3) uint8 RGB, -> its masks, (H, W) bool each, and what the segmenter removed, by reason."""


SegmenterName = Literal["annotated", "colour", "named", "sam2", "semantic_sam"] | Annotated[str, Field(pattern=PATTERN)]


class AlarmSettings(BaseModel):
    """When a segmenter with weights is considered broken: it runs, but almost no photo gets a region, and the whole
    data set would be dropped. Never changes a result. Each worker counts the photos that it segments."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    empty: int = Field(
        default=20, ge=0, description="this many photos without a region among the last 'photos' stop the run; 0: never"
    )
    photos: int = Field(default=25, ge=1, description="how many photos are considered; fewer never stop the run")

    @model_validator(mode="after")
    def _possible(self) -> AlarmSettings:
        if self.empty > self.photos:
            raise ValueError("alarm.empty must not be more than alarm.photos, or it never rings: 0 turns it off")
        return self


class MaskSettings(BaseModel):
    """Where masks come from and how they are cleaned."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    segmenter: SegmenterName = Field(
        default="named",
        description="annotated: only masks from the source; named: things and places that the embedded annotator "
        "knows, on the CPU; colour: regions of one colour and texture, on the CPU, without weights; sam2: SAM 2.1; "
        "semantic_sam: Semantic-SAM, as in the paper; MODULE:CLASS: one of your own (see CONTRIBUTING)",
    )
    reuse_annotations: bool = Field(
        default=True,
        description="a photo with masks from its source keeps them and is not segmented (as for EntitySeg)",
    )
    cleanup: CleanupSettings = Field(default_factory=CleanupSettings, description="for masks from a segmenter")
    annotated_cleanup: CleanupSettings = Field(
        default_factory=CleanupSettings.gentle, description="for masks from a source"
    )
    sam2: Sam2Settings = Field(default=Sam2Settings(), description='for the segmenter "sam2"')
    semantic_sam: SemanticSamSettings = Field(
        default=SemanticSamSettings(), description='for the segmenter "semantic_sam"'
    )
    alarm: Annotated[AlarmSettings, NO_RESULT] = Field(
        default=AlarmSettings(),
        description='for the segmenters "sam2" and "semantic_sam": when they are considered broken',
    )

    @field_validator("segmenter", mode="before")
    @classmethod
    def _known(cls, name: Any) -> Any:
        return not_renamed(name)

    @model_serializer(mode="wrap")
    def _without_what_is_not_used(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out a segmenter's settings where they are the defaults and it is not used."""
        values = handler(self)
        if self.segmenter != "sam2" and self.sam2 == Sam2Settings():
            values.pop("sam2", None)
        if self.segmenter != "semantic_sam" and self.semantic_sam == SemanticSamSettings():
            values.pop("semantic_sam", None)
        if self.alarm == AlarmSettings():
            values.pop("alarm", None)
        return values

    @property
    def segmenter_revision(self) -> str:
        """The revision of the segmenter's code; that of its weights is among its settings."""
        if ":" in self.segmenter:
            return own_class(self.segmenter, "masks.segmenter").REVISION
        revisions = {
            "named": named.REVISION,
            "sam2": sam2_settings.REVISION,
            "semantic_sam": semantic_sam_settings.REVISION,
        }
        return revisions.get(self.segmenter, colour.REVISION)


def identity(settings: MaskSettings) -> tuple[Any, ...]:
    """What the masks depend on besides the rows, to be hashed: revisions and settings."""
    return REVISION, settings.segmenter_revision, settings


class Segment:
    """The stage: fills in `Row.pieces`, the largest first, and drops photos without any region."""

    def __init__(self, settings: MaskSettings) -> None:
        self.settings = settings
        self.segmenter: Segmenter | None = None
        self.name = ANNOTATED
        if settings.segmenter == "colour":
            self.segmenter, self.name = _colour, f"colour {colour.REVISION}"
        elif settings.segmenter == "named":
            self.segmenter, self.name = named.NamedSegmenter(), f"named {named.REVISION}"
        elif settings.segmenter == "sam2":
            from instructrestore.dataengine.masks import sam2  # noqa: PLC0415  (imports torch, which is slow)

            found = sam2.Sam2Segmenter(settings.sam2, settings.cleanup)
            self.segmenter, self.name = found, found.name
        elif settings.segmenter == "semantic_sam":
            from instructrestore.dataengine.masks import semantic_sam  # noqa: PLC0415  (the same)

            found = semantic_sam.SemanticSamSegmenter(settings.semantic_sam, settings.cleanup)
            self.segmenter, self.name = found, found.name
        elif ":" in settings.segmenter:
            own = own_class(settings.segmenter, "masks.segmenter")
            self.segmenter, self.name = _OwnSegmenter(own()), f"{settings.segmenter} {own.REVISION}"
        with_weights = settings.segmenter not in ("annotated", "colour", "named")
        self.alarm = _Alarm(settings.alarm, settings.segmenter) if with_weights else None

    def __call__(self, rows: Sequence[Row]) -> list[Row | Drop]:
        return [self._segment(row) for row in rows]

    def _segment(self, row: Row) -> Row | Drop:
        annotations = row.origin.annotations or ()
        if annotations and (self.settings.reuse_annotations or self.segmenter is None):
            return self._reuse(row, annotations)
        if self.segmenter is None:
            return Drop("no annotated mask", f"the source {row.origin.source} has no mask for this photo")
        # The photo is only decoded here: masks from a source need nothing but its size.
        masks, counts = self.segmenter(photo_file.load(row))
        cleaned = clean(masks, self.settings.cleanup)
        pieces = [Piece(Mask.from_array(mask), self.name) for mask in cleaned.each()]
        if self.alarm:
            assert row.photo is not None
            self.alarm.note(row.photo.key, not pieces)
        lost = {NOT_WANTED: len(annotations)} if annotations else {}
        return _with_pieces(row, pieces, dict(counts + Counter(cleaned.counts)), lost)

    def _reuse(self, row: Row, annotations: Sequence[Annotation]) -> Row | Drop:
        assert row.photo is not None
        height, width = row.photo.height, row.photo.width
        unusable: Counter[str] = Counter()
        words: list[Annotation] = []

        def masks() -> Iterator[NDArray[np.bool_]]:
            stated = row.origin.annotated_size
            for mask, annotation in annotated.each_mask(annotations, height, width, unusable, row.orientation, stated):
                words.append(annotation)
                yield mask

        cleaned = clean(masks(), self.settings.annotated_cleanup)
        pieces = [
            _annotated_piece(Mask.from_array(mask), words[index])
            for mask, index in zip(cleaned.each(), cleaned.indices, strict=True)
        ]
        left_out = Counter({reason: n for reason, n in unusable.items() if reason not in annotated.NOTES})
        lost = dict(left_out + Counter(cleaned.masks_removed))
        return _with_pieces(row, pieces, dict(unusable + Counter(cleaned.counts)), lost)


class _OwnSegmenter:
    """A user's class: a photo, (H, W, 3) uint8 RGB, -> its masks, (H, W) bool each."""

    def __init__(self, segment: Callable[[NDArray[np.uint8]], Iterable[NDArray[np.bool_]]]) -> None:
        self._segment = segment

    def __call__(self, rgb: NDArray[np.uint8]) -> tuple[Iterable[NDArray[np.bool_]], Counter[str]]:
        return self._segment(rgb), Counter()


class _Alarm:
    """Stops the run when too many of a worker's photos got no region."""

    def __init__(self, settings: AlarmSettings, segmenter: str) -> None:
        self._settings = settings
        self._segmenter = segmenter
        self._empty: dict[str, bool] = {}  # by photo: one that is segmented again after another's failure counts once

    def note(self, photo: str, empty: bool) -> None:
        """Takes note of a photo, and raises StopStage if too many have been empty."""
        self._empty.pop(photo, None)
        self._empty[photo] = empty
        if len(self._empty) > self._settings.photos:
            self._empty.pop(next(iter(self._empty)))
        found = sum(self._empty.values())
        if len(self._empty) == self._settings.photos and found >= self._settings.empty > 0:
            name = self._segmenter
            raise StopStage(
                f"{found} of the last {self._settings.photos} photos got no region from {name}: its checkpoint or the "
                f"versions of torch and its packages may well be wrong; correct them and change masks.{name}.revision, "
                "so that the photos already dropped are segmented again, or, if the photos really have no regions, set "
                "masks.alarm.empty to 0"
            )


def _colour(rgb: NDArray[np.uint8]) -> tuple[list[NDArray[np.bool_]], Counter[str]]:
    return colour.ColourSegmenter()(rgb), Counter()


def _annotated_piece(mask: Mask, annotation: Annotation) -> Piece:
    """A category name is made into a phrase later; a caption already is a description, and if the source also gives its
    subject, the noun-phrase rounds have nothing left to do."""
    if not annotation.is_caption:
        return Piece(mask, ANNOTATED, description=annotation.label)
    if not annotation.subject:
        return Piece(mask, ANNOTATED, description=annotation.label, describer=ANNOTATED)
    return Piece(
        mask,
        ANNOTATED,
        description=annotation.label,
        describer=ANNOTATED,
        noun_phrase=annotation.label,
        subject=annotation.subject,
        answers=(Answer(ANNOTATED, "", 0, annotation.label, annotation.subject),),
    )


def _with_pieces(row: Row, pieces: list[Piece], counts: dict[str, int], lost: dict[str, int]) -> Row | Drop:
    """lost: the source's annotations that are no pieces, by reason."""
    if not pieces:
        detail = ", ".join(f"{number} {reason}" for reason, number in sorted(counts.items()))
        return Drop("no region", detail, lost)
    # The source's annotations are bulky and no longer needed, nor is how they lie on the photo.
    origin = dataclasses.replace(row.origin, annotations=None, annotated_size=None)
    known = dict(sorted(counts.items()))
    return dataclasses.replace(row, origin=origin, pieces=tuple(pieces), counts=known, lost=lost, orientation=1)
