"""The stage that measures: results in, their figures out. Each photo by itself, so that figures depend on no batch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngImageFile
from torch import Tensor

from instructrestore.dataengine.running.outcomes import describe_error
from instructrestore.dataengine.running.stage import Failed
from instructrestore.model.metrics.metric import BOKEH_IOU, LEARNED
from instructrestore.model.metrics.scorer import Scorer
from instructrestore.model.metrics.settings import MetricSettings
from instructrestore.pipelines.evaluation.restore_stage import Unreadable, pixels, read_pair
from instructrestore.pipelines.evaluation.row import EvaluationRow
from instructrestore.shards.pairs import TestSet
from instructrestore.shards.rle import MAX_PIXELS


class ScoreStage:
    """The stage. out: the evaluation's folder. threads: photos that are measured at once."""

    def __init__(self, testset: str, out: Path, settings: MetricSettings, threads: int) -> None:
        self._testset, self._out = TestSet(testset), out
        self._scorer = Scorer(settings)
        self._threads = threads

    def __call__(self, rows: Sequence[EvaluationRow]) -> list[EvaluationRow | Failed]:
        with _one_thread_an_operation(self._threads), ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(self._scored, rows))

    def _scored(self, row: EvaluationRow) -> EvaluationRow | Failed:
        try:
            pair = read_pair(self._testset, row)
            hq = pixels(pair.hq, row, "HQ photo")
            data = self._read(row.file, row.sha256) if row.file else pair.lq
            predicted = self._mask(row)
            result = pixels(data, row, "result" if row.file else "LQ photo")
        except Unreadable as fault:
            return Failed(str(fault))
        mask = torch.from_numpy(pair.region.mask.array()[None])
        (figures,) = self._scorer(_tensor(result), _tensor(hq), mask, self._testset.bokeh, [predicted])
        listed = [(scope, metric, value) for (scope, metric), value in figures.items()]
        if broken := [metric for _, metric, value in listed if not math.isfinite(value)]:
            return Failed(f"{broken[0]} gave no finite number")
        return replace(row, photo=pair.sample.photo.name, figures=listed)

    def _read(self, file: str, sha256: str) -> bytes:
        try:
            data = (self._out / file).read_bytes()
        except OSError as error:
            raise Unreadable(f"result: {describe_error(error)[0]}") from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise Unreadable("the result changed while it was being evaluated")
        return data

    def _mask(self, row: EvaluationRow) -> NDArray[np.float32] | None:
        """The mask that the method predicted, (H, W) in [0, 1]."""
        if not row.mask:
            return None
        # By its class: Image.open has a limit of its own, which is global to the process.
        with PngImageFile(BytesIO(self._read(row.mask, row.mask_sha256))) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Unreadable(f"the mask is {image.width}x{image.height}, over {MAX_PIXELS} pixels")
            return np.divide(np.asarray(image.convert("L")), 255, dtype=np.float32)


def has_networks(settings: MetricSettings) -> bool:
    """Whether networks measure: they take all processors for one photo, or a GPU."""
    return bool(set(LEARNED) & set(settings.metrics)) or (
        settings.blur_detector == "d-dffnet" and BOKEH_IOU.name in settings.metrics
    )


@contextmanager
def _one_thread_an_operation(threads: int) -> Iterator[None]:
    """Torch's operations on one thread each while photos share the processors; as they are for one photo at a time."""
    before = torch.get_num_threads()
    try:
        if threads > 1:
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(before)


def _tensor(rgb: NDArray[np.uint8]) -> Tensor:
    """(1, 3, H, W) float32 in [0, 1]"""
    return torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() / 255
