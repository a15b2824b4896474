"""The container's files, as far as they can be tested without Docker: that what they name is there, and that the
image's own commands run."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from instructrestore.shards.parsing import parse_toml
from tests.integrations.running_app import ROOT, running_app

PROJECT = parse_toml((ROOT / "pyproject.toml").read_bytes(), "pyproject.toml")["project"]


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile: (keyword, the rest of it)."""
    lines = [line for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(keyword, rest) for keyword, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def of(keyword: str) -> list[str]:
    return [rest for each, rest in instructions() if each == keyword]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    return found[max(place for place, (keyword, _) in enumerate(found) if keyword == "FROM") :]


def compose() -> Any:
    return yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path at the top of the tree, or in a folder of it, from Docker: the last line that
    speaks of it counts."""
    kept = True
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#"):
            whole = path if pattern.startswith("**/") else path.split("/")[0]
            if fnmatch.fnmatch(whole, pattern) or fnmatch.fnmatch(whole, pattern.removeprefix("**/")):
                kept = line.startswith("!")
    return not kept


def sources() -> list[str]:
    copies = [rest.split()[:-1] for rest in of("COPY") if not rest.startswith("--from")]
    return [source for each in copies for source in each]


def test_all_that_is_copied_is_there_and_reaches_docker() -> None:
    assert [source for source in sources() if not (ROOT / source).exists() or ignored(source)] == []
    assert all(ignored(name) for name in (".git", ".venv", "tests", "docs", "shards/__pycache__"))


def test_what_the_package_is_built_from_is_copied() -> None:
    """The rooms that setup.py names, and the files that pyproject.toml does."""
    rooms = re.search(r"ROOMS = \((.*?)\)", (ROOT / "setup.py").read_text("utf-8"))
    assert rooms
    wanted = {"setup.py", "pyproject.toml", "instructrestore", *re.findall(r'"(\w+)"', rooms[1])}
    wanted |= {PROJECT["readme"], *PROJECT["license-files"]}
    assert wanted <= set(sources())


def test_the_extras_and_the_constraints_are_the_projects() -> None:
    installs = [rest for rest in of("RUN") if "pip install" in rest]
    extras = [name for rest in installs for found in re.findall(r"\.\[(.*?)\]", rest) for name in found.split(",")]
    assert extras == ["app", "small"] and set(extras) <= set(PROJECT["optional-dependencies"])
    assert installs and all("-c constraints.txt" in rest for rest in installs)
    assert "torch==" in (ROOT / "constraints.txt").read_text("utf-8")


def test_the_image_is_no_roots_and_its_volumes_are_that_users() -> None:
    stage = last_stage()
    keywords = [keyword for keyword, _ in stage]
    user = dict(stage)["USER"]
    assert user.partition(":")[0].isdigit() and user.partition(":")[0] != "0"
    assert keywords.index("USER") < keywords.index("ENTRYPOINT")
    made = next(rest for keyword, rest in stage if keyword == "RUN")
    assert all(volume in made for volume in json.loads(dict(stage)["VOLUME"]))
    assert f"--uid {user.partition(':')[0]}" in made


def test_the_entry_point_is_the_projects_and_wants_a_token(tmp_path: Path) -> None:
    """As the container starts it, but for the folder: without a token it ends with a sentence that says so."""
    (program,) = json.loads(of("ENTRYPOINT")[0])
    assert program in PROJECT["scripts"]
    arguments = [each.replace("/data", str(tmp_path)) for each in json.loads(of("CMD")[0])]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INSTRUCTRESTORE")}
    command = [sys.executable, "-m", "instructrestore.pipelines.cli", *arguments]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert "INSTRUCTRESTORE_TOKEN" in " ".join(ended.stderr.split())


def test_the_health_check_says_whether_the_app_answers(tmp_path: Path) -> None:
    command = json.loads(of("HEALTHCHECK")[0].partition(" CMD ")[2])
    assert command[0] == "python"
    with running_app(tmp_path / "app") as app:
        asked = [each.replace("http://127.0.0.1:7860", app.url) for each in command[1:]]
        assert app.url in asked[-1]
        assert subprocess.run([sys.executable, *asked], timeout=60).returncode == 0
    ended = subprocess.run([sys.executable, *asked], capture_output=True, timeout=60)
    assert ended.returncode == 1


@pytest.mark.parametrize("service", ["app", "cuda"])
def test_a_service_is_for_this_machine_alone_and_keeps_its_photos(service: str) -> None:
    settings, volumes = compose()["services"][service], compose()["volumes"]
    (port,) = settings["ports"]
    assert port.startswith("127.0.0.1:") and port.endswith(f":{of('EXPOSE')[0]}")
    assert "INSTRUCTRESTORE_TOKEN:?" in settings["environment"]["INSTRUCTRESTORE_TOKEN"]
    mounted = dict(reversed(each.split(":")) for each in settings["volumes"])
    assert set(mounted) == set(json.loads(dict(last_stage())["VOLUME"]))
    assert set(mounted.values()) == set(volumes)
    assert set(settings["build"].get("args", {})) <= {rest.partition("=")[0] for rest in of("ARG")}


def test_the_gpu_is_asked_for_by_one_service_alone() -> None:
    services = compose()["services"]
    assert services["cuda"]["profiles"] == ["gpu"] and "profiles" not in services["app"]
    (device,) = services["cuda"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"] and "deploy" not in services["app"]
    assert services["cuda"]["image"] != services["app"]["image"]
