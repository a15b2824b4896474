"""A real server on the small model, and its page in a real Chromium."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TURNED = 6  # the EXIF orientation of a photo whose top is on its right


def photo(width: int = 256, height: int = 192, orientation: int = 1) -> bytes:
    """A JPEG of an astronaut, stored at this size."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image = Image.fromarray(skimage.data.astronaut())
    image.resize((width, height), Image.Resampling.BILINEAR).save(file, "JPEG", quality=70, exif=exif)
    return file.getvalue()


def mask(width: int, height: int) -> bytes:
    """A PNG whose left half is the region."""
    values = np.zeros((height, width), np.uint8)
    values[:, : width // 2] = 255
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[str]:
    """The address that `instructrestore app` prints, while it runs."""
    command = [sys.executable, "-m", "instructrestore.pipelines.cli", "app", "--no-browser", "--port", "0"]
    command += ["--folder", str(folder / "app"), *arguments]
    log = folder / "server.log"
    with log.open("w") as out:
        running = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=os.environ | {"PYTHONUNBUFFERED": "1"}
        )
    try:
        while "token=" not in log.read_text():
            assert running.poll() is None, log.read_text()
            time.sleep(0.1)
        yield next(word for word in log.read_text().split() if "token=" in word)
    finally:
        running.terminate()
        running.wait(30)


class Driver:
    """What a person does, in few words. faults: everything that the page's scripts have thrown."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.faults: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.goto(address)
        page.wait_for_selector("#sample-list button", state="attached")

    def drop(self, *files: tuple[str, bytes]) -> None:
        """Files from the desktop onto the page."""
        given = [[name, list(data)] for name, data in files]
        transfer = self.page.evaluate_handle(
            """(given) => {
              const transfer = new DataTransfer();
              for (const [name, bytes] of given) transfer.items.add(new File([new Uint8Array(bytes)], name));
              return transfer;
            }""",
            given,
        )
        for event in ("dragenter", "dragover", "drop"):
            self.page.dispatch_event("body", event, {"dataTransfer": transfer})

    def open(self, name: str = "photo.jpg", data: bytes | None = None) -> None:
        """A photo, until the parts in it are known."""
        self.drop((name, photo() if data is None else data))
        self.page.wait_for_selector("#part-list button", state="attached")

    def place(self, across: float, down: float) -> tuple[float, float]:
        """A place of the photo, in shares of its sides, on the screen."""
        box = self.page.locator("#before").bounding_box()
        assert box
        return box["x"] + across * box["width"], box["y"] + down * box["height"]

    def drag(self, *places: tuple[float, float]) -> None:
        self.page.mouse.move(*self.place(*places[0]))
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*self.place(*place), steps=4)
        self.page.mouse.up()

    def share(self) -> float:
        """How much of the photo the active region's mask has, as its card says."""
        words = self.page.locator(".region.active .share").inner_text()
        return float(words.removeprefix("Marked: ").split("%")[0]) / 100 if "%" in words else 0.0

    def shares(self) -> list[float]:
        return [
            float(words.split("%")[0].split()[-1]) for words in self.page.locator(".region .share").all_inner_texts()
        ]

    def text(self) -> str:
        return self.page.input_value("#instruction")

    def until(self, what: Callable[[], Any], wanted: Any, seconds: float = 30) -> None:
        until(self.page, what, wanted, seconds)

    def lit(self, canvas: str = "overlay") -> int:
        """How many pixels of a layer over the photo are not clear."""
        return self.page.evaluate(
            """(id) => {
              const canvas = document.getElementById(id);
              const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
              let count = 0;
              for (let at = 3; at < data.length; at += 4) if (data[at]) count++;
              return count;
            }""",
            canvas,
        )

    def jobs(self) -> list[dict[str, Any]]:
        """As the server has them, the newest first."""
        answer = self.page.evaluate("fetch('api/v1/jobs').then((answer) => answer.text())")
        return json.loads(answer)["jobs"]

    def restore(self, button: str = "#restore") -> dict[str, Any]:
        """Asks for a job and waits until it is over."""
        before = len(self.jobs())
        self.page.click(button)
        self.until(lambda: len(self.jobs()), before + 1)
        self.until(lambda: self.jobs()[0]["state"] in ("done", "failed"), True, 90)
        job = self.jobs()[0]
        assert job["state"] == "done", job["error"]
        return job

    def check_access(self) -> None:
        check_access(self.page)


def until(page: Page, what: Callable[[], Any], wanted: Any, seconds: float = 30) -> None:
    """Waits for a value, and says what it was instead."""
    end = time.monotonic() + seconds
    found = what()
    while found != wanted and time.monotonic() < end:
        page.wait_for_timeout(40)
        found = what()
    assert found == wanted


def check_access(page: Page) -> None:
    """Axe-core finds no fault that would keep a person out."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    grave = [fault for fault in found if fault["impact"] in ("serious", "critical")]
    assert not grave, [(fault["id"], [node["html"] for node in fault["nodes"]][:5]) for fault in grave]
