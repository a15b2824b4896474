"""The stage that turns descriptions into noun phrases: the embedded grammar, or a served language model.

It works on distinct descriptions, not photos: there is one question for each description of the whole run and each
round. Either way the same `validation` checks the answer, and a faulty one is an answer with its faults named; the
retry rounds decide what to do about it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from instructrestore.dataengine.noun_phrases import grammar, prompt, validation
from instructrestore.dataengine.noun_phrases.english.noun_phrase import NounPhrase
from instructrestore.dataengine.running.identity import marked
from instructrestore.dataengine.running.server_settings import ChatRequest, ServerSettings
from instructrestore.dataengine.running.stage import Drop, Failed
from instructrestore.dataengine.serving.language_model import LanguageModel
from instructrestore.shards.sample import Answer

_strict = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class PhraseResult:
    """The result of the rounds for a description: the accepted answer, or why there is none.

    dropped: the countable reason why regions with this description are left out; empty if they are kept.
    answers: every attempt, in the order of the rounds.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    noun_phrase: str
    subject: str
    dropped: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Question:
    """A description to parse, and the round (1, 2, 3, ...) in which it is parsed."""

    __pydantic_config__ = _strict

    description: str
    round: Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class ParserAnswer:
    """A question with its answer; `answer.faults` is empty for a valid one."""

    __pydantic_config__ = _strict

    question: Question
    answer: Answer


class ParserSettings(BaseModel):
    """Who parses the descriptions of a round."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["grammar", "server"] = Field(
        default="grammar", description="the embedded grammar, or a language model on a server"
    )
    strict: bool = Field(default=False, description="the grammar's stricter rules, for the retry rounds")
    server: ServerSettings | None = Field(default=None, description="the language model; for kind server")

    @model_validator(mode="after")
    def _consistent(self) -> ParserSettings:
        if self.kind == "server" and self.server is None:
            raise ValueError('a parser of kind "server" needs a server: give its urls and its model')
        if self.kind == "grammar" and self.server is not None:
            raise ValueError(
                'a parser of kind "grammar" uses no server: set kind to "server", or leave the server out and choose '
                "a preset without one"
            )
        if self.kind == "server" and self.strict:
            raise ValueError('"strict" is a setting of the grammar, not of a server')
        return self


class Parser:
    """The stage. Each distinct question of a call is answered once.

    server: replaces that of the settings if the build has started the model's servers itself.
    """

    def __init__(self, settings: ParserSettings, server: ServerSettings | None = None) -> None:
        self._settings = settings
        self._server = server or settings.server
        self._grammar = grammar.Grammar(strict=settings.strict)
        self._model = LanguageModel(self._server) if self._server and self._server.where != "in_process" else None

    def __call__(self, questions: Sequence[Question]) -> list[ParserAnswer | Drop | Failed]:
        """An answer to each question, in order, or why its request failed. Raises StopStage if the server is gone."""
        distinct = list(dict.fromkeys(questions))
        if self._server:
            assert self._model, "in process, `request` and `answered` are called"
            replies = self._model.ask([self.request(question) for question in distinct])
            outcomes = dict(zip(distinct, map(self.answered, distinct, replies), strict=True))
        else:
            outcomes = {question: self._parsed(question) for question in distinct}
        return [outcomes[question] for question in questions]

    def request(self, question: Question) -> ChatRequest:
        """The request to a language model for a question."""
        assert self._server
        return chat_request(question, self._server)

    def answered(self, question: Question, reply: str | Failed) -> ParserAnswer | Failed:
        """A language model's reply, judged."""
        if isinstance(reply, Failed):
            return reply
        assert self._server
        return judged(question, validation.read_answer(reply), self._server.model, self._server.revision)

    def _parsed(self, question: Question) -> ParserAnswer:
        """The grammar's answer, judged; the fault is "empty" if it finds no noun phrase in the description."""
        model = "grammar-strict" if self._settings.strict else "grammar"
        return judged(question, self._grammar(question.description) or NounPhrase("", ""), model, grammar.REVISION)


def judged(question: Question, parsed: NounPhrase | str, model: str, revision: str) -> ParserAnswer:
    """An answer with its faults. parsed: as `validation.read_answer` returns it, a text being the name of a fault."""
    if isinstance(parsed, str):
        answer = Answer(model, revision, question.round, "", "", parsed)
    else:
        faults = " ".join(validation.faults(parsed, question.description))
        answer = Answer(model, revision, question.round, parsed.text, parsed.subject, faults)
    return ParserAnswer(question, answer)


def chat_request(question: Question, server: ServerSettings) -> ChatRequest:
    """The request for a question: greedy at first; later rounds are sampled, with a seed from the question."""
    temperature = server.temperature if question.round < server.sampled_from_round else server.retry_temperature
    seed = sampling_seed(question) if temperature > 0 else None
    return ChatRequest(prompt.messages(question.description), prompt.SCHEMA, temperature, seed)


def sampling_seed(question: Question) -> int:
    """A seed from (description, round), 0..2^31 - 1: the same on every machine, different in the next round."""
    digest = hashlib.sha256(f"{question.round}\n{question.description}".encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def cache_identity(settings: ParserSettings) -> str:
    """Names the answer cache of these settings: 16 hex digits of everything besides the question that an answer depends
    on.

    Where the server is, and its timeouts and retries, do not matter.
    """
    parts: dict[str, Any]
    if settings.server is None:
        parts = {"model": "grammar", "revision": grammar.REVISION, "strict": settings.strict}
    else:
        parts = settings.server.model_dump(exclude=marked(ServerSettings))
        parts["prompt"] = prompt.PROMPT_REVISION
    parts["validation"] = validation.REVISION
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
