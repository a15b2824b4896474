"""pyiqa's networks of LPIPS, CLIPIQA, MUSIQ and MANIQA, made without what pyiqa fetches, and given their weights.

pyiqa's classes fetch and unpickle their backbones while they are made, whatever they are told. So what they do that
with is exchanged for the while, the networks are made untrained, and `MetricWeights.fill` gives them every weight.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from instructrestore.model.metrics import iqa_weights
from instructrestore.model.metrics.iqa_weights import MetricWeights, WeightFile
from instructrestore.shards.errors import first_line

Read = Callable[[WeightFile], MetricWeights]


def build(name: str, title: str, read: Read) -> nn.Module:
    """The network of a metric (`metric.LEARNED`, and its title), with all its weights, on the CPU.

    Takes (B, 3, H, W) in [0, 1], LPIPS two of them, and gives (B, 1). Leaves torch's random numbers as they are.
    Raises ValueError, in one sentence, where pyiqa cannot be used, and what `read` and `MetricWeights.fill` raise.
    """
    arch = _pyiqa(name, title)
    untrained, fill = _NETWORKS[name]
    try:
        with torch.random.fork_rng(devices=[]):
            net = untrained(arch)
    except (AttributeError, TypeError) as fault:
        raise ValueError(
            f"this pyiqa makes {title} in another way than this program knows: install pyiqa 0.1.16 "
            f"({first_line(fault)})"
        ) from fault
    fill(net, read)
    return net


def _pyiqa(name: str, title: str) -> ModuleType:
    """pyiqa's module of the network."""
    try:
        return import_module(f"pyiqa.archs.{name}_arch")
    except (ImportError, RuntimeError, OSError, AttributeError) as fault:  # as a torchvision of another torch raises
        raise ValueError(
            f'{title} needs pyiqa: pip install "instructrestore[iqa]", or leave {name} out of the metrics '
            f"({type(fault).__name__}: {first_line(fault)})"
        ) from fault


def _untrained_lpips(arch: Any) -> nn.Module:
    alexnet = arch.models.alexnet
    with patch.object(arch, "models", SimpleNamespace(alexnet=lambda **_: alexnet(weights=None))):
        return arch.LPIPS(pretrained=False, net="alex", version="0.1")


def _untrained_clipiqa(arch: Any) -> nn.Module:
    clip = import_module("pyiqa.archs.clip_model").CLIP
    sizes = {
        "embed_dim": 1024,
        "image_resolution": 224,
        "vision_layers": (3, 4, 6, 3),
        "vision_width": 64,
        "vision_patch_size": None,
        "context_length": 77,
        "vocab_size": 49408,
        "transformer_width": 512,
        "transformer_heads": 8,
        "transformer_layers": 12,
    }  # RN50's
    with patch.object(arch, "load", lambda *_: clip(**sizes).eval()):
        return arch.CLIPIQA()


def _untrained_musiq(arch: Any) -> nn.Module:
    return arch.MUSIQ(pretrained=False, num_class=1)


def _untrained_maniqa(arch: Any) -> nn.Module:
    create_model = arch.timm.create_model
    with patch.object(arch, "timm", SimpleNamespace(create_model=lambda model, **_: create_model(model))):
        return arch.MANIQA(pretrained=False, train_dataset="pipal")


def _fill_lpips(net: Any, read: Read) -> None:
    weights = read(iqa_weights.LPIPS)
    weights.fill(nn.ModuleDict({f"lin{number}": layer for number, layer in enumerate(net.lins)}))
    trunk = net.net
    slices = (trunk.slice1, trunk.slice2, trunk.slice3, trunk.slice4, trunk.slice5)
    convolutions = nn.ModuleDict({place: layer for some in slices for place, layer in some.named_children()})
    read(iqa_weights.ALEXNET).only("features.").fill(convolutions)


def _fill_clipiqa(net: Any, read: Read) -> None:
    # OpenAI's state has three numbers more, which are no weights.
    weights = read(iqa_weights.CLIP).without("input_resolution", "context_length", "vocab_size")
    [clip] = net.clip_model  # a list, which keeps it from nn.Module
    weights.fill(clip)
    clip.requires_grad_(False)


def _fill_musiq(net: nn.Module, read: Read) -> None:
    read(iqa_weights.MUSIQ).fill(net)


def _fill_maniqa(net: nn.Module, read: Read) -> None:
    read(iqa_weights.MANIQA).fill(net)


_NETWORKS = {
    "lpips": (_untrained_lpips, _fill_lpips),
    "clipiqa": (_untrained_clipiqa, _fill_clipiqa),
    "musiq": (_untrained_musiq, _fill_musiq),
    "maniqa": (_untrained_maniqa, _fill_maniqa),
}
