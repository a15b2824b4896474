"""Imports run one way: pipelines -> {dataengine, model} -> shards; and what must stay out of the base install."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "shards": set(),
    "dataengine": {"shards"},
    "model": {"shards"},
    "pipelines": {"shards", "dataengine", "model"},
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield node.module or ""


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_run_one_way(package: str) -> None:
    forbidden = set(MAY_IMPORT) - MAY_IMPORT[package] - {package}
    files = list((ROOT / package).rglob("*.py"))
    assert files
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for name in imports(path)
        if name.split(".")[0] in {*forbidden, "tests", "benchmarks"}
    ]
    assert wrong == []


def test_ray_is_imported_where_workers_are_run() -> None:
    importing = {
        str(path.relative_to(ROOT))
        for package in ("dataengine", "model", "pipelines", "shards")
        for path in (ROOT / package).rglob("*.py")
        if any(name.split(".")[0] == "ray" for name in imports(path))
    }
    assert importing == {
        "dataengine/cluster.py",
        "dataengine/environments.py",
        "dataengine/runner.py",
        "dataengine/serving/in_process.py",
        "dataengine/serving/started.py",
        "dataengine/stage_run.py",
        "pipelines/training/on_ray.py",
    }


def test_the_command_line_starts_without_the_heavy_packages() -> None:
    code = (
        "import pipelines.cli, sys; print([m for m in ('ray', 'torch', 'torchvision', 'skimage') if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_nothing_in_the_base_install_imports_torchvision() -> None:
    code = (
        "import sys, pkgutil, importlib, dataengine, shards, model, pipelines\n"
        "for p in (dataengine, shards, model, pipelines):\n"
        "    for m in pkgutil.walk_packages(p.__path__, p.__name__ + '.'):\n"
        "        importlib.import_module(m.name)\n"
        "print('torchvision' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"
