"""A language-model server that misbehaves on purpose: real HTTP, OpenAI's chat completions, faults by a seeded hash."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TRANSPORT = ("late", "429", "429 retry-after", "500", "cut off", "not json")
CONTENT = ("wrong json", "prompt leak", "parroting")

Choose = Callable[[str, int], str]
"""(description, number of the try from 0) -> a fault of the above, another status such as "400", "dies", or "ok"."""


def seeded(share: float, seed: int = 0) -> Choose:
    """Faults of every kind, evenly, for `share` of all tries."""

    def choose(description: str, tried: int) -> str:
        digest = hashlib.sha256(f"{seed} {tried} {description}".encode()).digest()
        if int.from_bytes(digest[:4], "big") / 2**32 >= share:
            return "ok"
        kinds = TRANSPORT + CONTENT
        return kinds[digest[4] % len(kinds)]

    return choose


class FaultyServer:
    """Listens on a local port (0: a free one) while in a `with` block.

    served: what each description was answered, in order. most_at_once: requests under way at the same moment.
    bodies: the JSON of every request. keys: the Authorization headers seen. answered: how often each description was
    sent a whole completion.
    """

    def __init__(
        self,
        choose: Choose = lambda description, tried: "ok",
        late_s: float = 1.0,
        delay_s: float = 0,
        port: int = 0,
    ) -> None:
        self.served: defaultdict[str, list[str]] = defaultdict(list)
        self.bodies: list[dict[str, Any]] = []
        self.keys: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.most_at_once = 0
        self._choose = choose
        self._late_s, self._delay_s = late_s, delay_s
        self._at_once = 0
        self._dead = False
        self._lock = threading.Lock()
        self._http = _Server(("127.0.0.1", port), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self) -> FaultyServer:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def die(self) -> None:
        """As a killed process: what is under way is cut off, and nothing listens any more."""
        self._dead = True
        self.__exit__()

    def _take(self, body: dict[str, Any], key: str) -> tuple[str, str]:
        """Notes a request. Returns its description and what to do with it."""
        description = json.loads(body["messages"][-1]["content"])["description"]
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self.bodies.append(body)
            self.keys[key] += 1
            fault = self._choose(description, len(self.served[description]))
            self.served[description].append(fault)
        return description, fault

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                description, fault = owner._take(body, self.headers.get("Authorization", ""))
                try:
                    time.sleep(owner._late_s if fault == "late" else owner._delay_s)
                    if fault == "dies" and not owner._dead:
                        owner.die()
                    if owner._dead:
                        raise ConnectionAbortedError
                    self._answer(description, fault)
                except OSError:  # the client has given up and gone
                    self.close_connection = True
                finally:
                    with owner._lock:
                        owner._at_once -= 1

            def _answer(self, description: str, fault: str) -> None:
                if fault == "429 retry-after":
                    self._send(429, b'{"error": {"message": "slow down"}}', {"Retry-After": "0.2"})
                elif fault.isdigit():
                    message = f"no {self.headers.get('Authorization', '')} " + "and on " * 200
                    self._send(int(fault), json.dumps({"error": {"message": message}}).encode())
                elif fault == "moved":
                    self._send(307, b"", {"Location": "http://127.0.0.1:9/v1/chat/completions"})
                elif fault == "endless":
                    self._send(200, b" " * (3 << 20))
                elif fault == "not json":
                    self._send(200, b'{"choices": [{"mess')
                else:
                    reply = json.dumps({"choices": [{"message": {"content": content(description, fault)}}]}).encode()
                    owner.answered[description] += fault != "cut off"
                    self._send(200, reply, cut=fault == "cut off")

            def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None, cut: bool = False) -> None:
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if cut else data)
                self.close_connection = self.close_connection or cut

            def log_message(self, format: str, *args: Any) -> None:
                """Silent: what was served is kept in `served`."""

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silent: clients that hang up are part of the test."""


def content(description: str, fault: str) -> str:
    """What the model says. Sound answers to "the THING number N is COLOUR" are right."""
    words = description.split()
    if fault == "wrong json":
        return '{"noun_phrase": "the ' + words[1]
    if fault == "prompt leak":
        return json.dumps({"noun_phrase": "### Question: rewrite the description", "subject": "description"})
    if fault == "parroting":
        return json.dumps({"noun_phrase": "the " + f"{words[1]} " * 30, "subject": words[1]})
    return json.dumps({"noun_phrase": f"the {words[-1]} {words[1]}", "subject": words[1]})
