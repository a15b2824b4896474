"""The client of one file, on the app itself."""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.integrations.running_app import ROOT, RunningApp, put_cat, running_app

FILE = ROOT / "integrations/python/instructrestore_client.py"


@pytest.fixture(scope="module")
def module() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FILE.parent))
        import instructrestore_client  # pyright: ignore[reportMissingImports]

        yield instructrestore_client


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("client")
    put_cat(folder)
    return folder


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[RunningApp]:
    with running_app(folder / "app") as app:
        yield app


@pytest.fixture
def client(module: ModuleType, running: RunningApp) -> Iterator[Any]:
    with module.Client(running.address) as client:
        yield client


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_it_needs_httpx_and_nothing_else() -> None:
    tree = ast.parse(FILE.read_text("utf-8"))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} - set(sys.stdlib_module_names) == {"httpx"}


def test_a_photo_is_restored_and_nothing_stays(client: Any, folder: Path) -> None:
    seen = []
    data = client.restore(
        folder / "cat.png", "make the cat clear with 0.6", watch=lambda job: seen.append((job.state, job.step))
    )
    assert pixels(data).shape == (128, 160, 3)
    assert seen[-1] == ("done", 1)
    assert client.photos() == [] and client.jobs() == []


def test_a_mask_of_ones_own_and_settings_are_those_of_the_job(client: Any, folder: Path) -> None:
    photo = client.upload(folder / "cat.png")
    data = client.restore(photo, [("the cat", 0.6)], masks=[folder / "mask.png"], seed=3, num_inference_steps=2)
    (job,) = client.jobs(photo)
    assert (job.state, job.steps, job.is_over) == ("done", 2, True)
    assert job.asked["seed"] == 3 and job.asked["settings"] == {"num_inference_steps": 2}
    assert job.instruction == "make the cat clear with 0.6 and keep other parts clear with 1"
    assert client.result(job) == data
    once_more = client.wait(client.again(job))
    assert np.array_equal(pixels(client.result(once_more)), pixels(data))
    client.remove(photo)
    assert client.jobs() == []


def test_masks_come_by_caption_and_a_sweep_by_scale(client: Any, folder: Path) -> None:
    masks = client.mask((folder / "cat.png").read_bytes(), [("the cat", 0.6), ("the wall", 1.0)])
    assert list(masks) == ["the cat", "the wall"]
    assert {pixels(mask).shape for mask in masks.values()} == {(128, 160)}
    sheet = client.sweep(folder / "cat.png", "make the cat clear", [0.5, 1.1])
    assert list(sheet) == [0.5, 1.1]
    assert not np.array_equal(pixels(sheet[0.5]), pixels(sheet[1.1]))


def test_segments_make_masks(client: Any, folder: Path) -> None:
    photo = client.upload(folder / "cat.png")
    found = client.segments(photo)
    assert "the cat" in found.names and "cat" in found.vocabulary
    largest = max(found.segments, key=lambda segment: segment.area)
    mask = client.mask_of_segments(photo, [largest.id])
    assert mask.share == pytest.approx(largest.area, abs=0.05)
    assert pixels(client.mask_file(mask)).mean() / 255 == pytest.approx(mask.share, abs=0.01)
    client.remove(photo)


def test_a_job_that_is_cancelled_says_so(module: ModuleType, client: Any, folder: Path) -> None:
    photo = client.upload(folder / "cat.png")
    job = client.start(photo, "make the cat clear", settings={"num_inference_steps": 500})
    client.cancel(job)
    with pytest.raises(module.AppError, match=r"^the job was cancelled$"):
        client.wait(job)
    client.remove(photo)


def test_many_photos_come_as_a_zip(client: Any, folder: Path) -> None:
    asked = client.folder([folder / "cat.png", (folder / "cat.png").read_bytes()], "make the cat clear")
    ended = client.wait_for_folder(asked, every=0.2)
    assert (ended.done, ended.failed, ended.left) == (2, 0, 0)
    with zipfile.ZipFile(io.BytesIO(client.zip(ended))) as archive:
        assert archive.namelist() == ["cat.png", "photo.png"]
    for photo in client.photos():
        client.remove(photo)


def test_what_works_there(client: Any) -> None:
    assert client.health().model == "ready"
    model = client.model()
    assert model.base.startswith("small") and model.sampling["num_inference_steps"] == 1
    read = client.instruction("make the cat clear with 0.6")
    assert read.regions == (("the cat", 0.6),) and read == client.instruction([("the cat", 0.6)])
    assert client.understand("make the cat clear with 0.6") == read and read.model is None


def test_what_goes_wrong_is_the_apps_sentence(
    module: ModuleType, client: Any, running: RunningApp, folder: Path
) -> None:
    with pytest.raises(module.AppError, match=r"^expected a scale such as 0\.8 at character 24, found") as refused:
        client.restore(folder / "cat.png", "make the cat clear with")
    assert (refused.value.status, refused.value.start) == (422, 23)
    assert client.photos() == []  # gone although it failed
    with pytest.raises(module.AppError, match="not a photo"):
        client.upload(b"only words", "words.png")
    with pytest.raises(module.AppError, match="token") as refused:
        module.Client(running.url, "not the token").photos()
    assert refused.value.status == 401
    with pytest.raises(module.AppError, match=r"^nothing answers at http://127.0.0.1:1: is the app running\?"):
        module.Client("http://127.0.0.1:1").health()


def test_the_examples_of_the_pages_run(running: RunningApp, folder: Path) -> None:
    pages = [FILE.parent / "README.md", ROOT / "docs/http.md"]
    for page in pages:
        (example,) = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
        code = f"token = {running.token!r}\n" + example.replace("http://127.0.0.1:7860", running.url)
        environment = {**os.environ, "PYTHONPATH": str(FILE.parent)}
        command = [sys.executable, "-c", code]
        ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, ended.stderr
        assert ("expected a scale such as 0.8 at character 24" in ended.stdout) == ("AppError" in example)
