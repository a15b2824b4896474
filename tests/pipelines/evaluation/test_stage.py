"""The stages by themselves: a result depends on its own row alone, and what the model saw reaches the metrics."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from instructrestore.dataengine.running.outcomes import apply
from instructrestore.dataengine.running.stage import Failed, Task
from instructrestore.model.metrics.settings import MetricSettings
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.pipelines.evaluation.folder import folder_name
from instructrestore.pipelines.evaluation.methods import restorers
from instructrestore.pipelines.evaluation.methods.photos import PhotoArray
from instructrestore.pipelines.evaluation.methods.restorers import (
    LoadedMethod,
    MethodGroup,
    MethodInput,
    MethodOutput,
    compared_group,
    model_group,
)
from instructrestore.pipelines.evaluation.methods.spec import MethodSpec
from instructrestore.pipelines.evaluation.restore_stage import MethodResult, MethodSink, MethodStage
from instructrestore.pipelines.evaluation.row import EvaluationRow, photo_seed, rows_of
from instructrestore.pipelines.evaluation.score_stage import ScoreStage
from instructrestore.pipelines.inference.batches import in_batches
from instructrestore.pipelines.inference.model_source import ModelSource
from instructrestore.pipelines.pictures.restored_photo import read_record
from instructrestore.shards.pairs import TestSet
from tests.pipelines.evaluation.small_testset import blending, write_testset

QUICK = SamplingSettings(num_inference_steps=2, guidance_scale=1, tile=128, overlap=32)


@pytest.fixture(scope="module")
def testset(tmp_path_factory: pytest.TempPathFactory) -> TestSet:
    return write_testset(tmp_path_factory.mktemp("set") / "testset", [(64, 72)] * 3)


def asked_for(testset: TestSet, s1: float, batch: int = 3) -> list[EvaluationRow]:
    rows = [replace(row, s1=s1, s2=1.0, file=f"results/m/{row.key}.png") for row in rows_of(testset)]
    return list(in_batches(rows, batch))


def restored(outcomes: Sequence[Any]) -> list[MethodResult]:
    assert all(isinstance(each, MethodResult) for each in outcomes), outcomes
    return list(outcomes)


def pixels(png: bytes | None) -> np.ndarray:
    assert png
    return np.asarray(Image.open(io.BytesIO(png)))


def test_a_row_done_again_alone_comes_out_with_the_bytes_it_has_in_its_batch(
    testset: TestSet, tiny_base: Path, tmp_path: Path
) -> None:
    group = model_group(ModelSource(str(tiny_base), device="cpu"), QUICK, [(0.5, 1.0)], given_masks=False)
    stage = MethodStage(testset.path, tmp_path, group, "cpu", seed=3, threads=None)
    rows = asked_for(testset, 0.5)
    assert [(row.slot, row.together) for row in rows] == [(0, 3), (1, 3), (2, 3)]
    together = restored(stage(rows))
    alone = [restored(stage([row]))[0] for row in reversed(rows)]
    assert together == alone[::-1]
    assert len({each.png for each in together}) == 3
    outcomes = stage([replace(rows[0], caption="another"), *rows[1:]])
    assert outcomes == [Failed("record and index differ"), *together[1:]]


def test_a_caption_that_no_instruction_can_hold_is_its_rows_failure(tiny_base: Path, tmp_path: Path) -> None:
    """The test set of another's making; in the same batch, one whose caption reads as wishes is restored."""
    group = model_group(ModelSource(str(tiny_base), device="cpu"), QUICK, [(0.5, 1.0)], given_masks=False)
    outcomes: list[Any] = []
    for name, caption in (("long", "a long " * 80), ("wish", "make the dog clear with 0.6, keep other parts with")):
        odd = write_testset(tmp_path / name, [(64, 72)], caption=caption)
        outcomes += MethodStage(odd.path, tmp_path, group, "cpu", seed=3, threads=None)(asked_for(odd, 0.5, 1))
    assert outcomes[0] == Failed("caption no instruction can hold")
    assert isinstance(outcomes[1], MethodResult)


def test_a_sweep_differs_by_the_scale_alone(testset: TestSet, tiny_base: Path, tmp_path: Path) -> None:
    """The same noise at every scale: at two scales that mean the same the results are the same."""
    group = model_group(ModelSource(str(tiny_base), device="cpu"), QUICK, [(0.5, 1.0)], given_masks=True)
    stage = MethodStage(testset.path, tmp_path, group, "cpu", seed=3, threads=None)
    first, again, other = (restored(stage(asked_for(testset, s1)))[0] for s1 in (0.5, 0.5 + 1e-12, 1.1))
    assert (pixels(first.png) == pixels(again.png)).all()
    assert (pixels(first.png) != pixels(other.png)).any()
    assert first.mask is None and not first.row.mask, "nothing is predicted where masks are given"
    key = first.row.key
    assert photo_seed(3, key) != photo_seed(4, key) != photo_seed(4, key[::-1])
    assert 0 <= photo_seed(3, key) < 2**63


class Masks:
    """Answers with the LQ photo and with a mask of values around one half."""

    def __init__(self, device: str | None) -> None:
        pass

    def __call__(self, asked: Sequence[MethodInput]) -> list[MethodOutput]:
        masks = [
            np.linspace(0, 1, each.rgb[..., 0].size, dtype=np.float32).reshape(each.rgb.shape[:2]) for each in asked
        ]
        for mask in masks:
            mask.flat[:3] = (
                0.5,
                np.nextafter(np.float32(0.5), np.float32(1)),
                np.nextafter(np.float32(0.5), np.float32(0)),
            )
        return [MethodOutput(each.rgb, mask, reports=["seen"]) for each, mask in zip(asked, masks, strict=True)]


def test_what_the_model_saw_is_cut_at_the_same_place_after_it_was_kept(testset: TestSet, tmp_path: Path) -> None:
    stage = MethodStage(testset.path, tmp_path, MethodGroup("m", (), Masks, {}, {}), None, 0, None)
    (result,) = restored(stage(asked_for(testset, 0.5)[:1]))
    seen = Masks(None)([MethodInput(np.zeros((72, 64, 3), np.uint8), "", 1, 1, False, 0)])[0].mask
    assert seen is not None
    assert ((pixels(result.mask) / 255 > 0.5) == (seen > 0.5)).all()
    assert result.row.reports == ["seen"]


class Larger(Masks):
    def __call__(self, asked: Sequence[MethodInput]) -> list[MethodOutput]:
        return [MethodOutput(np.pad(each.rgb, ((0, 1), (0, 0), (0, 0)))) for each in asked]


def test_a_method_that_changes_the_size_is_told_so(testset: TestSet, tmp_path: Path) -> None:
    stage = MethodStage(testset.path, tmp_path, MethodGroup("m", (), Larger, {}, {}), None, 0, None)
    with pytest.raises(ValueError, match=r"gave \(73, 64, 3\) uint8 for a photo of \(72, 64, 3\) uint8"):
        stage(asked_for(testset, 0.5)[:1])


def test_a_result_says_how_it_was_made_and_is_taken_again_only_for_the_same(testset: TestSet, tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    (out / "results/m").mkdir(parents=True)
    stage = MethodStage(testset.path, out, blending(log), None, 3, None)
    rows = asked_for(testset, 0.5)
    (out / "parts").mkdir()
    sink = MethodSink(Task(0, (), out / "parts", "0" * 16, target=out), TypeAdapter(EvaluationRow))
    for outcome in apply(stage, [(row.key, row) for row in rows], None):
        sink.add(outcome)
    sink.commit()
    first = rows[0]
    record = read_record(out / first.file)
    assert (record["scales"], record["seed"]) == ([0.5, 1.0], photo_seed(3, first.key))
    assert record["source"] == {"key": first.key, "caption": first.caption}
    assert len(log.read_text().splitlines()) == 3
    kept = restored(stage(rows))
    assert [each.png for each in kept] == [None] * 3
    assert [each.row.sha256 for each in kept] == [outcome.row.sha256 for outcome in sink._outcomes if outcome.row]
    assert len(log.read_text().splitlines()) == 3, "none was made again"
    assert all(each.png for each in restored(stage([replace(row, s1=0.6) for row in rows])))
    mask = out / f"results/m/{first.key}-mask.png"
    mask.write_bytes(mask.read_bytes()[:-1])
    assert [each.png is None for each in restored(stage(rows))] == [False, True, True]
    assert [
        each.png is None for each in restored(MethodStage(testset.path, out, blending(log), None, 4, None)(rows))
    ] == [False] * 3, "another seed"


def test_a_compared_method_gets_the_lq_photo_and_its_own_seed(
    testset: TestSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def load(run: MethodSpec, device: str | None) -> LoadedMethod:
        def unchanged(lq: Sequence[PhotoArray], seeds: Sequence[int]) -> list[PhotoArray]:
            seen.extend(seeds)
            return list(lq)

        return unchanged

    monkeypatch.setattr(restorers, "load_method", load)
    group = compared_group(MethodSpec("lq"), "cpu")
    assert [method.title for method in group.methods] == ["LQ"] and group.record == {"run": MethodSpec("lq").record()}
    rows = [replace(row, s1=None, s2=None) for row in asked_for(testset, 1.0)]
    results = restored(MethodStage(testset.path, tmp_path, group, "cpu", 0, None)(rows))
    for row, result in zip(rows, results, strict=True):
        lq = testset.read_pair(row.place).lq
        assert (pixels(result.png) == pixels(lq)).all()
        assert result.mask is None
    assert set(seen) == {photo_seed(0, row.key) for row in rows}


def test_figures_do_not_depend_on_the_threads(testset: TestSet, tmp_path: Path) -> None:
    rows, settings = rows_of(testset), MetricSettings()
    one, many = (ScoreStage(testset.path, tmp_path, settings, threads)(rows) for threads in (1, 3))
    assert one == many
    assert all(isinstance(row, EvaluationRow) and len(row.figures) == 6 for row in one)


def test_folder_names_are_plain_and_never_the_same() -> None:
    titles = [
        "SeeSR",
        "InstructRestore s1=0.8 s2=1",
        "../../etc",
        "..",
        "a/b",
        "a b",
        "a-b",
        "é",
        "x" * 300,
        "",
        ".a",
        "CON:",
    ]
    names = [folder_name(title) for title in titles]
    assert names[:2] == ["SeeSR", "InstructRestore-s1=0.8-s2=1"]
    assert len(set(names)) == len(titles)
    assert all(len(name) < 100 and name.isascii() and not set(name) & set("/\\:") for name in names)
    assert all(not name.startswith(".") for name in names)
