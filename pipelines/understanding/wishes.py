"""A wish -> an instruction: by the grammar, and where that refuses, by the language model that was configured.

Nothing is sent anywhere without a configured server, and nothing that the grammar understands is sent at all; photos
never are.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from pydantic import ValidationError

from instructrestore.dataengine.running.server_settings import ChatRequest, ServerSettings
from instructrestore.dataengine.running.stage import Failed, StopStage
from instructrestore.dataengine.serving.language_model import LanguageModel
from instructrestore.dataengine.serving.served_models import served_models
from instructrestore.model.instruction.instruction import Instruction
from instructrestore.model.instruction.parser import parse
from instructrestore.model.instruction.scanner import NotUnderstood
from instructrestore.pipelines.understanding.prompt import MAX_WISH_LENGTH, SCHEMA, messages, repair
from instructrestore.pipelines.understanding.reply import Inexpressible, Unusable, instruction_of

KEY = "INSTRUCTRESTORE_LANGUAGE_MODEL_KEY"
TIMEOUT_S = 120.0  # for a reply: a model of some size on a CPU takes a minute
LISTED_S = 10.0
MAX_NAME_LENGTH = 200  # of a model
GIVE_UP_S = 3.0  # without any connection


@dataclass(frozen=True)
class Understood:
    """What a wish was understood as.

    typed: the wish as it was written. model: the language model that read it, by the name that its server knows; None
    where the grammar understood it, and nothing was sent anywhere.
    """

    typed: str
    instruction: Instruction
    model: str | None = None

    def record(self) -> dict[str, str]:
        """What the record of a result says of it; empty where the grammar understood it."""
        return {"typed": self.typed, "understood_by": self.model} if self.model else {}


@dataclass(frozen=True)
class WishModel:
    """Where a language model is asked: an OpenAI-compatible server, and the model's name there.

    url: as in http://127.0.0.1:8000/v1, without a key, which is in the environment variable KEY. name: None where the
    server has one model only. Raises ValueError, in one sentence, for what is no such address.
    """

    url: str
    name: str | None = None

    def __post_init__(self) -> None:
        if self.name is not None and not 0 < len(self.name) <= MAX_NAME_LENGTH:
            raise ValueError(f"--language-model-name: a name has 1 to {MAX_NAME_LENGTH} characters")
        self._settings(self.name or "any")

    def _settings(self, model: str) -> ServerSettings:
        try:
            return ServerSettings(
                urls=(self.url,), model=model, api_key_env=KEY if os.environ.get(KEY) else "", requests_in_flight=1,
                timeout_s=TIMEOUT_S, tries=2, give_up_s=GIVE_UP_S, failures_in_a_row=1_000_000, max_tokens=512,
            )  # fmt: skip
        except ValidationError as error:
            said = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
            raise ValueError(f"--language-model: {said.replace('api_key_env', KEY)}") from None

    def settings(self) -> ServerSettings:
        """How the server is asked. Raises StopStage where no name was given, and its list of models does not help."""
        if self.name:
            return self._settings(self.name)
        models = [name for name in served_models(self._settings("any"), LISTED_S) if len(name) <= MAX_NAME_LENGTH]
        if len(models) != 1:
            some = ", ".join(models[:5]) + (" ..." if models[5:] else "")
            raise StopStage(
                f"the language model server at {self.url} has {f'the models {some}' if models else 'no model'}: "
                "name one with --language-model-name"
            )
        return self._settings(models[0])


class WishReader:
    """Reads wishes, each text once. model: who is asked where the grammar refuses; None: nobody.

    by_model: what the language model has read so far, in order.
    """

    def __init__(self, model: WishModel | None = None) -> None:
        self._model = model
        self._known: dict[str, Understood] = {}
        self._settings: ServerSettings | None = None

    @property
    def by_model(self) -> list[Understood]:
        return list(self._known.values())

    def __call__(self, text: str) -> Understood:
        """What a wish means.

        Raises ValueError, in one sentence, for a wish that is not understood; it is NotUnderstood, with the place,
        where the grammar knows one. Raises StopStage where the server cannot be asked.
        """
        try:
            return Understood(text, parse(text))
        except ValueError as error:
            if not self._model or not text.strip() or len(text) > MAX_WISH_LENGTH:
                raise
            refusal = error
        if text not in self._known:
            try:
                self._known[text] = self._asked(self._model, text)
            except ValueError as error:
                if isinstance(refusal, NotUnderstood):
                    raise NotUnderstood(f"{refusal}; {error}", refusal.at) from None
                raise ValueError(f"{refusal}; {error}") from None
        return self._known[text]

    def _asked(self, model: WishModel, text: str) -> Understood:
        """Raises ValueError, in one sentence, where the model finds no instruction in the wish."""
        if self._settings is None:
            self._settings = model.settings()
        settings = self._settings
        client = LanguageModel(settings, f"set the environment variable {KEY} to it")
        asked, fault = messages(text), ""
        for _ in range(2):
            reply = client.ask([ChatRequest(asked, SCHEMA)])[0]
            if isinstance(reply, Failed):
                raise ValueError(f"the language model {settings.model} was asked, but {reply.error}")
            try:
                return Understood(text, instruction_of(reply), settings.model)
            except Inexpressible as error:
                raise ValueError(
                    f"the language model {settings.model} says that no instruction can do it: {error}"
                ) from None
            except Unusable as error:
                fault = str(error)
                asked = repair(asked, reply, fault)
        raise ValueError(f"the language model {settings.model} was asked twice, and its reply cannot be used: {fault}")
