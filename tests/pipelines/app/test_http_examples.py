"""The examples of docs/http.md, run in bash as they stand there on the app itself, and that no route lacks one."""

from __future__ import annotations

import json
import re
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.integrations.running_app import ROOT, RunningApp, put_cat, running_app
from tests.shards.samples import write_dataset

PAGE = (ROOT / "docs/http.md").read_text("utf-8")
BETWEEN = "-- the next example --"


@dataclass(frozen=True)
class Example:
    """A block of commands, and what the page says that the last of them answers."""

    commands: str
    answer: Any = None


def examples() -> list[Example]:
    blocks = re.findall(r"^```(bash|json)\n(.*?)^```$", PAGE, re.M | re.S)
    found: list[Example] = []
    for kind, text in blocks:
        if kind == "bash":
            found.append(Example(text))
        else:
            found[-1] = Example(found[-1].commands, json.loads(text))
    return found


@dataclass(frozen=True)
class Run:
    """outputs: what each example printed."""

    folder: Path
    outputs: list[str]
    routes: dict[str, Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("examples")
    put_cat(folder)
    script = f"echo; echo '{BETWEEN}'\n".join(example.commands for example in examples())
    write_dataset(folder / "dataset", photos=3)
    with running_app(folder / "app", str(folder / "dataset")) as app:
        variables = {"URL": app.url, "TOKEN": app.token, "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder)}
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            env=variables,
            capture_output=True,
            text=True,
            timeout=300,
        )
        routes = described(app)
    assert ended.returncode == 0, f"{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}"
    return Run(folder, ended.stdout.split(BETWEEN), routes)


def described(app: RunningApp) -> dict[str, Any]:
    answer = httpx.get(f"{app.url}/openapi.json", headers={"Authorization": f"Bearer {app.token}"}, timeout=60)
    return answer.raise_for_status().json()["paths"]


def test_every_answer_has_what_the_page_says(run: Run) -> None:
    asked = examples()
    assert len(run.outputs) == len(asked)
    checked = 0
    for example, output in zip(asked, run.outputs, strict=True):
        if example.answer is not None:
            last = [line for line in output.splitlines() if line.strip()][-1]
            start = last.rindex("}{") + 1 if "}{" in last else 0  # of several answers, one after the other
            same_form(json.loads(last[start:]), example.answer, example.commands)
            checked += 1
    assert checked >= 9


def same_form(given: Any, said: Any, where: str) -> None:
    """That all that is said is given, of the same kind; null stands for any."""
    if isinstance(said, dict):
        assert said.keys() <= given.keys(), f"{where}: {said.keys() - given.keys()}"
        for name, value in said.items():
            same_form(given[name], value, f"{where}: {name}")
    elif isinstance(said, list):
        assert isinstance(given, list) and len(given) >= len(said), where
        for one, other in zip(given, said, strict=False):
            same_form(one, other, where)
    elif said is not None and given is not None:
        numbers = isinstance(said, (int, float)) and isinstance(given, (int, float))
        assert numbers or isinstance(given, type(said)), where


def test_the_files_are_what_the_page_says(run: Run) -> None:
    sizes = {name: Image.open(run.folder / name).size for name in ("restored.png", "same-mask.png", "segments.png")}
    assert sizes == {"restored.png": (160, 128), "same-mask.png": (160, 128), "segments.png": (160, 128)}
    assert Image.open(run.folder / "picture.png").size == (100, 80)
    assert Image.open(run.folder / "small.png").size == (100, 80)
    assert Image.open(run.folder / "thumbnail.jpg").format == "JPEG"
    with zipfile.ZipFile(run.folder / "restored.zip") as archive:
        assert len(archive.namelist()) == 2 and archive.testzip() is None


def test_the_jobs_that_the_page_asks_for_are_done(run: Run) -> None:
    job = json.loads((run.folder / "job.json").read_text("utf-8"))
    assert (job["state"], job["asked"]["seed"], job["steps"]) == ("done", 3, 2)
    assert json.loads((run.folder / "folder.json").read_text("utf-8"))["done"] == 2


def test_events_come_while_a_job_goes_on(run: Run) -> None:
    again = json.loads((run.folder / "again.json").read_text("utf-8"))
    events = (run.folder / "events.txt").read_text("utf-8")
    jobs = [json.loads(line[5:]) for line in events.splitlines() if line.startswith("data:")]
    assert "event: job" in events
    assert again["id"] in {job["id"] for job in jobs}


def test_every_route_has_an_example(run: Run) -> None:
    commands = "\n".join(example.commands for example in examples())
    calls = {
        (method_of(options), path.split("?")[0])
        for options, path in re.findall(r'(?:api|curl)\b((?:[^|\n]|\n(?!api|curl))*?)"\$URL(/[^"\s]*)"', commands)
    }
    wanted = [(method.upper(), path) for path, methods in run.routes.items() for method in methods]
    assert len(wanted) > 20
    assert [each for each in wanted if not any(shows(call, each) for call in calls)] == []


def method_of(options: str) -> str:
    """Of a call of curl with these options."""
    if named := re.search(r"-X (\w+)", options):
        return named[1]
    return "POST" if "--json" in options or "--data" in options else "GET"


def shows(call: tuple[str, str], route: tuple[str, str]) -> bool:
    pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(route[1]))
    return call[0] == route[0] and re.fullmatch(pattern, call[1]) is not None
