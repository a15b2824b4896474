"""Asks the answer cache about a list of descriptions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from instructrestore.dataengine.noun_phrases.answers import ANSWERS, ASKED, AnswerCache
from instructrestore.dataengine.noun_phrases.parser import ParserSettings
from instructrestore.dataengine.running.scratch import fill, rows_of, scratch


def answers_of(cache: AnswerCache, settings: ParserSettings, number: int, texts: Sequence[str]) -> pd.DataFrame:
    """The answers of a round, indexed by description."""
    with TemporaryDirectory() as folder, scratch(Path(folder)) as database:
        fill(database, "asked", enumerate(texts), ASKED)
        fill(database, "answers", (), ANSWERS)
        cache.ask(settings, number, database)
        rows = list(rows_of(database, "SELECT * FROM answers ORDER BY id"))
    assert [row[0] for row in rows] == list(range(len(texts)))
    index = pd.Index(texts, name="description", dtype=object)
    return pd.DataFrame([row[1:] for row in rows], columns=ANSWERS.names[1:], index=index, dtype=object)
