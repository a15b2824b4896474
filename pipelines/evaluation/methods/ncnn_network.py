"""Real-ESRGAN x4plus and SPAN x4 with their published weights, by ncnn on the CPU (extra `ncnn`).

Real-ESRGAN: Wang et al., 2021 (network.py). SPAN: Wan et al., "Swift Parameter-free Attention Network for Efficient
Super-Resolution", 2024, trained on photos that were shrunk and not degraded otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from instructrestore.pipelines.evaluation.methods.ncnn_files import NCNN_INSTALL, NcnnFiles
from instructrestore.pipelines.evaluation.methods.photos import PhotoArray, restored, shrunk
from instructrestore.shards.errors import first_line

SCALE = 4
# Both converted networks call them so, and take and give RGB in [0, 1].
_INPUT, _OUTPUT = "data", "output"
# In float32 throughout: half precision is not the same on every processor.
_HALVES = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_packed", "use_bf16_storage")


class NcnnNetwork:
    """The photo is shrunk by 4 and enlarged in one pass, without tiles; nothing in it is random.

    Uses as many threads as torch; results do not depend on their number. They wait for one another in busy loops, which
    on cores that others use too takes ten times as long, unless OMP_WAIT_POLICY=passive is set before torch is loaded.
    """

    def __init__(self, files: NcnnFiles) -> None:
        """Raises ValueError, in one sentence, if a package is missing or its files are not as published."""
        param, weights = (file.checked() for file in files.installed())
        self._title = files.title
        self._ncnn = _ncnn()
        self._net: Any = self._ncnn.Net()
        options = {"use_vulkan_compute": False, "num_threads": torch.get_num_threads(), **dict.fromkeys(_HALVES, False)}
        for name, value in options.items():
            setattr(self._net.opt, name, value)
        if self._net.load_param(str(param)) or self._net.load_model(str(weights)):
            raise ValueError(
                f"this version of ncnn cannot read the weights of {files.title}: install the one that the extra pins, "
                f"{NCNN_INSTALL}"
            )

    def __call__(self, lq: Sequence[PhotoArray], seeds: Sequence[int]) -> list[PhotoArray]:
        assert len(lq) == len(seeds)
        return [self._restore(photo) for photo in lq]

    def _restore(self, photo: PhotoArray) -> PhotoArray:
        small = np.ascontiguousarray(shrunk(photo, SCALE)[0].numpy())  # (3, h, w)
        extractor = self._net.create_extractor()
        status = extractor.input(_INPUT, self._ncnn.Mat(small).clone())  # a Mat alone would only point into `small`
        if not status:
            status, pixels = extractor.extract(_OUTPUT)
        if status:
            height, width = photo.shape[:2]
            raise ValueError(f"ncnn could not run {self._title} on a photo of {width}x{height}: try smaller crops")
        return restored(torch.from_numpy(np.array(pixels))[None], photo)


def _ncnn() -> Any:
    try:
        import ncnn  # noqa: PLC0415  # pyright: ignore[reportMissingImports]
    except (ImportError, OSError) as error:
        raise ValueError(f"ncnn cannot be loaded ({first_line(error)}): {NCNN_INSTALL}") from None
    return ncnn
