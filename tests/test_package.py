"""The package as people get it: the wheel, what `import instructrestore` gives, and that the command works in a
folder whose own modules have the names of our directories."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
import skimage

import instructrestore
from tests.pipelines.photos import make_photos

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("dataengine", "model", "pipelines", "pretrained", "shards")
IGNORED = shutil.ignore_patterns("__pycache__", "*.egg-info")


def packaged_files() -> set[str]:
    """All files of the packages, by the names that they must have in the wheel."""
    places = {"instructrestore": "instructrestore"} | {room: f"instructrestore/{room}" for room in ROOMS}
    return {
        f"{target}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, target in places.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the source distribution, built in a copy of the tree as pip builds them, without isolation."""
    pytest.importorskip("setuptools")
    copy = tmp_path_factory.mktemp("package") / "tree"
    copy.mkdir()
    for folder in ("instructrestore", *ROOMS, "docs"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=IGNORED)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    build = "from setuptools import build_meta as b; b.build_sdist('dist'); b.build_wheel('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=copy, capture_output=True, check=True)
    return next((copy / "dist").glob("*.whl")), next((copy / "dist").glob("*.tar.gz"))


def test_the_wheel_holds_the_package_and_nothing_else(distributions: tuple[Path, Path]) -> None:
    wheel, _ = distributions
    dist_info = f"instructrestore-{instructrestore.__version__}.dist-info/"
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        metadata = archive.read(f"{dist_info}METADATA").decode()
    assert {name for name in names if not name.startswith(dist_info)} == packaged_files()
    assert {"instructrestore/py.typed", "instructrestore/dataengine/reporting/report.css"} <= names
    assert f"\nVersion: {instructrestore.__version__}\n" in metadata


def test_the_source_distribution_holds_all_that_the_wheel_is_built_from(distributions: tuple[Path, Path]) -> None:
    _, sdist = distributions
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    packages = {name if name.count("/") == 1 else name.removeprefix("instructrestore/") for name in packaged_files()}
    rooms = {name for name in names if name.split("/")[0] in ROOMS and "." in name.rpartition("/")[2]}
    assert rooms == {name for name in packages if name.split("/")[0] in ROOMS}
    assert {"setup.py", "pyproject.toml", "CHANGELOG.md", "LICENSE", "docs/api.md", "instructrestore/jobs.py"} <= names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_importing_it_imports_nothing_heavy() -> None:
    heavy = ("diffusers", "numpy", "pandas", "pyarrow", "pydantic", "ray", "rich", "torch", "transformers", "typer")
    code = f"import sys, instructrestore; print([name for name in {heavy} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_the_public_names_are_listed_once_typed_and_there() -> None:
    public = instructrestore.__all__
    assert sorted(public) == sorted(set(public)) == dir(instructrestore)
    tree = ast.parse((ROOT / "instructrestore/__init__.py").read_text("utf-8"))
    typed = next(node for node in tree.body if isinstance(node, ast.If))
    assert isinstance(typed.test, ast.Name) and typed.test.id == "TYPE_CHECKING"
    imported = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in typed.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    defined_in = {name: f"instructrestore.{place}" for name, place in instructrestore._DEFINED_IN.items()}
    assert imported == defined_in
    assert {*imported, "__version__"} == set(public)
    for name in public:
        assert getattr(instructrestore, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'restorer'"):
        _ = instructrestore.restorer


def blocks_of(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def test_every_public_name_has_its_section_and_example_in_the_docs() -> None:
    page = (ROOT / "docs/api.md").read_text("utf-8")
    sections = re.split(r"^### ", page, flags=re.MULTILINE)[1:]
    described = [name for section in sections for name in re.findall(r"`(\w+)`", section.splitlines()[0])]
    assert sorted(described) == sorted(instructrestore.__all__)
    for section in sections:
        assert blocks_of(section), section.splitlines()[0]


@pytest.mark.slow
def test_the_examples_of_the_docs_run(tmp_path: Path) -> None:
    """One after the other, in a process and a folder of their own with a few photos."""
    pictures = Path(skimage.__file__).parent / "data"
    (tmp_path / "photos").mkdir()
    for name in ("astronaut.png", "coffee.png"):
        shutil.copy(pictures / name, tmp_path / "photos")
    shutil.copy(pictures / "chelsea.png", tmp_path / "cat.png")
    program = "\n".join(blocks_of((ROOT / "docs/api.md").read_text("utf-8")))
    (tmp_path / "example.py").write_text(program)
    ended = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.slow
def test_the_installed_wheel_works_beside_modules_of_the_same_names(
    distributions: tuple[Path, Path], tmp_path: Path
) -> None:
    environment, folder = tmp_path / "environment", tmp_path / "work"
    venv.create(environment, symlinks=True)
    python = environment / "bin/python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index"]
    subprocess.run([*install, str(distributions[0])], capture_output=True, check=True)
    # The packages that it needs come from the environment of the tests.
    site = next((environment / "lib").glob("python*/site-packages"))
    paths = [path for path in sys.path if path.endswith("-packages")]
    (site / "test-environment.pth").write_text("\n".join(paths) + "\n")

    for room in ROOMS:  # modules and packages of the user's own, which would be imported if ours were named like them
        (folder / room).mkdir(parents=True)
        (folder / room / "__init__.py").write_text(f"raise RuntimeError('the {room} of the working folder')\n")
    for name in ("model.py", "shards.py"):
        shutil.rmtree(folder / name.removesuffix(".py"))
        (folder / name).write_text(f"raise RuntimeError('the {name} of the working folder')\n")
    make_photos(folder / "photos", 3)

    def run(*words: str) -> str:
        ended = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    where = run(str(python), "-c", "import instructrestore.model as m; print(m.__file__)").strip()
    assert Path(where).is_relative_to(environment)
    command = str(environment / "bin/instructrestore")
    assert run(command, "--version").strip() == f"instructrestore {instructrestore.__version__}"
    assert "Usage: instructrestore" in run(str(python), "-m", "instructrestore", "--help")
    run(command, "tiny-base", "tiny")
    run(command, "restore", "photos", "make the dog clear", "--base", "tiny", "--mask-only", "--out", "masks")
    assert len(list((folder / "masks").glob("*-mask.png"))) == 3
    (folder / "cat").mkdir()
    shutil.copy(
        Path(skimage.data.__file__).with_name("chelsea.png"), folder / "cat"
    )  # which the weights that ship know
    run(command, "build", "cat", "--preset", "demo", "--out", "run")
    run(str(python), "-m", "instructrestore", "verify", "run/dataset")
    assert "cat" in run(command, "stats", "run/dataset")
