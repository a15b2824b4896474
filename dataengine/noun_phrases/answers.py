"""The answer cache: what a model said of a description in a round, asked once and kept.

    answers/<identity>/round-<n>/     the files of part_files.py, a chunk of questions each

`identity` stands for (model, revision, prompt, sampling). A served model's answers depend on how its requests happen
to be batched; the cache is therefore the source of truth: the same cache gives the same data set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from sys import intern
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from instructrestore.dataengine.noun_phrases.parser import (
    Parser,
    ParserAnswer,
    ParserSettings,
    Question,
    cache_identity,
)
from instructrestore.dataengine.running.integrity import digest
from instructrestore.dataengine.running.part_files import Outcome, Slice, list_parts, read_outcomes_of, write_part
from instructrestore.dataengine.running.stage import PartSink, StageSpec, Task
from instructrestore.dataengine.serving.language_model import MAX_WAIT_S
from instructrestore.shards.files import sweep
from instructrestore.shards.paths import Place, make_folder, names, remove, remove_folder

QUESTIONS_PER_CHUNK = 256
REQUEST_FAILED = "request_failed"
COLUMNS = ["round", "model", "revision", "noun_phrase", "subject", "faults"]
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

    def ask(self, settings: ParserSettings, number: int, descriptions: Sequence[str]) -> pd.DataFrame:
        """The answers of round `number` to distinct descriptions, indexed by description (columns: `COLUMNS`).

        A request that failed is an answer with the fault `request_failed`.
        """
        folder = self._folder / cache_identity(settings) / f"round-{number}"
        make_folder(folder)
        sweep(folder)
        server = settings.server
        failed = (number, server.model if server else "", server.revision if server else "", "", "", REQUEST_FAILED)
        known = self._known(folder, None if self._retry_failed else failed)
        missing = [description for description in descriptions if description not in known]
        if missing:
            self._ask(folder, settings, number, missing)
            known = self._known(folder, failed)
        wanted = [known[description] for description in descriptions]
        texts = pd.Series(list(descriptions), name="description", dtype=object)
        return pd.DataFrame(wanted, columns=COLUMNS, dtype=object).astype({"round": "int64"}).set_index(texts)

    def _ask(self, folder: Place, settings: ParserSettings, number: int, missing: Sequence[str]) -> None:
        spec = StageSpec(
            name=f"noun phrases, round {number}",
            build=partial(Parser, settings),
            server=settings.server,
            identity=cache_identity(settings),
            row_type=Question,
            result_type=ParserAnswer,
            sink=_AnswerSink,
            **self._resources | _for_server(settings),
        )
        asked = folder / "questions"
        make_folder(asked)
        first = max(list_parts(folder), default=-1) + 1
        tasks = []
        size = _chunk(settings)
        for place in range(0, len(missing), size):
            chunk = missing[place : place + size]
            rows = [Outcome(text, "ok", Question(text, number)) for text in chunk]
            file, _ = write_part(asked, first + len(tasks), digest(chunk), 0, rows, _questions)
            tasks.append(Task(file.part, (Slice(str(file.path)),), folder, file.input))
        self._run(spec, tasks)
        remove([asked / name for name in names(asked)])
        remove_folder(asked)

    def _known(self, folder: Place, failed: tuple[object, ...] | None) -> dict[str, tuple[object, ...]]:
        """All answers of a round, the latest of each description; of requests that failed `failed`, unless None."""
        known: dict[str, tuple[object, ...]] = {}
        for outcome in self._outcomes(folder):
            if outcome.row:
                answer = outcome.row.answer
                said = (answer.model, answer.revision, answer.noun_phrase, answer.subject, answer.faults)
                known[outcome.row.question.description] = (answer.round, *map(intern, said))  # most are said often
            elif failed:
                known.setdefault(outcome.name, failed)
        return known

    def _outcomes(self, folder: Place) -> Iterator[Outcome[ParserAnswer]]:
        places = [file.path for _, files in sorted(list_parts(folder).items()) for file in files]
        return chain.from_iterable(read_outcomes_of(places, _answered))


def _for_server(settings: ParserSettings) -> dict[str, Any]:
    """One worker, whose client has all requests in flight, and as long as its patience can last."""
    if settings.server is None:
        return {}
    one = settings.server.tries * (settings.server.timeout_s + MAX_WAIT_S) + 60
    waves = -(-_chunk(settings) // settings.server.requests_in_flight)
    return {"workers": 1, "batch": _chunk(settings), "part_limit_s": waves * one, "row_limit_s": one}


def _chunk(settings: ParserSettings) -> int:
    """Questions of a chunk, which a kill may cost: some four waves of requests, as the servers idle at its end."""
    return max(QUESTIONS_PER_CHUNK, 4 * settings.server.requests_in_flight) if settings.server else QUESTIONS_PER_CHUNK
