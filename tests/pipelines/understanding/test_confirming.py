"""`instructrestore restore` with a wish that only a language model understands: asked, refused, or taken."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from PIL import Image

import instructrestore
from instructrestore.model.instruction.parser import parse
from instructrestore.pipelines import cli
from instructrestore.pipelines.pictures.restored_photo import read_record
from instructrestore.pipelines.restoration.inputs import find_jobs
from instructrestore.pipelines.understanding.confirming import confirm
from instructrestore.pipelines.understanding.wishes import KEY, Understood, WishModel, WishReader
from tests.pipelines.understanding.replying_server import CANONICAL, GOOD, ReplyingServer

WISH = "nur der Hund, etwas schärfer"
READ = Understood(WISH, parse(CANONICAL), "m")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(KEY, raising=False)
    Image.new("RGB", (64, 64), "gray").save("dog.png")


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["instructrestore", "restore", "dog.png", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_without_a_terminal_it_is_refused_with_what_to_write(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with ReplyingServer() as server:
        assert run(monkeypatch, WISH, "--language-model", server.url) == 2
    said = capsys.readouterr().err
    assert f"the language model m understood '{WISH}' as '{CANONICAL}'" in said and said.count("\n") == 1
    assert not Path("restored").exists()


def test_with_yes_it_is_done_and_recorded(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = ("--base", str(tiny_base), "--steps", "1", "--device", "cpu")
    with ReplyingServer() as server:
        assert run(monkeypatch, WISH, "--language-model", server.url, "--yes", *quick) == 0
        assert run(monkeypatch, WISH, "--language-model", server.url, "--yes", "--skip-existing", *quick) == 0
    said = capsys.readouterr().out
    assert f"Understood as: {CANONICAL} (by m)" in said and "1 restored" in said and "is already there" in said
    record = read_record(Path("restored/dog.png"))
    assert record
    assert (record["typed"], record["understood_by"], record["instruction"]) == (WISH, "m", CANONICAL)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--yes",), "--yes is of a language model"),
        (("--language-model-name", "m"), "--language-model-name is of a language model"),
        (("--language-model", "localhost:8000"), "--language-model: 'localhost:8000' is not"),
    ],
)
def test_options_without_what_they_need(
    words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, WISH, *words) == 2
    assert said in capsys.readouterr().err


def test_a_data_set_s_wish_is_none_of_a_language_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["instructrestore", "restore", "--shards", "x", WISH, "--language-model", "http://h/v1"]
    )
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2


def test_from_python_it_is_an_error_with_the_sentence_until_yes() -> None:
    with ReplyingServer() as server, pytest.raises(ValueError, match="understood 'nur der Hund") as error:
        instructrestore.restore("dog.png", WISH, language_model=server.url, quiet=True)
    assert CANONICAL in str(error.value)


def test_rows_of_a_csv_are_read_each_and_a_bad_one_is_that_row_s_fault() -> None:
    Path("p.csv").write_text(
        f'photo,instruction\ndog.png,"{WISH}"\ndog.png,make the dog clear\ndog.png,mach es blau\n', "utf-8"
    )
    with ReplyingServer(GOOD, {**GOOD, "kind": "recolour"}) as server:
        read = WishReader(WishModel(server.url))
        first, second, third = find_jobs(["p.csv"], Path("out"), read=read)
    assert first.wish == READ and read.by_model == [READ]
    assert second.wish and second.wish.model is None and second.instruction
    assert third.instruction is None and "other colours" in third.problem
    assert len(server.bodies) == 2


@pytest.mark.parametrize(("answer", "goes_on"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_at_a_terminal_a_person_is_asked(answer: str, goes_on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    keyboard, terminal = os.openpty()
    with open(terminal, encoding="utf-8") as typed, open(os.dup(terminal), "w", encoding="utf-8") as shown:
        monkeypatch.setattr(sys, "stdin", typed)
        monkeypatch.setattr(sys, "stdout", shown)
        os.write(keyboard, answer.encode())
        said: list[str] = []
        if goes_on:
            confirm([READ], False, said.append)
        else:
            with pytest.raises(ValueError, match="nothing was restored"):
                confirm([READ], False, said.append)
    os.close(keyboard)
    assert said == [f"Understood as: {CANONICAL} (by m)"]


def test_nothing_read_is_nothing_asked() -> None:
    confirm([], False, pytest.fail)
