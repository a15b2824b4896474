"""Low-rank updates of a network's weights (LoRA: Hu et al. 2021), which learn in their place.

A layer's weight W, as the matrix (outputs, inputs x kernel), is W + up down; up begins at 0, so that nothing has
changed before the first step. Merged, the network is an ordinary one again.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Generator, Tensor, nn
from torch.nn.utils import parametrize

Network = TypeVar("Network", bound=Any)  # one of diffusers'
_UPDATED = "parametrizations.weight"


class LowRank(nn.Module):
    """weight (outputs, ...) -> weight + up down, in the weight's precision."""

    def __init__(self, weight: Tensor, rank: int, generator: Generator) -> None:
        super().__init__()
        outputs, inputs = weight.flatten(1).shape
        rank = min(rank, outputs, inputs)
        down = torch.randn(rank, inputs, generator=generator) / inputs**0.5
        self.down = nn.Parameter(down.to(weight.device, weight.dtype))
        self.up = nn.Parameter(weight.new_zeros(outputs, rank))

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            return weight + (self.up @ self.down).view_as(weight)


def add_updates(network: nn.Module, rank: int, seed: int) -> None:
    """Every convolution and linear layer gets an update that learns; the weights themselves stay as they are."""
    generator = Generator().manual_seed(seed)
    for module in list(network.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", LowRank(module.weight, rank, generator))


def merged(network: Network) -> Network:
    """A network of its own with the updates added to the weights; the network itself where it has none."""
    if not any(parametrize.is_parametrized(module) for module in network.modules()):
        return network
    weights: dict[str, Tensor] = {}
    for name, value in network.state_dict().items():
        layer, _, of_update = name.partition(f".{_UPDATED}.")
        if not of_update:
            weights[name] = value
        elif of_update == "original":
            weights[f"{layer}.weight"] = network.get_submodule(layer).weight.detach()
    # Not by taking the updates off a copy: torch keeps them in a class that a copy would share.
    with torch.device("meta"):
        plain = type(network).from_config(network.config)
    plain.load_state_dict(weights, assign=True)
    return plain.requires_grad_(False)
