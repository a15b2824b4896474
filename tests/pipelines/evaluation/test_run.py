"""What is done once is not done again, whatever interrupts it, and the bytes at the end are the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from instructrestore.dataengine.running.stage import StopStage
from instructrestore.model.metrics.settings import MetricSettings
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.pipelines.evaluation.folder import EvaluationFolder
from instructrestore.pipelines.evaluation.methods.method import Method
from instructrestore.pipelines.evaluation.methods.restorers import MethodInput, MethodOutput, Restorer, model_group
from instructrestore.pipelines.evaluation.methods.results_folder import GivenResults
from instructrestore.pipelines.evaluation.run import source_of
from instructrestore.pipelines.inference.model_source import ModelSource
from instructrestore.shards.pairs import TestSet
from tests.pipelines.evaluation.small_testset import Blend, blending, calls, evaluated_by, loadings_of, write_testset

ROOT = Path(__file__).resolve().parents[3]
ENDS = ("scores.parquet", "evaluation.json", "report.html", "table-2.csv", "table-2.tex")


@pytest.fixture(scope="module")
def testset(tmp_path_factory: pytest.TempPathFactory) -> TestSet:
    """Two parts of photos, of two sizes."""
    return write_testset(tmp_path_factory.mktemp("set") / "testset", [(64, 72)] * 5 + [(80, 64)] * 6)


def results_of(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted((out / "results").rglob("*.png"))}


def test_another_metric_another_scale_and_fewer_photos_restore_nothing_again(testset: TestSet, tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    _, said = evaluated_by(testset, out, groups=[blending(log)])
    assert len(calls(log)) == 44
    assert "input 55 = scored 55 + failed 0" in said
    made = results_of(out)
    assert len(made) == 88
    first = (out / "scores.parquet").read_bytes()
    _, said = evaluated_by(testset, out, groups=[blending(log)])
    assert "parts to do" not in said
    assert (out / "scores.parquet").read_bytes() == first

    more, said = evaluated_by(testset, out, groups=[blending(log)], metrics=MetricSettings(metrics=("psnr", "ssim")))
    assert "restore: " not in said and "measure: 10 of 10 parts to do" in said
    assert set(more.scores["metric"]) == {"psnr", "ssim"}
    assert len(calls(log)) == 44
    fewer, _ = evaluated_by(testset, out, groups=[blending(log)], limit=2)
    assert (fewer.photos, fewer.scores["key"].nunique(), len(calls(log))) == (2, 2, 44)
    assert calls(loadings_of(log)) == ["loaded"], "for results that are there nothing is loaded"
    evaluated_by(testset, out, groups=[blending(log, (0.7, 0.8))])
    assert [line.split()[1] for line in calls(log)[44:]] == ["0.8"] * 11
    assert {name: data for name, data in results_of(out).items() if "s1=0.8" not in name} == made
    evaluated_by(testset, out, groups=[blending(log)])
    assert (out / "scores.parquet").read_bytes() == first
    evaluated_by(testset, out, groups=[blending(log)], seed=4)
    assert len(calls(log)) == 44 + 11 + 44, "another seed is other results"


def test_a_lost_result_is_made_again_and_no_other(testset: TestSet, tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    evaluated_by(testset, out, groups=[blending(log)])
    made, first = results_of(out), (out / "scores.parquet").read_bytes()
    (out / next(iter(made))).unlink()
    for place, end in ((11, 5), (31, -100)):  # cut in its head, and with its head whole
        (out / list(made)[place]).write_bytes(made[list(made)[place]][:end])
    evaluated_by(testset, out, groups=[blending(log)])
    assert results_of(out) == made
    assert (out / "scores.parquet").read_bytes() == first
    assert len(calls(log)) == 44 + 3


def test_interrupted_and_resumed_gives_the_same_bytes(testset: TestSet, tmp_path: Path) -> None:
    log, out, other = tmp_path / "log", tmp_path / "out", tmp_path / "other"
    with pytest.raises(KeyboardInterrupt):
        evaluated_by(testset, out, groups=[blending(log, stop_at=20)])
    assert not (out / "scores.parquet").exists()
    done = committed(out, "restored")
    assert len(done) == 3, "20 photos are parts of 8, 3 and 8, and one more"
    evaluated_by(testset, out, groups=[blending(log)])
    assert done <= committed(out, "restored"), "what was done stays"
    evaluated_by(testset, other, groups=[blending(tmp_path / "log 2")])
    for name in ENDS:
        assert (out / name).read_bytes() == (other / name).read_bytes(), name
    assert results_of(out) == results_of(other)


CHILD = """
import sys
from pathlib import Path
from instructrestore.shards.pairs import TestSet
from tests.pipelines.evaluation.small_testset import blending, evaluated_by
testset, out, log = sys.argv[1:]
evaluated_by(TestSet(testset), Path(out), groups=[blending(Path(log), sleep_s=0.05)])
"""


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_bytes(testset: TestSet, tmp_path: Path) -> None:
    """Killed while it restores, then again while it measures."""
    log, out, other = tmp_path / "log", tmp_path / "out", tmp_path / "other"
    command = [sys.executable, "-c", CHILD, testset.path, str(out), str(log)]
    for step, least in (("restored", 3), ("scored", 2)):
        child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda least=least, step=step: len(committed(out, step)) >= least, child)
        finally:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
        assert not (out / "scores.parquet").exists(), "the kill came after the end"
    done = committed(out, "restored") | committed(out, "scored")
    evaluated_by(testset, out, groups=[blending(log)])
    assert done <= committed(out, "restored") | committed(out, "scored"), "what was done stays"
    assert len(calls(log)) <= 44 + 8, "a part at the most was done twice"
    evaluated_by(testset, other, groups=[blending(tmp_path / "log 2")])
    for name in ENDS:
        assert (out / name).read_bytes() == (other / name).read_bytes(), name
    assert results_of(out) == results_of(other)
    assert not list(out.rglob(".partial-*"))


def committed(out: Path, step: str) -> set[tuple[str, int]]:
    """Names and times of the parts of restored methods."""
    found = (out / "parts").glob(f"Instruct*/{step}/*.parquet")
    return {(f"{path.parent.parent.name}/{path.name}", path.stat().st_mtime_ns) for path in found}


def wait_for(condition: Callable[[], bool], child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert child.poll() is None, "the child ended early"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_two_runs_never_work_in_one_folder(testset: TestSet, tmp_path: Path) -> None:
    with (
        EvaluationFolder(tmp_path / "out", source_of(testset)).lock(),
        pytest.raises(ValueError, match="another run is at work in"),
    ):
        evaluated_by(testset, tmp_path / "out")


def test_a_folder_of_something_else_is_left_alone(testset: TestSet, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(ValueError, match="is not empty and was not made by an evaluation"):
        evaluated_by(testset, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_methods_have_names_of_their_own(testset: TestSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two methods are called lq"):
        evaluated_by(testset, tmp_path / "out", found=[GivenResults(Method("lq", "results"), tmp_path)])
    assert not (tmp_path / "out").exists()


class Deadly(Blend):
    """Kills its process once, in the middle of a part."""

    def __call__(self, asked: Sequence[MethodInput]) -> list[MethodOutput]:
        died = self._log.with_name("died")
        if len(calls(self._log)) >= 12 and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(asked)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_on_ray_the_bytes_are_the_same_though_a_worker_dies(testset: TestSet, tiny_base: Path, tmp_path: Path) -> None:
    """A stand-in whose worker is killed, and a real model, which computes with one thread here as there."""
    settings = SamplingSettings(num_inference_steps=2, guidance_scale=1, tile=128, overlap=32)
    model = model_group(ModelSource(str(tiny_base), device="cpu"), settings, [(0.8, 1.0)], given_masks=False)
    metrics = MetricSettings(metrics=("psnr", "ssim", "mask_iou"))
    outs = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for where, kind in (("here", Blend), ("there", Deadly)):
            log, outs[where] = tmp_path / f"{where}.log", tmp_path / where
            stand_in = replace(blending(log), build=partial(kind, log, 0.0, None))
            address = "local" if where == "there" else None
            _, said = evaluated_by(
                testset, outs[where], groups=[stand_in, model], metrics=metrics, batch=3, address=address
            )
            assert "input 66 = scored 66 + failed 0" in said
    finally:
        torch.set_num_threads(threads)
    assert (tmp_path / "died").exists()
    for name in ENDS:
        assert (outs["here"] / name).read_bytes() == (outs["there"] / name).read_bytes(), name
    assert results_of(outs["here"]) == results_of(outs["there"])


def test_what_cannot_be_loaded_stops_with_one_sentence(testset: TestSet, tmp_path: Path) -> None:
    def missing(device: str | None) -> Restorer:
        raise ValueError("there are no weights")

    with pytest.raises(StopStage, match=r"^the restore stage cannot start: there are no weights$"):
        evaluated_by(testset, tmp_path, groups=[replace(blending(tmp_path / "log"), build=missing)])


def test_tables_of_other_methods_do_not_stay(testset: TestSet, tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    evaluated_by(testset, out, groups=[blending(log)], limit=2)
    assert (out / "table-2.csv").exists()
    evaluated_by(testset, out, groups=[blending(log, (0.8,))], limit=2)
    assert sorted(path.name for path in out.glob("table-*")) == ["table-3.csv", "table-3.tex"]
