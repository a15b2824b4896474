"""An object store for tests and benchmarks: moto's S3 server in this process, with a latency, a log and an end."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import pytest

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_MAX_ATTEMPTS": "1",
}


@dataclass(frozen=True)
class Request:
    """A request: "GET", "LIST", "PUT", ..., and the object's name with its bucket, or the prefix listed. came: when."""

    kind: str
    name: str
    came: float = field(default_factory=time.monotonic, compare=False)


class ObjectStore:
    """Listens on a local port while in a `with` block. Each request is answered `latency_s` after it came.

    requests: those that came, in order. ended: called in place of request number `last`, and of those after it, which
    get no answer and change nothing; None: there is no such request.
    """

    def __init__(self, latency_s: float = 0) -> None:
        self.latency_s = latency_s
        self.last: int | None = None
        self.ended: Callable[[], None] = lambda: None
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        for needed in ("moto", "flask", "flask_cors", "s3fs"):
            pytest.importorskip(needed, reason=f"the S3 server of these tests needs {needed}: pip install -e '.[test]'")
        from moto.moto_server.werkzeug_app import (
            DomainDispatcherApplication,
            MotoRequestHandler,
            create_backend_app,
        )
        from moto.s3.models import s3_backends
        from s3fs import S3FileSystem
        from werkzeug.serving import make_server

        S3FileSystem.clear_instance_cache()  # else it keeps to the server of a test before
        self._backend = s3_backends["123456789012"]["aws"]
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._http = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=MotoRequestHandler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self.environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": self.url}

    def __enter__(self) -> ObjectStore:
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def begin(self, last: int | None = None, ended: Callable[[], None] = lambda: None) -> None:
        """Forgets the requests so far."""
        with self._lock:
            self.requests, self.last, self.ended = [], last, ended

    # By hand, past the protocol: neither counted nor late, and far quicker.

    def put(self, key: str, data: bytes) -> None:
        """Puts an object into the bucket "bucket"."""
        self._backend.put_object("bucket", key, data)

    def objects(self, prefix: str) -> dict[str, bytes]:
        """The objects of that bucket whose keys begin so, by what follows."""
        found = self._backend.buckets["bucket"].keys.items() if "bucket" in self._backend.buckets else ()
        return {key[len(prefix) :]: each.value for key, each in found if key.startswith(prefix)}

    def remove(self, prefix: str) -> None:
        """Removes them."""
        for key in self.objects(prefix):
            self._backend.delete_object("bucket", prefix + key)

    def _answer(self, environment: dict[str, Any], start: Any) -> Iterable[bytes]:
        with self._lock:
            if self.last is not None and len(self.requests) >= self.last:
                self.ended()
                environment["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
                raise ConnectionAbortedError
            self.requests.append(_request(environment))
        time.sleep(self.latency_s)
        return self._moto(environment, start)


def _request(environment: dict[str, Any]) -> Request:
    name, kind = environment["PATH_INFO"].strip("/"), environment["REQUEST_METHOD"]
    asked = parse_qs(environment["QUERY_STRING"], keep_blank_values=True)
    if kind == "GET" and "list-type" in asked:
        return Request("LIST", f"{name}/{asked.get('prefix', [''])[0]}")
    if kind == "POST" and "delete" in asked:
        return Request("DELETE many", name)
    return Request(kind, name)
