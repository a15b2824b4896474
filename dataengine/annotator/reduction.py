"""The backbone's maps in fewer numbers: principal components of the training photos' maps, scaled to variance 1.

The classifier's maps have 1,632 channels a position, far more than a hundred photos can say anything about. The first
components keep most of what varies, make a training step several times cheaper, and are fixed before it begins.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from instructrestore.dataengine.annotator.features import FeatureExtractor, Features
from instructrestore.pretrained.backbone import CHANNELS, HEAD

COARSE, SCENE = 256, 128  # components kept


@dataclass(frozen=True)
class Reduced:
    """Of one photo at h x w; float16 on disk, float32 in the head. Channels last, for a product at every position.

    fine: (h/16, w/16, 168), the maps of strides 8 (averaged) and 16. coarse: (h/32, w/32, 256). scene: (h/64, w/64,
    128). evidence: (2, names, h/32, w/32), as in `Features`.
    """

    fine: Tensor
    coarse: Tensor
    scene: Tensor
    evidence: Tensor

    def tensors(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in ("fine", "coarse", "scene", "evidence")}


FINE = CHANNELS[8] + CHANNELS[16]


class Reduction(nn.Module):
    """`Features` -> `Reduced`. Its buffers are filled by `fit_reduction` or from a file."""

    coarse_mean: Tensor
    coarse_basis: Tensor
    scene_mean: Tensor
    scene_basis: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("coarse_mean", torch.zeros(CHANNELS[32] + HEAD))
        self.register_buffer("coarse_basis", torch.zeros(COARSE, CHANNELS[32] + HEAD))
        self.register_buffer("scene_mean", torch.zeros(HEAD))
        self.register_buffer("scene_basis", torch.zeros(SCENE, HEAD))

    def forward(self, features: Features) -> Reduced:
        fine = torch.cat([F.avg_pool2d(features.fine, 2), features.middle]).permute(1, 2, 0)
        coarse = F.linear(features.coarse.permute(1, 2, 0) - self.coarse_mean, self.coarse_basis)
        scene = F.linear(features.scene.permute(1, 2, 0) - self.scene_mean, self.scene_basis)
        return Reduced(fine, coarse, scene, features.evidence)


class Sight:
    """A photo at its working size, (h, w, 3) uint8 RGB -> `Reduced`: all that is frozen, in one."""

    def __init__(self, extractor: FeatureExtractor, reduction: Reduction) -> None:
        self.extractor, self.reduction = extractor, reduction

    @torch.inference_mode()
    def __call__(self, rgb: NDArray[np.uint8]) -> Reduced:
        return self.reduction(self.extractor(rgb))


@torch.no_grad()
def fit_reduction(photos: Iterable[Features]) -> Reduction:
    """photos: a few hundred are enough; their maps are all held in memory."""
    reduction = Reduction()
    coarse, scene = zip(*((each.coarse.flatten(1).T, each.scene.flatten(1).T) for each in photos), strict=True)
    reduction.coarse_mean, reduction.coarse_basis = _components(torch.cat(coarse), COARSE)
    reduction.scene_mean, reduction.scene_basis = _components(torch.cat(scene), SCENE)
    return reduction


def _components(rows: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """rows: (N, channels). The mean, and the first components as (number, channels), of variance 1 on the rows."""
    mean = rows.mean(0)
    covariance = torch.cov(rows.T)
    values, vectors = torch.linalg.eigh(covariance)  # ascending
    return mean, (vectors[:, -number:] / values[-number:].clamp(min=1e-6).sqrt()).T.flip(0).contiguous()
