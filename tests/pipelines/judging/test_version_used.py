"""A version is a data set like any other: a test set is made of it, and the small model is measured on that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from instructrestore.dataengine.judging.judgement import region_id
from instructrestore.dataengine.judging.log import JudgementLog, log_path
from instructrestore.pipelines.cli import app
from instructrestore.pipelines.evaluation.cli import evaluate
from instructrestore.shards.index import Dataset
from instructrestore.shards.pairs import TestSet
from tests.dataengine.judging.judgements import judged
from tests.pipelines.testset.photos import region, texture, write_dataset


@pytest.mark.parametrize("base", ["tiny", pytest.param("small", marks=pytest.mark.slow)])
def test_a_version_gives_a_test_set_and_that_an_evaluation(tmp_path: Path, tiny_base: Path, base: str) -> None:
    photos = [(texture(number, 128, 128), [region("the red dog", (40, 40, 40, 40), 128, 128)]) for number in range(2)]
    parent = Dataset(write_dataset(tmp_path / "dataset", photos))
    said, rejected = (parent.record(row) for row in range(2))
    log = JudgementLog(log_path(parent.path))
    log.append(judged("caption", region_id(said.regions[0]), key=said.photo.key, caption="the grey cat"))
    log.append(judged("reject_photo", key=rejected.photo.key))
    for words in (
        ["revise", parent.path, "--out", tmp_path / "v2"],
        ["testset", tmp_path / "v2", "--size", 128, "--out", tmp_path / "testset"],
    ):
        ended = CliRunner().invoke(app, [str(word) for word in words])
        assert ended.exit_code == 0, (ended.output, ended.exception)
    made = TestSet(str(tmp_path / "testset"))
    assert made.index["captions"].to_pylist() == [["the grey cat"]]
    base = base if base == "small" else str(tiny_base)
    evaluate(made.path, base=base, out=tmp_path / "out", steps=1, guidance=1.0, device="cpu", tables=[3])
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert written["testset"]["photos"] == 1
    assert "InstructRestore-s1=0.8-s2=1" in {path.name for path in (tmp_path / "out" / "results").iterdir()}
