"""The answer cache: what a model said of a description in a round, asked once and kept.

    answers/<identity>/round-<n>/     the files of part_files.py, a chunk of questions each

`identity` stands for (model, revision, prompt, sampling). A served model's answers depend on how its requests happen
to be batched; the cache is therefore the source of truth: the same cache gives the same data set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import TypeAdapter

from instructrestore.dataengine.noun_phrases.parser import (
    Parser,
    ParserAnswer,
    ParserSettings,
    Question,
    cache_identity,
)
from instructrestore.dataengine.running.integrity import digest
from instructrestore.dataengine.running.outcomes import batched
from instructrestore.dataengine.running.part_files import Outcome, Slice, list_parts, read_outcomes_of, write_part
from instructrestore.dataengine.running.scratch import fill, number_of, rows_of
from instructrestore.dataengine.running.stage import PartSink, StageSpec, Task
from instructrestore.dataengine.serving.language_model import MAX_WAIT_S
from instructrestore.shards.files import sweep
from instructrestore.shards.paths import Place, make_folder, names, remove, remove_folder

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

QUESTIONS_PER_CHUNK = 256
MOST_CHUNKS = 32_768  # of a round: each is a task that the driver knows, and two files
REQUEST_FAILED = "request_failed"
_TEXTS = [(name, pa.string()) for name in ("model", "revision", "noun_phrase", "subject", "faults")]
ASKED = pa.schema([("id", pa.int64()), ("description", pa.string())])
ANSWERS = pa.schema([("id", pa.int64()), ("round", pa.int32()), *_TEXTS])
_SAID = pa.schema([("place", pa.int64()), ("description", pa.string()), *_TEXTS])
_answered = TypeAdapter(ParserAnswer)
_questions = TypeAdapter(Question)

RunStage = Callable[[StageSpec, Sequence[Task]], None]


class _AnswerSink(PartSink):
    """Keeps no row of a failed request: it is the question, and the file's rows are answers."""

    def add(self, outcome: Outcome[Any]) -> None:
        super().add(replace(outcome, row=None) if outcome.kind == "failed" else outcome)


class AnswerCache:
    """The cache of one run, and the one who asks for what it lacks.

    run: does tasks of a stage and commits their parts.
    retry_failed: whether requests that failed for good in an earlier build are sent again.
    resources: what a worker gets (fields of StageSpec).
    """

    def __init__(self, folder: Place, run: RunStage, retry_failed: bool, resources: dict[str, Any]) -> None:
        self._resources = resources
        self._folder = folder
        self._run = run
        self._retry_failed = retry_failed

    def ask(self, settings: ParserSettings, number: int, database: DuckDBPyConnection) -> None:
        """Adds to the table `answers` (columns: `ANSWERS`) what is said in round `number` of each description of the
        table `asked` (columns: `ASKED`).

        A request that failed is an answer with the fault `request_failed`.
        """
        folder = self._folder / cache_identity(settings) / f"round-{number}"
        make_folder(folder)
        sweep(folder)
        database.execute("DROP TABLE IF EXISTS said")
        fill(database, "said", self._said(folder, 0, not self._retry_failed), _SAID)
        found = "SELECT asked.id, max(said.place) AS place FROM asked JOIN said USING (description) GROUP BY asked.id"
        database.execute(f"CREATE OR REPLACE TABLE found AS {found}")
        missing = "FROM asked ANTI JOIN found USING (id)"
        if count := number_of(database, f"SELECT count(*) {missing}"):
            texts = (text for (text,) in rows_of(database, f"SELECT description {missing} ORDER BY id"))
            first = max(list_parts(folder), default=-1) + 1
            self._ask(folder, settings, number, first, texts, count)
            fill(database, "said", self._said(folder, first, True), _SAID)
            database.execute(f"CREATE OR REPLACE TABLE found AS {found}")
        server = settings.server
        failed = [number, server.model if server else "", server.revision if server else "", REQUEST_FAILED]
        database.execute(
            """
            INSERT INTO answers SELECT id, $1::INTEGER, if(place < 0, $2, model), if(place < 0, $3, revision),
                noun_phrase, subject, if(place < 0, $4, faults) FROM found JOIN said USING (place)
            """,
            failed,
        )
        database.execute("DROP TABLE said")
        database.execute("DROP TABLE found")

    def _ask(
        self, folder: Place, settings: ParserSettings, number: int, first: int, missing: Iterable[str], count: int
    ) -> None:
        """Has `count` descriptions asked, in parts from `first` on."""
        size = max(_chunk(settings), -(-count // MOST_CHUNKS))
        spec = StageSpec(
            name=f"noun phrases, round {number}",
            build=partial(Parser, settings),
            server=settings.server,
            identity=cache_identity(settings),
            row_type=Question,
            result_type=ParserAnswer,
            sink=_AnswerSink,
            **self._resources | _for_server(settings, size),
        )
        asked = folder / "questions"
        make_folder(asked)
        tasks = []
        for chunk in batched(missing, size):
            rows = [Outcome(text, "ok", Question(text, number)) for text in chunk]
            file, _ = write_part(asked, first + len(tasks), digest(chunk), 0, rows, _questions)
            tasks.append(Task(file.part, (Slice(str(file.path)),), folder, file.input))
        self._run(spec, tasks)
        remove([asked / name for name in names(asked)])
        remove_folder(asked)

    def _said(self, folder: Place, first: int, with_failed: bool) -> Iterator[tuple[object, ...]]:
        """The answers of a round's parts from `first` on (columns: `_SAID`): of two to one description the later one
        has the higher place, and one that failed a place below 0."""
        files = [file for _, files in sorted(list_parts(folder).items()) for file in files]
        wanted = [number for number, file in enumerate(files) if file.part >= first]
        contents = read_outcomes_of([files[number].path for number in wanted], _answered)
        for number, outcomes in zip(wanted, contents, strict=True):
            for row, outcome in enumerate(outcomes):
                place = (number << 32) + row
                if outcome.row:
                    said = outcome.row.answer
                    text = outcome.row.question.description
                    yield place, text, said.model, said.revision, said.noun_phrase, said.subject, said.faults
                elif with_failed:
                    yield -place - 1, outcome.name, "", "", "", "", ""


def _for_server(settings: ParserSettings, size: int) -> dict[str, Any]:
    """One worker, whose client has all requests in flight, and as long as its patience can last."""
    if settings.server is None:
        return {}
    one = settings.server.tries * (settings.server.timeout_s + MAX_WAIT_S) + 60
    waves = -(-size // settings.server.requests_in_flight)
    return {"workers": 1, "batch": _chunk(settings), "part_limit_s": waves * one, "row_limit_s": one}


def _chunk(settings: ParserSettings) -> int:
    """Questions of a chunk, which a kill may cost: some four waves of requests, as the servers idle at its end."""
    return max(QUESTIONS_PER_CHUNK, 4 * settings.server.requests_in_flight) if settings.server else QUESTIONS_PER_CHUNK
