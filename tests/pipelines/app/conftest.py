from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from starlette.testclient import TestClient

from instructrestore.pipelines.app.app import App
from instructrestore.pipelines.app.server import make_server
from instructrestore.pipelines.app.settings import AppSettings, Limits
from instructrestore.pipelines.inference.model_source import ModelSource
from tests.pipelines.app.page_driver import CHROMIUM

TOKEN = "a-token-of-the-tests"
HERE = "http://127.0.0.1:7860"


def settings_in(folder: Path, **changed: object) -> AppSettings:
    values = {"source": ModelSource("small"), "folder": folder, "token": TOKEN} | changed
    return AppSettings(**values)  # pyright: ignore[reportArgumentType]


def png_of(width: int = 96, height: int = 80, seed: int = 0, **saved: object) -> bytes:
    """A photo of a dark square on a bright ground, with noise."""
    rng = np.random.default_rng(seed)
    rgb = np.full((height, width, 3), 170.0)
    rgb[height // 4 : height // 2, width // 4 : width // 2] = (60, 40, 90)
    file = BytesIO()
    Image.fromarray((rgb + rng.normal(0, 12, rgb.shape)).clip(0, 255).astype(np.uint8)).save(file, "PNG", **saved)
    return file.getvalue()


def mask_of(width: int = 96, height: int = 80) -> bytes:
    grey = np.zeros((height, width), np.uint8)
    grey[height // 4 : height // 2, width // 4 : width // 2] = 255
    file = BytesIO()
    Image.fromarray(grey).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The app on the small model, without anybody's cookie or token."""
    folder = tmp_path_factory.mktemp("app")
    limits = Limits(bytes=3_000_000, pixels=4_000_000, photos=12)
    with TestClient(make_server(settings_in(folder, limits=limits)), base_url=HERE) as client:
        yield client


@pytest.fixture
def app(server: TestClient) -> App:
    return server.app.state.app  # pyright: ignore


@pytest.fixture
def visitor(server: TestClient) -> Iterator[TestClient]:
    """A browser with a session of its own, that has opened the printed address."""
    with_cookie = TestClient(server.app, base_url=HERE, headers={"Origin": HERE})
    assert with_cookie.get(f"/?token={TOKEN}").status_code == 200
    yield with_cookie
    with_cookie.delete("/api/v1/session")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("there is no chromium: install it (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
