"""The table stage of noun phrases: every distinct description of the data set through the rounds (rounds.py).

It stands in the list of stages like any other; what it needs of the whole data set is the subjects' frequencies, which
it also leaves beside its table (subjects.csv).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from instructrestore.dataengine.noun_phrases import rounds
from instructrestore.dataengine.noun_phrases.answers import AnswerCache
from instructrestore.dataengine.noun_phrases.parser import PhraseResult, cache_identity
from instructrestore.dataengine.noun_phrases.rounds import PIECES, NounPhraseSettings, Rounds
from instructrestore.dataengine.running.checkpoints import Execute
from instructrestore.dataengine.running.part_files import read_rows_of
from instructrestore.dataengine.running.scratch import fill
from instructrestore.dataengine.running.stage_kinds import Part, TableStage
from instructrestore.dataengine.running.stage_summary import StageSummary
from instructrestore.shards.files import replacing
from instructrestore.shards.paths import Place

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class PhraseTable(TableStage):
    """What the rounds made of each description.

    answers, tables: the run's folders for answers and for tables. resources: what a worker gets (fields of StageSpec).
    """

    name = rounds.NAME
    file = "phrases"
    values = PhraseResult

    def __init__(self, settings: NounPhraseSettings, answers: Place, tables: Place, resources: dict[str, Any]) -> None:
        self._settings, self._answers, self._tables, self._resources = settings, answers, tables, resources
        self.follows_from = (
            rounds.REVISION,
            settings.model_dump(mode="json", exclude={"small", "large"}),
            cache_identity(settings.small),
            cache_identity(settings.large),
        )

    def make(
        self, parts: Sequence[Part], execute: Execute, retry_failed: bool, database: DuckDBPyConnection
    ) -> tuple[Iterator[tuple[int, dict[str, Any]]], dict[str, Any]]:
        settings = self._settings
        fill(database, "pieces", _pieces(parts), PIECES)
        asked = Rounds(database, settings)
        cache = AnswerCache(self._answers, execute, retry_failed, self._resources)
        asked.run(lambda n: cache.ask(settings.small if n == 1 else settings.large, n, database))
        with replacing(self._tables / "subjects.csv") as file:
            for some in asked.frequencies():
                some.to_csv(file, index=False, header=not file.tell())
        return asked.phrases(), asdict(asked.summary())

    def is_final(self, facts: dict[str, Any]) -> bool:
        return rounds.UNANSWERED not in facts["counts"]

    def summary(self, facts: dict[str, Any]) -> StageSummary:
        return StageSummary(**facts)


@dataclass(frozen=True)
class _Piece:
    """What the rounds need of `Piece`, whose mask takes longest to read."""

    description: str = ""
    noun_phrase: str = ""
    subject: str = ""


@dataclass(frozen=True)
class _Photo:
    pieces: tuple[_Piece, ...] = ()


_photos = TypeAdapter(_Photo)


def _pieces(parts: Sequence[Part]) -> Iterator[tuple[int, str | None, str | None, int]]:
    """Rows of `PIECES`."""
    for part, photos in zip(parts, read_rows_of([part.where for part in parts], _photos), strict=True):
        described, given = Counter[str](), Counter[str]()
        for _, photo in photos:
            given.update(piece.subject for piece in photo.pieces if piece.noun_phrase)
            described.update(piece.description for piece in photo.pieces if not piece.noun_phrase)
        yield from ((part.part, text, None, count) for text, count in described.items())
        yield from ((part.part, None, subject, count) for subject, count in given.items())
