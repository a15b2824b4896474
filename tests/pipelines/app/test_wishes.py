"""Wishes that only a language model understands, in the app: the route, the record, and the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from starlette.testclient import TestClient

from instructrestore.pipelines.app.server import make_server
from instructrestore.pipelines.understanding.wishes import KEY, WishModel
from tests.pipelines.app.asking import API, bring, ended, refused
from tests.pipelines.app.conftest import HERE, TOKEN, settings_in
from tests.pipelines.app.page_driver import Driver, photo, started
from tests.pipelines.understanding.replying_server import CANONICAL, GOOD, ReplyingServer

WISH = "nur der Hund, etwas schärfer"
PLAIN = "make the dog clear with 0.9"


@pytest.fixture(autouse=True, scope="module")
def _no_key() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(KEY, raising=False)
        yield


def client_of(folder: Path, url: str | None) -> TestClient:
    """A program with the token; the app's queue and model run within a `with` block only."""
    settings = settings_in(folder, wishes=WishModel(url, "m") if url else None)
    return TestClient(make_server(settings), base_url=HERE, headers={"Authorization": f"Bearer {TOKEN}"})


def test_the_route_asks_only_what_the_grammar_refuses(tmp_path: Path) -> None:
    with ReplyingServer() as server:
        client = client_of(tmp_path, server.url)
        assert client.post(f"{API}/wishes", json={"text": PLAIN}).json()["model"] is None
        assert server.bodies == []
        read = client.post(f"{API}/wishes", json={"text": WISH}).json()
    assert read == {"text": CANONICAL, "regions": GOOD["regions"], "others": 1.1, "bokeh": False, "model": "m"}
    assert len(server.bodies) == 1


def test_what_cannot_be_read_is_a_sentence_with_its_place(tmp_path: Path) -> None:
    with ReplyingServer({**GOOD, "kind": "recolour"}, 401) as server:
        client = client_of(tmp_path, server.url)
        answer = client.post(f"{API}/wishes", json={"text": WISH})
        assert "other colours" in refused(answer) and (answer.json()["start"], answer.json()["end"]) == (0, 1)
        assert "does not accept the key" in refused(client.post(f"{API}/wishes", json={"text": WISH}), 502)
        assert "at most 1000" in refused(client.post(f"{API}/wishes", json={"text": "x" * 1001}))
    assert len(server.bodies) == 2


def test_without_a_model_nothing_is_asked(tmp_path: Path) -> None:
    client = client_of(tmp_path, None)
    assert "language model" not in refused(client.post(f"{API}/wishes", json={"text": WISH}))
    assert client.post(f"{API}/instructions", json={"text": WISH}).status_code == 422


def test_the_record_of_a_job_says_what_was_typed_and_who_read_it(tmp_path: Path) -> None:
    with client_of(tmp_path, "http://127.0.0.1:9/v1") as client:
        assert client.get(f"{API}/model").json()["language_model"] is True
        read_from = {"typed": WISH, "model": "m"}
        asked = {"photo": bring(client)["id"], "instruction": CANONICAL, "read_from": read_from}
        job = ended(client, client.post(f"{API}/jobs", json=asked).json())
        assert job["state"] == "done", job["error"]
        assert (job["record"]["typed"], job["record"]["understood_by"]) == (WISH, "m")
        assert job["record"]["instruction"] == CANONICAL
        again = ended(
            client, client.post(f"{API}/jobs", json={"photo": asked["photo"], "instruction": CANONICAL}).json()
        )
        assert "typed" not in again["record"]


@pytest.mark.browser
def test_the_page_offers_what_was_understood_and_sends_nothing_unasked(browser: Browser, tmp_path: Path) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    with ReplyingServer() as server, started(tmp_path, "--language-model", server.url) as address:
        driver = Driver(context.new_page(), address)
        page = driver.page
        driver.open("dog.jpg", photo())
        page.fill("#instruction", PLAIN)
        driver.until(driver.text, PLAIN)
        assert not page.is_visible("#reading")
        page.fill("#instruction", WISH)
        page.wait_for_selector("#reading button")
        assert server.bodies == []
        page.click("#reading button")
        page.wait_for_selector("#reading q")
        assert page.inner_text("#reading q") == CANONICAL
        driver.check_access()
        page.click("#reading button")
        driver.until(driver.text, CANONICAL)
        assert not page.is_visible("#reading")
        page.click("#restore")
        driver.until(lambda: [job["asked"]["read_from"] for job in driver.jobs()], [{"typed": WISH, "model": "m"}])
        assert len(server.bodies) == 1
    context.close()
    assert driver.faults == []
