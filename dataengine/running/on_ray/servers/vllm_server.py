"""One vLLM server on this machine: started, waited for, watched, started again when it dies, stopped.

Knows nothing of Ray. The server runs under `keeper.py`, so that it ends with the process that holds this object.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

import httpx

from instructrestore.dataengine.running.on_ray.loopback import INTERFACES, LOOPBACK
from instructrestore.dataengine.running.on_ray.servers import keeper
from instructrestore.dataengine.running.server_settings import ServerSettings

_KEEPER = Path(keeper.__file__)
_POLL_S = 0.5
_HEALTH_S = 5.0
_SILENT_S = 60.0  # a server whose health has not answered for so long counts as dead
_KEPT_LINES = 2_000
_SENTENCE = 400
_PORTS = 3
_TAKEN = os.strerror(errno.EADDRINUSE)
# Of another environment's Python these would be the wrong ones.
_NOT_FOR_THE_SERVER = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
_ERROR = re.compile(r"\b\w*(?:Error|Exception)\b: ")
_LOGGER = re.compile(r"^\(\w+ pid=\d+\) ?|^(?:INFO|WARNING|ERROR|DEBUG) \d\d-\d\d [\d:]+ \[[^\]]*\] ?")
# Errors that only tell of another one.
_POINTERS = re.compile(
    r"see (?:the )?(?:root cause|stack trace|error)[^.]*above|failed core proc|^(?:\S*\()?ray\.\S*:", re.IGNORECASE
)


class ServerFault(Exception):
    """Why there is no server, in one sentence."""


def command(server: ServerSettings, host: str, port: int) -> list[str]:
    """The command that serves the model; the key is no part of it (environment variable VLLM_API_KEY)."""
    vllm = server.vllm
    arguments: dict[str, object] = {
        "model": vllm.folder or server.model,
        "served-model-name": server.model,
        "host": host,
        "port": port,
        "dtype": vllm.dtype,
        "max-model-len": vllm.max_model_len,
        "gpu-memory-utilization": vllm.gpu_memory,
        "tensor-parallel-size": vllm.tensor_parallel,
        # The request alone says how to sample: not the defaults that come with the weights (a repetition penalty, say).
        "generation-config": "vllm",
        # A model that may put white space between JSON's tokens can go on with it to the end of its reply.
        "structured-outputs-config": {"backend": "xgrammar", "disable_any_whitespace": True},
    }
    if server.revision and not vllm.folder:
        arguments["revision"] = server.revision
    if vllm.tensor_parallel > 1:
        arguments["distributed-executor-backend"] = "mp"
    for name, value in vllm.options.items():
        arguments[name.replace("_", "-")] = value
    words = [vllm.python or sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    for name, value in arguments.items():
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        else:
            words += [f"--{name}", json.dumps(value) if isinstance(value, dict | list) else str(value)]
    return words


class VllmServer:
    """A server at `host` that asks for `key`.

    `start` and `watch` raise ServerFault, with one sentence; `stop` may come from any thread.
    """

    def __init__(self, server: ServerSettings, host: str, key: str) -> None:
        self._server = server
        self._host = host
        self._key = key
        self._port = 0
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._reader: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._port}/v1"

    def start(self) -> None:
        """Starts the server and waits until it can be asked."""
        how = ""
        for _ in range(_PORTS):
            with socket.socket() as free:
                free.bind((self._host, 0))
                self._port = free.getsockname()[1]
            how = self._until_ready()
            if not how or not self._port_was_taken():
                break
        if how:
            raise self._fault(f"cannot be served: vLLM {how}")

    def watch(self) -> None:
        """Starts the server again, at its port, whenever it dies; returns once it was stopped."""
        restarts = self._server.vllm.restarts
        how = self._until_it_dies()
        for _ in range(restarts):
            if not self._stopping.is_set():
                self._end()
                how = self._until_ready() or self._until_it_dies()
        if not self._stopping.is_set():
            raise self._fault(f"is served no more: vLLM {how}, after {restarts} restarts")

    def stop(self) -> None:
        """Ends the server; returns when all its processes are gone."""
        self._stopping.set()
        self._end()

    def _until_ready(self) -> str:
        """Starts vLLM. Returns "" once it can be asked, else how it failed."""
        process = self._launch()
        limit_s = self._server.vllm.start_limit_s
        deadline = time.monotonic() + limit_s
        while not self._healthy():
            if process is None or self._stopping.wait(_POLL_S):
                return "was stopped"
            if process.poll() is not None:
                return f"ended with status {process.returncode}"
            if time.monotonic() > deadline:
                self._end()
                return f"was not ready within {limit_s:g} s (start_limit_s)"
        return ""

    def _port_was_taken(self) -> bool:
        """Whether another program came first, between the choice of the port and vLLM's use of it."""
        return _TAKEN in telling(self._said())

    def _launch(self) -> subprocess.Popen[str] | None:
        environment = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_THE_SERVER}
        if self._host == LOOPBACK:  # then its processes, too, need no other machine
            environment |= INTERFACES
        with self._lock:
            if self._stopping.is_set():
                return None
            self._lines.clear()
            process = subprocess.Popen(
                [sys.executable, "-I", str(_KEEPER), *command(self._server, self._host, self._port)],
                env=environment | {"VLLM_API_KEY": self._key, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.PIPE,  # held open: the keeper's sign that this process lives
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C is for the driver, which then stops the server
            )
            self._process = process
        self._reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        self._reader.start()
        return process

    def _read(self, process: subprocess.Popen[str]) -> None:
        """Passes the server's log on, to where Ray keeps it, and keeps its end."""
        assert process.stdout
        for line in process.stdout:
            line = line.rstrip().replace(self._key, "***")
            self._lines.append(line)
            print(line, flush=True)

    def _healthy(self) -> bool:
        try:
            answer = httpx.get(f"http://{self._host}:{self._port}/health", timeout=_HEALTH_S, trust_env=False)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200

    def _until_it_dies(self) -> str:
        """How the server died, or fell silent."""
        process = self._process
        if process is None:
            return "was stopped"
        heard = time.monotonic()
        while not self._stopping.wait(_POLL_S):
            if process.poll() is not None:
                return f"ended with status {process.returncode}"
            now = time.monotonic()
            if now - heard >= _HEALTH_S and self._healthy():
                heard = time.monotonic()
            elif now - heard > _SILENT_S:
                return f"did not answer for {_SILENT_S:g} s"
        return "was stopped"

    def _end(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin
        process.stdin.close()
        try:
            process.wait(keeper.GRACE_S + 10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _said(self) -> list[str]:
        if self._reader:
            self._reader.join(2)  # the last lines may still be on their way
        return list(self._lines)

    def _fault(self, what: str) -> ServerFault:
        said = telling(self._said())
        return ServerFault(f'the model "{self._server.model}" {what}' + (f"; its log says: {said}" if said else ""))


def telling(lines: Sequence[str]) -> str:
    """What a log says of its server's end, on one line: its last error that does not point to another, with the lines
    indented under it, else its last three lines."""
    plain = [_LOGGER.sub("", _LOGGER.sub("", line)).rstrip() for line in lines]
    errors = [place for place, line in enumerate(plain) if _ERROR.search(line) and not _POINTERS.search(line)]
    if errors:
        rest = plain[errors[-1] + 1 :]
        said = [plain[errors[-1]], *takewhile(lambda line: line.startswith(" "), rest)]
    else:
        said = [line for line in plain if line][-3:]
    text = " | ".join(" ".join(line.split()) for line in said)
    return text if len(text) <= _SENTENCE else f"{text[:_SENTENCE]} ..."
