"""What README and docs name is there: files of README's tree, linked pages, modules, benchmarks, make targets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")] + sorted(
    (ROOT / "docs").rglob("*.md")
)
ROOMS = "dataengine|model|pipelines|shards|instructrestore"


def tree_paths() -> list[str]:
    """The paths that README's tree names, put together from its indentation."""
    section = (ROOT / "README.md").read_text("utf-8").partition("## The tree")[2]
    lines = re.search(r"^```\n(.*?)^```", section, re.M | re.S)
    assert lines
    found: list[str] = []
    above = ""
    for line in lines[1].splitlines():
        inner, names = line.startswith("  "), re.split(r" {2,}(?=[^ ]+ )", line.strip(), maxsplit=1)[0]
        for name in names.split():
            found.append(f"{above}{name}" if inner else name)
        if not inner:
            above = names.split()[0]
    return found


def test_the_tree_of_the_readme_is_there_and_whole() -> None:
    paths = tree_paths()
    assert len(paths) > 30
    assert [path for path in paths if not (ROOT / path).exists()] == []
    rooms = {f"{path.parent.name}/{path.name}/" for room in ROOMS.split("|") for path in (ROOT / room).glob("*/")}
    assert {room for room in rooms if "__pycache__" not in room} - set(paths) == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_modules_of_a_page_are_there(page: Path) -> None:
    text = page.read_text("utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert [link for link in links if link and not (page.parent / link).exists()] == []
    modules = re.findall(rf"\binstructrestore\.((?:{ROOMS})(?:\.\w+)+)", text)
    modules += [f"benchmarks.{name}" for name in re.findall(r"\bbenchmarks[./](\w+)", text)]
    assert [module for module in modules if not _is_there(module)] == []
    files = re.findall(rf"(?<![\w./-])((?:{ROOMS}|tests)/[\w/]+\.\w+)", text)
    assert [file for file in files if not (ROOT / file).exists()] == []


def _is_there(module: str) -> bool:
    """Whether a dotted name is a module, or something that a module's text defines."""
    path = ROOT.joinpath(*module.split("."))
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    file = path.parent.with_suffix(".py")
    return (
        file.is_file()
        and re.search(rf"\b(?:class|def) {path.name}\b|^{path.name}\b", file.read_text("utf-8"), re.M) is not None
    )


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))


def test_the_workflow_and_the_documents_call_targets_that_the_makefile_has() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    steps = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    called = {word.removeprefix("make ") for word in steps}
    assert {"check", "test", "test-slow", "docs", "release"} <= called <= make_targets()
    for page in PAGES:
        named = re.findall(r"(?:^|`)make ([a-z-]+)(?=`| [A-Z]+=| *(?:&&|#|$))", page.read_text("utf-8"), re.M)
        assert set(named) <= make_targets(), page.name


def test_the_forms_for_issues_are_complete_and_ask_nothing_twice() -> None:
    forms = [path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config"]
    assert len(forms) == 3
    for path in forms:
        form = yaml.safe_load(path.read_text("utf-8"))
        assert form["name"] and form["description"], path.name
        asked = [field["id"] for field in form["body"] if field["type"] != "markdown"]
        assert asked and len(asked) == len(set(asked)), path.name
        assert all(field["attributes"].get("label") for field in form["body"] if field["type"] != "markdown")


def test_the_site_has_every_page_once() -> None:
    """mkdocs itself warns of pages that its list lacks; this holds without mkdocs."""
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    listed = [
        page
        for entry in settings["nav"]
        for page in (next(iter(entry.values())) if isinstance(entry, dict) else [entry])
    ]
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    notebooks = {
        path.relative_to(ROOT / "docs").with_suffix(".md").as_posix() for path in (ROOT / "docs").rglob("*.ipynb")
    }
    elsewhere = {"index.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"}
    elsewhere |= {page for page in listed if page.startswith("integrations/") and (ROOT / page).is_file()}
    assert sorted(listed) == sorted(pages | notebooks | elsewhere)
