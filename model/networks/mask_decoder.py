"""The mask decoder: ControlNet features to the mask of the region that the instruction names (paper section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_GROUPS = 32


class Projection(nn.Module):
    """Twice: a 3x3 convolution, GroupNorm, ReLU. (B, in_channels, H, W) -> (B, out_channels, H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(NORM_GROUPS, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(NORM_GROUPS, out_channels)

    def forward(self, features: Tensor) -> Tensor:
        features = F.relu(self.norm1(self.conv1(features)))
        return F.relu(self.norm2(self.conv2(features)))


class MaskDecoder(nn.Module):
    """Coarse to fine over the features of the ControlNet's cross-attention down blocks.

    feature_channels: of the features, the deepest first; SD 2.1: (1280, 640, 320). channels: of every projection, a
    multiple of 32; the release has 512. Parameter names are the release's: `projects.{level}.{conv,norm}{1,2}`,
    `final_conv`.
    """

    def __init__(self, feature_channels: Sequence[int], channels: int = 512) -> None:
        super().__init__()
        above = [0] + [channels] * (len(feature_channels) - 1)
        self.projects = nn.ModuleList(
            Projection(own + from_above, channels) for own, from_above in zip(feature_channels, above, strict=True)
        )
        self.final_conv = nn.Conv2d(channels, 1, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """The mask's logits (B, 1, h, w) at the size of the last feature; a sigmoid makes them the mask.

        features: the deepest first, each (B, C, H, W) twice as high and wide as the one before.
        """
        assert len(features) == len(self.projects), f"{len(features)} features for {len(self.projects)} levels"
        joined = self.projects[0](features[0])
        for feature, project in zip(features[1:], list(self.projects)[1:], strict=True):
            finer = F.interpolate(joined, scale_factor=2.0, mode="nearest")
            joined = project(torch.cat([finer, feature], dim=1))
        return self.final_conv(joined)
