"""The app as a process: started, watched, killed, ended; and mistakes on its command line."""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from instructrestore.pipelines import cli
from tests.pipelines.app.asking import WISH
from tests.pipelines.app.conftest import png_of
from tests.pipelines.app.serving import serving


def ask(client: httpx.Client, photo: str, **asked: Any) -> dict[str, Any]:
    return client.post("jobs", json={"photo": photo, "instruction": WISH} | asked).json()


def wait(client: httpx.Client, job: str, *states: str) -> dict[str, Any]:
    limit = time.monotonic() + 120
    while (found := client.get(f"jobs/{job}").json())["state"] not in states:
        assert time.monotonic() < limit, found
        time.sleep(0.05)
    return found


@pytest.mark.slow
def test_killed_in_a_job_it_says_so_when_it_starts_again_and_one_call_does_it(tmp_path: Path) -> None:
    with serving(tmp_path / "app") as served, served.client() as client:
        photo = client.post("photos?name=dog.png", content=png_of(300, 300)).json()["id"]
        done = wait(client, ask(client, photo)["id"], "done")
        job = ask(client, photo, settings={"num_inference_steps": 1000})
        waiting = ask(client, photo)
        while not wait(client, job["id"], "running")["step"]:
            time.sleep(0.05)
        served.kill()
    with serving(tmp_path / "app") as served, served.client() as client:
        assert client.get(f"jobs/{done['id']}").json() == done
        assert client.get(f"jobs/{done['id']}/results/restored").status_code == 200
        for each in (job, waiting):
            found = client.get(f"jobs/{each['id']}").json()
            assert (found["state"], found["results"]) == ("interrupted", [])
            assert found["error"] == "the program ended while this was waiting or being done"
        again = client.post(f"jobs/{waiting['id']}/again").json()
        assert wait(client, again["id"], "done")["asked"] == waiting["asked"]


def test_a_page_hears_of_every_state_and_of_its_own_jobs_alone(tmp_path: Path) -> None:
    with serving(tmp_path / "app") as served, served.client() as client, served.client() as other:
        other.get(f"{served.root}/?token={served.token}", headers={"Authorization": ""}, follow_redirects=True)
        photo = client.post("photos", content=png_of()).json()["id"]
        seen: list[dict[str, Any]] = []
        with client.stream("GET", "events") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            job = ask(client, photo, settings={"num_inference_steps": 3})
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    seen.append(json.loads(line[6:]))
                    if seen[-1]["state"] == "done":
                        break
        assert {each["id"] for each in seen} == {job["id"]}
        states = [each["state"] for each in seen]
        assert states == sorted(states, key=["queued", "running", "done"].index)
        assert seen[-1]["results"]
        steps = [each["step"] for each in seen]
        assert steps == sorted(steps)
        assert steps[-1] == 3


@pytest.mark.slow
def test_ctrl_c_ends_it_at_once_with_a_page_open_and_a_job_in_hand(tmp_path: Path) -> None:
    with serving(tmp_path / "app") as served, served.client() as client:
        photo = client.post("photos", content=png_of(300, 300)).json()["id"]
        with client.stream("GET", "events") as stream:
            job = ask(client, photo, settings={"num_inference_steps": 1000})
            for line in stream.iter_lines():
                if '"state":"running"' in line and '"step":0' not in line:
                    break
            served.process.send_signal(signal.SIGINT)
            assert served.process.wait(timeout=60) in (0, 130, -signal.SIGINT)
    with serving(tmp_path / "app", ready=False) as served, served.client() as client:
        assert client.get(f"jobs/{job['id']}").json()["state"] == "interrupted"


def test_it_listens_on_this_machine_alone_and_its_folder_is_private(tmp_path: Path) -> None:
    with serving(tmp_path / "app", ready=False) as served:
        port = int(served.root.rpartition(":")[2])
        with socket.socket() as probe:
            probe.bind(("127.0.0.2", port))  # taken if it listened on every network
        assert (tmp_path / "app" / "sessions").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0"], "choose a token for them with --token"),
        (["--host", "no.such.host.invalid"], "is no address of this machine"),
        (["--token", "short"], "at least 16 characters"),
        (["no-such-photo.jpg"], "there is no photo or folder no-such-photo.jpg"),
        (["--base", "no-such-base"], "no-such-base"),
        (["--checkpoint", "x"], "--checkpoint needs the base"),
        (["--dtype", "int8"], "unknown dtype 'int8'"),
        (["--device", "cuda:77"], "there is no device cuda:77 here"),
        (["--lifetime", "0"], "more than 0 hours"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_mistake_is_one_sentence_and_status_2(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in _refused(["--port", "0", "--folder", "app", *words], monkeypatch, capsys)


def test_a_port_that_is_taken_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = _refused(["--port", str(taken.getsockname()[1])], monkeypatch, capsys)
    assert "is taken: name another with --port" in said


def _refused(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", ["instructrestore", "app", "--no-browser", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert "Traceback" not in said
    return said


@pytest.mark.slow
def test_two_apps_have_cookies_of_their_own(tmp_path: Path) -> None:
    with serving(tmp_path / "a", ready=False) as one, serving(tmp_path / "b", ready=False) as two:
        names = set()
        for served in (one, two):
            answer = httpx.get(served.address)
            assert answer.status_code == 303
            names |= set(answer.cookies)
        assert len(names) == 2
