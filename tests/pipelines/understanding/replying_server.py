"""An OpenAI-compatible server that says what a test wants: real HTTP, and every request kept."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GOOD = {"kind": "restore", "regions": [{"caption": "the dog", "scale": 0.9}], "others": 1.1, "bokeh": False}
CANONICAL = "make the dog clear with 0.9 and keep other parts clear with 1.1"


class ReplyingServer:
    """replies: contents of the chat completions, one after the other, the last for ever; a number is an HTTP status.

    models: what GET /models lists. late_s: before each completion. bodies, headers: of the completions asked for.
    """

    def __init__(
        self, *replies: str | int | Mapping[str, Any], models: Sequence[str] = ("m",), late_s: float = 0
    ) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.lists = 0
        self._replies, self._models, self._late_s = replies or (GOOD,), models, late_s
        self._http = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self) -> ReplyingServer:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def wishes(self) -> list[str]:
        """The last message of each request."""
        return [body["messages"][-1]["content"] for body in self.bodies]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.lists += 1
                self._send(200, {"data": [{"id": name} for name in owner._models]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                reply = owner._replies[min(len(owner.bodies), len(owner._replies) - 1)]
                owner.bodies.append(body)
                owner.headers.append(dict(self.headers))
                time.sleep(owner._late_s)
                if isinstance(reply, int):
                    self._send(reply, {"error": {"message": "no"}})
                    return
                content = reply if isinstance(reply, str) else json.dumps(reply)
                self._send(200, {"choices": [{"message": {"content": content}}]})

            def _send(self, status: int, value: Any) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                """Silent."""

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silent: clients that hang up are part of the test."""
