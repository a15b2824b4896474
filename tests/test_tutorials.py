"""The tutorials, done as a reader does them: in an empty folder, block after block, with what they say is printed."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs/tutorials"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)


def cells() -> list[str]:
    """The notebook's code."""
    notebook = json.loads((FOLDER / "restoring.ipynb").read_text("utf-8"))
    assert notebook["nbformat"] == 4
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_is_stored_as_nobody_ran_it_and_is_python() -> None:
    """Outputs would be of one machine, and are looked at by nobody once the code has changed."""
    for cell in json.loads((FOLDER / "restoring.ipynb").read_text("utf-8"))["cells"]:
        assert cell.get("outputs", []) == [] and cell.get("execution_count") is None
    ast.parse("\n".join(cells()))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["dataset", "training"])
def test_a_tutorial_prints_what_it_says(name: str, tmp_path: Path) -> None:
    """Blocks of bash and Python are run; each line of a text block was printed since the block of text before it."""
    binaries = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": binaries, "COLUMNS": "120"}
    blocks = BLOCK.findall((FOLDER / f"{name}.md").read_text("utf-8"))
    assert {kind for kind, _ in blocks} == {"bash", "python", "text"}
    printed = ""
    for kind, text in blocks:
        if kind == "text":
            for line in text.splitlines():
                assert squeezed(line) in printed, f"{line!r} is not in\n{printed}"
            printed = ""
            continue
        program = [sys.executable, "-c", text] if kind == "python" else ["bash", "-e", "-c", text]
        ended = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, f"{text}{ended.stdout}{ended.stderr}"
        printed += squeezed(ended.stdout + ended.stderr)


@pytest.mark.slow
def test_the_notebook_runs_and_the_cat_is_better_for_it() -> None:
    names: dict[str, Any] = {}
    for cell in cells():
        exec(compile(cell, "restoring.ipynb", "exec"), names)  # noqa: S102
    cat = names["cat"]
    assert 0.2 < cat.mean() < 0.8
    assert names["psnr"](names["restored"], cat) > names["psnr"](names["photo"], cat) + 0.5
    assert not names["changed"][~cat].any()
    assert names["changed"][cat].mean() > 0.9  # a pixel may come out as it was
    assert np.asarray(names["by_hand"]).shape == np.asarray(names["photo"]).shape


def squeezed(text: str) -> str:
    """Text with one space for any white space: tables are as wide as the screen."""
    return " ".join(text.split())
