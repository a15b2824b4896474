"""A mask decoder that knows things from elsewhere: the maps of a frozen image classifier, asked by the text's vector.

A small ControlNet that was trained on some hundred photos cannot know what a dog looks like; a classifier that was
trained on a million photos does. Three kinds of knowledge meet in a pixel's logit:

    what it looks like           a pixel vector, of the classifier's maps and the ControlNet's features, against the
                                 text's vector
    what the classifier says     the log probability of its classes whose names mean what the text says, in the near
                                 and in the whole photo
    the text alone               how much of a photo such a thing usually covers

A text is the mean of its tokens' states, as all-MiniLM-L6-v2 was trained, so a word that was never trained lies beside
those that were.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAST_EVIDENCE = 1e-4  # the probability below which a class is not told from absent
SHARPNESS = 24.0  # of the softmax over the classes' similarities with a text, where training begins


@dataclass(frozen=True)
class PhotoMaps:
    """What the backbone sees in B photos of H x W.

    fine: (B, F, H/8, W/8). middle: (B, M, H/16, W/16). coarse: (B, C, H/32, W/32). classes: (B, 1000, H/32, W/32), the
    probabilities of the classifier's classes, at every position as if it were a photo of its own.
    """

    fine: Tensor
    middle: Tensor
    coarse: Tensor
    classes: Tensor

    def rows(self, rows: Tensor) -> PhotoMaps:
        """Those of the photos that rows (R,) of integers name."""
        return PhotoMaps(self.fine[rows], self.middle[rows], self.coarse[rows], self.classes[rows])

    @staticmethod
    def cat(parts: Sequence[PhotoMaps]) -> PhotoMaps:
        """The photos of all parts."""
        return PhotoMaps(
            *(torch.cat([getattr(part, name) for part in parts]) for name in ("fine", "middle", "coarse", "classes"))
        )


class _Enter(nn.Module):
    """A map to the decoder's width: whole channels dropped, projected, normalised at each position."""

    def __init__(self, inputs: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.drop = nn.Dropout2d(dropout)
        self.project = nn.Conv2d(inputs, channels, 1)
        self.norm = nn.GroupNorm(1, channels)

    def forward(self, maps: Tensor) -> Tensor:
        return self.norm(self.project(self.drop(maps)))


class _Mix(nn.Module):
    """A residual block: a depthwise convolution, then a perceptron at every position."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.spread = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.GroupNorm(1, channels)
        self.widen = nn.Conv2d(channels, 2 * channels, 1)
        self.narrow = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.narrow(F.gelu(self.widen(self.norm(self.spread(maps)))))


class TextMaskDecoder(nn.Module):
    """Logits of the mask that a text asks for.

    map_channels: of PhotoMaps' fine, middle and coarse. control_channels: of the ControlNet's deepest attending block.
    text_width: of the text's states. classes: of the backbone's classifier.
    """

    class_names: Tensor

    def __init__(
        self,
        map_channels: Sequence[int],
        control_channels: int,
        text_width: int,
        channels: int = 96,
        classes: int = 1000,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        fine, middle, coarse = map_channels
        self.register_buffer("class_names", torch.zeros(classes, text_width))
        self.fine, self.middle = _Enter(fine, channels, dropout), _Enter(middle, channels, dropout)
        self.coarse = _Enter(coarse, channels, dropout)
        self.control = nn.Conv2d(control_channels, channels, 1)
        nn.init.zeros_(self.control.weight)
        self.place = nn.Conv2d(4, channels, 1)
        self.mix_coarse, self.mix_middle, self.mix_fine = _Mix(channels, 5), _Mix(channels, 5), _Mix(channels, 3)
        self.out = nn.GroupNorm(1, channels)
        self.ask = nn.Linear(text_width, channels)
        self.usual = nn.Linear(text_width, 1)
        self.sharpness = nn.Parameter(torch.tensor(SHARPNESS).log())
        self.evidence = nn.Parameter(torch.tensor([0.3, 0.3]))  # near, anywhere
        nn.init.zeros_(self.usual.weight)
        nn.init.constant_(self.usual.bias, -1.0)

    def forward(self, maps: PhotoMaps, control: Tensor, states: Tensor) -> Tensor:
        """Logits (B, 1, H/8, W/8).

        control: (B, control_channels, h, w) of any size. states: (B, T, text_width), 0 where there is no token.
        """
        text = _mean_of_tokens(states)
        coarse = self.coarse(maps.coarse)
        scene = coarse.mean((2, 3), keepdim=True)
        x = self.mix_coarse(coarse + scene + self.place(_places(coarse)))
        middle = self.middle(maps.middle)
        x = self.mix_middle(middle + _at(x, middle) + _at(self.control(control), middle))
        fine = self.fine(maps.fine)
        x = self.out(self.mix_fine(fine + _at(x, fine)))
        asked = self.ask(text)
        looks = torch.einsum("bchw,bc->bhw", x, asked)[:, None] / math.sqrt(x.shape[1])
        weights = F.softmax(self.sharpness.exp() * text @ self.class_names.to(text).T, 1)  # (B, classes)
        says = torch.log(torch.einsum("bkhw,bk->bhw", maps.classes, weights)[:, None] + LEAST_EVIDENCE)
        says = says - math.log(LEAST_EVIDENCE)
        near = _at(says, fine) * self.evidence[0] + says.amax((2, 3), keepdim=True) * self.evidence[1]
        return looks + near + self.usual(text)[:, :, None, None]


def _mean_of_tokens(states: Tensor) -> Tensor:
    """(B, T, D), 0 where there is no token -> (B, D) of length 1."""
    count = (states.abs().sum(-1, keepdim=True) > 0).sum(1).clamp(min=1)
    return F.normalize(states.sum(1) / count, dim=-1)


def _at(maps: Tensor, like: Tensor) -> Tensor:
    """At the height and width of another map."""
    return F.interpolate(maps, like.shape[-2:], mode="bilinear", align_corners=False)


def _places(like: Tensor) -> Tensor:
    """(1, 4, h, w): where each position lies in the photo, -1..1, and squared."""
    height, width = like.shape[-2:]
    y = torch.linspace(-1, 1, height, device=like.device, dtype=like.dtype)[:, None].expand(height, width)
    x = torch.linspace(-1, 1, width, device=like.device, dtype=like.dtype)[None].expand(height, width)
    return torch.stack([x, y, x * x, y * y])[None]
