"""Which models a server has: the answer to GET /models of the OpenAI API."""

from __future__ import annotations

import time

import httpx

from instructrestore.dataengine.running.server_settings import ServerSettings
from instructrestore.dataengine.running.stage import StopStage
from instructrestore.shards.errors import first_line
from instructrestore.shards.parsing import parse_json

MAX_BYTES = 1 << 20


def served_models(server: ServerSettings, limit_s: float) -> list[str]:
    """The names of the models that a running server, the first of `urls`, says it has.

    Raises StopStage, in one sentence, where it gives no such list within `limit_s` seconds.
    """
    url, key = server.urls[0], server.key()
    headers = {"Accept-Encoding": "identity", **({"Authorization": f"Bearer {key}"} if key else {})}
    until = time.monotonic() + limit_s
    at = f"the language model server at {url}"
    try:
        with (
            httpx.Client(
                timeout=limit_s, headers=headers, follow_redirects=False, trust_env=not server.direct
            ) as client,
            client.stream("GET", f"{url}/models") as answer,
        ):
            data = bytearray()
            for chunk in answer.iter_raw():
                data += chunk
                if len(data) > MAX_BYTES:
                    raise StopStage(f"{at} sends more than a list of models")
                if time.monotonic() > until:
                    raise httpx.ReadTimeout("drop by drop")
    except httpx.TimeoutException:
        raise StopStage(f"{at} does not answer within {limit_s:g} s") from None
    except httpx.HTTPError as error:
        raise StopStage(f"{at} does not answer: {first_line(error)}") from None
    if answer.status_code in (401, 403):
        raise StopStage(f"{at} does not accept the key (HTTP {answer.status_code})")
    models = models_in(answer.status_code, bytes(data))
    if models is None:
        raise StopStage(f"{at} lists no models (HTTP {answer.status_code}): the address should end as in /v1")
    return sorted(models)


def models_in(status: int, content: bytes) -> set[str] | None:
    """The ids in an answer to GET /models; None if it is not one."""
    try:
        if status != 200:
            return None
        return {str(model["id"]) for model in parse_json(content, "the answer")["data"]}
    except (ValueError, LookupError, TypeError):
        return None
