"""A photo -> what is in it: the whole of the annotator on one page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from instructrestore.dataengine.annotator.edges import guided
from instructrestore.dataengine.annotator.featureless import LEAST_SIDE, Featureless
from instructrestore.dataengine.annotator.features import FeatureExtractor, working_size
from instructrestore.dataengine.annotator.grouping import PanopticSegment, group, kinds
from instructrestore.dataengine.annotator.installed import SHIPPED
from instructrestore.dataengine.annotator.names import coco_names
from instructrestore.dataengine.annotator.naming import Calibration
from instructrestore.dataengine.annotator.network import Head
from instructrestore.dataengine.annotator.outdoors import SKY, outdoors
from instructrestore.dataengine.annotator.reduction import Reduced, Sight
from instructrestore.dataengine.annotator.views import SIDE
from instructrestore.dataengine.annotator.weights import load_weights
from instructrestore.pretrained.backbone import STRIDE, load_backbone

GUIDE_SIDE = 1024  # edges are found on the photo at most so large
LEAST_PROBABILITY = 0.15  # names that nowhere reach this are no candidates
MOST_CANDIDATES = 24


@dataclass(frozen=True)
class Annotator:
    """sight, heads: as trained. Called with a photo it returns its segments, largest first, all of them.

    What to keep of them, and under which name, is for `naming.py`.
    """

    sight: Sight
    heads: tuple[Head, ...]

    def probabilities(self, rgb: NDArray[np.uint8]) -> Tensor:
        """rgb: (H, W, 3) uint8. (names, h/16, w/16) float32."""
        height, width = working_size(rgb.shape[0], rgb.shape[1], SIDE)
        return self.of_reduced(self.sight(_resized(rgb, height, width)))

    @torch.inference_mode()
    def of_reduced(self, reduced: Reduced) -> Tensor:
        """The same of a photo that was seen before: the mean over the heads."""
        return torch.stack([head(reduced)[0].softmax(0) for head in self.heads]).mean(0)

    def __call__(self, rgb: NDArray[np.uint8]) -> list[PanopticSegment]:
        """rgb: (H, W, 3) uint8 upright sRGB. Masks are of the photo's size and do not overlap."""
        assert rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.dtype == np.uint8, (rgb.shape, rgb.dtype)
        return self.found(rgb, self.probabilities(rgb))

    def found(self, rgb: NDArray[np.uint8], probabilities: Tensor) -> list[PanopticSegment]:
        """The segments of a photo whose probabilities are there already."""
        labels, maps = refined(rgb, probabilities)
        plausible = _Plausibility(rgb, probabilities, maps)
        return [_enlarged(plausible(segment), *rgb.shape[:2]) for segment in group(labels, maps)]

    def regions(self, rgb: NDArray[np.uint8], masks: Iterable[NDArray[np.bool_]]) -> list[PanopticSegment]:
        """What the given regions are, whoever found them: (H, W) bool each, none empty; in their order."""
        probabilities = self.probabilities(rgb)
        labels, maps = refined(rgb, probabilities)
        plausible = _Plausibility(rgb, probabilities, maps)
        seen = ((mask, _seen(_shrunk(mask, *maps.shape[:2]), labels, maps)) for mask in masks)
        return [replace(plausible(segment), mask=mask) for mask, segment in seen]


def load_annotator(path: Path = SHIPPED) -> tuple[Annotator, Calibration]:
    """The annotator as it ships, or a trained one. Raises ValueError where weights are missing or damaged."""
    trained = load_weights(path)
    return Annotator(Sight(FeatureExtractor(load_backbone()), trained.reduction), trained.heads), trained.calibration


def refined(
    rgb: NDArray[np.uint8], probabilities: Tensor, also: Iterable[int] = ()
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The candidates, (K,), and their probabilities with the photo's edges, (h, w, K) float32, at the photo's size or
    at most `GUIDE_SIDE`. also: names that are to be among them however unlikely."""
    peaks = probabilities.amax((1, 2))
    peaks[list(also)] = 1.0
    order = peaks.argsort(descending=True)[:MOST_CANDIDATES]
    labels = order[peaks[order] >= min(LEAST_PROBABILITY, float(peaks.max()))]
    coarse = np.ascontiguousarray(probabilities[labels].permute(1, 2, 0).numpy())
    height, width = coarse.shape[0] * STRIDE // 4, coarse.shape[1] * STRIDE // 4  # half the working size
    maps = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, -1)
    scale = min(1.0, GUIDE_SIDE / max(rgb.shape[:2]))
    large = _resized(rgb, max(1, round(rgb.shape[0] * scale)), max(1, round(rgb.shape[1] * scale)))
    return labels.numpy(), np.clip(guided(maps, _resized(rgb, height, width), large), 0, 1)


class _Plausibility:
    """Leaves a segment no probability where it shows nothing, and a sky where nothing else is of the outdoors."""

    def __init__(self, rgb: NDArray[np.uint8], probabilities: Tensor, maps: NDArray[np.float32]) -> None:
        self._featureless = Featureless(_resized(rgb, *maps.shape[:2]), small=min(rgb.shape[:2]) < LEAST_SIDE)
        self._outdoors = outdoors(probabilities)

    def __call__(self, segment: PanopticSegment) -> PanopticSegment:
        backdrop = coco_names()[segment.label].word == SKY and not self._outdoors
        return replace(segment, name=0.0, kind=0.0) if backdrop or self._featureless(segment.mask) else segment


def _enlarged(segment: PanopticSegment, height: int, width: int) -> PanopticSegment:
    """With its mask at that size, its outline smoothed."""
    if segment.mask.shape == (height, width):
        return segment
    soft = cv2.resize(segment.mask.astype(np.uint8) * 255, (width, height), interpolation=cv2.INTER_LINEAR)
    return replace(segment, mask=np.greater(soft, 127))


def _shrunk(mask: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    """At that size; at least its middle pixel, however small it is."""
    if mask.shape == (height, width):
        return mask
    assert mask.any(), "an empty mask"
    small = cv2.resize(mask.astype(np.uint8) * 255, (width, height), interpolation=cv2.INTER_AREA) > 127
    if not small.any():
        rows, columns = np.nonzero(mask)
        middle = rows.size // 2
        small[rows[middle] * height // mask.shape[0], columns[middle] * width // mask.shape[1]] = True
    return small


def _seen(mask: NDArray[np.bool_], labels: NDArray[np.intp], maps: NDArray[np.float32]) -> PanopticSegment:
    """The likeliest kind in the mask, and the likeliest name of that kind."""
    assert mask.any(), "an empty mask"
    means = maps[mask].mean(0)  # (K,)
    kind_of = kinds()[labels]
    totals = {int(kind): float(means[kind_of == kind].sum()) for kind in np.unique(kind_of)}
    best = max(totals, key=lambda kind: totals[kind])
    within = np.flatnonzero(kind_of == best)
    member = int(within[int(means[within].argmax())])
    return PanopticSegment(mask, int(labels[member]), min(1.0, float(means[member])), min(1.0, totals[best]))


def _resized(rgb: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    if rgb.shape[:2] == (height, width):
        return rgb
    interpolation = cv2.INTER_AREA if height < rgb.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=interpolation), np.uint8)
