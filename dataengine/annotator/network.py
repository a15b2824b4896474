"""The trained part: a small head on the frozen backbone that says for every sixteenth pixel what is there.

Three kinds of knowledge meet in a name's logit:

    what the pixels look like     a pixel vector, from fine, middle and coarse maps, against the name's vector
    what the classifier says      the log probability of the ImageNet classes that show the name, near and far
    what the scene is             the log probability that the name is anywhere in the photo

The name's vector is a projection of its text vector (MiniLM) plus a free part of its own: names with few examples lean
on the text, a word that was never trained has the text alone. All is small and heavily regularised, since the frozen
features are many and the annotated photos few.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from instructrestore.dataengine.annotator.features import LEAST_EVIDENCE
from instructrestore.dataengine.annotator.reduction import COARSE, FINE, SCENE, Reduced

TEXT = 384  # numbers of a text vector


def _kept(channels: int, dropout: float, training: bool) -> Tensor:
    """(channels,): 0 for those dropped, one draw for all positions; the rest scaled up."""
    return F.dropout(torch.ones(channels), dropout, training)


class _Mix(nn.Module):
    """A residual block, (h, w, C) -> the same: a depthwise convolution and a perceptron at every position."""

    def __init__(self, channels: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.spread = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, 2 * channels)
        self.narrow = nn.Linear(2 * channels, channels)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        spread = self.spread(x.permute(2, 0, 1)[None])[0].permute(1, 2, 0)
        return x + self.narrow(F.gelu(self.widen(self.norm(spread)))) * _kept(x.shape[2], self.dropout, self.training)


class _Enter(nn.Module):
    """A map of the backbone, (h, w, inputs) -> (h, w, channels): whole channels dropped, projected, normalised."""

    def __init__(self, inputs: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.project = nn.Linear(inputs, channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.project(x * _kept(x.shape[2], self.dropout, self.training)))


def _enlarged(x: Tensor, height: int, width: int) -> Tensor:
    """(h, w, C) -> (height, width, C), bilinear."""
    x = F.interpolate(x.permute(2, 0, 1)[None], size=(height, width), mode="bilinear", align_corners=False)
    return x[0].permute(1, 2, 0)


class Head(nn.Module):
    """`Reduced` -> logits of every name, (names, h/16, w/16), and of its presence anywhere in the photo, (names,).

    text: (names, 384) float32, the names' text vectors. Logits are log probabilities up to a constant per pixel.
    """

    text: Tensor

    def __init__(self, text: Tensor, channels: int = 96, dropout: float = 0.2) -> None:
        super().__init__()
        names = text.shape[0]
        assert text.shape == (names, TEXT), text.shape
        self.channels = channels
        self.register_buffer("text", text.clone())
        self.coarse = _Enter(COARSE, channels, dropout)
        self.scene = _Enter(SCENE, channels, dropout)
        self.fine = _Enter(FINE, channels, dropout)
        self.place = nn.Linear(5, channels)
        self.mix_coarse = _Mix(channels, 5, dropout)
        self.mix = _Mix(channels, 5, dropout)
        self.out = nn.LayerNorm(channels)
        self.from_text = nn.Linear(TEXT, channels, bias=False)
        self.own = nn.Parameter(torch.zeros(names, channels))
        self.bias = nn.Parameter(torch.zeros(names))
        self.presence = nn.Linear(channels, names)
        self.evidence = nn.Parameter(torch.tensor([0.3, 0.3]))  # near, far
        self.presence_evidence = nn.Parameter(torch.tensor([0.3, 0.3]))
        self.prior = nn.Parameter(torch.tensor(0.3))
        self.dropout = dropout

    def forward(self, features: Reduced) -> tuple[Tensor, Tensor]:
        height, width, _ = features.coarse.shape
        scene = self.scene(features.scene)  # (h/64, w/64, C)
        glimpse = F.gelu(scene).mean((0, 1))  # (C,)
        x = self.coarse(features.coarse) + _enlarged(scene, height, width) + glimpse
        x = self.mix_coarse(x + self.place(_place(height, width)))
        x = self.mix(self.fine(features.fine) + _enlarged(x, 2 * height, 2 * width))
        vectors = self.from_text(self.text) + self.own  # (names, C)
        looks = F.linear(self.out(x) * _kept(x.shape[2], self.dropout, self.training), vectors, self.bias)
        # 0 where the classifier sees nothing of a name or does not have it
        evidence = features.evidence - math.log(LEAST_EVIDENCE)  # (2, names, h/32, w/32)
        says = (evidence * self.evidence[:, None, None, None]).sum(0)
        says = F.interpolate(says[None], scale_factor=2, mode="bilinear", align_corners=False)
        presence = self.presence(glimpse * _kept(len(glimpse), self.dropout, self.training))
        presence = presence + torch.einsum("sn,s->n", evidence.amax((2, 3)), self.presence_evidence)
        logits = looks + says[0].permute(1, 2, 0) + self.prior * F.logsigmoid(presence)
        return logits.permute(2, 0, 1), presence


def _place(height: int, width: int) -> Tensor:
    """(height, width, 5): where each position lies in the photo, -1..1 and squared."""
    y = torch.linspace(-1, 1, height)[:, None].expand(height, width)
    x = torch.linspace(-1, 1, width)[None].expand(height, width)
    return torch.stack([x, y, x * x, y * y, x * y], -1)
