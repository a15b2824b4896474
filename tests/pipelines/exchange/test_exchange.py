"""`instructrestore export` and `import` as people type them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from instructrestore.shards.index import Dataset
from instructrestore.shards.verify import verify
from tests.pipelines.test_cli import call
from tests.shards.samples import write_dataset


def test_an_export_ends_with_a_table_of_what_the_layout_cannot_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_dataset(tmp_path / "set")
    assert call(monkeypatch, "export", str(tmp_path / "set"), "--to", "coco", "--out", str(tmp_path / "out")) == 0
    rows = {line.split("│")[1].strip(): line for line in capsys.readouterr().out.splitlines() if "│" in line}
    held, lost = (
        [int(each.strip() or 0) for each in rows[what].split("│")[2:4]] for what in ("captions", "quality scores")
    )
    assert (held, lost) == ([12, 0], [0, 6])
    assert (tmp_path / "out" / "annotations.json").is_file()


def test_there_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    write_dataset(tmp_path / "set")
    there, back = str(tmp_path / "out"), str(tmp_path / "back")
    assert call(monkeypatch, "export", str(tmp_path / "set"), "--to", "huggingface", "--out", there) == 0
    assert call(monkeypatch, "import", there, "--out", back) == 0
    assert "6 photos, 12 triplets, 2 shards in " in capsys.readouterr().out
    assert Dataset(back).card.shards == Dataset(str(tmp_path / "set")).card.shards
    assert verify(back) == [] and (tmp_path / "back" / "README.md").is_file()


def test_corrections_become_a_file_of_judgements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_dataset(tmp_path / "set")
    dataset, out, file = str(tmp_path / "set"), tmp_path / "out", tmp_path / "corrections.jsonl"
    assert call(monkeypatch, "export", dataset, "--to", "coco", "--out", str(out)) == 0
    content = json.loads((out / "annotations.json").read_bytes())
    content["annotations"][0]["caption"] = "the old dog"
    (out / "annotations.json").write_text(json.dumps(content))
    words = ["import", str(out / "annotations.json"), "--corrects", dataset, "--who", "ann", "--out", str(file)]
    assert call(monkeypatch, *words) == 0
    said = capsys.readouterr().out
    assert "11  accept" in said and "1  caption" in said and "12 judgements of " in said
    first = json.loads(file.read_text().splitlines()[0])
    version = hashlib.sha256((tmp_path / "set" / "dataset.json").read_bytes()).hexdigest()
    assert (first["who"], first["act"], first["caption"], first["dataset"]) == (
        "ann",
        "caption",
        "the old dog",
        version,
    )
    assert call(monkeypatch, *words) == 2
    assert "corrections.jsonl is there already: name a new file" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ["export", "{}/set", "--to", "voc", "--out", "{}/out"],
            "there is no layout 'voc': known are coco, panoptic, ",
        ),
        (["export", "{}/set", "--to", "coco", "--out", "{}/set"], "set is there already: name a new folder"),
        (["export", "{}/nowhere", "--to", "coco", "--out", "{}/out"], "nowhere is not a data set"),
        (["import", "{}/nowhere", "--out", "{}/out"], "nowhere has no Parquet files"),
    ],
)
def test_a_mistake_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    words: list[str],
    complaint: str,
) -> None:
    write_dataset(tmp_path / "set")
    assert call(monkeypatch, *(word.format(tmp_path) for word in words)) == 2
    assert complaint in capsys.readouterr().err.replace("\n", " ")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
