"""Recipes: what is refused in one sentence, what one lacks on this machine, and what its results follow from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from instructrestore.pipelines.evaluation.methods.checkout import check, known_of, lacks
from instructrestore.pipelines.evaluation.methods.recipe import (
    MethodRecipe,
    methods_folder,
    read_recipe,
    shipped_recipes,
)
from instructrestore.pipelines.evaluation.methods.spec import MethodSpec, parse_method
from instructrestore.pipelines.evaluation.options import given_results

LEAST: dict[str, Any] = {"name": "M", "command": ["program", "{lq}", "{out}"], "result": "{key}.png"}
PAPER = ("diffbir", "osediff", "pasd", "seesr", "stablesr", "supir")


def recipe(**changes: Any) -> MethodRecipe:
    return MethodRecipe.model_validate(LEAST | changes)


def test_a_recipe_is_asked_for_by_name_or_file() -> None:
    assert parse_method("command=seesr") == MethodSpec("command", "seesr")
    assert parse_method("command=./my.toml").place == "./my.toml"
    with pytest.raises(ValueError, match=r"needs a recipe: command=RECIPE\.toml, or one of .*seesr"):
        parse_method("command=")
    with pytest.raises(ValueError, match=r"there is no recipe xyz: name a file, .* or one of .*seesr"):
        read_recipe("xyz")
    for near, meant in (("sesr", "seesr"), ("SeeSR", "seesr"), ("x/diffbir-v2.1.toml", "diffbir-v2.1")):
        with pytest.raises(ValueError, match=f"there is no recipe {near}, but there is {meant}: name a file"):
            read_recipe(near)


@pytest.mark.parametrize("name", shipped_recipes())
def test_what_ships_says_where_everything_is_from(name: str) -> None:
    shipped = read_recipe(name)
    assert len(shipped.revision) == 40 and shipped.licence and shipped.repository.startswith("https://github.com/")
    assert all(each.source for each in shipped.weights.values()) and shipped.weights
    used = " ".join(shipped.command)
    assert "{seed}" in used and "{python}" in used


def test_the_paper_s_methods_ship() -> None:
    assert set(PAPER) <= set(shipped_recipes())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": " M"}, "name: a row's name is one line"),
        ({"name": "../../etc"}, r"used: directory is not given, and the name '\.\./\.\./etc' is that of no folder"),
        ({"name": ".."}, "the name .* is that of no folder"),
        ({"name": "."}, "the name .* is that of no folder"),
        ({"name": "/etc"}, "the name .* is that of no folder"),
        ({"name": "~root"}, "the name .* is that of no folder"),
        ({"command": ["program"]}, r"cannot be used: command needs \{lq\} and \{out\}"),
        ({"command": ["{weights.a}", "{lq}", "{out}"]}, r"used: command has the placeholder \{weights\.a\}"),
        ({"command": [""]}, "command: its first word is empty"),
        ({"command": [" ", "{lq}", "{out}"]}, "command: its first word is empty"),
        ({"command": ["p", "{lq}", "{out}", "a\0"]}, "command: .* has a NUL"),
        ({"directory": "../m"}, "directory: .* leads out of its folder"),
        ({"directory": "."}, "directory: .* is no folder of its own"),
        ({"directory": "{weights.a}"}, r"directory: it has the placeholder \{weights\.a\}"),
        ({"directory": "a\0"}, "directory: .* has a NUL"),
        ({"directory": "~nosuch-user/x"}, "directory: '~nosuch-user/x' begins with a home folder"),
        ({"python": ""}, "python: "),
        ({"python": "{venv}/bin/python"}, r"python: it has the placeholder \{venv\}"),
        ({"environment": {"A=B": "1"}}, "environment: 'A=B' is no name"),
        ({"environment": {"": "1"}}, "environment: '' is no name"),
        ({"environment": {"A\0": "1"}}, "environment: .* is no name"),
        ({"environment": {"A": "1\0"}}, "environment: .* has a NUL"),
        ({"environment": {"A": "x/{lq}"}}, r"environment: it has the placeholder \{lq\}"),
        ({"command": "program {lq} {out}"}, "command: input should be a valid list"),
        ({"result": "out.png"}, r"result: it needs \{key\}"),
        ({"result": "{key}-{seed}.png"}, r"result: it needs \{key\}, and has no other"),
        ({"result": "../{key}.png"}, "leads out of its folder"),
        ({"result": "/tmp/{key}.png"}, "leads out of its folder"),
        ({"weights": {"a": {"path": "a/../../b", "source": "x"}}}, "leads out of its folder"),
        ({"weights": {"a": {"path": "a", "source": "x", "sha256": "12"}}}, "weights.a.sha256"),
        ({"weights": {"a": {"path": "a", "source": "x", "holds": "."}}}, "weights.a.holds: '.' is no pattern"),
        ({"weights": {"a": {"path": "a", "source": "x", "holds": "./"}}}, "weights.a.holds: './' is no pattern"),
        ({"weights": {"a": {"path": "a", "source": "x", "holds": "**.pth"}}}, "weights.a.holds: .* is no pattern"),
        ({"revision": "main"}, "revision: "),
        ({"photos_per_call": 9}, "photos_per_call: "),
        ({"timeout_s": 0}, "timeout_s: "),
        ({"timeout_s": float("inf")}, "timeout_s: "),
        ({"timeout_s": float("nan")}, "timeout_s: "),
        ({"timeout_s": 1e308}, "timeout_s: "),
        ({"lq": "quarter"}, "lq: "),
        ({"shell": True}, "shell: this name is not known"),
    ],
)
def test_a_mistake_in_a_recipe_is_one_sentence(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    file = tmp_path / "m.toml"
    file.write_text(tomli_w.dumps(LEAST | changes))
    with pytest.raises(ValueError, match=expected) as caught:
        read_recipe(str(file))
    assert str(caught.value).startswith(f"the recipe {file} cannot be used: ") and "\n" not in str(caught.value)


def test_a_file_that_is_no_recipe_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text("name = [")
    with pytest.raises(ValueError, match="cannot be read as TOML: ") as caught:
        read_recipe(str(tmp_path / "m.toml"))
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="cannot be read: "):
        read_recipe(str(tmp_path))


def test_where_a_method_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTRUCTRESTORE_METHODS", str(tmp_path / "env"))
    assert methods_folder(None) == tmp_path / "env"
    assert methods_folder(tmp_path / "given") == tmp_path / "given"
    assert recipe().checkout(tmp_path) == tmp_path / "M"
    assert recipe(directory="/opt/m").checkout(tmp_path) == Path("/opt/m")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert recipe(directory="~/m").checkout(tmp_path) == tmp_path / "home/m"
    assert recipe(name="a: b/c", directory="x/y").checkout(tmp_path) == tmp_path / "x/y"
    assert recipe().interpreter(tmp_path) == "python"
    assert recipe(python=".venv/bin/python").interpreter(tmp_path) == str(tmp_path / "M/.venv/bin/python")
    weights = {"a": {"path": "w/a.pth", "source": "x"}}
    words = recipe(command=["p", "{lq}", "{out}", "{weights.a}", "{seed}", "a{b"], weights=weights)
    assert words.words(tmp_path, Path("/l"), Path("/o"), 5) == ["p", "/l", "/o", f"{tmp_path}/M/w/a.pth", "5", "a{b"]


def test_a_home_that_does_not_exist_is_one_sentence() -> None:
    what = "'~nosuch-user/m.*' begins with a home folder that is not known here"
    with pytest.raises(ValueError, match=what):
        read_recipe("~nosuch-user/m.toml")
    with pytest.raises(ValueError, match=what):
        methods_folder(Path("~nosuch-user/m"))
    with pytest.raises(ValueError, match=what):
        given_results(["SeeSR=~nosuch-user/m."])
    with pytest.raises(ValueError, match=what):
        MethodSpec("network", "~nosuch-user/m.pth").identity()
    with pytest.raises(ValueError, match=what):
        MethodSpec("x4-upscaler", "~nosuch-user/m").identity()


def git(folder: Path, *words: str) -> str:
    settings = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", "-C", folder, *settings, *words], capture_output=True, text=True, check=True).stdout


def checkout(folder: Path) -> str:
    """A repository with one commit, which is returned."""
    folder.mkdir()
    (folder / "program.py").write_text("print()")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    return git(folder, "rev-parse", "HEAD").strip()


def test_what_a_recipe_lacks_is_said_with_what_to_do(tmp_path: Path) -> None:
    weights = {
        "unet": {"path": "unet", "source": "https://x/unet", "holds": "*.safetensors"},
        "net": {"path": "net.pth", "source": "https://x/net", "sha256": "0" * 64},
    }
    command = ["{python}", "{lq}", "{out}"]
    values = {"repository": "https://x/m", "weights": weights, "revision": "1234567", "command": command}
    asked = recipe(**values, python=".venv/bin/python")
    lack, *others = lacks(asked, tmp_path)
    assert [each.fix for each in others] == ["unet: https://x/unet", "net.pth: https://x/net"]
    assert lack.text == f"there is no folder {tmp_path / 'M'}"
    assert lack.fix == f"git clone https://x/m {tmp_path / 'M'} && git -C {tmp_path / 'M'} checkout 1234567"
    commit = checkout(tmp_path / "M")
    (tmp_path / "M" / "unet").mkdir()
    (tmp_path / "M" / "unet" / "config.json").touch()
    (tmp_path / "M" / "net.pth").write_bytes(b"another")
    texts = [lack.text for lack in lacks(asked, tmp_path)]
    assert texts[0] == f"{tmp_path / 'M'} is at {commit[:7]} and the recipe of 1234567"
    assert texts[1].startswith("there is no program ") and texts[1].endswith("M/.venv/bin/python")
    assert texts[2] == "there are no weights unet in it"
    assert texts[3] == "net.pth is not the file that the recipe knows by its sha256" and len(texts) == 4
    with pytest.raises(ValueError, match=r"M cannot run here, because .* is at .*: git -C .* checkout 1234567"):
        check(asked, tmp_path)
    (tmp_path / "M" / "unet" / "a.safetensors").touch()
    ready = recipe(**values | {"revision": commit[:9], "weights": {"unet": weights["unet"]}}, python=sys.executable)
    assert not list(lacks(ready, tmp_path))
    check(ready, tmp_path)


def test_results_follow_from_code_weights_and_recipe_and_not_from_places(tmp_path: Path) -> None:
    commit = checkout(tmp_path / "M")
    (tmp_path / "M" / "w").write_bytes(b"one")
    asked = recipe(weights={"w": {"path": "w", "source": "x"}})
    known = known_of(asked, tmp_path, 0)
    assert known["revision"] == commit and known["changes"] is None and known["weights"]["w"].startswith("7692c3ad")
    (tmp_path / "M").rename(tmp_path / "other")
    moved = asked.model_copy(update={"directory": "other", "licence": "MIT", "timeout_s": 1.0})
    assert known_of(moved, tmp_path, 0) == known
    (tmp_path / "other" / "program.py").write_text("print(1)")
    changed = known_of(moved, tmp_path, 0)
    assert changed["changes"] and changed | {"changes": None} == known
    (tmp_path / "other" / "w").write_bytes(b"two")
    assert known_of(moved, tmp_path, 0)["weights"] != known["weights"]
    slower = moved.model_copy(update={"photos_per_call": 2})
    assert known_of(slower, tmp_path, 0)["recipe"] != known["recipe"]
    assert known_of(moved, tmp_path, 1) != known_of(moved, tmp_path, 0)


def test_a_folder_that_is_no_checkout_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "M").mkdir()
    asked = recipe(revision="1234567", command=[sys.executable, "{lq}", "{out}"])
    assert not list(lacks(asked, tmp_path)) and known_of(asked, tmp_path, 0)["revision"] is None
