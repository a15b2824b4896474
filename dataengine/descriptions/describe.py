"""The stage that gives every piece of a photo its description: the source's own words, or the embedded describer's.

What comes in, of a piece:

    segmenter "annotated", no describer     its description is the source's category name, as written
    describer "annotated"                   a source's caption, which is complete
    anything else                           a mask without words

What goes out has a description and a describer. The embedded describer knows the subject of its phrase and sets both
(`embedded.py` says why); descriptions from category names are left to the noun-phrase rounds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dataengine import photo_file
from dataengine.descriptions import annotated, embedded
from dataengine.noun_phrases import validation
from dataengine.noun_phrases.parsed import Parsed
from dataengine.row import Drop, Row
from shards.sample import Answer, Piece

ANNOTATED = "annotated"
EMBEDDED = f"embedded {embedded.REVISION}"
REVISION = f"{ANNOTATED} {annotated.REVISION}, {EMBEDDED}, validation {validation.REVISION}"
"""Changes with anything that changes a description."""

NO_LABEL = "no label"
NO_REGION = "no described region"


class DescribeSettings(BaseModel):
    """Whose words the pieces get."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    describer: Literal["annotated", "embedded"] = Field(
        default="embedded",
        description="what describes a piece without words of its source; annotated: such pieces are removed",
    )
    reuse_annotations: bool = Field(default=True, description="keep the words that a source brings")

    @model_validator(mode="after")
    def _consistent(self) -> DescribeSettings:
        if self.describer == "annotated" and not self.reuse_annotations:
            raise ValueError('describer "annotated" has only the source\'s words: set reuse_annotations to true')
        return self


class Describe:
    """The stage. A photo is read only where one of its pieces has to be looked at."""

    def __init__(self, settings: DescribeSettings) -> None:
        self._settings = settings
        self._describer = embedded.EmbeddedDescriber()

    def __call__(self, rows: Sequence[Row]) -> list[Row | Drop]:
        return [self._described(row) for row in rows]

    def _described(self, row: Row) -> Row | Drop:
        pieces = [self._in_source_words(piece) for piece in row.pieces]
        silent = [index for index, piece in enumerate(pieces) if not piece.describer]
        counts: Counter[str] = Counter()
        if silent and self._settings.describer == "embedded":
            masks = (pieces[index].mask.array() for index in silent)  # one at a time: they are as large as the photo
            for index, seen in zip(silent, self._describer(photo_file.load(row), masks), strict=True):
                pieces[index] = replace(
                    pieces[index],
                    description=seen.noun_phrase,
                    describer=EMBEDDED,
                    noun_phrase=seen.noun_phrase,
                    subject=seen.subject,
                    answers=(Answer("embedded", embedded.REVISION, 0, seen.noun_phrase, seen.subject),),
                )
        elif silent:
            counts[NO_LABEL] = len(silent)
            pieces = [piece for piece in pieces if piece.describer]
        if not pieces:
            return Drop(NO_REGION, f"{len(row.pieces)} without words" if row.pieces else "no piece")
        return replace(row, pieces=tuple(pieces), counts=dict(counts))

    def _in_source_words(self, piece: Piece) -> Piece:
        """The piece with its source's words, or with none and no describer."""
        if self._settings.reuse_annotations:
            if piece.describer and piece.description.strip():
                return _checked(piece) if piece.noun_phrase else piece
            phrase = annotated.phrase_of(piece.description) if piece.segmenter == ANNOTATED else ""
            return replace(piece, description=phrase, describer=ANNOTATED if phrase else "")
        return replace(piece, description="", describer="", noun_phrase="", subject="", answers=())


def _checked(piece: Piece) -> Piece:
    """A piece whose source gave caption and subject, with that as its answer; a faulty one (a caption too long for
    an instruction, say) is left to the noun-phrase rounds."""
    faults = validation.faults(Parsed(piece.noun_phrase, piece.subject), piece.noun_phrase)
    given = Answer(ANNOTATED, "", 0, piece.noun_phrase, piece.subject, " ".join(faults))
    if faults:
        return replace(piece, noun_phrase="", subject="", answers=(given,))
    return replace(piece, answers=(given,))
