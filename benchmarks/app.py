"""The app's times as a person feels them, and eight clients at once.

python -m benchmarks.app page                 page, click, mask, preview and restoration, beside the command's time
python -m benchmarks.app clients [SECONDS]    eight clients at once (180 s): failures, mix-ups, memory

Needs Chromium and the extras [app] and [test]. The machine is shared: medians of several, and a ratio in one run.
"""

from __future__ import annotations

import hashlib
import io
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.pipelines.app.serving import Served, serving

CHROMIUM = "/usr/bin/chromium"
TIMES = 9
FURTHER = 6  # photos, for the time of a further one
CLIENTS = 8
WISH = "make the cat clear with 0.6"
PAINTED = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
LIT = """async (place) => {
  const canvas = document.querySelector("#overlay");
  const marked = () => {
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let sum = 0;
    for (let at = 3; at < pixels.length; at += 4 * 97) sum += pixels[at];
    return sum;
  };
  const before = marked();
  const target = document.elementFromPoint(place.x, place.y);
  const options = {bubbles: true, pointerId: 1, button: 0, clientX: place.x, clientY: place.y, isPrimary: true};
  const begin = performance.now();
  for (const kind of ["pointermove", "pointerdown", "pointerup"]) {
    target.dispatchEvent(new PointerEvent(kind, {...options, buttons: kind === "pointerdown" ? 1 : 0}));
  }
  while (marked() === before && performance.now() - begin < 5000) await new Promise(requestAnimationFrame);
  return performance.now() - begin;
}"""


def photo_of(side: int, seed: int = 0) -> bytes:
    """A PNG of side x side pixels that is told from every other by its pixels."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (side // 8, side // 8, 3), np.uint8))
    file = io.BytesIO()
    small.resize((side, side), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def timed(client: httpx.Client, **asked: Any) -> tuple[float, float]:
    """Seconds from asking until it is known to be done, and the job's own."""
    begin = time.perf_counter()
    with client.stream("GET", "events") as stream:
        lines = stream.iter_lines()
        job = client.post("jobs", json={"instruction": WISH} | asked).json()["id"]
        while not (f'"id":"{job}"' in (line := next(lines)) and '"state":"done"' in line):
            assert '"state":"failed"' not in line, line
    return time.perf_counter() - begin, client.get(f"jobs/{job}").json()["seconds"]


def page_times() -> None:
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        with serving(folder / "app") as served, served.client() as client:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            _report("first picture of the page, ms", [_first_picture(browser.new_page(), served) for _ in range(TIMES)])
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            _report("click to lit region, ms", _clicks(page, served))
            browser.close()
            cat = client.post("samples/cat").json()["id"]
            begin = time.perf_counter()
            client.post(f"photos/{cat}/segments")
            print(f"segments of the sample of 451x300, the first time: {time.perf_counter() - begin:.2f} s")
            square = client.post("photos?name=square.png", content=photo_of(512)).json()["id"]
            timed(client, photo=square)
            _report("mask, s", [timed(client, photo=square, kind="mask")[0] for _ in range(TIMES)])
            _report("preview, s", [timed(client, photo=square, preview=True)[0] for _ in range(TIMES)])
            whole, further, apps = [], [], []
            for _ in range(3):  # by turns, so that both have the machine's moods
                apps += [timed(client, photo=square, seed=seed) for seed in range(FURTHER)]
                one, each = _by_command(folder)
                whole.append(one)
                further.append(each)
            _report("512x512 in the app, from asking to done, s", [each[0] for each in apps])
            _report("512x512 in the app, the job itself, s", [each[1] for each in apps])
            app = statistics.median(each[0] for each in apps)
            for what, took in (("one photo", whole), ("a further photo of a folder", further)):
                command = statistics.median(took)
                print(f"512x512 by the command, {what}: {command:.2f} s; the app's time over it: {app / command:.2f}")


def _first_picture(page: Page, served: Served) -> float:
    page.goto(served.address, wait_until="load")
    page.wait_for_function(PAINTED)
    painted = page.evaluate(PAINTED)
    page.context.clear_cookies()
    page.close()
    return painted


def _clicks(page: Page, served: Served) -> list[float]:
    page.goto(served.address)
    page.locator("#sample-list button").first.click()
    page.wait_for_selector("#part-list button", state="attached", timeout=60_000)
    box = page.locator("#stage").bounding_box()
    assert box
    place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    return [page.evaluate(LIT, place) for _ in range(TIMES)]


def _by_command(folder: Path) -> tuple[float, float]:
    """Seconds of `instructrestore restore` for one photo, and for a further one: those for many less those for one."""
    took = {}
    for count in (1, 1 + FURTHER):
        photos = folder / f"photos-{count}"
        photos.mkdir(exist_ok=True)
        for seed in range(count):
            (photos / f"{seed}.png").write_bytes(photo_of(512))
        words = [str(photos), WISH, "--out", str(folder / f"out-{count}"), "--save-mask"]
        begin = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "instructrestore.pipelines.cli", "restore", *words], check=True, capture_output=True
        )
        took[count] = time.perf_counter() - begin
    return took[1], (took[1 + FURTHER] - took[1]) / FURTHER


def clients(seconds: float) -> int:
    """Exit status 1 where anything failed or was mixed up."""
    with tempfile.TemporaryDirectory() as name, serving(Path(name)) as served:
        wrong, done, memory = Counter[str](), Counter[str](), []
        end = time.monotonic() + seconds
        threads = [
            threading.Thread(target=_client, args=(served, number, end, done, wrong)) for number in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            memory.append(_memory_mib(served))
            time.sleep(5)
        for thread in threads:
            thread.join()
        third = max(1, len(memory) // 3)
        early, late = max(memory[third : 2 * third], default=0), max(memory[-third:])
    print(f"{CLIENTS} clients, {seconds:g} s: " + ", ".join(f"{count} {what}" for what, count in done.most_common()))
    print(f"memory: {memory[0]} MiB at first, {early} in the second third, {late} in the last")
    print(f"wrong: {dict(wrong) or 'nothing'}")
    return 1 if wrong else 0


def _client(served: Served, number: int, end: float, done: Counter[str], wrong: Counter[str]) -> None:
    """A browser of its own: brings photos, asks, cancels, downloads, and looks whether all is its own."""
    rng = random.Random(number)
    with httpx.Client(base_url=f"{served.root}/api/v1/", timeout=120, headers={"Origin": served.root}) as client:
        client.get(served.address)
        while time.monotonic() < end:
            try:
                _round(client, number, rng, done, wrong)
            except (httpx.HTTPError, AssertionError, KeyError) as error:
                wrong[f"{type(error).__name__}: {error}"[:200]] += 1


def _round(client: httpx.Client, number: int, rng: random.Random, done: Counter[str], wrong: Counter[str]) -> None:
    data = photo_of(rng.choice([64, 96, 128, 256]), rng.randrange(10**9))
    photo = client.post(f"photos?name=client-{number}.png", content=data).json()["id"]
    kind = rng.choice(["restore", "restore", "mask", "sweep"])
    asked: dict[str, Any] = {"photo": photo, "kind": kind, "instruction": WISH, "seed": number}
    if kind == "sweep":
        asked["sweep"] = [0.5, 1.0]
    job = client.post("jobs", json=asked).json()["id"]
    if rng.random() < 0.15:
        client.post(f"jobs/{job}/cancel")
    while (found := client.get(f"jobs/{job}").json())["state"] in ("queued", "running"):
        time.sleep(0.1)
    done[found["state"]] += 1
    if found["state"] not in ("done", "cancelled"):
        wrong[f"{found['state']}: {found['error']}"] += 1
    for result in found["results"]:
        answer = client.get(f"jobs/{job}/results/{result['name']}")
        assert answer.status_code == 200, answer.text
    record = found.get("record")
    if record and (record["photo_sha256"] != hashlib.sha256(data).hexdigest() or record["seed"] != number):
        wrong["somebody else's result"] += 1
    if any(each["asked"]["seed"] != number for each in client.get("jobs").json()["jobs"]):
        wrong["somebody else's job"] += 1
    assert client.delete(f"photos/{photo}").status_code == 204


def _memory_mib(served: Served) -> int:
    status = Path(f"/proc/{served.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) >> 10


def _report(what: str, values: list[float]) -> None:
    print(f"{what}: median {statistics.median(values):.3g}, {min(values):.3g} to {max(values):.3g}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["page"]:
        page_times()
    elif sys.argv[1:2] == ["clients"]:
        sys.exit(clients(float(sys.argv[2]) if sys.argv[2:] else 180.0))
    else:
        sys.exit(__doc__)
