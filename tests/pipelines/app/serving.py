"""The app as a person starts it: a process that prints its address."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

LONGEST_S = 120


@dataclass
class Served:
    """address: as printed, with the token."""

    process: subprocess.Popen[str]
    address: str

    @property
    def root(self) -> str:
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def token(self) -> str:
        return urlsplit(self.address).query.partition("=")[2]

    def client(self) -> httpx.Client:
        """One that sends the token."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=f"{self.root}/api/v1/", headers=headers, timeout=LONGEST_S)

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def serving(folder: Path, *words: str, ready: bool = True) -> Iterator[Served]:
    """ready: waits until the model is loaded."""
    command = [sys.executable, "-m", "instructrestore.pipelines.cli", "app", "--no-browser", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--folder", str(folder), *words], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("open http"):
                break
        else:
            raise AssertionError(f"it ended: {lines}")
        served = Served(process, lines[-1].split()[1])
        limit = time.monotonic() + LONGEST_S
        while ready and httpx.get(f"{served.root}/api/v1/health").json()["model"] == "loading":
            assert time.monotonic() < limit
            time.sleep(0.1)
        yield served
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
