"""`index-vectors`, `search` and `trace` as people type them: answers, sheets, JSON, and one sentence for a mistake."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from instructrestore.pipelines import cli
from instructrestore.shards.index import Dataset
from tests.dataengine.small_dataset import AnnotatedPhoto, photo_of, region_of, write_dataset

HOSTILE = "=HYPERLINK(\x1b]0;x\x07) [bold]<script>\u202e\r" + "the boat " * 60


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Runs the command in this process; returns its exit status."""
    monkeypatch.setattr(sys, "argv", ["instructrestore", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Three boats, one of a hostile caption, and as many walls."""
    samples = []
    for seed, caption in enumerate(["a red boat", "a boat at dusk", HOSTILE]):
        photo, rgb = photo_of(seed, 96, 64, name="\x1b[2Jevil<b>.jpg")
        regions = region_of(photo, 4, 4, 40, 40, caption, "boat"), region_of(photo, 50, 4, 40, 50, "a wall", "wall")
        samples.append((AnnotatedPhoto(photo, regions), rgb))
    return write_dataset(tmp_path / "data", samples)


def test_a_text_finds_its_region_and_shows_it(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    before = {path.name: path.read_bytes() for path in Path(dataset.path).iterdir()}
    assert call(monkeypatch, "index-vectors", dataset.path) == 0
    said = capsys.readouterr().out
    assert "captions: 3 photos, 6 regions by all-MiniLM-L6-v2" in said
    assert "pictures: 3 photos, 6 regions by efficientnet-lite2" in said
    key = dataset.index["key"][1].as_py()
    sheet = tmp_path / "sheet.png"
    words = ["search", dataset.path, "a ship in the evening", "--top", "6"]
    assert call(monkeypatch, *words, "--out", str(sheet)) == 0
    lines = capsys.readouterr().out
    assert f"{key}#1" in lines.splitlines()[2]
    assert "\x1b" not in lines
    assert "\u202e" not in lines
    assert "\\x1b" in lines
    with Image.open(sheet) as picture:
        assert picture.width > 512
    assert call(monkeypatch, *words, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["by"], found["model"]) == ("captions", "all-MiniLM-L6-v2")
    assert (found["found"][0]["key"], found["found"][0]["region"]) == (key, 1)
    assert found["found"][0]["caption"] == "a boat at dusk"
    assert HOSTILE in [each["caption"] for each in found["found"]]
    assert call(monkeypatch, "search", dataset.path, "brick", "--subject", "boats", "--json") == 0
    assert {each["subject"] for each in json.loads(capsys.readouterr().out)["found"]} == {"boat"}
    assert call(monkeypatch, "search", dataset.path, "--like", f"{key}#1", "--json") == 0
    alike = json.loads(capsys.readouterr().out)
    assert alike["by"] == "pictures"
    assert (key, 1) not in [(each["key"], each["region"]) for each in alike["found"]]
    assert len(alike["found"]) == 5
    assert call(monkeypatch, "search", dataset.path, "--like", key, "--json") == 0
    assert [each["region"] for each in json.loads(capsys.readouterr().out)["found"]] == [None, None]
    pairs = ["search", dataset.path, "--duplicates", "--least", "-1"]
    assert call(monkeypatch, *pairs, "--out", str(sheet)) == 0
    assert "photos that show the same" in capsys.readouterr().out
    assert call(monkeypatch, *pairs, "--json") == 0
    keys = dataset.index["key"].to_pylist()
    told = [(each["key"], each["other"]) for each in json.loads(capsys.readouterr().out)["found"]]
    assert sorted(told) == sorted([(keys[0], keys[1]), (keys[0], keys[2]), (keys[1], keys[2])])
    assert call(monkeypatch, "search", dataset.path, "--outliers", "boat") == 0
    assert {path.name: path.read_bytes() for path in Path(dataset.path).iterdir()} == before


MISTAKES = {
    "nothing asked": ([], "ask one thing: a text in quotes"),
    "two things asked": (["boat", "--duplicates"], "ask one thing"),
    "no vectors yet": (["boat"], "there are no such vectors of"),
    "an empty text": ([" "], "there is nothing to search for"),
    "photos of a subject": (["boat", "--photos", "--subject", "boat"], "leave one of them out"),
    "no such folder": (["boat", "--out", "nowhere/sheet.png"], "there is no folder"),
    "a model for captions": (["boat", "--by", "captions", "--model", "x/y"], "leave --by captions out"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence(
    name: str, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    words, sentence = MISTAKES[name]
    assert call(monkeypatch, "search", dataset.path, *words) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said.strip().splitlines()) == 1


def test_a_trace_is_text_and_json_and_inert(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    key = dataset.index["key"][2].as_py()
    log = Path(f"{dataset.path}.judgements.jsonl")
    told = {"when": "2026-01-31T12:00:00Z", "dataset": "0" * 64, "key": key, "region": "", "act": "reject_photo"}
    log.write_text(json.dumps({**told, "who": "ann"}) + "\n")
    assert call(monkeypatch, "trace", dataset.path, f"{key[:9]}#1") == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "licence CC0-1.0" in said
    assert "one piece, nothing merged" in said
    assert "judged 2026-01-31T12:00:00Z by ann: reject_photo" in said
    assert "the folder of the build is not beside the data set" in said
    assert call(monkeypatch, "trace", dataset.path, key, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [region["caption"] for region in told["regions"]] == [HOSTILE, "a wall"]
    assert call(monkeypatch, "trace", dataset.path) == 2
    assert "trace what? Name KEY or KEY#REGION" in capsys.readouterr().err
    log.write_text(json.dumps({**told, "who": "\x1b[31mann"}) + "\n")
    assert call(monkeypatch, "trace", dataset.path, key) == 2
    assert "\x1b" not in (said := capsys.readouterr().err)
    assert "line 1 of" in said
    log.unlink()
    assert call(monkeypatch, "trace", dataset.path, key, "--run", str(tmp_path)) == 2
    assert "is not the folder of a build" in capsys.readouterr().err
