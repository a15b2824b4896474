"""The table stage of noun phrases: every distinct description of the data set through the rounds (rounds.py).

It stands in the list of stages like any other; what it needs of the whole data set is the subjects' frequencies, which
it also leaves beside its table (subjects.csv).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from sys import intern
from typing import Any, cast

import pandas as pd
from pydantic import TypeAdapter

from instructrestore.dataengine.noun_phrases import rounds
from instructrestore.dataengine.noun_phrases.answers import AnswerCache
from instructrestore.dataengine.noun_phrases.parser import PhraseResult, cache_identity
from instructrestore.dataengine.noun_phrases.rounds import NounPhraseSettings, Rounds
from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.running.checkpoints import Execute
from instructrestore.dataengine.running.part_files import read_rows_of
from instructrestore.dataengine.running.stage_kinds import Part, TableStage
from instructrestore.dataengine.running.stage_summary import StageSummary
from instructrestore.shards.files import commit
from instructrestore.shards.paths import Place

_rows = TypeAdapter(Row)


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
        self, parts: Sequence[Part], execute: Execute, retry_failed: bool
    ) -> tuple[Iterator[tuple[int, dict[str, Any]]], dict[str, Any]]:
        settings = self._settings
        described, given = _described(parts)
        totals = described.groupby("description", as_index=False).agg({"count": "sum"})
        asked = Rounds(totals, given, settings)
        cache = AnswerCache(self._answers, execute, retry_failed, self._resources)
        asked.run(lambda n, texts: cache.ask(settings.small if n == 1 else settings.large, n, texts))
        commit(self._tables / "subjects.csv", asked.frequencies().to_csv(index=False).encode())
        by_part = cast("Iterable[tuple[int, pd.Series]]", described.groupby("part")["description"])
        slices = ((part, asked.phrases(group.to_list())) for part, group in by_part)
        return slices, asdict(asked.summary())

    def is_final(self, facts: dict[str, Any]) -> bool:
        return rounds.UNANSWERED not in facts["counts"]

    def summary(self, facts: dict[str, Any]) -> StageSummary:
        return StageSummary(**facts)


def _described(parts: Sequence[Part]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(part, description, count) of the pieces that need a phrase, and (subject, count) of those that bring one."""
    counted: list[tuple[int, str, int]] = []
    given: Counter[str] = Counter()
    for part, photos in zip(parts, read_rows_of([part.where for part in parts], _rows), strict=True):
        described: Counter[str] = Counter()
        for _, row in photos:
            given.update(piece.subject for piece in row.pieces if piece.noun_phrase)
            described.update(intern(piece.description) for piece in row.pieces if not piece.noun_phrase)
        counted += [(part.part, text, count) for text, count in sorted(described.items())]
    return (
        pd.DataFrame(counted, columns=["part", "description", "count"], dtype=object).astype(
            {"part": "int64", "count": "int64"}
        ),
        pd.DataFrame(sorted(given.items()), columns=["subject", "count"]).astype({"count": "int64"}),
    )
