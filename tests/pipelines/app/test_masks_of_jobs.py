"""Jobs whose masks are cut, grown and inverted, whose pixels are protected, or whose scales a map says."""

from __future__ import annotations

import io
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from instructrestore.pipelines import cli
from tests.pipelines.app.asking import API, ask, bring, ended, refused
from tests.pipelines.app.conftest import png_of


def mask(client: TestClient, photo: dict, top: int, bottom: int) -> str:
    values = np.zeros((photo["height"], photo["width"]), np.uint8)
    values[top:bottom] = 255
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return client.post(f"{API}/photos/{photo['id']}/masks", content=file.getvalue()).json()["id"]


def test_a_job_is_what_its_command_makes(visitor: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = bring(visitor)
    region, other, stays = mask(visitor, photo, 8, 40), mask(visitor, photo, 30, 50), mask(visitor, photo, 20, 26)
    wishes = (
        {"masks": [region], "subtract": [other], "protect": [stays], "feather": 3, "settings": {"grow": 2}},
        {"masks": [region], "settings": {"invert": True}},
        {"scale_map": other, "scale_range": [0.5, 1.1], "protect": [stays]},
    )
    monkeypatch.chdir(tmp_path)
    Path("dog.png").write_bytes(png_of())
    with Image.open("dog.png") as image:
        lq = np.asarray(image.convert("RGB"))
    for number, wish in enumerate(wishes):
        job = ended(visitor, ask(visitor, photo["id"], **wish))
        assert job["state"] == "done", job["error"]
        words = shlex.split(job["command"])
        for option, named in (("--mask", region), ("--subtract", other), ("--protect", stays), ("--scale-map", other)):
            if option in words:  # the file, as it is got from the app
                data = visitor.get(f"{API}/masks/{named}").content
                Path(words[words.index(option) + 1]).write_bytes(data)
        monkeypatch.setattr(sys, "argv", [*words, "--out", f"o{number}"])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code in (0, None)
        made = visitor.get(f"{API}/jobs/{job['id']}/results/restored").content
        assert made == Path(f"o{number}/dog.png").read_bytes()
        compile(job["python"], "example", "exec")
        with Image.open(io.BytesIO(made)) as image:
            same = (np.asarray(image) == lq).all(-1)
        assert same[20:26].all() == ("protect" in wish)
    assert ended(visitor, ask(visitor, photo["id"], preview=True, **wishes[0]))["state"] == "done"


def test_what_does_not_go_together_is_said(visitor: TestClient) -> None:
    photo = bring(visitor)
    one = mask(visitor, photo, 8, 40)
    mistakes = (
        ({"kind": "mask", "protect": [one]}, "a job of kind mask restores nothing, so there is nothing to change"),
        ({"scale_map": one, "subtract": [one]}, "give masks or a scale map, not both"),
        ({"scale_range": [0.5, 1]}, "a scale range says what black and white mean in a scale map"),
        ({"scale_map": one, "scale_range": [0.5, 99]}, "a scale of scale_range must be from 0 to"),
        ({"scale_map": one, "settings": {"grow": 2}}, "so there is no mask for grow"),
        ({"protect": [one], "settings": {"upscale": 2}}, "protected pixels stay as they are"),
        ({"protect": [one], "settings": {"grow": 2000}}, "grow: input should be less than or equal to 1000"),
    )
    for asked, sentence in mistakes:
        answer = visitor.post(f"{API}/jobs", json={"photo": photo["id"], "instruction": "make the dog clear"} | asked)
        assert sentence in refused(answer)
    other = bring(visitor, name="b.png")
    answer = visitor.post(
        f"{API}/jobs", json={"photo": other["id"], "instruction": "make the dog clear", "protect": [one]}
    )
    assert "this mask was made for another photo" in refused(answer)
