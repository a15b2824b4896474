"""What commands make of damaged files that they or others left: they mend it and say so, or name the file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import damage
from instructrestore.pipelines.building import build as building
from instructrestore.pipelines.restoration import dataset as restoration
from tests.pipelines.photos import make_photos


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, in which stages run in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "10000")
    monkeypatch.setattr("sys.argv", [])
    for module in (building, restoration):
        monkeypatch.setattr(module, "Executor", module.Executor)
    damage.in_this_process()
    return tmp_path


def flip(path: Path, place: int = 700) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


def hashes(*folders: Path) -> dict[str, str]:
    files = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def run(*words: str) -> str:
    status, said = damage.run(words)
    assert status == 0, said
    return said


def only(folder: Path, pattern: str) -> Path:
    return sorted(folder.glob(pattern))[0]


def test_a_build_mends_what_it_can_make_again(here: Path) -> None:
    make_photos(here / "photos", 6)
    words = damage.build_words("photos")
    run(*words)
    out = here / "run"
    expected = hashes(out / "dataset")
    for name, stage in (("jpg-000000.tar", "000000-"), ("png-000000.tar", "000000-")):
        flip(out / "dataset" / name)
        said = run(*words)
        kind = name[:3]
        assert f"{kind} shards: damaged or gone, and made again: 08-{kind}-shards/{stage}" in said
        assert hashes(out / "dataset") == expected
    for stage in ("07-*", "08-jpg*"):
        for path in (out / "stages/08-png-shards").glob("*.parquet"):
            path.unlink()
        path = only(out, f"stages/{stage}/*-*.parquet")
        flip(path, 60)
        assert f"{path.name} was damaged: it is made again" in run(*words)
        assert hashes(out / "dataset") == expected
    for name in ("README.md", "index.parquet", "dataset.json", "checksums.sha256"):
        flip(out / "dataset" / name, 70)
        run(*words)
        assert hashes(out / "dataset") == expected


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "the manifest": (
        lambda out: flip(out / "manifest/000000.parquet", 60),
        "manifest/000000.parquet is damaged: put a",
    ),
    "the marker": (
        lambda out: (out / "run.json").write_text("{"),
        "run.json is damaged: if its folder is of a build, wr",
    ),
    "the settings": (
        lambda out: (out / "settings.toml").write_bytes(b"\xff"),
        "settings.toml is damaged: remove it, and ",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_build_names_what_it_cannot_make_again(here: Path, what: str) -> None:
    make_photos(here / "photos", 2)
    words = damage.build_words("photos")
    run(*words)
    spoil, sentence = REFUSED[what]
    spoil(here / "run")
    status, said = damage.run(words)
    assert status == 2 and sentence in said and "Traceback" not in said, said


def test_settings_that_were_changed_are_said(here: Path) -> None:
    make_photos(here / "photos", 2)
    words = damage.build_words("photos")
    assert "settings.toml" not in run(*words)
    assert "settings.toml" not in run(*words)
    text = (here / "run/settings.toml").read_text()
    (here / "run/settings.toml").write_text(text.replace('preset = "demo"', 'preset = "demp"'))
    assert "settings.toml is not as the last build left it: the sources that it names now are taken" in run(*words)
    assert (here / "run/settings.toml").read_text() == text


@pytest.mark.parametrize("kind", ["files", "shards"])
def test_a_restoration_makes_damaged_results_again(here: Path, tiny_base: Path, kind: str) -> None:
    make_photos(here / "photos", 3)
    run(*damage.build_words("photos"))
    (here / "base").symlink_to(tiny_base)
    words = (*damage.RESTORE, "--as", kind, "--out", "out")
    run(*words)
    out = here / "out"
    target = out / ("restored" if kind == "files" else "dataset")
    expected = hashes(target) | {"results": hashlib.sha256((out / "results.parquet").read_bytes()).hexdigest()}
    made = only(target, "*.png" if kind == "files" else "*.tar")
    for path, place in ((made, made.stat().st_size // 2), (only(out, f"parts/{kind}/*.parquet"), 60)):
        flip(path, place)
        said = run(*words)
        assert f"restore: damaged or gone, and made again: {kind}/000000-" in said
        found = hashes(target) | {"results": hashlib.sha256((out / "results.parquet").read_bytes()).hexdigest()}
        assert found == expected
    flip(only(here / "run/dataset", "*.tar"))
    _, said = damage.run((*words, "--seed", "7"))
    assert ".tar is damaged: copy it again; photos in it that are known to be damaged are left out" in said


@pytest.mark.slow
def test_one_bit_in_as_many_files_as_a_minute_and_a_half_allows(here: Path) -> None:
    assert damage.main(1, 0, 90, []) == 0
