"""Small test sets, and a restorer in the model's place that only blends by the scale map."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from instructrestore.model.metrics.settings import MetricSettings
from instructrestore.pipelines.evaluation.methods.method import OURS, Evaluation, Method
from instructrestore.pipelines.evaluation.methods.restorers import MethodGroup, MethodInput, MethodOutput
from instructrestore.pipelines.evaluation.run import EvaluationRequest, run_evaluation
from instructrestore.shards.files import replacing
from instructrestore.shards.index import INDEX_SCHEMA
from instructrestore.shards.pairs import LQ_EXTENSION, TestSet, finish_test_set
from instructrestore.shards.sample import AnnotatedPhoto
from instructrestore.shards.write import ShardWriter
from tests.dataengine.small_dataset import photo_of, region_of

DARKER = 30  # grey levels, of an LQ photo against its HQ photo
STEP = 10  # grey levels that the stand-in adds at a scale of 1
SWEEP = (0.5, 0.7, 0.9, 1.1)


def png(rgb: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "PNG")
    return file.getvalue()


def write_testset(
    folder: Path, sizes: Sequence[tuple[int, int]], bokeh: bool = False, caption: str = "the box"
) -> TestSet:
    """A photo for each (width, height), its LQ photo darker by DARKER all over; its region is a box away from edges."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = []
    with replacing(folder / "png-000000.tar") as file:
        writer = ShardWriter("png-000000.tar", file)
        for number, (width, height) in enumerate(sizes):
            photo, hq = photo_of(number, width, height)
            region = region_of(photo, 12 + number % 4, 14, width // 3, height // 2, f"{caption} {number}", "box", bokeh)
            lq = (hq - DARKER).astype(np.uint8)  # photo_of keeps to 67..187
            places = writer.add(AnnotatedPhoto(photo, (region,)), png(hq), {LQ_EXTENSION: png(lq)})
            offset, size = places[LQ_EXTENSION]
            pairs.append({"key": photo.key, "lq_offset": offset, "lq_bytes": size, "degradation": "", "seed": None,
                          "scale": 1.0, "left": 0, "top": 0})  # fmt: skip
        entry = writer.close()
    tables = [pa.Table.from_pylist(writer.rows, INDEX_SCHEMA)]
    finish_test_set(folder, "small", [entry], tables, pairs, {"bokeh": bokeh})
    return TestSet(str(folder))


class Blend:
    """Makes the LQ photo lighter by STEP times the scale of each pixel, and notes each call in a file."""

    def __init__(self, log: Path, sleep_s: float, stop_at: int | None, device: str | None) -> None:
        self._log, self._sleep_s, self._stop_at = log, sleep_s, stop_at
        with loadings_of(log).open("a") as file:
            file.write("loaded\n")

    def __call__(self, asked: Sequence[MethodInput]) -> list[MethodOutput]:
        time.sleep(self._sleep_s)
        if len(calls(self._log)) == self._stop_at:
            raise KeyboardInterrupt
        with self._log.open("a") as file:
            file.writelines(f"{each.seed} {each.s1:g}\n" for each in asked)
        return [self._restored(each) for each in asked]

    def _restored(self, asked: MethodInput) -> MethodOutput:
        assert asked.s1 is not None and asked.s2 is not None
        assert asked.mask is not None
        scales = np.where(asked.mask, asked.s1, asked.s2)[..., None]
        lighter = asked.rgb + np.rint(STEP * scales).astype(np.uint8)
        return MethodOutput(lighter, asked.mask.astype(np.float32))


def blending(
    log: Path, scales: Sequence[float] = SWEEP, sleep_s: float = 0.0, stop_at: int | None = None
) -> MethodGroup:
    """sleep_s: before each call. stop_at: after so many photos a call is broken off as by Ctrl-C."""
    methods = tuple(Method(OURS, "model", s1, 1.0) for s1 in scales)
    record = {"stand-in": "blend"}
    return MethodGroup("restore", methods, partial(Blend, log, sleep_s, stop_at), record, record, given_masks=True)


def loadings_of(log: Path) -> Path:
    return log.with_name(f"{log.name}.loadings")


def calls(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def evaluated_by(testset: TestSet, out: Path, **changes: Any) -> tuple[Evaluation, str]:
    """PSNR of LQ alone, unless something else is asked for; also what was said."""
    options: dict[str, Any] = {"groups": (), "found": (), "metrics": MetricSettings(metrics=("psnr",)), "seed": 3}
    said = io.StringIO()
    console = Console(file=said, width=200)
    request = EvaluationRequest(testset=testset.path, out=out, **(options | changes))
    return run_evaluation(request, console), said.getvalue()
