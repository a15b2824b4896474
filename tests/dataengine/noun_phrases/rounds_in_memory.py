"""The rounds as they were until 0.2, over tables in memory: what those on disk are compared with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from instructrestore.dataengine.noun_phrases.answers import REQUEST_FAILED
from instructrestore.dataengine.noun_phrases.english.noun_phrase import fold
from instructrestore.dataengine.noun_phrases.parser import PhraseResult
from instructrestore.dataengine.noun_phrases.rounds import INVALID, NAME, RARE, UNANSWERED, NounPhraseSettings
from instructrestore.dataengine.running.stage_summary import StageSummary
from instructrestore.shards.sample import Answer

COLUMNS = ["round", "model", "revision", "noun_phrase", "subject", "faults"]


def rank_subjects(subjects: Sequence[str], counts: Sequence[int]) -> pd.DataFrame:
    """How often each subject occurs: columns subject (case and number folded), count, rank (1 is the most frequent).

    Ties are ranked alphabetically, so that the order never depends on how the data set came about.
    """
    table = pd.DataFrame({"subject": [fold(subject) for subject in subjects], "count": counts})
    table = table.groupby("subject", as_index=False).sum()
    table = table.sort_values(["count", "subject"], ascending=[False, True], ignore_index=True)
    table["rank"] = range(1, len(table) + 1)
    return table


class Rounds:
    """The state of the rounds over all distinct descriptions; asks nobody itself.

    described: columns description and count (regions that have it), distinct.
    given: subjects that the source brought with its captions, and their counts; ranked along, never asked again.

    Texts are kept as Python objects, each once: of pandas' own text columns every look-up makes objects again and keeps
    them, which took half as much memory again.
    """

    def __init__(self, described: pd.DataFrame, given: pd.DataFrame, settings: NounPhraseSettings) -> None:
        self._settings = settings
        self._given = given
        counts = described.set_index("description")["count"]
        self._counts = counts.set_axis(counts.index.astype(object)).sort_index()
        self._answers: list[pd.DataFrame] = []
        self._rare_at_end: set[str] = set()
        texts = pd.DataFrame("", self._counts.index, ["noun_phrase", "subject"], dtype=object)
        self._current = texts.assign(valid=False)

    def frequencies(self) -> pd.DataFrame:
        """`rank_subjects` of the valid answers so far and the given subjects."""
        valid = self._current["valid"]
        subjects = [*self._current.loc[valid, "subject"], *self._given["subject"]]
        return rank_subjects(subjects, [*self._counts[valid], *self._given["count"]])

    def questions(self) -> list[str]:
        """The descriptions to be asked in the next round, sorted."""
        if not self._answers:
            return self._counts.index.to_list()
        return self._current.index[~self._current["valid"] | self._rare()].to_list()

    def take(self, answers: pd.DataFrame) -> None:
        """Takes a round's answers: indexed by description; columns round, model, revision, noun_phrase, subject,
        faults (names, separated by spaces). The latest valid answer to a description counts."""
        self._answers.append(answers)
        good = answers[answers["faults"] == ""]
        self._current.loc[good.index, ["noun_phrase", "subject"]] = good[["noun_phrase", "subject"]]
        self._current.loc[good.index, "valid"] = True

    def run(self, ask: Callable[[int, Sequence[str]], pd.DataFrame]) -> None:
        """All rounds; ask(round, descriptions) gives the answers that `take` takes."""
        for number in range(1, self._settings.rounds + 1):
            questions = self.questions()
            if questions:
                self.take(ask(number, questions))
        self._rare_at_end = self._rare_subjects()

    def summary(self) -> StageSummary:
        """What became of the distinct descriptions; to be asked after `run`."""
        valid = self._current["valid"]
        faults: Counter[str] = Counter()
        if self._answers:
            latest = pd.concat(self._answers)
            latest = latest[~latest.index.duplicated(keep="last")]
            faults.update(names.split()[0] for names in latest.loc[self._current.index[~valid], "faults"])
        failed = faults.pop(REQUEST_FAILED, 0)
        unanswered = sum(int((answers["faults"] == REQUEST_FAILED).sum()) for answers in self._answers)
        counts = {f"asked in round {n}": len(answers) for n, answers in enumerate(self._answers, 1)}
        rare = int((valid & self._current["subject"].map(fold).isin(self._rare_at_end)).sum())
        return StageSummary(
            f"{NAME} (distinct descriptions)",
            input=len(valid),
            ok=int(valid.sum()),
            dropped={f"{INVALID}: {fault}": n for fault, n in sorted(faults.items())},
            failed={REQUEST_FAILED: failed} if failed else {},
            counts=counts | ({RARE: rare} if rare else {}) | ({UNANSWERED: unanswered} if unanswered else {}),
        )

    def phrases(self, descriptions: Sequence[str]) -> dict[str, PhraseResult]:
        """What the rounds made of the descriptions given, each with all of its answers; to be asked after `run`."""
        current = self._current.loc[list(descriptions)]
        attempts: dict[str, list[Answer]] = {description: [] for description in descriptions}
        for answers in self._answers:
            places = answers.index.get_indexer(current.index)
            for row in answers.iloc[places[places >= 0]].itertuples():
                attempts[row.Index].append(
                    Answer(row.model, row.revision, row.round, row.noun_phrase, row.subject, row.faults)
                )
        return {
            row.Index: self._phrase(row, fold(row.subject) in self._rare_at_end, tuple(attempts[row.Index]))
            for row in current.itertuples()
        }

    def _phrase(self, row: Any, rare: bool, answers: tuple[Answer, ...]) -> PhraseResult:
        noun_phrase, subject = row.noun_phrase, row.subject
        if row.valid:
            dropped = RARE if rare and self._settings.rare == "drop" else ""
            return PhraseResult(noun_phrase, subject, dropped, answers)
        last = next((answer for answer in reversed(answers) if answer.subject), None)
        if self._settings.invalid == "keep" and last and "too_long" not in last.faults.split():
            return PhraseResult(last.subject, last.subject, "", answers)
        fault = answers[-1].faults.split()[0] if answers else "no answer"
        return PhraseResult("", "", f"{INVALID}: {fault}", answers)

    def _rare_subjects(self) -> set[str]:
        ranked = self.frequencies()
        return set(ranked.loc[ranked["rank"] > self._settings.rank, "subject"])

    def _rare(self) -> pd.Series:
        rare = self._rare_subjects()
        return self._current["valid"] & self._current["subject"].map(fold).isin(rare)
