"""What clients of the app's HTTP API do in the tests."""

from __future__ import annotations

import time
from typing import Any

from starlette.testclient import TestClient

from tests.pipelines.app.conftest import png_of

API = "/api/v1"
WISH = "make the dark square clear with 0.6"
LONGEST_S = 120


def bring(client: TestClient, data: bytes | None = None, name: str = "dog.png") -> dict[str, Any]:
    answer = client.post(f"{API}/photos", params={"name": name}, content=data or png_of())
    assert answer.status_code == 201, answer.text
    return answer.json()


def ask(client: TestClient, photo: str, **asked: Any) -> dict[str, Any]:
    answer = client.post(f"{API}/jobs", json={"photo": photo, "instruction": WISH} | asked)
    assert answer.status_code == 201, answer.text
    return answer.json()


def ended(client: TestClient, job: dict[str, Any]) -> dict[str, Any]:
    """The job once it has ended."""
    limit = time.monotonic() + LONGEST_S
    while time.monotonic() < limit:
        found = client.get(f"{API}/jobs/{job['id']}").json()
        if found["state"] not in ("queued", "running"):
            return found
        time.sleep(0.05)
    raise AssertionError(f"it did not end: {found}")


def refused(answer: Any, status: int = 422) -> str:
    """The sentence of an error."""
    assert answer.status_code == status, (answer.status_code, answer.text)
    said = answer.json()["error"]
    assert said
    assert "\n" not in said
    assert "Traceback" not in said
    return said
