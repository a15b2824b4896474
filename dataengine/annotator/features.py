"""What the head sees of a photo: the frozen backbone's maps at two scales, and what its classifier says everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from instructrestore.dataengine.annotator.names import membership
from instructrestore.pretrained.backbone import STRIDE, Backbone, normalise

LEAST_EVIDENCE = 1e-4  # the probability below which a class is not told from absent


@dataclass(frozen=True)
class Features:
    """Of one photo at h x w (multiples of 64); float16 on disk, float32 in the head.

    fine: (48, h/8, w/8). middle: (120, h/16, w/16). coarse: (1632, h/32, w/32), the last map and the classifier's.
    scene: (1280, h/64, w/64), the classifier's map of the photo at half the size.
    evidence: (2, names, h/32, w/32), log probability that the classifier shows each name, at both sizes;
    log `LEAST_EVIDENCE` for names that ImageNet does not have.
    """

    fine: Tensor
    middle: Tensor
    coarse: Tensor
    scene: Tensor
    evidence: Tensor

    def tensors(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in ("fine", "middle", "coarse", "scene", "evidence")}


def working_size(height: int, width: int, side: int) -> tuple[int, int]:
    """(height, width) in multiples of 64, the long one `side`: what a photo is resized to, slightly stretched.

    A strip keeps at least 64 pixels across, so a 1:40 photo is stretched much.
    """
    step = 2 * STRIDE
    assert side % step == 0, side
    scale = side / max(height, width)
    rounded = [max(step, round(length * scale / step) * step) for length in (height, width)]
    return rounded[0], rounded[1]


class FeatureExtractor(nn.Module):
    """A photo, (H, W, 3) uint8 RGB, at its working size -> `Features`, float32."""

    membership: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.register_buffer("membership", membership(), persistent=False)

    @torch.inference_mode()
    def forward(self, rgb: NDArray[np.uint8]) -> Features:
        height, width = rgb.shape[:2]
        assert height % (2 * STRIDE) == 0 and width % (2 * STRIDE) == 0, rgb.shape
        half = np.asarray(cv2.resize(rgb, (width // 2, height // 2), interpolation=cv2.INTER_AREA), np.uint8)
        maps, head, evidence = self._see(rgb)
        _, scene, far = self._see(half)
        far = F.interpolate(far, size=evidence.shape[2:], mode="bilinear", align_corners=False)
        coarse = torch.cat([maps[32], head], 1)
        return Features(maps[8][0], maps[16][0], coarse[0], scene[0], torch.stack([evidence[0], far[0]]))

    def _see(self, rgb: NDArray[np.uint8]) -> tuple[dict[int, Tensor], Tensor, Tensor]:
        pixels = normalise(torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)[None])
        maps = self.backbone(pixels.contiguous(memory_format=torch.channels_last))
        head = self.backbone.head(maps[32])
        classes = self.backbone.classify(head).softmax(1)  # (1, 1000, h, w)
        evidence = torch.einsum("bchw,cn->bnhw", classes, self.membership)
        return maps, head, torch.log(evidence + LEAST_EVIDENCE)
