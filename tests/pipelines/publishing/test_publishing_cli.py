"""`instructrestore push` and `pull` as people type them: by HF_ENDPOINT and HF_TOKEN, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from instructrestore.shards.verify import verify
from tests.pipelines.publishing.datasets import licensed_dataset
from tests.pipelines.publishing.hub_server import TOKEN, Hub, running_hub


def command(hub: Hub, home: Path, *words: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    known = {"HF_ENDPOINT": hub.url, "HF_TOKEN": token, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    line = [sys.executable, "-m", "instructrestore.pipelines.cli", *words]
    return subprocess.run(line, env={**os.environ, **known}, capture_output=True, text=True, check=False)


@pytest.mark.slow  # five processes
def test_there_and_back_on_the_command_line(tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    dataset = licensed_dataset(folder, [["CC0-1.0", "mine \x1b[31m, all mine"]])
    name = dataset.record(1).photo.name
    with running_hub() as hub:
        there = ("dataset", str(folder), "me/photos")
        dry = command(hub, tmp_path, "push", *there, "--dry-run")
        assert dry.returncode == 0 and "nothing was uploaded" in dry.stdout and hub.repositories == {}
        assert f"held back: {dataset.index['key'][1].as_py()} {name}: its licence is not known" in dry.stdout
        assert "10.2 kB  png-000000.tar" in dry.stdout and "\x1b" not in dry.stdout
        refused = command(hub, tmp_path, "push", *there, token="hf_notthisone")
        assert refused.returncode == 2 and refused.stderr.startswith("instructrestore: the hub does not accept")
        done = command(hub, tmp_path, "push", *there)
        assert done.returncode == 0 and "6 files uploaded" in done.stdout and done.stderr == ""
        back = command(hub, tmp_path, "pull", "dataset", "me/photos", str(tmp_path / "back"))
        assert back.returncode == 0 and "5 files fetched" in back.stdout and back.stderr == ""
        assert verify(str(tmp_path / "back")) == []
        wrong = command(hub, tmp_path, "push", "space", str(folder), "me/photos")
        assert wrong.returncode == 2 and "dataset or model" in wrong.stderr
        said = "".join(each.stdout + each.stderr for each in (dry, refused, done, back, wrong))
        assert TOKEN not in said and "hf_notthisone" not in said
