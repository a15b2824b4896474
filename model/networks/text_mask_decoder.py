"""A mask decoder that knows things from elsewhere: the maps of a frozen image classifier, asked by the text's vector.

A small ControlNet that was trained on some hundred photos cannot know what a dog looks like; a classifier that was
trained on a million photos does. What is learnt here is small: for every eighth pixel, which of the names that the
training data uses it has. A text asks for the names that mean the same, so a puppy is sought where a dog is:

    the classifier's maps -> every pixel's probability of every name -> of what the text asks for -> the mask's logits

Who asks for a thing most likely sees it. So its pixels are those that have it more than others do, however unlikely it
is; and no pixel is more certain than that the thing is in the photo at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from instructrestore.pretrained.backbone import CHANNELS, CLASSES, HEAD, STRIDE, Backbone, normalise

CELL = 8  # pixels of a photo to a logit of the mask
SIDE = 512  # of the photo as it is seen, the long one, in pixels
LEAST_EVIDENCE = 1e-4  # the probability below which a class is not told from absent
LEAST_LIKELY = 1e-6  # the same for what a text asks for
# At use a photo is looked at in every one of these ways: times SIDE, mirrored.
LOOKS = ((1.0, False), (1.0, True), (1.25, True))
GATE = 4.0  # how sharply certainty bounds a mask
SURELY_MEANT = 0.5  # the share of a name from which on a text is taken to mean it
LEAST_CERTAIN = -0.4  # the logit of being there from which on a thing is taken for found
SHARPNESS = 30.0  # of a softmax over similarities of texts, where training begins
FEATURE_CHANNELS = (CHANNELS[8], CHANNELS[16], CHANNELS[32] + HEAD)


@dataclass(frozen=True)
class SeenNames:
    """What B photos show, whatever a text asks: logits of the names at every pixel (B, names, h, w), for a softmax, and
    of their presence in the photo (B, names)."""

    names: Tensor
    presence: Tensor

    def rows(self, rows: Tensor) -> SeenNames:
        """Those of the photos that rows (R,) of integers name."""
        return SeenNames(self.names[rows], self.presence[rows])


@dataclass(frozen=True)
class PhotoFeatures:
    """What the backbone sees in B photos of H x W.

    fine: (B, F, H/8, W/8). middle: (B, M, H/16, W/16). coarse: (B, C, H/32, W/32). scene: (B, S, H/64, W/64), of the
    photo at half the size. near, far: (B, 1000, H/32, W/32) and (B, 1000, H/64, W/64), the probabilities of the
    classifier's classes at both sizes, at every position as if it were a photo of its own.
    """

    fine: Tensor
    middle: Tensor
    coarse: Tensor
    scene: Tensor
    near: Tensor
    far: Tensor


def see(backbone: Backbone, photos: Tensor, side: int) -> PhotoFeatures:
    """photos (B, 3, H, W) in [0, 1], seen with their long side near `side`, slightly stretched to whole strides."""
    step, scale = 2 * STRIDE, side / max(photos.shape[-2:])
    height, width = (max(step, round(each * scale / step) * step) for each in photos.shape[-2:])
    photos = _at_size(photos.clamp(0, 1), height, width)
    maps, head = _look(backbone, photos)
    _, scene = _look(backbone, _at_size(photos, height // 2, width // 2))
    near, far = (backbone.classify(each).softmax(1) for each in (head, scene))
    return PhotoFeatures(maps[8], maps[16], torch.cat([maps[32], head], 1), scene, near, far)


def _look(backbone: Backbone, photos: Tensor) -> tuple[dict[int, Tensor], Tensor]:
    """The maps, and the map that the classifier reads."""
    maps = backbone(normalise(photos * 255).to(photos.dtype).contiguous(memory_format=torch.channels_last))
    return maps, backbone.head(maps[32])


def _at_size(photos: Tensor, height: int, width: int) -> Tensor:
    if photos.shape[-2:] == (height, width):
        return photos
    return F.interpolate(photos, (height, width), mode="bilinear", align_corners=False, antialias=True)


def text_vectors(states: Tensor) -> Tensor:
    """Texts' states (B, T, D), 0 where there is no token -> (B, D) of length 1, as all-MiniLM-L6-v2 was trained."""
    count = (states.abs().sum(-1, keepdim=True) > 0).sum(1).clamp(min=1)
    return F.normalize(states.sum(1) / count, dim=-1)


def joined(where: Tensor, certain: Tensor) -> Tensor:
    """The logits of a mask, (B, Q, h, w): no pixel is more certain than that the thing is there at all."""
    return torch.minimum(where, GATE * (certain - LEAST_CERTAIN)[:, :, None, None])


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

    text_width: of the text's states. names: how many it tells apart; `learn_names` says which. side: of the photo as
    the classifier is to see it, in pixels.
    """

    class_texts: Tensor
    name_texts: Tensor

    def __init__(
        self, text_width: int, names: int, channels: int = 96, *, side: int = SIDE, dropout: float = 0.3
    ) -> None:
        super().__init__()
        self.side = side
        fine, middle, coarse = FEATURE_CHANNELS
        self.backbone = Backbone().requires_grad_(False)
        self.register_buffer("class_texts", torch.zeros(CLASSES, text_width))
        self.register_buffer("name_texts", torch.zeros(names, text_width))
        self.fine, self.middle = _Enter(fine, channels, dropout), _Enter(middle, channels, dropout)
        self.coarse = _Enter(coarse, channels, dropout)
        self.scene = _Enter(HEAD, channels, dropout)
        self.place = nn.Conv2d(4, channels, 1)
        self.mix_coarse, self.mix_middle, self.mix_fine = _Mix(channels, 5), _Mix(channels, 5), _Mix(channels, 3)
        self.out, self.drop = nn.GroupNorm(1, channels), nn.Dropout2d(dropout)
        # A name's vector: of its text, and a part of its own.
        self.of_text = nn.Linear(text_width, channels)
        self.own = nn.Parameter(torch.zeros(names, channels))
        self.usual = nn.Parameter(torch.zeros(names))
        self.presence = nn.Linear(channels, names)
        self.class_sharpness = nn.Parameter(torch.tensor(SHARPNESS).log())
        self.name_sharpness = nn.Parameter(torch.tensor(SHARPNESS).log())
        # Of the classes, near and far, for a pixel and for the photo.
        self.evidence, self.presence_evidence = (nn.Parameter(torch.tensor([0.3, 0.3])) for _ in range(2))
        self.present = nn.Parameter(torch.tensor(0.3))  # of a name's presence in the photo, for a pixel
        self.relative = nn.Parameter(torch.tensor([1.5, 2.4]))  # to the likeliest pixel, and its own logit
        self.certain = nn.Parameter(torch.tensor([1.0, 0.3, 2.0]))  # by the likeliest pixel, by presence, always
        last = nn.Linear(8, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.bend = nn.Sequential(nn.Linear(4, 8), nn.GELU(), last)

    def learn_names(self, class_texts: Tensor, name_texts: Tensor) -> None:
        """The texts' vectors (1000, D) of the classifier's classes and (names, D) of the names."""
        self.class_texts.copy_(class_texts)
        self.name_texts.copy_(name_texts)

    def train(self, mode: bool = True) -> TextMaskDecoder:
        """The backbone is never trained."""
        super().train(mode)
        self.backbone.eval()
        return self

    def look(self, photos: Tensor) -> SeenNames:
        """photos: (B, 3, H, W) in [0, 1]. The mean of `LOOKS`; while it learns, of the first alone."""
        names, presence = self.named(self.see(photos))
        if self.training:
            return SeenNames(names, presence)
        names, size = names.log_softmax(1), names.shape[-2:]
        for times, mirrored in LOOKS[1:]:
            seen = self.see(photos.flip(-1) if mirrored else photos, round(self.side * times))
            more, there = self.named(seen)
            more = more.flip(-1) if mirrored else more
            more = F.interpolate(more.log_softmax(1), size, mode="bilinear", align_corners=False)
            names, presence = names + more, presence + there
        return SeenNames(names / len(LOOKS), presence / len(LOOKS))

    @torch.no_grad()
    def see(self, photos: Tensor, side: int | None = None) -> PhotoFeatures:
        """photos: (B, 3, H, W) in [0, 1]. In the backbone's own precision, also while the rest learns in another."""
        with torch.autocast(photos.device.type, enabled=False):
            return see(self.backbone, photos.to(self.class_texts.dtype), side or self.side)

    def forward(self, seen: SeenNames, states: Tensor) -> Tensor:
        """Logits (B, 1, h, w), a cell for every `CELL` pixels of the photo as seen. states: (B, T, text_width)."""
        return joined(*self.asked(seen.names, seen.presence, text_vectors(states)[:, None]))

    def named(self, maps: PhotoFeatures) -> tuple[Tensor, Tensor]:
        """Every pixel's logits of the names, (B, names, h, w), for a softmax; and of their presence, (B, names)."""
        coarse, scene = self.coarse(maps.coarse), self.scene(maps.scene)
        glimpse = F.gelu(scene).mean((2, 3))  # (B, C)
        near, far = self._says(maps.near), self._says(maps.far)
        presence = self.presence(F.dropout(glimpse, self.drop.p, self.training))
        for weight, says in zip(self.presence_evidence, (near, far), strict=True):
            presence = presence + weight * says.amax((2, 3))

        x = self.mix_coarse(coarse + _at(scene, coarse) + glimpse[:, :, None, None] + self.place(_places(coarse)))
        middle, fine = self.middle(maps.middle), self.fine(maps.fine)
        x = self.mix_middle(middle + _at(x, middle))
        x = self.drop(self.out(self.mix_fine(fine + _at(x, fine))))
        looks = torch.einsum("bchw,nc->bnhw", x, self.of_text(self.name_texts) + self.own)
        looks = looks + self.evidence[0] * _at(near, x) + self.evidence[1] * _at(far, x)
        prior = self.usual + self.present * F.logsigmoid(presence)
        return looks + prior[:, :, None, None], presence

    def _says(self, classes: Tensor) -> Tensor:
        """(B, 1000, h, w) -> (B, names, h, w): how much more than nothing the classes that mean a name have."""
        meant = F.softmax(self.class_sharpness.exp() * self.name_texts @ self.class_texts.T, 1)
        likely = torch.einsum("bkhw,nk->bnhw", classes, meant.to(classes.dtype))
        return torch.log(likely + LEAST_EVIDENCE) - math.log(LEAST_EVIDENCE)

    def meant(self, texts: Tensor) -> Tensor:
        """How much each name is what texts (..., text_width) mean, (..., names), 1 together."""
        return F.softmax(self.name_sharpness.exp() * texts @ self.name_texts.T, -1)

    def asked(self, names: Tensor, presence: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        """What Q texts (B, Q, text_width) ask for, of what `named` gives: the logits of where it is, (B, Q, h, w), and
        of that it is in the photo at all, (B, Q)."""
        meant = self.meant(texts)
        likely = torch.log(torch.einsum("bnhw,bqn->bqhw", names.softmax(1), meant) + LEAST_LIKELY)
        most = likely.amax((2, 3), keepdim=True)
        there = torch.einsum("bn,bqn->bq", presence.sigmoid(), meant).clamp(1e-4, 1 - 1e-4).logit()[:, :, None, None]
        known = torch.stack([likely, most.expand_as(likely), likely - most, there.expand_as(likely)], -1)
        where = self.relative[0] * (likely - most) + self.relative[1] + 3 * self.bend(known / 3)[..., 0]
        certain = self.certain[0] * most + self.certain[1] * there + self.certain[2]
        return where, certain[:, :, 0, 0]


def _at(maps: Tensor, like: Tensor) -> Tensor:
    """At the height and width of another map."""
    return F.interpolate(maps, like.shape[-2:], mode="bilinear", align_corners=False)


def _places(like: Tensor) -> Tensor:
    """(1, 4, h, w): where each position lies in the photo, -1..1, and squared."""
    height, width = like.shape[-2:]
    y = torch.linspace(-1, 1, height, device=like.device, dtype=like.dtype)[:, None].expand(height, width)
    x = torch.linspace(-1, 1, width, device=like.device, dtype=like.dtype)[None].expand(height, width)
    return torch.stack([x, y, x * x, y * y])[None]
