"""Merges the regions of one subject in a photo into one region (paper, section 3.1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from instructrestore.dataengine.merging import synonyms
from instructrestore.dataengine.noun_phrases.english.noun_phrase import fold
from instructrestore.dataengine.noun_phrases.parser import PhraseResult
from instructrestore.dataengine.photos.row import Row, count_annotated
from instructrestore.dataengine.running.stage import Drop
from instructrestore.shards.rle import union
from instructrestore.shards.sample import Piece, Region

REVISION = "1"


class MergeSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    synonyms: bool = Field(
        default=False,
        description="subjects that mean the same (man, person) are one region; the paper merges the same word alone",
    )


def identity(settings: MergeSettings) -> tuple[Any, ...]:
    """What the regions depend on besides the rows and their phrases, to be hashed."""
    return (REVISION, synonyms.REVISION, settings) if settings.synonyms else (REVISION,)


class Merge:
    """The stage: gives each piece its phrase, then merges the pieces of one subject.

    Masks are united. The caption is kept if all pieces have the same, and otherwise becomes the subject (the release
    takes the subject whenever a region has more than one caption). The region keeps its pieces, and they their words.
    """

    def __init__(self, settings: MergeSettings) -> None:
        self.settings = settings

    def __call__(self, rows: Sequence[Row], phrases: Mapping[str, PhraseResult]) -> list[Row | Drop]:
        """phrases: by description, for all pieces that have no noun phrase yet."""
        return [self._merge(row, phrases) for row in rows]

    def _merge(self, row: Row, phrases: Mapping[str, PhraseResult]) -> Row | Drop:
        counts, lost = Counter[str](), Counter[str]()
        pieces = []
        for piece in row.pieces:
            if piece.noun_phrase:
                pieces.append(piece)
                continue
            phrase = phrases[piece.description]
            if phrase.dropped:
                counts[phrase.dropped] += 1
                lost[phrase.dropped] += count_annotated([piece])
            else:
                pieces.append(
                    replace(
                        piece,
                        noun_phrase=phrase.noun_phrase,
                        subject=phrase.subject,
                        answers=(*piece.answers, *phrase.answers),
                    )
                )
        regions = merge_pieces(pieces, self.settings.synonyms)
        if not regions:
            return Drop("no valid region", ", ".join(sorted(counts)), +lost)
        counts["merged into another region"] = len(pieces) - len(regions)
        return replace(row, pieces=(), regions=regions, counts={k: n for k, n in counts.items() if n}, lost=dict(+lost))


def merge_pieces(pieces: Sequence[Piece], synonymous: bool = False) -> tuple[Region, ...]:
    """Merges pieces with noun phrases into regions, the largest first, equal areas by subject.

    synonymous: subjects that mean the same are one (`synonyms.united`).
    """
    one_of = synonyms.united(piece.subject for piece in pieces) if synonymous else {}
    by_subject: dict[str, list[Piece]] = {}
    for piece in pieces:
        word = fold(piece.subject)
        by_subject.setdefault(one_of.get(word, word), []).append(piece)
    regions = [_region(group, subject) for subject, group in by_subject.items()]
    return tuple(sorted(regions, key=lambda region: (-region.mask.area(), region.subject)))


def _region(pieces: list[Piece], shared: str) -> Region:
    """shared: what all of them are called, folded, where their own words differ; a plural of it, where one says it."""
    words = {fold(piece.subject) for piece in pieces}
    plurals = {piece.subject.lower() for piece in pieces if fold(piece.subject) == shared} - {shared}
    subject = pieces[0].subject.lower() if len(words) == 1 else min(plurals, default=shared)
    captions = {piece.noun_phrase for piece in pieces}
    caption = pieces[0].noun_phrase if len(captions) == 1 else subject
    mask = pieces[0].mask if len(pieces) == 1 else union([piece.mask for piece in pieces])
    return Region(caption, subject, mask, bokeh=False, pieces=tuple(pieces))
