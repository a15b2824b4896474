"""Subject frequencies and the three rounds (paper, section 3.1).

Round 1 asks the small model for every distinct description. Subjects are then ranked by how many regions have them,
over the whole data set. Descriptions whose answer is invalid, or whose subject lies beyond the top 200 (the paper
takes those for parsing errors), go to the large model in round 2; ranks are computed anew and the same happens in
round 3, sampled, so that it is not round 2's answer again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from instructrestore.dataengine.noun_phrases.answers import ANSWERS, REQUEST_FAILED
from instructrestore.dataengine.noun_phrases.english.noun_phrase import fold
from instructrestore.dataengine.noun_phrases.parser import ParserSettings, PhraseResult
from instructrestore.dataengine.running.outcomes import batched
from instructrestore.dataengine.running.scratch import ROWS, fill, number_of, rows_of
from instructrestore.dataengine.running.stage_summary import StageSummary
from instructrestore.shards.sample import Answer

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

NAME: Literal["noun phrases"] = "noun phrases"
REVISION = "1"
INVALID = "invalid noun phrase"
RARE = "rare subject"
UNANSWERED = "requests that failed"
# A row for each part and description that needs a phrase, or subject that was given; the other one of the two is null.
PIECES = pa.schema(
    [("part", pa.int32()), ("description", pa.string()), ("subject", pa.string()), ("count", pa.int64())]
)
_FOLDED = pa.schema([("subject", pa.string()), ("folded", pa.string())])
# Texts are sorted by their bytes, which is the order of Python's texts.
_TAKE_PIECES = """
CREATE TABLE texts AS SELECT row_number() OVER (ORDER BY description) AS id, description, count
    FROM (SELECT description, sum(count)::BIGINT AS count FROM pieces WHERE description IS NOT NULL
        GROUP BY description);
CREATE TABLE places AS SELECT part, id FROM pieces JOIN texts USING (description);
"""
_TAKE_GIVEN = """
CREATE TABLE given AS SELECT folded AS subject, sum(count)::BIGINT AS count FROM pieces JOIN folded USING (subject)
    GROUP BY folded;
DROP TABLE pieces;
CREATE TABLE accepted (id BIGINT, count BIGINT, subject VARCHAR);
"""
_ASK = """
CREATE OR REPLACE TABLE asked AS SELECT id, description FROM texts ANTI JOIN
    (SELECT id FROM accepted JOIN ranks USING (subject) WHERE rank <= ?) USING (id)
"""
_FRESH = """
CREATE OR REPLACE TABLE fresh AS SELECT answers.id, texts.count, folded AS subject FROM answers
    JOIN folded USING (subject) JOIN texts USING (id) WHERE round = ? AND faults = ''
"""
_ACCEPT = """
DELETE FROM accepted WHERE id IN (SELECT id FROM fresh);
INSERT INTO accepted SELECT * FROM fresh;
"""
_RANK = """
CREATE OR REPLACE TABLE ranks AS SELECT subject, count, row_number() OVER (ORDER BY count DESC, subject) AS rank
    FROM (SELECT subject, sum(count)::BIGINT AS count
        FROM (SELECT subject, count FROM accepted UNION ALL SELECT subject, count FROM given) GROUP BY subject)
"""
_RARE_AT_END = """
CREATE TABLE rare AS SELECT id, true AS is_rare FROM accepted JOIN ranks USING (subject) WHERE rank > ?
"""
_PHRASES = """
SELECT part, description, coalesce(is_rare, false), model, revision, round, noun_phrase, answers.subject, faults
    FROM places JOIN texts USING (id) JOIN answers USING (id) LEFT JOIN rare USING (id) ORDER BY part, id, round
"""


class NounPhraseSettings(BaseModel):
    """The noun-phrase rounds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    small: ParserSettings = Field(default=ParserSettings(), description="Who answers in round 1.")
    large: ParserSettings = Field(
        default=ParserSettings(strict=True),
        description="Who answers in the later rounds, for invalid and rare answers.",
    )
    rounds: int = Field(default=3, ge=1, le=10, description="Rounds in all; 1 is no retry.")
    rank: int = Field(default=200, ge=1, description="Subjects ranked beyond this are asked again.")
    rare: Literal["keep", "drop"] = Field(
        default="keep",
        description="What becomes of regions whose subject is still beyond the rank after the last round.",
    )
    invalid: Literal["keep", "drop"] = Field(
        default="drop",
        description="What becomes of regions whose answer is still invalid after the last round; "
        "'keep' makes the subject their caption where there is at least that.",
    )


class Rounds:
    """The state of the rounds over all distinct descriptions; asks nobody itself.

    database: with a table `pieces` (columns: `PIECES`), which is taken. All that grows with the data set is in its
    tables:

    texts       the distinct descriptions by id, in their alphabetical order, with the pieces that have each
    places      the ids of each part
    given       subjects that the source brought, as counted; ranked along, never asked again
    answers     all answers so far (columns: `answers.ANSWERS`)
    accepted    of each id that has a valid answer the latest one's subject, as counted, and its pieces
    ranks       the subjects by how often they occur; ties are ranked alphabetically, so that the order never depends
                on how the data set came about
    """

    def __init__(self, database: DuckDBPyConnection, settings: NounPhraseSettings) -> None:
        self._database, self._settings = database, settings
        self._asked = 0
        fill(database, "folded", (), _FOLDED)
        fill(database, "answers", (), ANSWERS)
        database.execute(_TAKE_PIECES)
        self._fold("SELECT subject FROM pieces WHERE subject IS NOT NULL")
        database.execute(_TAKE_GIVEN)
        database.execute(_RANK)

    def run(self, ask: Callable[[int], None]) -> None:
        """All rounds; ask(round) adds the answers to the table `asked` (columns: `answers.ASKED`) to `answers`."""
        for number in range(1, self._settings.rounds + 1):
            self._database.execute(_ASK, [self._settings.rank])
            if number_of(self._database, "SELECT count(*) FROM asked"):
                ask(number)
                self._take(number)

    def frequencies(self) -> Iterator[pd.DataFrame]:
        """How often each subject of a valid answer or of a source occurs: columns subject, count, rank (1 is the most
        frequent), some rows at a time and at least an empty one."""
        rows = rows_of(self._database, "SELECT subject, count, rank FROM ranks ORDER BY rank")
        for some in batched(rows, ROWS) if number_of(self._database, "SELECT count(*) FROM ranks") else [[]]:
            yield pd.DataFrame(some, columns=["subject", "count", "rank"])

    def summary(self) -> StageSummary:
        """What became of the distinct descriptions; to be asked after `run`."""
        database = self._database
        faults: Counter[str] = Counter()
        last = "SELECT faults, count(*) FROM answers ANTI JOIN accepted USING (id) WHERE round = ? GROUP BY faults"
        for names, count in rows_of(database, last, [self._asked]):  # what is not accepted was asked to the end
            faults[names.split()[0]] += count
        failed = faults.pop(REQUEST_FAILED, 0)
        unanswered = number_of(database, "SELECT count(*) FROM answers WHERE faults = ?", [REQUEST_FAILED])
        asked = rows_of(database, "SELECT round, count(*) FROM answers GROUP BY round ORDER BY round")
        rare = number_of(
            database, "SELECT count(*) FROM accepted JOIN ranks USING (subject) WHERE rank > ?", [self._settings.rank]
        )
        return StageSummary(
            f"{NAME} (distinct descriptions)",
            input=number_of(database, "SELECT count(*) FROM texts"),
            ok=number_of(database, "SELECT count(*) FROM accepted"),
            dropped={f"{INVALID}: {fault}": n for fault, n in sorted(faults.items())},
            failed={REQUEST_FAILED: failed} if failed else {},
            counts={f"asked in round {number}": n for number, n in asked}
            | ({RARE: rare} if rare else {})
            | ({UNANSWERED: unanswered} if unanswered else {}),
        )

    def phrases(self) -> Iterator[tuple[int, dict[str, PhraseResult]]]:
        """What the rounds made of the descriptions of each part, in the parts' order, each with all of its answers; to
        be asked after `run`."""
        self._database.execute(_RARE_AT_END, [self._settings.rank])
        for part, of_part in groupby(rows_of(self._database, _PHRASES), key=itemgetter(0)):
            found: dict[str, PhraseResult] = {}
            for text, rows in groupby(of_part, key=itemgetter(1)):
                of_text = list(rows)
                answers = tuple(Answer(*row[3:]) for row in of_text)
                found[text] = self._phrase(answers, rare=of_text[0][2])
            yield part, found

    def _phrase(self, answers: tuple[Answer, ...], rare: bool) -> PhraseResult:
        if valid := next((answer for answer in reversed(answers) if not answer.faults), None):
            dropped = RARE if rare and self._settings.rare == "drop" else ""
            return PhraseResult(valid.noun_phrase, valid.subject, dropped, answers)
        last = next((answer for answer in reversed(answers) if answer.subject), None)
        if self._settings.invalid == "keep" and last and "too_long" not in last.faults.split():
            return PhraseResult(last.subject, last.subject, "", answers)
        return PhraseResult("", "", f"{INVALID}: {answers[-1].faults.split()[0]}", answers)

    def _take(self, number: int) -> None:
        """Takes a round's answers. The latest valid answer to a description counts."""
        self._asked = number
        self._fold("SELECT subject FROM answers WHERE faults = '' AND round = ?", [number])
        self._database.execute(_FRESH, [number])
        self._database.execute(_ACCEPT)
        self._database.execute(_RANK)

    def _fold(self, subjects: str, values: Sequence[Any] = ()) -> None:
        """Adds the form in which subjects are counted to `folded`, for those it lacks."""
        lacking = f"SELECT DISTINCT subject FROM ({subjects}) ANTI JOIN folded USING (subject)"
        self._database.execute(f"CREATE OR REPLACE TABLE lacking AS {lacking}", values)
        rows = rows_of(self._database, "SELECT subject FROM lacking")
        fill(self._database, "folded", ((subject, fold(subject)) for (subject,) in rows), _FOLDED)
