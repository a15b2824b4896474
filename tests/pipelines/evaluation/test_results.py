"""Results that somebody else made, and rows that cannot be measured: each is counted with its reason."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from instructrestore.dataengine.running.stage import StopStage
from instructrestore.pipelines.evaluation.methods.method import Method
from instructrestore.pipelines.evaluation.methods.restorers import MethodInput, MethodOutput
from instructrestore.pipelines.evaluation.methods.results_folder import NO_RESULT, GivenResults, find_results
from instructrestore.pipelines.evaluation.row import rows_of
from instructrestore.shards.pairs import TestSet
from instructrestore.shards.sample import AnnotatedPhoto
from tests.pipelines.evaluation.small_testset import blending, calls, evaluated_by, png, write_testset

OTHER = Method("Other", "results")


@pytest.fixture
def testset(tmp_path: Path) -> TestSet:
    return write_testset(tmp_path / "testset", [(64, 72)] * 4)


def picture(testset: TestSet, row: int) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(testset.read(row)[1])))


def keys(testset: TestSet) -> list[str]:
    return testset.index["key"].to_pylist()


def test_a_folder_of_results_is_measured_by_keys_or_by_the_photos_names(testset: TestSet, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    key = keys(testset)
    (folder / f"{key[0]}.png").write_bytes(png(picture(testset, 0)))
    Image.fromarray(picture(testset, 1)).save(folder / "photo 1.WEBP", "WEBP", lossless=True)
    Image.fromarray(picture(testset, 2)).save(folder / f"{key[2]}.jpg", quality=95)
    (folder / "photo 2.png").write_bytes(png(picture(testset, 3)))  # the key goes before
    (folder / "notes.txt").write_text("mine")
    evaluated, said = evaluated_by(testset, tmp_path / "out", found=[GivenResults(OTHER, folder)])
    assert evaluated.failed == {"Other": {NO_RESULT: 1}}
    assert "input 8 = scored 7 + failed 1" in said and "failed, Other: no result: 1" in said
    scores = evaluated.scores[(evaluated.scores["method"] == "Other") & (evaluated.scores["scope"] == "full")]
    by_key = scores.set_index("key")["value"]
    assert by_key[key[0]] == by_key[key[1]] == 100, "the HQ photo itself"
    assert 30 < by_key[key[2]] < 100
    assert key[3] not in by_key

    (folder / f"{key[3]}.png").write_bytes(png(picture(testset, 3)))
    evaluated, said = evaluated_by(testset, tmp_path / "out", found=[GivenResults(OTHER, folder)])
    assert evaluated.failed == {} and "measure: 1 of 2 parts to do" in said


def test_results_that_do_not_fit_are_counted_by_what_is_wrong(testset: TestSet, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    key = keys(testset)
    (folder / f"{key[0]}.png").write_bytes(png(picture(testset, 0)[:50]))
    (folder / f"{key[1]}.png").write_bytes(png(picture(testset, 1))[:200])
    (folder / f"{key[2]}.png").write_bytes(png(picture(testset, 2)))
    (folder / f"{key[2]}.jpg").write_bytes(b"")
    (folder / f"{key[3]}.png").write_bytes(png(picture(testset, 3)))
    evaluated, said = evaluated_by(testset, tmp_path / "out", found=[GivenResults(OTHER, folder)])
    assert evaluated.failed["Other"] == {
        "the result is 64x50 and the HQ photo 64x72": 1,
        "result: corrupt photo": 1,
        "several results": 1,
    }
    assert "input 8 = scored 5 + failed 3" in said


def test_names_that_two_photos_share_are_nobodys(tmp_path: Path) -> None:
    testset = write_testset(tmp_path / "testset", [(64, 72)] * 2)
    rows = rows_of(testset)
    folder = tmp_path / "results"
    folder.mkdir()
    for name in ("photo 0.png", "photo 1.png"):
        (folder / name).write_bytes(b"x")
    assert [outcome.kind for outcome in find_results(folder, testset, rows)] == ["ok", "ok"]

    class Same(TestSet):
        def record(self, row: int) -> AnnotatedPhoto:
            sample = super().record(row)
            return replace(sample, photo=replace(sample.photo, name="deep/../photo 0.jpg"))

    with pytest.raises(ValueError, match="has no result for"):
        find_results(folder, Same(testset.path), rows)
    (folder / f"{rows[0].key}.png").write_bytes(b"x")
    assert [outcome.reason for outcome in find_results(folder, Same(testset.path), rows)] == ["", NO_RESULT]


def test_a_folder_that_is_not_there_or_of_other_photos_is_one_sentence(testset: TestSet, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=re.escape(f"there is no folder {tmp_path / 'no'}: --results takes NAME=FOLDER")
    ):
        evaluated_by(testset, tmp_path / "out", found=[GivenResults(OTHER, tmp_path / "no")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ValueError, match=rf"has no result for .*: name each after its photo's key, as in {keys(testset)[0]}"
    ):
        evaluated_by(testset, tmp_path / "out", found=[GivenResults(OTHER, tmp_path / "empty")])
    assert not (tmp_path / "out").exists()


def test_a_damaged_lq_photo_is_one_failure_a_method_and_can_be_tried_again(testset: TestSet, tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    shard = Path(testset.path) / "png-000000.tar"
    content = shard.read_bytes()
    begin = testset.pairs["lq_offset"][1].as_py()
    shard.write_bytes(content[: begin + 60] + bytes(80) + content[begin + 140 :])
    evaluated, said = evaluated_by(testset, out, groups=[blending(log, (0.8,))], batch=2)
    reason = {"LQ photo: corrupt photo": 1}
    assert evaluated.failed == {"LQ": reason, "InstructRestore s1=0.8 s2=1": reason}
    assert "input 8 = scored 6 + failed 2" in said and "--retry-failed" in said
    assert evaluated.scores["key"].nunique() == 3
    done = len(calls(log))

    shard.write_bytes(content)
    evaluated, said = evaluated_by(testset, out, groups=[blending(log, (0.8,))], batch=2)
    assert len(evaluated.failed) == 2 and "parts to do" not in said
    evaluated, said = evaluated_by(testset, out, groups=[blending(log, (0.8,))], batch=2, retry_failed=True)
    assert evaluated.failed == {}
    assert len(set(calls(log)[done:])) == 1, "the one photo, in both slots of its batch"
    evaluated_by(testset, tmp_path / "other", groups=[blending(tmp_path / "log 2", (0.8,))], batch=2)
    assert (out / "scores.parquet").read_bytes() == (tmp_path / "other/scores.parquet").read_bytes()


@pytest.mark.parametrize("damaged", ["lq", "hq", "record"])
def test_the_page_leaves_out_what_cannot_be_read_and_says_so(testset: TestSet, tmp_path: Path, damaged: str) -> None:
    """What was measured before may be damaged since."""
    folder, out = tmp_path / "results", tmp_path / "out"
    folder.mkdir()
    for row, key in enumerate(keys(testset)):
        (folder / f"{key}.png").write_bytes(png(picture(testset, row)))
    if damaged != "lq":
        evaluated_by(testset, out, found=[GivenResults(OTHER, folder)])
    shard = Path(testset.path) / "png-000000.tar"
    content = shard.read_bytes()
    table = testset.pairs if damaged == "lq" else testset.index
    begin = table[{"lq": "lq_offset", "hq": "photo_offset", "record": "json_offset"}[damaged]][1].as_py()
    shard.write_bytes(content[: begin + 60] + bytes(80) + content[begin + 140 :])
    evaluated, said = evaluated_by(testset, out, found=[GivenResults(OTHER, folder)])
    page = (out / "report.html").read_text()
    assert page.count("<article") == 3
    if damaged == "lq":  # never measured: a row that failed
        assert evaluated.scores["key"].nunique() == 3 and "LQ photo: corrupt photo: 1" in said
    else:
        assert evaluated.scores["key"].nunique() == 4
        assert keys(testset)[1] in said and "is not on the page" in said


def test_why_a_method_refuses_a_photo_is_said_in_its_own_words(tmp_path: Path) -> None:
    testset = write_testset(tmp_path / "testset", [(64, 72), (80, 64)])
    refusing = replace(blending(tmp_path / "log", (0.8,)), build=Refusing)
    evaluated, said = evaluated_by(testset, tmp_path / "out", groups=[refusing])
    assert evaluated.failed == {"InstructRestore s1=0.8 s2=1": {"a photo of 80x64 is not square enough": 1}}
    assert "failed, InstructRestore s1=0.8 s2=1: a photo of 80x64 is not square enough: 1" in said


class Refusing:
    def __init__(self, device: str | None) -> None:
        pass

    def __call__(self, asked: Sequence[MethodInput]) -> list[MethodOutput]:
        for each in asked:
            height, width = each.rgb.shape[:2]
            if width > height:
                raise ValueError(f"a photo of {width}x{height} is not square enough")
        return [MethodOutput(each.rgb) for each in asked]


def test_nothing_measured_at_all_stops_with_the_reason(tmp_path: Path) -> None:
    testset = write_testset(tmp_path / "testset", [(64, 72)])
    shard = Path(testset.path) / "png-000000.tar"
    content, begin = shard.read_bytes(), testset.pairs["lq_offset"][0].as_py()
    shard.write_bytes(content[: begin + 60] + bytes(80) + content[begin + 140 :])
    with pytest.raises(
        StopStage, match="no result could be measured; the most frequent reason: LQ photo: corrupt photo"
    ):
        evaluated_by(testset, tmp_path / "out")
