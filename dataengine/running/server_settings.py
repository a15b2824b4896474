"""Where a language model runs, and how: the settings, apart from the code that acts on them, which imports ray."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from instructrestore.dataengine.running.identity import NO_RESULT

# A server listens where nobody but the build's workers can ask it, and asks for a key of the build's own.
_OF_THE_SERVER = ("host", "port", "uds", "api_key")


class VllmSettings(BaseModel):
    """How the build runs a model by vLLM, as a server or in process. Never part of an answer's identity."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    python: str = Field(
        default="",
        description="the Python of the environment that vLLM is installed in, the same path on every node; empty: the "
        "build's own, as it must be in process",
    )
    folder: str = Field(
        default="",
        description="a folder with the model's weights, the same path on every node; empty: from the hub, by the "
        "server's model and revision",
    )
    replicas: int | None = Field(default=None, ge=1, description="servers of the model; unset: all that fit")
    tensor_parallel: int = Field(default=1, ge=1, description="GPUs of one node that a replica is spread over")
    gpus: float | None = Field(
        default=None,
        ge=0,
        description="GPUs that Ray sets aside for a replica: a fraction shares one, 0 is for CPUs; unset: as "
        "tensor_parallel",
    )
    gpu_memory: float = Field(
        default=0.9, gt=0, le=1, description="share of a GPU's memory that a replica may take, cache included"
    )
    max_model_len: int = Field(
        default=2048, ge=256, description="longest prompt with its reply, in tokens; bounds the cache a request needs"
    )
    dtype: str = Field(default="auto", min_length=1, description="of weights and activations; auto: the weights' own")
    options: dict[str, JsonValue] = Field(
        default={},
        description="further arguments of vLLM's engine by name, as in {enforce_eager = true, quantization = 'awq'}",
    )
    start_limit_s: float = Field(default=1800, gt=0, description="seconds in which a server must be ready")
    restarts: int = Field(default=2, ge=0, description="how often a server that died is started again")

    @field_validator("options")
    @classmethod
    def _of_the_engine(cls, options: dict[str, JsonValue]) -> dict[str, JsonValue]:
        for name in options:
            if name.replace("-", "_") in _OF_THE_SERVER:
                raise ValueError(f"options are of vLLM's engine: {name} is the build's to say, which asks the server")
        return options

    @property
    def gpus_per_replica(self) -> float:
        return self.tensor_parallel if self.gpus is None else self.gpus


class ServerSettings(BaseModel):
    """Where a language model runs, and how to sample from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    where: Annotated[Literal["running", "started", "in_process"], NO_RESULT] = Field(
        default="running",
        description="running: at servers that run already, at urls; started: at vLLM servers that the build starts on "
        "its Ray cluster for the stages that ask them, and stops; in_process: in batches by ray.data.llm, without a "
        "server. Answers are kept under the same name",
    )
    urls: Annotated[tuple[str, ...], NO_RESULT] = Field(
        default=(), description="of running servers, OpenAI-compatible, of one model, as in http://host:8000/v1"
    )
    vllm: Annotated[VllmSettings, NO_RESULT] = Field(
        default=VllmSettings(), description="how the build runs the model; unless it runs already"
    )
    model: str = Field(min_length=1, description="the model's name at the server; a hub id where the build runs it")
    revision: str = Field(
        default="", description="of the model's weights: for provenance, and what is downloaded where the build runs it"
    )
    api_key_env: Annotated[str, NO_RESULT] = Field(
        default="", description="environment variable that holds the key; never the key"
    )
    requests_in_flight: Annotated[int, NO_RESULT] = Field(
        default=64, ge=1, le=4096, description="requests under way at once, in all"
    )
    timeout_s: Annotated[float, NO_RESULT] = Field(
        default=60, gt=0, description="seconds for a request, connecting included"
    )
    tries: Annotated[int, NO_RESULT] = Field(
        default=6, ge=1, description="how often a request is sent before it has failed"
    )
    backoff_s: Annotated[float, NO_RESULT] = Field(
        default=0.5, gt=0, description="bound of the first wait before a new try; doubles to 20 s"
    )
    give_up_s: Annotated[float, NO_RESULT] = Field(
        default=30, gt=0, description="seconds without any server that stop the stage"
    )
    failures_in_a_row: Annotated[int, NO_RESULT] = Field(
        default=20, ge=1, description="failed requests in a row that stop the stage"
    )
    max_tokens: int = Field(default=128, ge=16, description="longest reply, in tokens")
    # 0.0 and not 0: a default is not validated, and identities are hashed from its text.
    temperature: float = Field(default=0.0, ge=0, le=2, description="of the first rounds' sampling; 0 is greedy")
    sampled_from_round: int = Field(default=3, ge=1, description="first round that is sampled at retry_temperature")
    retry_temperature: float = Field(
        default=0.7, ge=0, le=2, description="of the later rounds, so that an answer can differ from the one before"
    )

    @field_validator("urls")
    @classmethod
    def _plain_http(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"{url!r} is not the http(s) address of a server")
            _ = parts.port  # raises ValueError where it is no port
            if parts.username or parts.password or parts.query or parts.fragment:
                raise ValueError(
                    f"the address of {parts.hostname} has more than a host and a path; a key goes into api_key_env"
                )
        return tuple(url.rstrip("/") for url in urls)

    @model_validator(mode="after")
    def _consistent(self) -> ServerSettings:
        if self.where == "running" and not self.urls:
            raise ValueError(
                'a server that is "running" needs its urls; to have the build run the model set where to "started"'
            )
        if self.where != "running" and not (self.revision or self.vllm.folder):
            raise ValueError(
                f'the build downloads the model "{self.model}": give its revision (a commit), or vllm.folder with its '
                "weights"
            )
        return self

    @model_serializer(mode="wrap")
    def _in_use(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without where and how the build runs the model, unless it does: the dump of a running server stays what it
        was."""
        fields = handler(self)
        if self.where == "running":
            fields.pop("where", None)
            if self.vllm == VllmSettings():
                fields.pop("vllm", None)
        return fields

    def reached(self, urls: Sequence[str], key: str) -> ServerSettings:
        """These settings for servers that the build has started, which ask for `key`.

        A server that died is started again meanwhile: it is waited for as long as that can take, and the build itself
        says when it is in vain.
        """
        waited_s = (self.vllm.restarts + 1) * self.vllm.start_limit_s
        changes = {"where": "running", "urls": tuple(urls), "api_key_env": "", "give_up_s": waited_s}
        reached = self.model_copy(update=changes)
        reached._key = key
        return reached

    _key: str = PrivateAttr(default="")  # of started servers; in no dump, no repr and no file

    def key(self) -> str:
        """The servers' key, or "". Raises ValueError where the environment variable that holds it is not set."""
        if not self.api_key_env:
            return self._key
        if not os.environ.get(self.api_key_env):
            raise ValueError(f"the environment variable {self.api_key_env}, named by api_key_env, is not set")
        return os.environ[self.api_key_env]

    @property
    def started(self) -> bool:
        """Whether the build has started the servers."""
        return bool(self._key)

    @property
    def direct(self) -> bool:
        """Whether no proxy may be on the way: to a node of the cluster, or to this machine."""
        return self.started or all(_is_loopback(urlsplit(url).hostname or "") for url in self.urls)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class ChatRequest:
    """One chat completion to ask for.

    messages: as in the OpenAI API (role, content). schema: JSON schema that the reply must follow.
    seed: of the sampling; None where it is greedy.
    """

    messages: Sequence[dict[str, Any]]
    schema: dict[str, Any]
    temperature: float = 0
    seed: int | None = None
