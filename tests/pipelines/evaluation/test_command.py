"""`evaluate` as it is typed: a tiny model from end to end, and one sentence for each mistake."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import typer
from PIL import Image

from instructrestore.model.instruction.instruction import Instruction, RegionScale
from instructrestore.model.metrics.metric import EMBEDDED
from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.pipelines.evaluation.cli import evaluate
from instructrestore.pipelines.evaluation.options import given_results, metric_settings, scales_of, tables_of
from instructrestore.pipelines.evaluation.row import photo_seed
from instructrestore.pipelines.pictures.restored_photo import read_record
from tests.pipelines.evaluation.small_testset import png, write_testset

ROOT = Path(__file__).resolve().parents[3]
QUICK: dict[str, Any] = {"steps": 2, "guidance": 1.0, "tile": 128, "device": "cpu"}


def test_a_model_is_restored_measured_and_written_of(tiny_base: Path, tmp_path: Path) -> None:
    testset, out = write_testset(tmp_path / "testset", [(64, 72), (80, 64)]), tmp_path / "out"
    evaluate(testset.path, base=str(tiny_base), out=out, seed=5, **QUICK)
    names = ["InstructRestore-s1=0.5-s2=1", "InstructRestore-s1=0.7-s2=1", "InstructRestore-s1=0.8-s2=1",
             "InstructRestore-s1=0.9-s2=1", "InstructRestore-s1=1.1-s2=1"]  # fmt: skip
    assert sorted(path.name for path in (out / "results").iterdir()) == names
    scores = pq.read_table(out / "scores.parquet").to_pandas()
    assert set(scores["metric"]) == {"psnr", "ssim", "mask_iou"} and scores["method"].nunique() == 6
    assert scores["value"].notna().all()

    sample, _ = testset.read(0)
    key, mask = sample.photo.key, sample.regions[0].mask.array()
    settings = SamplingSettings(num_inference_steps=2, guidance_scale=1, tile=128, overlap=32)
    alone = load_pipeline(str(tiny_base), device="cpu")(
        Image.open(io.BytesIO(testset.read_pair(0).lq)).convert("RGB"),
        Instruction((RegionScale("the box 0", 0.8),)),
        settings=settings,
        generator=torch.Generator().manual_seed(photo_seed(5, key)),
    )
    kept = np.asarray(Image.open(out / f"results/{names[2]}/{key}.png"))
    assert (kept == np.asarray(alone.images[0])).all()
    record = read_record(out / f"results/{names[2]}/{key}.png")
    assert (record["seed"], record["scales"], record["base"]) == (photo_seed(5, key), [0.8, 1.0], tiny_base.name)
    seen = alone.masks[0][0] > 0.5
    (iou,) = scores[(scores["key"] == key) & (scores["metric"] == "mask_iou") & (scores["s1"] == 0.8)]["value"]
    assert iou == pytest.approx((seen & mask).sum() / (seen | mask).sum())

    written = json.loads((out / "evaluation.json").read_text())
    assert written["testset"]["photos"] == 2 and str(tmp_path) not in (out / "evaluation.json").read_text()
    with (out / "table-2.csv").open() as file:
        computed = [row["label"] for row in csv.DictReader(file) if row["origin"] == "computed"]
    assert computed == ["s1 = 0.5", "s1 = 0.7", "s1 = 0.9", "s1 = 1.1"]
    page = (out / "report.html").read_text()
    assert (out / "table-3.csv").exists() and "Paired tests" in page and "quoted" in page
    with pytest.raises(ValueError, match="is the file that this evaluation writes"):
        evaluate(testset.path, base=str(tiny_base), out=out, baseline=out / "evaluation.json", **QUICK)
    before = {path: path.stat().st_mtime_ns for path in (out / "results").rglob("*.png")}
    baseline = tmp_path / "baseline.json"
    shutil.copy(out / "evaluation.json", baseline)
    evaluate(testset.path, base=str(tiny_base), out=out, seed=5, baseline=baseline, **QUICK)
    assert {path: path.stat().st_mtime_ns for path in (out / "results").rglob("*.png")} == before
    written["figures"][0]["mean"] += 1
    baseline.write_text(json.dumps(written))
    with pytest.raises(typer.Exit) as ended:
        evaluate(testset.path, base=str(tiny_base), out=out, seed=5, baseline=baseline, **QUICK)
    assert ended.value.exit_code == 1


def test_a_bokeh_set_is_restored_for_table_4(tiny_base: Path, tmp_path: Path) -> None:
    testset, out = write_testset(tmp_path / "testset", [(128, 128)], bokeh=True), tmp_path / "out"
    evaluate(testset.path, base=str(tiny_base), out=out, given_masks=True, **QUICK)
    (folder,) = (out / "results").iterdir()
    (result,) = folder.iterdir()
    assert folder.name == "InstructRestore-s1=1-s2=1" and "mask" not in result.name
    assert read_record(result)["instruction"] == "make the box 0 clear with 1 and keep other parts bokeh blur with 1"
    scores = pq.read_table(out / "scores.parquet").to_pandas()
    assert "bokeh_iou" in set(scores["metric"]) and "mask_iou" not in set(scores["metric"])
    assert (out / "table-4.csv").exists() and not (out / "table-2.csv").exists()
    with pytest.raises(ValueError, match="in a bokeh set the other parts are to be blurred: leave out --set rest=keep"):
        evaluate(testset.path, base=str(tiny_base), out=tmp_path / "kept", assignments=["rest=keep"], **QUICK)


def test_results_alone_need_no_model_and_a_failure_is_the_exit_status(tmp_path: Path) -> None:
    testset, out = write_testset(tmp_path / "testset", [(64, 72), (80, 64)]), tmp_path / "out"
    given = tmp_path / "given"
    given.mkdir()
    for row in range(2):
        shutil.copy(tmp_path / "testset/dataset.json", given)  # what is no photo is passed over
        sample, hq = testset.read(row)
        (given / f"{sample.photo.key}.png").write_bytes(hq)
    evaluate(testset.path, results=[f"See SR={given}"], runs=["lq"], out=out)
    scores = pq.read_table(out / "scores.parquet").to_pandas()
    assert list(dict.fromkeys(scores["method"])) == ["LQ", "See SR"]
    assert (scores[(scores["method"] == "See SR") & (scores["metric"] == "psnr")]["value"] == 100).all()
    next(given.glob("*.png")).write_bytes(png(np.zeros((3, 3, 3), np.uint8)))
    with pytest.raises(typer.Exit) as ended:
        evaluate(testset.path, results=[f"See SR={given}"], out=out)
    assert ended.value.exit_code == 1


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "the model's name": ({"base": "b", "results": ["instructrestore=x"]}, "this is the name of the model's own rows"),
    "LQ": ({"results": ["lq=x"]}, "LQ is the name of the unrestored photos, which are always measured"),
    "checkpoint alone": ({"checkpoint": "x", "results": ["a=b"]}, "--checkpoint needs the base"),
    "no test set": ({"testset": str(ROOT / "tests"), "base": "b"}, "is not a data set: it has no dataset.json"),
    "table of a bokeh set": (
        {"base": "b", "tables": [4]},
        "Table 4 needs a bokeh set; this general set gives",
    ),
    "no such table": ({"base": "b", "tables": [1]}, "there is no Table 1; this general set gives 2 and 3"),
    "sweep of nothing": ({"results": ["a=b"], "tables": [2]}, "Table 2 shows only the model: name it with --base"),
    "results": ({"results": ["seesr"]}, "--results takes NAME=FOLDER as in SeeSR=results/seesr, not 'seesr'"),
    "run": ({"runs": ["seesr"]}, "--run knows no method 'seesr'"),
    "metric": ({"base": "b", "metrics": "psnr,sim"}, "--metrics: there is no metric 'sim'; there are psnr"),
    "no metric": ({"base": "b", "metrics": ","}, "--metrics must be embedded, all, or names"),
    "regions": ({"base": "b", "regions": "all"}, "--regions: "),
    "upscale": ({"base": "b", "assignments": ["upscale=2"]}, "--set upscale does not apply to an evaluation"),
    "steps by --set": ({"base": "b", "assignments": ["num_inference_steps=2"]}, "use --steps"),
    "tile": ({"base": "b", "tile": 100}, "--tile: "),
    "seed": ({"base": "b", "seed": -1}, "--seed must be a whole number"),
    "base": ({"base": "no/such/base"}, "there is no folder no/such/base"),
    "dtype": ({"base": "b/b", "dtype": "int4"}, "unknown dtype 'int4'"),
    "baseline": ({"results": ["a=b"], "baseline": Path("no.json")}, "there is no baseline no.json"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence(name: str, tmp_path: Path) -> None:
    """Before there is a folder."""
    changes, sentence = MISTAKES[name]
    testset = write_testset(tmp_path / "testset", [(64, 72)]).path
    with pytest.raises(ValueError, match=re.escape(sentence)) as told:
        evaluate(**({"testset": testset, "out": tmp_path / "out"} | changes))
    assert not (tmp_path / "out").exists()
    assert len(str(told.value).splitlines()) == 1


def test_tables_say_which_scales_are_restored() -> None:
    assert tables_of((), bokeh=False) == tables_of((3, 2), bokeh=False) == (2, 3)
    assert tables_of((), bokeh=True) == (4,)
    assert scales_of((2, 3)) == [(0.5, 1), (0.7, 1), (0.8, 1), (0.9, 1), (1.1, 1)]
    assert (scales_of((3,)), scales_of((4,))) == ([(0.8, 1)], [(1, 1)])
    assert given_results(["a = b=c"])[0].folder == Path("b=c")
    assert metric_settings("embedded", None).metrics == EMBEDDED
    assert metric_settings("ssim, psnr", "cuda:1", regions="zeroed").model_dump(include={"metrics", "device"}) == {
        "metrics": ("psnr", "ssim"),
        "device": "cuda:1",
    }
    assert metric_settings("all", "mps").device == "cpu"
