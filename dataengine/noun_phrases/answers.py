"""The answer cache: what a model said of a description in a round, asked once and kept.

    answers/<identity>/round-<n>/     the files of part_files.py, a chunk of questions each

`identity` stands for (model, revision, prompt, sampling). A served model's answers depend on how its requests happen
to be batched; the cache is therefore the source of truth: the same cache gives the same data set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from pydantic import TypeAdapter

from dataengine.noun_phrases.parser import Answered, Parse, ParserSettings, Question, cache_identity
from dataengine.outcomes import StageSpec, Task
from dataengine.part_files import Outcome, Slice, digest, list_parts, read_outcomes, write_part
from shards.files import sweep

QUESTIONS_PER_CHUNK = 1024
REQUEST_FAILED = "request_failed"
COLUMNS = ["round", "model", "revision", "noun_phrase", "subject", "faults"]
_answered = TypeAdapter(Answered)
_questions = TypeAdapter(Question)

RunStage = Callable[[StageSpec, Sequence[Task]], None]


class AnswerCache:
    """The cache of one run, and the one who asks for what it lacks.

    run: does tasks of a stage and commits their parts.
    retry_failed: whether requests that failed for good in an earlier build are sent again.
    """

    def __init__(self, folder: Path, run: RunStage, retry_failed: bool) -> None:
        self._folder = folder
        self._run = run
        self._retry_failed = retry_failed

    def ask(self, settings: ParserSettings, number: int, descriptions: Sequence[str]) -> pd.DataFrame:
        """The answers of round `number` to distinct descriptions, indexed by description (columns: `COLUMNS`).

        A request that failed is an answer with the fault `request_failed`.
        """
        folder = self._folder / cache_identity(settings) / f"round-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        known = self._known(folder, keep_failed=not self._retry_failed)
        missing = [description for description in descriptions if description not in known]
        if missing:
            self._ask(folder, settings, number, missing)
            known = self._known(folder, keep_failed=True)
        wanted = [known[description] for description in descriptions]
        return pd.DataFrame(wanted, columns=COLUMNS, index=pd.Index(descriptions, name="description"))

    def _ask(self, folder: Path, settings: ParserSettings, number: int, missing: Sequence[str]) -> None:
        spec = StageSpec(
            name=f"noun phrases, round {number}",
            build=partial(Parse, settings),
            identity=cache_identity(settings),
            row_type=Question,
            result_type=Answered,
            batch=QUESTIONS_PER_CHUNK,
            workers=1 if settings.server else None,  # one client has all of the requests in flight
        )
        asked = folder / "questions"
        asked.mkdir(exist_ok=True)
        first = max(list_parts(folder), default=-1) + 1
        tasks = []
        for place in range(0, len(missing), QUESTIONS_PER_CHUNK):
            chunk = missing[place : place + QUESTIONS_PER_CHUNK]
            rows = [Outcome(text, "ok", Question(text, number)) for text in chunk]
            file, _ = write_part(asked, first + len(tasks), digest(chunk), 0, rows, _questions)
            tasks.append(Task(file.part, (Slice(str(file.path)),), folder, file.input))
        self._run(spec, tasks)
        for path in asked.iterdir():
            path.unlink()
        asked.rmdir()

    def _known(self, folder: Path, keep_failed: bool) -> dict[str, tuple[object, ...]]:
        """All answers of a round, the latest of each description."""
        known: dict[str, tuple[object, ...]] = {}
        for outcome in self._outcomes(folder):
            if outcome.row:
                answer = outcome.row.answer
                known[outcome.row.question.description] = tuple(getattr(answer, column) for column in COLUMNS)
            elif keep_failed:
                known.setdefault(outcome.name, (0, "", "", "", "", REQUEST_FAILED))
        return known

    def _outcomes(self, folder: Path) -> Iterator[Outcome[Answered]]:
        for _, files in sorted(list_parts(folder).items()):
            for file in files:
                yield from read_outcomes(file.path, _answered)
