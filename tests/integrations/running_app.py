"""`instructrestore app` as a program of its own, on the small model."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import skimage.data
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class RunningApp:
    """address: as it was printed, with the token."""

    address: str

    @property
    def url(self) -> str:
        return self.address.partition("/?token=")[0]

    @property
    def token(self) -> str:
        return self.address.partition("/?token=")[2]


@contextmanager
def running_app(folder: Path, *words: str) -> Iterator[RunningApp]:
    """The app on a free port, with its photos in a folder, until the end of the block. words: further arguments."""
    command = [sys.executable, "-m", "instructrestore.pipelines.cli", "app", "--no-browser", "--port", "0"]
    command += ["--folder", str(folder), *words]
    program = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert program.stdout
    try:
        said = []
        for line in program.stdout:
            said.append(line)
            if found := re.match(r"open (http\S+)", line):
                break
        else:
            raise AssertionError("".join(said))
        app = RunningApp(found[1])
        wait_for(app, program)
        yield app
    finally:
        program.send_signal(signal.SIGINT)
        program.communicate(timeout=60)


def wait_for(app: RunningApp, program: subprocess.Popen[str]) -> None:
    """Until the app answers and its model is ready."""
    while program.poll() is None:
        try:
            if httpx.get(f"{app.url}/api/v1/health").json()["model"] != "loading":
                return
        except httpx.ConnectError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"the app ended with {program.returncode}")


def put_cat(folder: Path) -> None:
    """cat.png, 160x128, and mask.png, its left half."""
    os.makedirs(folder, exist_ok=True)
    Image.fromarray(skimage.data.chelsea()[40:168, 90:250]).save(folder / "cat.png")
    mask = np.zeros((128, 160), np.uint8)
    mask[:, :80] = 255
    Image.fromarray(mask).save(folder / "mask.png")
