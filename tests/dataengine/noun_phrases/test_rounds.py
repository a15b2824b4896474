"""Ranks, rounds and what becomes of answers, against cases worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructrestore.dataengine.noun_phrases.answers import COLUMNS
from instructrestore.dataengine.noun_phrases.rounds import NounPhraseSettings, Rounds, rank_subjects


def described(**counts: int) -> pd.DataFrame:
    return pd.DataFrame({"description": list(counts), "count": list(counts.values())})


NOTHING_GIVEN = pd.DataFrame({"subject": pd.Series([], dtype="str"), "count": pd.Series([], dtype="int64")})


class Asker:
    """Answers from a table of {round: {description: (noun phrase, subject, faults)}}, and notes what it was asked."""

    def __init__(self, answers: dict[int, dict[str, tuple[str, str, str]]]) -> None:
        self.answers = answers
        self.asked: dict[int, list[str]] = {}

    def __call__(self, number: int, descriptions: Sequence[str]) -> pd.DataFrame:
        self.asked[number] = list(descriptions)
        rows = [(number, f"model-{number}", "r", *self.answers[number][text]) for text in descriptions]
        return pd.DataFrame(rows, columns=COLUMNS, index=pd.Index(descriptions, name="description"))


def settings(**changes: Any) -> NounPhraseSettings:
    return NounPhraseSettings(**({"rank": 2} | changes))


def test_ranks_fold_case_and_number_and_break_ties_alphabetically() -> None:
    subjects = ["Dog", "dogs", "cat", "bird", "cats", "ant"]
    ranked = rank_subjects(subjects, [1, 1, 2, 3, 1, 3])
    assert ranked.to_dict("list") == {
        "subject": ["ant", "bird", "cat", "dog"],
        "count": [3, 3, 3, 2],
        "rank": [1, 2, 3, 4],
    }


def test_rare_and_invalid_answers_are_asked_again_and_ranks_computed_anew() -> None:
    asker = Asker(
        {
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
    )
    rounds = Rounds(described(a=5, b=3, c=1, d=1, e=1), NOTHING_GIVEN, settings())
    rounds.run(asker)
    # Round 1 ranks dog 5, cat 4, dgo 1: dgo is third. Round 2 ranks dog 6, cat 4, bird 1: bird is third.
    assert asker.asked == {1: ["a", "b", "c", "d", "e"], 2: ["c", "d"], 3: ["d"]}
    phrases = rounds.phrases(["c", "d"])
    assert (phrases["c"].subject, [a.subject for a in phrases["c"].answers]) == ("dog", ["dgo", "dog"])
    assert [a.round for a in phrases["d"].answers] == [1, 2, 3]
    assert phrases["d"].noun_phrase == "the owl", "still rare after the last round, and kept"
    summary = rounds.summary()
    assert (summary.input, summary.ok, summary.dropped) == (5, 5, {})
    assert summary.counts == {
        "asked in round 1": 5, "asked in round 2": 2, "asked in round 3": 1, "rare subject": 1,
    }  # fmt: skip


def test_an_invalid_retry_does_not_undo_a_valid_answer() -> None:
    asker = Asker(
        {1: {"a": ("x", "x", ""), "b": ("y", "y", ""), "c": ("z", "z", "")}, 2: {"c": ("", "", "schema")},
         3: {"c": ("zz zz", "zz", "repetition")}}
    )  # fmt: skip
    rounds = Rounds(described(a=3, b=2, c=1), NOTHING_GIVEN, settings())
    rounds.run(asker)
    assert rounds.phrases(["c"])["c"].subject == "z"


@pytest.mark.parametrize(
    ("rare", "invalid", "dropped"),
    [
        ("keep", "drop", {"c": "", "d": "invalid noun phrase: sentence"}),
        ("drop", "keep", {"c": "rare subject", "d": ""}),
    ],
)
def test_what_is_left_at_the_end_follows_the_settings(rare: str, invalid: str, dropped: dict[str, str]) -> None:
    answers = {"a": ("x", "x", ""), "b": ("y", "y", ""), "c": ("z", "z", ""), "d": ("w is w", "w", "sentence")}
    asker = Asker(dict.fromkeys((1, 2, 3), answers))
    rounds = Rounds(described(a=3, b=2, c=1, d=9), NOTHING_GIVEN, settings(rare=rare, invalid=invalid))
    rounds.run(asker)
    phrases = rounds.phrases(["c", "d"])
    assert {key: phrase.dropped for key, phrase in phrases.items()} == dropped
    if invalid == "keep":
        assert phrases["d"].noun_phrase == "w"


def test_subjects_that_were_given_are_ranked_along() -> None:
    given = pd.DataFrame({"subject": ["sky", "trees"], "count": [10, 9]})
    asker = Asker({n: {"a": ("the sky", "sky", ""), "b": ("a vase", "vase", "")} for n in (1, 2, 3)})
    rounds = Rounds(described(a=1, b=1), given, settings())
    rounds.run(asker)
    assert asker.asked[2] == ["b"]
    assert rounds.frequencies()["subject"].tolist() == ["sky", "tree", "vase"]


def test_no_description_at_all() -> None:
    rounds = Rounds(described(), NOTHING_GIVEN, settings())
    rounds.run(Asker({}))
    assert rounds.summary().input == 0
    assert rounds.phrases([]) == {}


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(1, 50), min_size=1), st.randoms())
def test_ranks_do_not_depend_on_the_order(counts: dict[str, int], random: Any) -> None:
    items = list(counts.items())
    one = rank_subjects([k for k, _ in items], [n for _, n in items])
    random.shuffle(items)
    two = rank_subjects([k for k, _ in items], [n for _, n in items])
    assert one.equals(two)
    assert one["count"].sum() == sum(counts.values())
    assert one["count"].is_monotonic_decreasing
