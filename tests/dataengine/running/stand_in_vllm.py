"""Stands in for vLLM's server, as a program: takes its command line and key, answers as faulty_server.py does.

What it does is told by the folder given as --model: files in it named as below, each an act.

    cannot load        writes a traceback to its log and ends
    never healthy      its health never answers 200
    port taken         finds another program at its port, the first time alone
    dies               ends after its third request, each time
    dies once          the same, the first time alone
    stubborn           does not end at SIGTERM, and has started a process of its own

It writes to that folder: `pids` (its process and its child's), `commands` (its command lines), `keys` (the keys).
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ANSWERS_UNTIL_DEATH = 3


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("model", "served-model-name", "host", "revision", "tensor-parallel-size"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--port", type=int)
    arguments, _ = parser.parse_known_args()
    folder = Path(arguments.model)
    act = next((name for name in ACTS if (folder / name).exists()), "")
    _note(folder / "commands", json.dumps(sys.argv[1:]))
    _note(folder / "keys", os.environ["VLLM_API_KEY"])
    _note(folder / "hosts", os.environ.get("VLLM_HOST_IP", ""))
    print(f"INFO 11-23 10:00:00 [entry.py:1] starting with {os.environ['VLLM_API_KEY']}", flush=True)
    if act == "cannot load":
        print("(EngineCore pid=7) ERROR 11-23 10:00:00 [core.py:9] ValueError: no weights of this kind are known")
        print("RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}")
        print("nanobind: leaked 64 types!")
        sys.exit(1)
    _note(folder / "pids", str(os.getpid()))
    if act == "port taken":
        (folder / act).unlink()
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    if act == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import signal, time; time.sleep(3600)"])
        _note(folder / "pids", str(child.pid))
    if act == "dies once":
        (folder / act).unlink()
    server = ThreadingHTTPServer((arguments.host, arguments.port), _handler(act, arguments.served_model_name))
    server.daemon_threads = True
    server.serve_forever(0.05)


ACTS = ("cannot load", "never healthy", "port taken", "dies once", "dies", "stubborn")


def _note(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")


def _handler(act: str, model: str) -> type[BaseHTTPRequestHandler]:
    answered = 0
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(503 if act == "never healthy" or self.path != "/health" else 200, {})

        def do_POST(self) -> None:
            nonlocal answered
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.headers.get("Authorization") != f"Bearer {os.environ['VLLM_API_KEY']}":
                return self._send(401, {"error": "Unauthorized"})
            if body["model"] != model:
                return self._send(404, {"error": {"message": "no such model"}})
            with lock:
                answered += 1
                if act.startswith("dies") and answered > ANSWERS_UNTIL_DEATH:
                    print("torch.OutOfMemoryError: CUDA out of memory", flush=True)
                    os._exit(9)
            words = json.loads(body["messages"][-1]["content"])["description"].split()
            content = json.dumps({"noun_phrase": f"the {words[-1]} {words[1]}", "subject": words[1]})
            self._send(200, {"choices": [{"message": {"content": content}}]})

        def _send(self, status: int, reply: dict[str, object]) -> None:
            data = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    return Handler


if __name__ == "__main__":
    main()
