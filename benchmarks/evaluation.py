"""How long it takes to measure results with the embedded metrics: a folder of results and the LQ photos beside it.

    python benchmarks/evaluation.py [DATA] [--photos 100] [--runs 3] [--processors 2]

The test set: crops of 512x512 pixels of the photos under DATA, spread evenly over them, as a bokeh set, so that every
embedded metric has work; each region is an ellipse. LQ photos: Gaussian blur of sigma 2 and noise of sigma 5; results:
blur of sigma 1. A run begins without a folder and ends with its tables and page. The process is bound to so many
processors. What follows are a photo's parts, one photo after the other on one thread, medians.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter
from rich.console import Console

from instructrestore.dataengine.photos import photo_file
from instructrestore.dataengine.photos.intake import describe
from instructrestore.dataengine.photos.photo_file import DecodedPhoto
from instructrestore.dataengine.photos.row import SourcePhoto
from instructrestore.dataengine.running.part_files import Outcome, write_part
from instructrestore.model.metrics.fidelity import luma, psnr, ssim
from instructrestore.model.metrics.scorer import Scorer
from instructrestore.model.metrics.settings import MetricSettings
from instructrestore.pipelines.evaluation.folder import PART_ROWS
from instructrestore.pipelines.evaluation.methods.method import Method
from instructrestore.pipelines.evaluation.methods.results_folder import GivenResults
from instructrestore.pipelines.evaluation.row import EvaluationRow, rows_of
from instructrestore.pipelines.evaluation.run import EvaluationRequest, run_evaluation
from instructrestore.pipelines.evaluation.score_stage import ScoreStage
from instructrestore.shards.files import replacing
from instructrestore.shards.index import INDEX_SCHEMA
from instructrestore.shards.pairs import LQ_EXTENSION, TestSet, finish_test_set
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import AnnotatedPhoto, Piece, Region
from instructrestore.shards.write import ShardWriter

SIDE = 512
PHOTOS = ("clic2025/*.png", "kodak/*.png", "cid22/*.png", "p3m_portrait_alpha/original/*.jpg")
SAMPLED = 20  # photos of which the parts are timed


def crops(data: Path, count: int) -> list[NDArray[np.uint8]]:
    """(512, 512, 3) each, from distinct places."""
    paths = sorted(path for pattern in PHOTOS for path in data.glob(pattern))
    found: list[NDArray[np.uint8]] = []
    grid = 0
    while len(found) < count:
        before = len(found)
        for path in paths:
            rgb = photo_file.decode(path.read_bytes()).rgb
            across, down = rgb.shape[1] // SIDE, rgb.shape[0] // SIDE
            if grid < across * down and len(found) < count:
                top, left = grid // across * SIDE, grid % across * SIDE
                found.append(np.ascontiguousarray(rgb[top : top + SIDE, left : left + SIDE]))
        if len(found) == before:
            raise SystemExit(f"the photos under {data} give {len(found)} crops only: ask for fewer with --photos")
        grid += 1
    return found


def encoded(rgb: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "PNG")
    return file.getvalue()


def blurred(rgb: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), sigma), np.uint8)


def write_testset(folder: Path, results: Path, photos: list[NDArray[np.uint8]]) -> TestSet:
    folder.mkdir()
    results.mkdir()
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    pairs = []
    with replacing(folder / "png-000000.tar") as file:
        writer = ShardWriter("png-000000.tar", file)
        for number, hq in enumerate(photos):
            data = encoded(hq)
            origin = SourcePhoto("", f"{number}.png", "benchmark")
            photo = describe(origin, data, DecodedPhoto(hq, "png", as_is=True))
            inside = ((rows - 256) / (90 + number)) ** 2 + ((columns - 256) / (190 - number)) ** 2 < 1
            mask = Mask.from_array(inside)
            region = Region("the thing", "thing", mask, True, (Piece(mask, "made", "thing", "made", "thing", "thing"),))
            noise = 5 * np.random.default_rng(number).standard_normal(hq.shape)
            lq = np.clip(np.rint(blurred(hq, 2) + noise), 0, 255).astype(np.uint8)
            places = writer.add(AnnotatedPhoto(photo, (region,)), data, {LQ_EXTENSION: encoded(lq)})
            offset, size = places[LQ_EXTENSION]
            pairs.append({"key": photo.key, "lq_offset": offset, "lq_bytes": size, "degradation": "", "seed": None,
                          "scale": 1.0, "left": 0, "top": 0})  # fmt: skip
            (results / f"{photo.key}.png").write_bytes(encoded(blurred(hq, 1)))
        entry = writer.close()
    tables = [pa.Table.from_pylist(writer.rows, INDEX_SCHEMA)]
    finish_test_set(folder, "benchmark", [entry], tables, pairs, {"bokeh": True})
    return TestSet(str(folder))


def whole_run(testset: TestSet, results: Path, out: Path) -> float:
    begin = time.perf_counter()
    request = EvaluationRequest(
        testset=testset.path,
        out=out,
        found=[GivenResults(Method("blurred", "results"), results)],
        metrics=MetricSettings(device="cpu"),
    )
    evaluated = run_evaluation(request, Console(file=io.StringIO()))
    assert not evaluated.failed and evaluated.scores["method"].nunique() == 2, evaluated.failed
    return time.perf_counter() - begin


def parts(testset: TestSet, results: Path, out: Path) -> None:
    """Milliseconds a photo of each part, the median over photos."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    settings = MetricSettings(device="cpu")
    rows = rows_of(testset)[:SAMPLED]
    fidelity, bokeh = (
        Scorer(MetricSettings(metrics=names, device="cpu")) for names in (("psnr", "ssim"), ("bokeh_iou",))
    )
    stage = ScoreStage(testset.path, out, settings, threads=1)
    times: dict[str, list[float]] = {}

    def timed(name: str, do: Callable[..., object], *given: Any) -> None:
        begin = time.perf_counter()
        do(*given)
        times.setdefault(name, []).append(1000 * (time.perf_counter() - begin))

    for row in rows:
        pair = testset.read_pair(row.place)
        data = (results / f"{row.key}.png").read_bytes()
        hq, result = (
            torch.from_numpy(photo_file.decode(each).rgb.copy()).permute(2, 0, 1)[None].float() / 255
            for each in (pair.hq, data)
        )
        mask = torch.from_numpy(pair.region.mask.array()[None])
        timed("read record, HQ and LQ", testset.read_pair, row.place)
        timed("decode a PNG", photo_file.decode, data)
        timed("Y of a photo", luma, hq)
        timed("PSNR alone", psnr, result, hq)
        timed("SSIM alone", ssim, result, hq)
        timed("PSNR and SSIM, three scopes", fidelity, result, hq, mask, True, [None])
        timed("bokeh IoU", bokeh, result, hq, mask, True, [None])
        timed("all of a photo", stage, [row])
    outcomes = [Outcome(row.key, "ok", row) for row in rows[:PART_ROWS]]
    for number in range(SAMPLED):
        timed(
            f"commit a part of {PART_ROWS}", write_part, out, number, "0" * 16, 0, outcomes, TypeAdapter(EvaluationRow)
        )
    for name, seen in times.items():
        print(f"  {name:28}{statistics.median(seen):8.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    default = os.environ.get("INSTRUCTRESTORE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("data", nargs="?", type=Path, default=Path(default))
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--processors", type=int, default=2)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.processors])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        testset = write_testset(folder / "testset", folder / "results", crops(arguments.data, arguments.photos))
        seen = [whole_run(testset, folder / "results", folder / f"out{number}") for number in range(arguments.runs)]
        told = ", ".join(f"{each:.1f}" for each in seen)
        print(
            f"{arguments.photos} photos of {SIDE}x{SIDE}, 2 methods, on {len(os.sched_getaffinity(0))} processors: "
            f"median {statistics.median(seen):.1f} s ({told})"
        )
        again = whole_run(testset, folder / "results", folder / "out0")
        print(f"again, with nothing left to measure (hashes, tables, page): {again:.1f} s")
        print("a photo's parts, on one thread:")
        parts(testset, folder / "results", folder / "out0")


if __name__ == "__main__":
    main()
