"""How many questions the noun-phrase rounds of a whole build will ask, and in how many tokens, from a sample's."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from instructrestore.dataengine.noun_phrases import prompt
from instructrestore.dataengine.noun_phrases.english.noun_phrase import fold
from instructrestore.dataengine.noun_phrases.parser import PhraseResult
from instructrestore.dataengine.run_folder import RunLayout
from instructrestore.dataengine.running.side_table import SideTable
from instructrestore.pipelines.building.measure import Measured
from instructrestore.shards.paths import names

MESSAGE_TOKENS = 5  # what a chat template puts around a message
_ROUND = re.compile(r"asked in round (\d+)")
_values = TypeAdapter(PhraseResult)


@dataclass(frozen=True)
class RoundsAhead:
    """asked: questions of each round. tokens_in, tokens_out: of one question and its answer, in the mean.
    shares_from: where the shares that are asked again come from. rare: subjects that are expected beyond the rank.
    """

    asked: tuple[int, ...]
    tokens_in: float
    tokens_out: float
    shares_from: str
    rare: int


def tokens(text: str) -> int:
    """About how many tokens a language model makes of English text: its words, by six letters, and its signs."""
    return sum(-(-len(piece) // 6) for piece in re.findall(r"\w+|[^\w\s]", text))


def rounds_ahead(measured: Measured, photos: int, rounds: int, rank: int, earlier: RunLayout) -> RoundsAhead | None:
    """The rounds of a build of `photos` photos; None where the sample came to no description.

    rank: subjects beyond it are asked again. earlier: the run's folder, whose own rounds are taken if it has any.
    """
    first = _first_round(measured, photos)
    if not first:
        return None
    shares, where, rare = _earlier_shares(earlier), f"the build in {earlier.path}", 0
    if not shares:
        sample = [len(asked) for asked in measured.questions]
        shares = [again / sample[0] for again in sample[1:]] if sample else []
        where = "the sample" if measured.answers else "no answers, so none is expected"
        subjects = [fold(answer.subject) for answer in measured.answers if answer.round == 1 and not answer.faults]
        rare = max(0, round(_grown(_halves(subjects), photos / max(1, measured.photos))) - rank)
    again = [min(first, round(first * share) + rare) for share in [*shares, *[0.0] * rounds][: rounds - 1]]
    sampled = measured.questions[0] if measured.questions else [text for one in measured.described for text in one]
    sent = [sum(tokens(each["content"]) + MESSAGE_TOKENS for each in prompt.messages(text)) for text in sampled[:200]]
    replies = [
        tokens(json.dumps({"noun_phrase": answer.noun_phrase, "subject": answer.subject}))
        for answer in measured.answers
    ]
    # A noun phrase is about as long as its description, where there are no answers to count.
    got = replies or [tokens(json.dumps({"noun_phrase": text, "subject": "subject"})) for text in sampled]
    return RoundsAhead((first, *again), _mean(sent), _mean(got), where, rare)


def _first_round(measured: Measured, photos: int) -> int:
    """Distinct descriptions of all photos: they grow more slowly than photos do, by a power that two halves of the
    sample tell (Heaps' law)."""
    halves = [text for one in measured.described for text in one]
    if not halves:
        return 0
    texts = [measured.described[0::2], measured.described[1::2]]
    counts = [len({text for one in half for text in one}) for half in texts]
    return round(_grown((sum(counts) / 2, len(set(halves))), photos / measured.photos))


def _halves(values: Sequence[str]) -> tuple[float, int]:
    """Distinct values in half of them, in the mean of two halves, and in all."""
    return (len(set(values[0::2])) + len(set(values[1::2]))) / 2, len(set(values))


def _grown(distinct: tuple[float, int], times: float) -> float:
    """Distinct things among `times` as many, from those in half of a sample and in all of it."""
    half, whole = distinct
    power = min(1.0, max(0.0, math.log2(whole / half))) if half else 1.0
    return whole * times**power


def _earlier_shares(folder: RunLayout) -> list[float]:
    """Of an earlier build in the folder: questions of the second round and later ones, as shares of the first."""
    for name in names(folder.tables):
        if name.startswith("phrases-") and name.endswith(".parquet"):
            counts: dict[str, Any] = SideTable(folder.tables / name, _values).facts["counts"]
            asked = {int(found[1]): n for key, n in counts.items() if (found := _ROUND.fullmatch(key))}
            if asked.get(1):
                return [asked.get(number, 0) / asked[1] for number in range(2, max(asked) + 1)] or [0.0]
    return []


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return sum(known) / len(known) if known else 0.0
