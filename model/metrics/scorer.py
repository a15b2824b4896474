"""All figures of restored photos: each metric over each scope that the paper's tables have it for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from instructrestore.model.metrics.blur import blur_detector, bokeh_iou
from instructrestore.model.metrics.fidelity import (
    WINDOW,
    check,
    luma,
    psnr_of_luma,
    region_of_windows,
    ssim_map,
    ssim_of,
)
from instructrestore.model.metrics.learned import LearnedMetric
from instructrestore.model.metrics.metric import LEARNED, MOST_PSNR, Scope
from instructrestore.model.metrics.settings import MetricSettings
from instructrestore.pretrained.brisque import LEAST_SIDE, brisque

MetricValues = dict[tuple[Scope, str], float]


class Scorer:
    """Measures results against their HQ photos. Loads the weights that the settings' metrics need.

    Raises ValueError, in one sentence, for what cannot be loaded.
    """

    def __init__(self, settings: MetricSettings) -> None:
        self._settings = settings
        self._learned = {name: LearnedMetric(name, settings) for name in LEARNED if name in settings.metrics}
        self._blurred = blur_detector(settings) if "bokeh_iou" in settings.metrics else None

    @torch.no_grad()
    def __call__(
        self,
        results: Tensor,
        hq: Tensor,
        masks: Tensor,
        bokeh: bool,
        predicted: Sequence[NDArray[np.float32] | None],
    ) -> list[MetricValues]:
        """The figures of B results, each by scope and metric's name; one that cannot be had is left out.

        results, hq: (B, 3, H, W) float32 in [0, 1]. masks: (B, H, W) bool, the regions. bokeh: whether the
        surroundings are to be blurred, of which the bokeh IoU speaks. predicted: (H, W) in [0, 1] each, the masks that
        the model saw; None where it predicted none.
        """
        check(results, hq, None)
        figures: list[MetricValues] = [{} for _ in results]
        if {"psnr", "ssim"} & set(self._settings.metrics):
            self._fidelity(figures, results, hq, masks)
        for name, metric in self._learned.items():
            _note(figures, "full", name, metric(results, hq))
            inside = masks[:, None].to(results.dtype)
            _note(figures, "target", name, metric(results * inside, hq * inside), masks)
        if "brisque" in self._settings.metrics and min(results.shape[2:]) >= LEAST_SIDE:
            pictures = (255 * results.clamp(0, 1)).round().byte().permute(0, 2, 3, 1).cpu().numpy()
            _note(figures, "full", "brisque", torch.tensor([brisque(picture) for picture in pictures]))
        if self._blurred and bokeh:
            _note(figures, "remaining", "bokeh_iou", bokeh_iou(self._blurred(results), self._blurred(hq)))
        if "mask_iou" in self._settings.metrics:
            for own, mask, seen in zip(figures, masks.cpu().numpy(), predicted, strict=True):
                if seen is not None:
                    own["target", "mask_iou"] = _iou(seen > 0.5, mask)
        return figures

    def _fidelity(self, figures: list[MetricValues], results: Tensor, hq: Tensor, masks: Tensor) -> None:
        """PSNR and SSIM of the whole photo, of the region and of the rest."""
        y, y_hq = luma(results), luma(hq)
        similarity = self._similarity(y, y_hq)
        regions: dict[Scope, Tensor | None] = {"full": None, "target": masks, "remaining": ~masks}
        for scope, region in regions.items():
            seen, seen_hq, similar, counted, windows = y, y_hq, similarity, region, region
            if region is not None and self._settings.regions == "zeroed":
                inside = region[:, None].to(results.dtype)
                seen, seen_hq, counted = luma(results * inside), luma(hq * inside), None
                similar = self._similarity(seen, seen_hq)
            elif region is not None:
                windows = region_of_windows(region)
            if "psnr" in self._settings.metrics:
                _note(figures, scope, "psnr", psnr_of_luma(seen, seen_hq, counted).clamp(max=MOST_PSNR), region)
            if similar is not None:
                _note(figures, scope, "ssim", ssim_of(similar, counted), windows)

    def _similarity(self, y: Tensor, y_hq: Tensor) -> Tensor | None:
        fits = min(y.shape[1:]) >= WINDOW
        return ssim_map(y, y_hq) if fits and "ssim" in self._settings.metrics else None


def _note(figures: list[MetricValues], scope: Scope, name: str, values: Tensor, region: Tensor | None = None) -> None:
    """Writes down the values of those photos whose region has any pixel that counts."""
    for number, (own, value) in enumerate(zip(figures, values.tolist(), strict=True)):
        if region is None or region[number].any():
            own[scope, name] = value


def _iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    either = int((first | second).sum())
    return float((first & second).sum() / either) if either else 1.0
