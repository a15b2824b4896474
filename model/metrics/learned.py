"""LPIPS, CLIPIQA, MUSIQ and MANIQA, by pyiqa's networks (extra `iqa`), in the versions of the published tables.

LPIPS (Zhang et al. 2018): AlexNet, version 0.1. CLIPIQA (Wang et al. 2023): CLIP's RN50, pyiqa's five pairs of prompts.
MUSIQ (Ke et al. 2021): trained on KonIQ-10k. MANIQA (Yang et al. 2022): trained on PIPAL, pyiqa's "maniqa-pipal", with
which the tables of SeeSR and OSEDiff were made (their issues 30 and 17) and whose height those of InstructRestore have;
pyiqa's default, of KonIQ-10k, gives values lower by a fifth or so. Values are pyiqa's own, never cut to a range: MUSIQ
may leave 0..100, and MANIQA 0..1, by a little.

MANIQA's paper averages random crops. pyiqa takes 20 crops of 224x224 at fixed places (a 5x5 grid without its last
row), so the value is the same each time. A photo whose shorter side has 224 pixels or fewer is scaled up to 225.
"""

from __future__ import annotations

import torch
from torch import Tensor

from instructrestore.model.metrics import iqa_networks, iqa_weights
from instructrestore.model.metrics.fidelity import check
from instructrestore.model.metrics.metric import BY_NAME, LEARNED
from instructrestore.model.metrics.settings import MetricSettings
from instructrestore.model.restoring.checkpoint import find_device

LEAST = 32  # px of a side: as often as LPIPS and CLIPIQA halve it, and one patch of MUSIQ
_AT_ONCE = {"lpips": 8, "clipiqa": 8, "musiq": 8, "maniqa": 1}  # photos; MANIQA sees 20 crops of each


class LearnedMetric:
    """One of LPIPS, CLIPIQA, MUSIQ, MANIQA (`metric.LEARNED`) of any number of photos.

    Raises ValueError, in one sentence, where pyiqa cannot be used, weights are missing or wrong, or the device is.
    """

    def __init__(self, name: str, settings: MetricSettings) -> None:
        assert name in LEARNED
        self._metric = BY_NAME[name]
        title = self._metric.title
        auto = "cuda" if torch.cuda.is_available() else "cpu"
        self._device = find_device(auto if settings.device == "auto" else settings.device)
        net = iqa_networks.build(name, title, lambda file: iqa_weights.read(file, title, settings))
        self._net = net.to(self._device).eval().requires_grad_(False)

    @torch.inference_mode()
    def __call__(self, results: Tensor, hq: Tensor) -> Tensor:
        """The values of B results, (B,) float64 on the CPU; a photo's is the same alone and among others.

        results, hq: (B, 3, H, W) float32 in [0, 1]; all but LPIPS judge the results alone. Raises ValueError, in one
        sentence, where sizes differ or are under 32 pixels.
        """
        check(results, hq, None)
        height, width = results.shape[-2:]
        if min(height, width) < LEAST:
            raise ValueError(
                f"{self._metric.title} needs photos of at least {LEAST}x{LEAST} pixels, and one has {width}x{height}"
            )
        given = (results, hq) if self._metric.with_hq else (results,)
        batches = zip(*(photos.split(_AT_ONCE[self._metric.name]) for photos in given), strict=True)
        # Without TF32 a GPU's values are those of the CPU but for rounding; and they are the same each time.
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            values = [
                self._net(*(photos.to(self._device, torch.float32) for photos in batch)).flatten().cpu()
                for batch in batches
            ]
        return torch.cat(values).double()
