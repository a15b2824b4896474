"""How far float32 results may lie apart on two processors, from the computation itself.

Processors add the terms of a sum in different orders, with and without fused multiplications, so the last bits of a
result are theirs, and a bound measured on one of them says nothing of the next. What all of them share is this: a
computed sum of n products is the exact sum of products that are off by a relative error of about sqrt(n) u, with
u = 2^-24, float32's unit round-off (Higham and Mary 2019, "A new approach to probabilistic rounding error analysis";
the worst case, n u, does not happen: rounding errors are as often up as down).

So the exact computation, in float64, is repeated with every weight and every input off by u, up or down at random.
The largest change of an output is its sensitivity, and

    bound = sqrt(terms) * (SAFETY * sensitivity + u * largest magnitude)

with `terms` the number of products in the longest sum, say 9 * channels of a 3x3 convolution. The second part is what
the last sum may lose by itself; it matters for single numbers, which a random draw may happen not to move. SAFETY is
for what a few random draws do not find. Nothing in it depends on the processor: a well-conditioned computation gets a
tight bound, and one that cancels gets the bound that it needs.

What rounds or compares (JPEG's coefficients, a threshold) jumps where a value lies at an edge, and there two
processors may take different sides. `spread` shows where, and by how much: each element has its own bound.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

UNIT_ROUNDOFF = 2.0**-24
SAFETY = 2.0
TERMS = 1024  # no sum in the tiny networks of the tests is longer: 9 * 112 in a convolution
Outputs = Mapping[str, Tensor]


@dataclass(frozen=True)
class Exact:
    """What a computation gives in float64, and how far from it float32 may lie, by the outputs' names."""

    values: dict[str, Tensor]
    bounds: dict[str, float]

    def check(self, found: Outputs, besides: float = 0.0) -> None:
        """besides: more that the values may be off by, where they went through something else as well."""
        for name, value in found.items():
            exact, bound = self.values[name], self.bounds[name] + besides
            assert value.shape == exact.shape, name
            error = float((value.detach().double() - exact).abs().max())
            assert error <= bound, f"{name} is off by {error:.3g}, and rounding explains {bound:.3g}"


def exact(function: Callable[..., Outputs], *inputs: Any, terms: int = TERMS, draws: int = 3) -> Exact:
    """inputs: of `function`: tensors and networks, lists and dicts of them, and anything else, which stays as it is."""
    values = _detached(function(*_wide(inputs)))
    changes = dict.fromkeys(values, 0.0)
    for seed in range(draws):
        nudged = _detached(function(*_wide(inputs, torch.Generator().manual_seed(seed))))
        for name, value in values.items():
            changes[name] = max(changes[name], float((nudged[name] - value).abs().max()))
    bounds = {name: _bound(change, float(values[name].abs().max()), terms) for name, change in changes.items()}
    return Exact(values, bounds)


def check(
    function: Callable[..., Outputs], *inputs: Any, expected: Outputs, terms: int = TERMS, draws: int = 3
) -> Exact:
    """Both the expected arrays, computed elsewhere in float32, and our float32 are the exact values but for rounding.

    The first does not depend on the processor at all: an implementation that differs from the reference's fails it
    everywhere.
    """
    result = exact(function, *inputs, terms=terms, draws=draws)
    result.check(expected)
    result.check(function(*inputs))
    return result


def spread(function: Callable[..., Tensor], *inputs: Any, terms: int = TERMS, draws: int = 8) -> Tensor:
    """The bound of every element, for functions that jump: inputs are off by as much as rounding puts sums off."""
    reach = SAFETY * math.sqrt(terms) * UNIT_ROUNDOFF
    values = function(*inputs)
    widest = torch.zeros_like(values)
    for seed in range(draws):
        generator = torch.Generator().manual_seed(seed)
        widest = torch.maximum(widest, (function(*_nudged(inputs, generator, reach)) - values).abs())
    return widest + reach * values.abs().max()


def between(one: Tensor, other: Tensor, terms: int = TERMS) -> float:
    """The bound for a float32 computation of which `other` is `one` with its networks `nudged`."""
    return _bound(float((one - other).abs().max()), float(one.abs().max()), terms)


@contextmanager
def nudged(*networks: nn.Module, seed: int = 0) -> Iterator[None]:
    """Every weight off by the unit round-off, up or down at random, for what only runs in float32."""
    before = [[parameter.detach().clone() for parameter in network.parameters()] for network in networks]
    generator = torch.Generator().manual_seed(seed)
    try:
        with torch.no_grad():
            for network in networks:
                for parameter in network.parameters():
                    parameter.copy_(
                        _nudge(
                            parameter.double(),
                            generator,
                        )
                    )
        yield
    finally:
        with torch.no_grad():
            for network, values in zip(networks, before, strict=True):
                for parameter, value in zip(network.parameters(), values, strict=True):
                    parameter.copy_(value)


def _bound(change: float, magnitude: float, terms: int) -> float:
    return math.sqrt(terms) * (SAFETY * change + UNIT_ROUNDOFF * magnitude)


def _nudge(tensor: Tensor, generator: torch.Generator, by: float = UNIT_ROUNDOFF) -> Tensor:
    """In float64."""
    signs = torch.randint(0, 2, tensor.shape, generator=generator, dtype=torch.int8)
    return tensor.double() * (1 + by * (2 * signs.double() - 1))


def _nudged(value: Any, generator: torch.Generator, by: float) -> Any:
    """Tensors, in lists or not, in the precision they have."""
    if isinstance(value, Tensor):
        return _nudge(value, generator, by).to(value.dtype) if value.is_floating_point() else value
    return type(value)(_nudged(each, generator, by) for each in value) if isinstance(value, (list, tuple)) else value


def _wide(value: Any, generator: torch.Generator | None = None) -> Any:
    """A copy in float64, nudged with a generator."""
    if isinstance(value, Tensor):
        if not value.is_floating_point():
            return value
        return value.double() if generator is None else _nudge(value, generator)
    if isinstance(value, nn.Module):
        network = copy.deepcopy(value).double()
        if generator is not None:
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.copy_(_nudge(parameter, generator))
        return network
    if isinstance(value, dict):
        return {name: _wide(each, generator) for name, each in value.items()}
    return type(value)(_wide(each, generator) for each in value) if isinstance(value, (list, tuple)) else value


def _detached(outputs: Outputs) -> dict[str, Tensor]:
    return {name: value.detach().double() for name, value in outputs.items()}
