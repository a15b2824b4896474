"""A client for OpenAI-compatible chat servers (vLLM, Ray Serve, llama.cpp, hosted ones): many requests in flight.

What happens to a request:

    answered                                  its text, whatever it says: judging it is not the client's job
    429, 408, 5xx, too late, cut off          tried again, `tries` times in all: the first time at once where another
                                              server is as good, else after a wait with full jitter
    any other 4xx, a reply too large          failed: this request's fault
    wrong key, unknown model or address       the stage stops, with one sentence
    connection refused or no route            waits for the server; all servers away for `give_up_s`: the stage stops
    `failures_in_a_row` requests failed       the stage stops: this is no single request's fault

So what was answered is asked no more, and nothing is asked twice at the same time. Of several servers `balance` says
which is asked.
"""

from __future__ import annotations

import asyncio
import email.utils
import random
import time
from collections.abc import Sequence
from typing import Any

import httpx

from instructrestore.dataengine.running.server_settings import ChatRequest, ServerSettings
from instructrestore.dataengine.running.stage import Failed, StopStage
from instructrestore.dataengine.serving.balance import Server, choose
from instructrestore.shards.parsing import parse_json

KEY_ADVICE = "set api_key_env to the name of the environment variable that holds it"
MAX_REPLY_BYTES = 1 << 20
MAX_WAIT_S = 20.0
_CONNECT_S = 5.0
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


class _TryAgain(Exception):
    """A fault that may pass; wait_s: how long the server asks to be left alone (Retry-After)."""

    def __init__(self, cause: str, wait_s: float = 0) -> None:
        super().__init__(cause)
        self.wait_s = wait_s


class _Refused(Exception):
    """The server will not answer this request."""


class LanguageModel:
    """Asks servers of one model. Raises ValueError where the environment variable of the key is not set.

    key_advice: what to do where a server does not accept the key.
    """

    def __init__(self, settings: ServerSettings, key_advice: str = KEY_ADVICE) -> None:
        assert settings.where == "running", "a model that the build runs is asked at `ServerSettings.reached`"
        self._settings = settings
        self._key, self._key_advice = settings.key(), key_advice
        self._certificates = httpx.create_ssl_context()
        self._servers = [Server(url) for url in settings.urls]  # what is known of them lasts from call to call
        self._failed_in_a_row = 0

    def ask(self, requests: Sequence[ChatRequest]) -> list[str | Failed]:
        """The reply's text to each request, in order. Raises StopStage when going on is pointless."""
        return asyncio.run(self._ask(requests))

    async def _ask(self, requests: Sequence[ChatRequest]) -> list[str | Failed]:
        settings = self._settings
        replies: list[str | Failed] = [Failed("not asked")] * len(requests)
        waiting = iter(enumerate(requests))
        for server in self._servers:
            server.away_since = server.away_since and time.monotonic()

        async def work() -> None:
            # A client each: one client's pool goes through all its connections at every request.
            async with self._client() as client:
                for place, request in waiting:  # shared: each worker takes the next one
                    waves = (len(requests) - 1 - place) / len(workers)
                    replies[place] = await self._reply(client, request, waves)

        workers = [asyncio.create_task(work()) for _ in range(min(settings.requests_in_flight, len(requests)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return replies

    def _client(self) -> httpx.AsyncClient:
        headers = {"Accept-Encoding": "identity"}  # a compressed reply could be of any size
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        timeout_s = self._settings.timeout_s
        return httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s / 2)),
            # Idle connections are closed here before a server closes them (after 5 s, usually) under a request.
            limits=httpx.Limits(keepalive_expiry=3),
            follow_redirects=False,
            verify=self._certificates,
            trust_env=not self._settings.direct,
        )

    async def _reply(self, client: httpx.AsyncClient, request: ChatRequest, waves: float) -> str | Failed:
        """waves: as for `choose`."""
        settings = self._settings
        failed_at: set[Server] = set()
        faults, wait_s, has_failed = 0, 0.0, False
        while True:
            server = await choose(self._servers, failed_at, waves)
            if has_failed and (faults > 1 or server in failed_at):  # the second fault may be one that all share
                has_failed = False
                bound = min(MAX_WAIT_S, settings.backoff_s * 2.0 ** (faults - 1))
                await asyncio.sleep((wait_s if server in failed_at else 0) + random.uniform(0, bound))
                continue
            started, wait_s = time.monotonic(), 0.0
            server.begun.append(started)
            try:
                text = await asyncio.wait_for(self._post(client, server, request), settings.timeout_s)
                server.answered(time.monotonic() - started)
                self._failed_in_a_row = 0
                return text
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                cause = f"cannot connect ({type(error).__name__}: {error})"
                if isinstance(error, httpx.ConnectTimeout):
                    server.late(time.monotonic() - started)
                server.unreachable(settings.backoff_s)
                self._give_up(cause)
                if server.heard_at < started:
                    continue  # no fault of the request, unless the server talks to others in the meantime
            except (asyncio.TimeoutError, httpx.TimeoutException):
                cause = f"no complete reply within {settings.timeout_s:g} s"
                server.late(time.monotonic() - started)
                server.failed(settings.backoff_s, 0)
            except httpx.TransportError as error:
                cause = f"the reply was cut off ({type(error).__name__})"
                server.failed(settings.backoff_s, 0)
            except _TryAgain as error:
                cause, wait_s = str(error), error.wait_s
                server.failed(settings.backoff_s, wait_s)
            except _Refused as error:
                return self._failed(str(error), server)
            finally:
                server.begun.remove(started)
            faults, has_failed = faults + 1, True
            failed_at.add(server)
            if faults >= settings.tries:
                return self._failed(f"{cause}, {settings.tries} times", server)

    async def _post(self, client: httpx.AsyncClient, server: Server, request: ChatRequest) -> str:
        """One try. Returns the reply's text."""
        body: dict[str, Any] = {
            "model": self._settings.model,
            "messages": list(request.messages),
            "max_tokens": self._settings.max_tokens,
            "temperature": request.temperature,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "reply", "strict": True, "schema": request.schema},
            },
        }
        if request.seed is not None:
            body["seed"] = request.seed
        async with client.stream("POST", f"{server.url}/chat/completions", json=body) as response:
            server.heard()
            data = bytearray()
            async for chunk in response.aiter_raw():
                data += chunk
                if len(data) > MAX_REPLY_BYTES:
                    raise _Refused(f"the reply is larger than {MAX_REPLY_BYTES} bytes")
        if response.status_code != 200:
            self._complain(server, response, bytes(data))
        return _content(bytes(data))

    def _complain(self, server: Server, response: httpx.Response, data: bytes) -> None:
        """Raises what a status other than 200 means."""
        status = response.status_code
        at = f"the language model server at {server.url}"
        if status in (401, 403):
            raise StopStage(f"{at} does not accept the key (HTTP {status}); {self._key_advice}")
        if status == 404:
            raise StopStage(f'{at} does not know the model "{self._settings.model}" or the address (HTTP 404)')
        if 300 <= status < 400:
            raise StopStage(f"{at} sends requests elsewhere (HTTP {status}); give the final address")
        message = f"HTTP {status}{self._message(data)}"
        if status in _TRANSIENT:
            raise _TryAgain(message, _seconds(response.headers.get("Retry-After", "")))
        raise _Refused(message)

    def _message(self, data: bytes) -> str:
        """A server's own words, shortened, with the key masked should they repeat it."""
        text = data.decode("utf-8", "replace")
        try:
            reply = parse_json(text, "the reply")
        except ValueError:
            reply = None
        if isinstance(reply, dict):
            error = reply.get("error", reply)
            text = str(error.get("message", "") if isinstance(error, dict) else error)
        text = " ".join(text.split())
        if self._key:
            text = text.replace(self._key, "***")
        return f": {text[:200]}" if text else ""

    def _give_up(self, cause: str) -> None:
        """Raises StopStage when all servers are away too long."""
        now = time.monotonic()
        away = [server.away_since for server in self._servers]
        if all(since is not None and now - since >= self._settings.give_up_s for since in away):
            urls = ", ".join(server.url for server in self._servers)
            raise StopStage(f"the language model server at {urls} does not answer: {cause}")

    def _failed(self, error: str, server: Server) -> Failed:
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= self._settings.failures_in_a_row:
            raise StopStage(
                f"the language model server at {server.url} failed {self._failed_in_a_row} requests in a row: {error}"
            )
        return Failed(error)


def _content(data: bytes) -> str:
    """The text of a chat completion. A body that is none was cut short or mangled on its way: worth another try."""
    try:
        content = parse_json(data, "the reply")["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        raise _TryAgain("the reply is not a chat completion") from None
    if content is not None and not isinstance(content, str):
        raise _TryAgain("the reply is not a chat completion")
    return content or ""


def _seconds(retry_after: str) -> float:
    """A Retry-After header (seconds or an HTTP date) in seconds, 0..20; 0 for anything else."""
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return 0
    return min(max(seconds, 0), MAX_WAIT_S) if seconds == seconds else 0
