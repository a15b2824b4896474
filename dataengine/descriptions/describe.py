"""The stage that gives every piece of a photo its description: the source's own words, or a describer's.

What comes in, of a piece:

    segmenter "annotated", no describer     its description is the source's category name, as written
    describer "annotated"                   a source's caption, which is complete
    anything else                           a mask alone

Each piece goes out with a description and a describer. The describers "named" and "colour" set the noun phrase and its
subject too (`colour.py` says why), and so does a vision-language model if it is asked to and its answer is valid; all
other descriptions, Osprey's among them, are left to the noun-phrase rounds. A piece for which a model gives no usable
description is removed and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
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

from instructrestore.dataengine.descriptions import annotated, colour, named, osprey_settings, vision_language
from instructrestore.dataengine.descriptions.osprey_settings import OspreySettings
from instructrestore.dataengine.descriptions.vision_language import (
    UNUSABLE_FAULTS,
    PhotoRegions,
    RegionDescription,
    VisionLanguageDescriber,
    VisionLanguageSettings,
)
from instructrestore.dataengine.noun_phrases import validation
from instructrestore.dataengine.noun_phrases.english.noun_phrase import NounPhrase
from instructrestore.dataengine.photos import photo_file
from instructrestore.dataengine.photos.row import Row, count_annotated
from instructrestore.dataengine.running.server_settings import ServerSettings
from instructrestore.dataengine.running.stage import Drop, Failed
from instructrestore.dataengine.weights.own_class import PATTERN, not_renamed, own_class
from instructrestore.shards.paths import Place
from instructrestore.shards.sample import Answer, Piece

ANNOTATED = "annotated"
REVISION = f"{ANNOTATED} {annotated.REVISION}, embedded {colour.REVISION}, validation {validation.REVISION}"
"""Changes with anything that changes a description. The colour describer was once the embedded one; its name here finds
the parts of earlier runs."""

NO_LABEL = "no label"
NO_REGION = "no described region"
UNUSABLE = "no usable description"


class DescribeSettings(BaseModel):
    """Who describes the pieces."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    describer: (
        Literal["annotated", "colour", "named", "osprey", "vision_language"] | Annotated[str, Field(pattern=PATTERN)]
    ) = Field(
        default="named",
        description="what describes a piece without words from its source; annotated: such pieces are removed; "
        "named: its name, from the embedded annotator; colour: its colour and place; osprey: Osprey, in the worker; "
        "vision_language: a model behind an OpenAI-compatible server; MODULE:CLASS: one of your own (see CONTRIBUTING)",
    )
    reuse_annotations: bool = Field(default=True, description="keep the words that a source provides")
    vision_language: VisionLanguageSettings | None = Field(
        default=None, description="the model; for describer vision_language"
    )
    osprey: OspreySettings = Field(default=OspreySettings(), description="for describer osprey")

    @field_validator("describer", mode="before")
    @classmethod
    def _known(cls, name: Any) -> Any:
        return not_renamed(name)

    @model_validator(mode="after")
    def _consistent(self) -> DescribeSettings:
        if self.describer == "annotated" and not self.reuse_annotations:
            raise ValueError('describer "annotated" has only the source\'s words: set reuse_annotations to true')
        if self.describer == "vision_language" and self.vision_language is None:
            raise ValueError(
                'the describer "vision_language" needs a server: give its urls and its model in vision_language.server'
            )
        if self.vision_language and self.vision_language.server.where == "in_process":
            raise ValueError(
                'a vision-language model is asked at servers: set vision_language.server.where to "started", or to '
                '"running"'
            )
        if self.describer != "vision_language" and self.vision_language is not None:
            raise ValueError(
                f'the describer "{self.describer}" uses no server: set describer to "vision_language", or leave the '
                "settings of vision_language out and choose a preset without them"
            )
        return self

    @model_serializer(mode="wrap")
    def _in_use(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out settings that the describer does not use: the dump identifies the stage and must stay the same."""
        fields = handler(self)
        if self.vision_language is None:
            fields.pop("vision_language", None)
        if self.describer != "osprey" and self.osprey == OspreySettings():
            fields.pop("osprey", None)
        return fields


def identity(settings: DescribeSettings) -> tuple[Any, ...]:
    """What the descriptions depend on besides the rows, to be hashed: revisions and settings."""
    if settings.describer == "osprey":
        return REVISION, settings.model_dump(exclude={"osprey"}), osprey_settings.identity(settings.osprey)
    if settings.describer == "named":
        return REVISION, settings, named.REVISION
    if ":" in settings.describer:
        return REVISION, settings, own_class(settings.describer, "descriptions.describer").REVISION
    if settings.vision_language is None:
        return REVISION, settings
    return (
        REVISION,
        settings.model_dump(exclude={"vision_language"}),
        vision_language.identity(settings.vision_language),
    )


class Describe:
    """The stage. A photo is read only if one of its pieces has to be looked at.

    answers: the run's folder of answers, in which those of a vision-language model are kept; None: they are not kept.
    server: replaces that of the settings if the build has started the model's servers itself.
    Raises ValueError if the environment variable of the server's key is not set, or Osprey cannot be loaded.
    """

    def __init__(
        self, settings: DescribeSettings, answers: Place | None = None, server: ServerSettings | None = None
    ) -> None:
        self._settings = settings
        self._name = ""
        self._describer: colour.ColourDescriber | named.NamedDescriber | None = None
        if settings.describer == "colour":
            self._describer, self._name = colour.ColourDescriber(), colour.REVISION
        elif settings.describer == "named":
            self._describer, self._name = named.NamedDescriber(), named.REVISION
        asked = settings.vision_language
        if asked and server:
            asked = asked.model_copy(update={"server": server})
        self._model = VisionLanguageDescriber(asked, answers) if asked else None
        self._sentences: Callable[[NDArray[np.uint8], Iterable[NDArray[np.bool_]]], Sequence[str]] | None = None
        if settings.describer == "osprey":
            from instructrestore.dataengine.descriptions import osprey  # noqa: PLC0415  (imports torch, which is slow)

            made = osprey.OspreyDescriber(settings.osprey)
            self._sentences, self._name = made, made.name
        elif ":" in settings.describer:
            own = own_class(settings.describer, "descriptions.describer")
            self._sentences, self._name = own(), f"{settings.describer} {own.REVISION}"

    def __call__(self, rows: Sequence[Row]) -> list[Row | Drop | Failed]:
        """Raises StopStage if the vision-language model's server is gone."""
        if self._model:
            return self._asked(self._model, rows)
        return [self._described(row) for row in rows]

    def _asked(self, model: VisionLanguageDescriber, rows: Sequence[Row]) -> list[Row | Drop | Failed]:
        """The rows with the model's descriptions of the pieces that have none. The photos are described together, so
        that requests for several are in flight at once."""
        worded = [[self._in_source_words(piece) for piece in row.pieces] for row in rows]

        def to_look_at() -> Iterator[PhotoRegions]:
            for row, pieces in zip(rows, worded, strict=True):
                silent = [piece for piece in pieces if not piece.describer]
                if silent:
                    assert row.photo
                    yield PhotoRegions(row.photo.key, photo_file.load(row), (piece.mask.array() for piece in silent))

        told = iter(model(to_look_at()))
        outcomes: list[Row | Drop | Failed] = []
        for row, pieces in zip(rows, worded, strict=True):
            seen = next(told) if any(not piece.describer for piece in pieces) else []
            if isinstance(seen, Failed):
                outcomes.append(seen)
                continue
            said = iter(seen)
            described = [piece if piece.describer else _seen(piece, next(said), model.name) for piece in pieces]
            outcomes.append(_with_words(row, described, UNUSABLE))
        return outcomes

    def _described(self, row: Row) -> Row | Drop:
        pieces = [self._in_source_words(piece) for piece in row.pieces]
        silent = [index for index, piece in enumerate(pieces) if not piece.describer]
        masks = (pieces[index].mask.array() for index in silent)  # one at a time: they are as large as the photo
        if silent and self._describer:
            for index, said in zip(silent, self._describer(photo_file.load(row), masks), strict=True):
                pieces[index] = self._worded(pieces[index], said)
        elif silent and self._sentences:
            for index, text in zip(silent, self._sentences(photo_file.load(row), masks), strict=True):
                pieces[index] = _seen(pieces[index], _judged(text), self._name)
        return _with_words(row, pieces, UNUSABLE if self._sentences or self._describer else NO_LABEL)

    def _worded(self, piece: Piece, said: NounPhrase | named.Wording | None) -> Piece:
        """The piece with an embedded describer's words, which need no noun-phrase round."""
        if said is None:
            return piece
        text, phrase = (said.text, said) if isinstance(said, NounPhrase) else (said.description, said.phrase)
        describer = self._settings.describer
        answer = Answer(describer, self._name, 0, phrase.text, phrase.subject)
        return _seen(piece, RegionDescription(text, answer), f"{describer} {self._name}")

    def _in_source_words(self, piece: Piece) -> Piece:
        """The piece with its source's words, or without words and describer."""
        if self._settings.reuse_annotations:
            if piece.describer and piece.description.strip():
                return _checked(piece) if piece.noun_phrase else piece
            phrase = annotated.phrase_of(piece.description) if piece.segmenter == ANNOTATED else ""
            return replace(piece, description=phrase, describer=ANNOTATED if phrase else "")
        return replace(piece, description="", describer="", noun_phrase="", subject="", answers=())


def _with_words(row: Row, pieces: Sequence[Piece], lost: str) -> Row | Drop:
    """The row with the pieces that have a describer; the others are counted as `lost`."""
    described = tuple(piece for piece in pieces if piece.describer)
    if not described:
        annotations = count_annotated(pieces)
        detail = f"{len(pieces)} without words" if pieces else "no piece"
        return Drop(NO_REGION, detail, {lost: annotations} if annotations else {})
    removed, annotations = len(pieces) - len(described), count_annotated(pieces) - count_annotated(described)
    return replace(
        row,
        pieces=described,
        counts={lost: removed} if removed else {},
        lost={lost: annotations} if annotations else {},
    )


def _judged(text: str) -> RegionDescription | None:
    """A description as the model wrote it; None if it is unusable."""
    faults = validation.faults(NounPhrase(text, text), text)
    return RegionDescription(text, None) if UNUSABLE_FAULTS.isdisjoint(faults) else None


def _seen(piece: Piece, seen: RegionDescription | None, describer: str) -> Piece:
    """The piece with a model's description, and its noun phrase and subject if they are valid; unchanged if there is
    no usable description."""
    if seen is None:
        return piece
    piece = replace(piece, description=seen.description, describer=describer)
    if seen.answer is None:
        return piece
    if seen.answer.faults:
        return replace(piece, answers=(seen.answer,))
    return replace(piece, noun_phrase=seen.answer.noun_phrase, subject=seen.answer.subject, answers=(seen.answer,))


def _checked(piece: Piece) -> Piece:
    """A piece whose source gave caption and subject, with these as its answer. A faulty caption (one too long for an
    instruction, say) is left to the noun-phrase rounds."""
    faults = validation.faults(NounPhrase(piece.noun_phrase, piece.subject), piece.noun_phrase)
    given = Answer(ANNOTATED, "", 0, piece.noun_phrase, piece.subject, " ".join(faults))
    if faults:
        return replace(piece, noun_phrase="", subject="", answers=(given,))
    return replace(piece, answers=(given,))
