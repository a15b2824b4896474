"""Imports run one way: pipelines -> {dataengine, model} -> {pretrained, shards}, and one way between the rooms inside
a package too; what must stay out of the base install; and one namespace for everything."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "shards": set(),
    "pretrained": {"shards"},
    "dataengine": {"shards", "pretrained"},
    "model": {"shards", "pretrained"},
    "pipelines": {"shards", "pretrained", "dataengine", "model"},
}
NAMESPACE = "instructrestore."


@cache
def source_files() -> dict[str, Path]:
    """The files of the packages by the names they are imported under."""
    paths = [path for package in MAY_IMPORT for path in sorted((ROOT / package).rglob("*.py"))]
    return {NAMESPACE + ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports; of `from package import module` the module."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            modules = (f"{node.module}.{name.name}" for name in node.names)
            yield from (module if module in source_files() else node.module or "" for module in modules)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_run_one_way(package: str) -> None:
    forbidden = set(MAY_IMPORT) - MAY_IMPORT[package] - {package}
    files = list((ROOT / package).rglob("*.py"))
    assert files
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for name in imports(path)
        if name.removeprefix(NAMESPACE).split(".")[0] in {*forbidden, "tests", "benchmarks"}
    ]
    assert wrong == []


def test_everything_is_imported_under_one_name() -> None:
    """By the name of its directory alone a module would be loaded a second time."""
    files = [path for folder in (*MAY_IMPORT, "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for name in imports(path)
        if name.split(".")[0] in MAY_IMPORT
    ]
    assert wrong == []


def rooms_of(folder: str) -> dict[str, set[str]]:
    """What each room of a folder (a file, or a folder with all in it) imports of its neighbours in that folder."""
    prefix = f"{folder}."
    rooms: dict[str, set[str]] = {}
    for name, path in source_files().items():
        if name.startswith(prefix):
            room = name.removeprefix(prefix).split(".")[0]
            used = {other.removeprefix(prefix).split(".")[0] for other in imports(path) if other.startswith(prefix)}
            rooms.setdefault(room, set()).update(used - {room})
    return rooms


FOLDERS = sorted({name.rpartition(".")[0] for name in source_files()})


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_circle_between_the_rooms_of_a_folder(folder: str) -> None:
    try:
        TopologicalSorter(rooms_of(folder)).prepare()
    except CycleError as error:
        pytest.fail(f"{folder}: {' -> '.join(error.args[1])}")


def test_no_two_public_classes_share_a_name() -> None:
    """One thing has one name everywhere: who reads a name knows which class it is."""
    places: dict[str, list[str]] = {}
    for name, path in source_files().items():
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(name)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_ray_is_imported_where_workers_are_run() -> None:
    importing = {
        name for name, path in source_files().items() if any(each.split(".")[0] == "ray" for each in imports(path))
    }
    elsewhere = {name for name in importing if not name.startswith("instructrestore.dataengine.running.on_ray.")}
    assert elsewhere == {f"instructrestore.pipelines.training.{name}" for name in ("on_ray", "on_one_machine")}


def test_the_command_line_starts_without_the_heavy_packages() -> None:
    code = (
        "import instructrestore.pipelines.cli, sys; "
        "print([m for m in ('ray', 'torch', 'torchvision', 'skimage') if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_nothing_in_the_base_install_imports_torchvision() -> None:
    code = (
        "import sys, pkgutil, importlib, instructrestore\n"
        "from instructrestore import dataengine, shards, model, pipelines, pretrained\n"
        "for p in (dataengine, shards, model, pipelines, pretrained):\n"
        "    for m in pkgutil.walk_packages(p.__path__, p.__name__ + '.'):\n"
        "        importlib.import_module(m.name)\n"
        "print('torchvision' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"
