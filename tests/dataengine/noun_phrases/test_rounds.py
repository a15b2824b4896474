"""Ranks, rounds and what becomes of answers, against cases worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pytest
from duckdb import DuckDBPyConnection
from pydantic import TypeAdapter

from instructrestore.dataengine.noun_phrases.answers import ANSWERS, REQUEST_FAILED
from instructrestore.dataengine.noun_phrases.parser import PhraseResult
from instructrestore.dataengine.noun_phrases.rounds import PIECES, NounPhraseSettings, Rounds
from instructrestore.dataengine.running.scratch import fill, rows_of, scratch
from instructrestore.dataengine.running.side_table import write_side_table
from tests.dataengine.noun_phrases import rounds_in_memory

Said = Mapping[int, Mapping[str, tuple[str, str, str]]]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[DuckDBPyConnection]:
    with scratch(tmp_path) as opened:
        yield opened


class Asker:
    """Answers from a table of {round: {description: (noun phrase, subject, faults)}}, and notes what it was asked."""

    def __init__(self, database: DuckDBPyConnection, answers: Said) -> None:
        self.database, self.answers = database, answers
        self.asked: dict[int, list[str]] = {}

    def __call__(self, number: int) -> None:
        asked = list(rows_of(self.database, "SELECT id, description FROM asked ORDER BY id"))
        self.asked[number] = [text for _, text in asked]
        rows = [(row, number, f"model-{number}", "r", *self.answers[number][text]) for row, text in asked]
        fill(self.database, "answers", rows, ANSWERS)


def described(database: DuckDBPyConnection, given: Mapping[str, int] | None = None, **counts: int) -> None:
    """One part's descriptions and subjects, and how many pieces have each."""
    rows = [(0, text, None, count) for text, count in counts.items()]
    fill(database, "pieces", [*rows, *((0, None, each, n) for each, n in (given or {}).items())], PIECES)


def ran(database: DuckDBPyConnection, answers: Said, changes: Mapping[str, Any]) -> tuple[Rounds, Asker]:
    rounds, asker = Rounds(database, settings(**changes)), Asker(database, answers)
    rounds.run(asker)
    return rounds, asker


def phrases(rounds: Rounds) -> dict[str, PhraseResult]:
    return {text: found for _, of_part in rounds.phrases() for text, found in of_part.items()}


def settings(**changes: Any) -> NounPhraseSettings:
    return NounPhraseSettings(**({"rank": 2} | changes))


def test_ranks_fold_case_and_number_and_break_ties_alphabetically(database: DuckDBPyConnection) -> None:
    described(database, {"Dog": 1, "dogs": 1, "cat": 2, "bird": 3, "cats": 1, "ant": 3})
    ranked = pd.concat(ran(database, {}, {})[0].frequencies())
    assert ranked.to_dict("list") == {
        "subject": ["ant", "bird", "cat", "dog"],
        "count": [3, 3, 3, 2],
        "rank": [1, 2, 3, 4],
    }


def test_rare_and_invalid_answers_are_asked_again_and_ranks_computed_anew(database: DuckDBPyConnection) -> None:
    described(database, a=5, b=3, c=1, d=1, e=1)
    said = {
        1: {
            "a": ("the dog", "dog", ""),
            "b": ("the cat", "cat", ""),
            "c": ("the dgo", "dgo", ""),  # misspelt, and so rare
            "d": ("", "", "not_json"),
            "e": ("the cat", "cat", ""),
        },
        2: {"c": ("the dog", "dog", ""), "d": ("the bird", "bird", "")},
        3: {"d": ("the owl", "owl", "")},
    }
    rounds, asker = ran(database, said, {})
    # Round 1 ranks dog 5, cat 4, dgo 1: dgo is third. Round 2 ranks dog 6, cat 4, bird 1: bird is third.
    assert asker.asked == {1: ["a", "b", "c", "d", "e"], 2: ["c", "d"], 3: ["d"]}
    found = phrases(rounds)
    assert (found["c"].subject, [a.subject for a in found["c"].answers]) == ("dog", ["dgo", "dog"])
    assert [a.round for a in found["d"].answers] == [1, 2, 3]
    assert found["d"].noun_phrase == "the owl", "still rare after the last round, and kept"
    summary = rounds.summary()
    assert (summary.input, summary.ok, summary.dropped) == (5, 5, {})
    assert summary.counts == {
        "asked in round 1": 5, "asked in round 2": 2, "asked in round 3": 1, "rare subject": 1,
    }  # fmt: skip


def test_an_invalid_retry_does_not_undo_a_valid_answer(database: DuckDBPyConnection) -> None:
    described(database, a=3, b=2, c=1)
    said = {1: {"a": ("x", "x", ""), "b": ("y", "y", ""), "c": ("z", "z", "")}, 2: {"c": ("", "", "schema")},
            3: {"c": ("zz zz", "zz", "repetition")}}  # fmt: skip
    assert phrases(ran(database, said, {})[0])["c"].subject == "z"


@pytest.mark.parametrize(
    ("rare", "invalid", "dropped"),
    [
        ("keep", "drop", {"c": "", "d": "invalid noun phrase: sentence"}),
        ("drop", "keep", {"c": "rare subject", "d": ""}),
    ],
)
def test_what_is_left_at_the_end_follows_the_settings(
    database: DuckDBPyConnection, rare: str, invalid: str, dropped: dict[str, str]
) -> None:
    described(database, a=3, b=2, c=1, d=9)
    answers = {"a": ("x", "x", ""), "b": ("y", "y", ""), "c": ("z", "z", ""), "d": ("w is w", "w", "sentence")}
    found = phrases(ran(database, dict.fromkeys((1, 2, 3), answers), {"rare": rare, "invalid": invalid})[0])
    assert {key: found[key].dropped for key in dropped} == dropped
    if invalid == "keep":
        assert found["d"].noun_phrase == "w"


def test_subjects_that_were_given_are_ranked_along(database: DuckDBPyConnection) -> None:
    described(database, {"sky": 10, "trees": 9}, a=1, b=1)
    said = {n: {"a": ("the sky", "sky", ""), "b": ("a vase", "vase", "")} for n in (1, 2, 3)}
    rounds, asker = ran(database, said, {})
    assert asker.asked[2] == ["b"]
    assert pd.concat(rounds.frequencies())["subject"].tolist() == ["sky", "tree", "vase"]


def test_no_description_at_all(database: DuckDBPyConnection) -> None:
    described(database)
    rounds, _ = ran(database, {}, {})
    assert rounds.summary().input == 0
    assert phrases(rounds) == {}


HOSTILE = (
    "'; DROP TABLE texts; --", "nul\0inside", "nul\0", "Ünï", "\u202eabc", "a\nb", '"q"', "", " ", "🐕 dog", "\uffff",
    "z" * 5000, "NULL", "$1", "Ａ",
)  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_the_bytes_are_those_of_tables_in_memory(database: DuckDBPyConnection, tmp_path: Path, seed: int) -> None:
    """Parts that share descriptions, hostile texts, faults and failures, all settings: the same table and list."""
    random = Random(seed)
    texts = [*HOSTILE, *(f"the {random.randrange(90)} thing" for _ in range(60))]
    subjects = ["Dog", "dogs", "cat", "men", "man", *HOSTILE[:6], *(f"s{n}" for n in range(20))]
    parts = {part: sorted(set(random.choices(texts, k=20))) for part in (0, 1, 2, 5)}
    pieces = [(part, text, None, random.randint(1, 4)) for part, of_part in parts.items() for text in of_part]
    given = [(0, None, subject, random.randint(1, 9)) for subject in random.choices(subjects, k=5)]
    faults = ["", "", "", "not_json", "too_long sentence", REQUEST_FAILED]
    said = {
        number: {
            text: (text, random.choice(subjects) if (fault := random.choice(faults)) != "not_json" else "", fault)
            for text in texts
        }
        for number in (1, 2, 3)
    }
    how = {"rare": random.choice(["keep", "drop"]), "invalid": random.choice(["keep", "drop"]), "rank": 6}

    fill(database, "pieces", [*pieces, *given], PIECES)
    rounds, asker = ran(database, said, how)

    table = pd.DataFrame([(text, count) for _, text, _, count in pieces], columns=["description", "count"])
    totals = table.groupby("description", as_index=False).agg({"count": "sum"})
    brought = pd.DataFrame([(subject, count) for _, _, subject, count in given], columns=["subject", "count"])
    expected = rounds_in_memory.Rounds(totals, brought, settings(**how))
    asked: dict[int, list[str]] = {}

    def ask(number: int, descriptions: Sequence[str]) -> pd.DataFrame:
        asked[number] = list(descriptions)
        rows = [(number, f"model-{number}", "r", *said[number][text]) for text in descriptions]
        return pd.DataFrame(rows, columns=rounds_in_memory.COLUMNS, index=pd.Index(descriptions, name="description"))

    expected.run(ask)
    assert asker.asked == asked
    assert len(asked) == 3
    assert rounds.summary() == expected.summary()
    assert [*rounds.summary().counts] == [*expected.summary().counts]
    assert pd.concat(rounds.frequencies()).to_csv(index=False) == expected.frequencies().to_csv(index=False)
    values = TypeAdapter(PhraseResult)
    write_side_table(tmp_path / "on-disk", rounds.phrases(), values, {})
    write_side_table(
        tmp_path / "in-memory", ((part, expected.phrases(of_part)) for part, of_part in parts.items()), values, {}
    )
    assert (tmp_path / "on-disk").read_bytes() == (tmp_path / "in-memory").read_bytes()
