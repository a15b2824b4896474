"""The command as people type it: help, answers, and one sentence with status 2 for a mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from instructrestore import __version__
from instructrestore.pipelines import cli
from tests.pipelines.photos import make_photos
from tests.shards.samples import write_dataset

ROOT = Path(__file__).resolve().parents[2]


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Runs the command in this process; returns its exit status."""
    monkeypatch.setattr(sys, "argv", ["instructrestore", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("command", ["build", "verify", "stats", "show", "phrase", "export", "distill"])
def test_every_command_has_help(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    assert call(monkeypatch, command, "--help") == 0
    text = capsys.readouterr().out
    assert "Usage" in text
    assert len(text.splitlines()) > 8


def test_the_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    assert call(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"instructrestore {__version__}\n"


def test_the_shell_completes_commands_and_options() -> None:
    def completed(words: str) -> list[str]:
        asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        ended = subprocess.run(
            [sys.executable, "-m", "instructrestore"],
            env={**os.environ, "_INSTRUCTRESTORE_COMPLETE": "complete_bash", **asked},
            capture_output=True,
            text=True,
            check=True,
        )
        return ended.stdout.split()

    assert completed("instructrestore ev") == ["evaluate"]
    assert completed("instructrestore build --pre") == ["--preset"]


MISTAKES = {
    "no source": (["build"], "a build needs a source: name a folder of photos"),
    "missing folder": (["build", "{}/nowhere"], "nowhere does not exist"),
    "unknown kind": (["build", "coko:{}/photos"], "coko:"),
    "empty folder": (["build", "{}/empty"], "holds no photos"),
    "unknown preset": (["build", "{}/photos", "--preset", "papre"], "there is no preset 'papre'; there are embedded"),
    "unknown setting": (
        ["build", "{}/photos", "--set", "quality_gate.skore=1"],
        "quality_gate.skore: this name is not known",
    ),
    "bad value": (["build", "{}/photos", "--set", "quality_gate.score=high"], "quality_gate.score: input should be"),
    "no value": (["build", "{}/photos", "--set", "quality_gate.score"], "--set takes NAME=VALUE"),
    "missing config": (["build", "{}/photos", "--config", "{}/none.toml"], "there is no settings file"),
    "bad config": (["build", "{}/photos", "--config", "{}/photos/photo 000.jpg"], "cannot be read as TOML"),
    "nested config": (["build", "{}/photos", "--config", "{}/deep"], "deep cannot be read as TOML: it is nested too"),
    "nested run": (
        ["build", "{}/photos", "--out", "{}/nested"],
        "nested/run.json is damaged: if its folder is of a build, write",
    ),
    "folder in use": (["build", "{}/photos", "--out", "{}/photos"], "is not empty and was not made by a build"),
    "other schema": (["build", "{}/photos", "--out", "{}/old"], "made by another version of this program (schema 0"),
    "out is a file": (["build", "{}/photos", "--out", "{}/photos/photo 000.jpg"], "is a file"),
    "no cluster": (["build", "{}/photos", "--out", "{}/run", "--address", "127.0.0.1:1"], "no Ray cluster answers"),
    "verify nothing": (["verify", "{}/photos"], "is not a data set: it has no dataset.json"),
    "stats of nothing": (["stats", "{}/nowhere"], "is not a data set"),
    "show unknown key": (["show", "{}/data", "ffff0000"], "no photos of"),
    "phrase of nothing": (["phrase", "{}/nowhere"], "there is no file"),
}


def mistake(name: str, folder: Path) -> tuple[list[str], str]:
    """The words of a command that errs, of what is made in the folder, and the sentence about it."""
    make_photos(folder / "photos", 2)
    (folder / "empty").mkdir()
    write_dataset(folder / "data")
    (folder / "old").mkdir()
    (folder / "old/run.json").write_text('{"schema": 0}')
    (folder / "deep").write_text("a = " + "[" * 200_000)
    (folder / "nested").mkdir()
    (folder / "nested/run.json").write_text("[" * 200_000)
    words, sentence = MISTAKES[name]
    return [word.format(folder) for word in words], sentence


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence_and_status_2(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words, sentence = mistake(name, tmp_path)
    assert call(monkeypatch, *words) == 2
    said = capfd.readouterr().err
    assert sentence in said
    assert len(said.strip().splitlines()) == 1, said


@pytest.mark.parametrize("name", ["unknown setting", "verify nothing"])
def test_in_a_process_of_its_own_it_is_the_only_line_too(name: str, tmp_path: Path) -> None:
    words, sentence = mistake(name, tmp_path)
    ended = subprocess.run(
        [sys.executable, "-m", "instructrestore", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 2, ended.stderr
    assert sentence in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr


def test_verify_exits_1_and_names_the_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_dataset(tmp_path)
    assert call(monkeypatch, "verify", str(tmp_path)) == 0
    (tmp_path / "png-000000.tar").unlink()
    assert call(monkeypatch, "verify", str(tmp_path)) == 1
    assert "png-000000.tar is missing" in capsys.readouterr().out


def test_stats_as_json_and_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    made = write_dataset(tmp_path / "data")
    assert call(monkeypatch, "stats", str(tmp_path / "data"), "--json") == 0
    assert json.loads(capsys.readouterr().out)["regions"] == 12
    assert call(monkeypatch, "show", str(tmp_path / "data"), made[0][0].photo.key[:9], "--out", str(tmp_path)) == 0
    assert (tmp_path / f"{made[0][0].photo.key}.png").stat().st_size > 1000


def test_phrase_is_a_line_of_json_for_every_line(tmp_path: Path) -> None:
    lines = ["the sky is blue", "", "the cow is standing on the field", "### Question: what?"]
    ended = subprocess.run(
        [sys.executable, "-m", "instructrestore", "phrase", "-"],
        cwd=ROOT,
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    answers = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [answer["description"] for answer in answers] == lines
    assert (answers[0]["noun_phrase"], answers[0]["subject"]) == ("the blue sky", "sky")
    assert [answer["valid"] for answer in answers] == [True, False, True, False]
    assert answers[1]["reasons"] == ["empty"]


def test_a_source_on_the_command_line_does_not_undo_an_exclude_list_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for name in ("photos", "old", "held-out"):
        make_photos(tmp_path / name, 2)
    (tmp_path / "settings.toml").write_text(
        "".join(
            f'[[sources]]\nkind = "folder"\npath = "{tmp_path / name}"\nexclude = {exclude}\n'
            for name, exclude in (("old", "false"), ("held-out", "true"))
        )
    )
    words = ["build", str(tmp_path / "photos"), "--config", str(tmp_path / "settings.toml"), "--dry-run"]
    assert call(monkeypatch, *words, "--out", str(tmp_path / "out")) == 0
    plan = capsys.readouterr().out
    assert "held-out (exclude list)" in plan
    assert "photos of photos" in plan
    assert "old" not in plan.split("stages:")[0].replace(str(tmp_path), "")
