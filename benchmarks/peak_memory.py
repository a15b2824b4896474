"""Peak memory and operations of restoring with SD 2.1's networks, counted on the meta device: without weights or GPU.

Every tensor that an operation makes counts from then until nothing holds it any more, as torch's allocator on a GPU
would count it, and so do the weights of the networks that are on the GPU at that moment: diffusers' own hooks for
offloading decide which. Not counted: what an operation needs for itself alone (cuDNN's workspaces), what lies unused
between allocations, and CUDA's own half gigabyte.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from instructrestore.model.instruction.instruction import Instruction, RegionScale
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.model.restoring.request import read_request
from instructrestore.model.restoring.settings import SamplingSettings

META = torch.device("meta")
DOG = Instruction((RegionScale("the dog", 0.6),))


class LiveBytes(TorchDispatchMode):
    """Bytes of the tensors that are made inside on the meta device and still held: `now`, and `peak` together with
    `resident` (what else is on the device).

    weights: tensors that were there before and stay, of which views are made.
    """

    def __init__(self, weights: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.now = self.peak = self.resident = 0
        self._storages = {each.untyped_storage()._cdata for each in weights}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for made in tree_leaves(result):
            if isinstance(made, Tensor) and made.device.type == META.type:
                self._count(made.untyped_storage())
        return result

    def note(self) -> None:
        self.peak = max(self.peak, self.now + self.resident)

    def _count(self, storage: torch.UntypedStorage) -> None:
        place = storage._cdata
        if place in self._storages:
            return
        size = storage.nbytes()
        self._storages.add(place)
        self.now += size
        weakref.finalize(storage, self._forget, place, size)
        self.note()

    def _forget(self, place: int, size: int) -> None:
        self._storages.discard(place)
        self.now -= size


class FusedAttention(TorchFunctionMode):
    """On the meta device torch multiplies attention out; on a GPU it takes a kernel that never holds its matrix.

    Of these, the memory-efficient one takes every head that SD 2.1 has, in every precision.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention or args[0].device.type != META.type:
            return func(*args, **kwargs)
        bias = kwargs.get("attn_mask")
        return torch.ops.aten._scaled_dot_product_efficient_attention(
            *args[:3], bias, False, 0.0, kwargs.get("is_causal", False), scale=kwargs.get("scale")
        )[0]


@dataclass(frozen=True)
class Need:
    """Bytes at the worst moment, and multiplications with their additions."""

    peak_bytes: int
    operations: float

    @property
    def peak_gib(self) -> float:
        return self.peak_bytes / (1 << 30)


def need(
    pipe: InstructRestorePipeline, side: int, settings: SamplingSettings, offloaded: bool, photos: int = 1
) -> Need:
    """Of restoring square photos with `full_size_pipeline`'s networks, which lie on the meta device.

    side: in pixels. Photos larger than a tile get a scale map, since where a mask lies cannot be read on this device:
    every tile has its own caption and both halves of the guidance, so it is the most that a mask could ask for, but
    for the one pass over the photo scaled down that finds it.
    """
    tiled = side > settings.tile
    request = read_request(
        torch.zeros(photos, 3, side, side).unbind(), DOG, None, [torch.ones(side, side)] * photos if tiled else None
    )
    networks = [each for each in pipe.components.values() if isinstance(each, nn.Module)]
    live = LiveBytes(chain.from_iterable(map(_tensors, networks)))
    with _weights_counted(pipe, live, offloaded), torch.no_grad():
        with FusedAttention(), FlopCounterMode(display=False) as counter, live:
            pictures, _ = pipe.finish(pipe.begin(request, settings))
        assert pictures.device.type == META.type
        assert pictures.shape == (photos, 3, side, side)
    return Need(live.peak, counter.get_total_flops() / 2)


class _weights_counted:
    """Inside, moving a network of the pipeline moves nothing and counts its weights in `live.resident`, or not."""

    def __init__(self, pipe: InstructRestorePipeline, live: LiveBytes, offloaded: bool) -> None:
        self._pipe, self._live, self._offloaded = pipe, live, offloaded
        self._there: dict[str, int] = {}

    def __enter__(self) -> None:
        for name, network in self._networks().items():
            network.to = partial(self._move, name, network)
            self._move(name, network, torch.device("cpu") if self._offloaded else META)
        if self._offloaded:
            with patch("diffusers.pipelines.pipeline_utils.empty_device_cache"):  # there is none
                self._pipe.enable_model_cpu_offload(device=META)

    def __exit__(self, *_: object) -> None:
        if self._offloaded:
            self._pipe.remove_all_hooks()
        for network in self._networks().values():
            network.__dict__.pop("to", None)  # accelerate removes it together with its own

    def _networks(self) -> dict[str, Any]:
        return {name: each for name, each in self._pipe.components.items() if isinstance(each, nn.Module)}

    def _move(self, name: str, network: nn.Module, *where: Any, **_: Any) -> nn.Module:
        away = any(isinstance(place, (str, torch.device)) and torch.device(place).type == "cpu" for place in where)
        self._there[name] = 0 if away else _bytes_of(network)
        self._live.resident = sum(self._there.values())
        self._live.note()
        return network


def _bytes_of(network: nn.Module) -> int:
    return sum(each.nbytes for each in _tensors(network))


def _tensors(network: nn.Module) -> Iterable[Tensor]:
    return chain(network.parameters(), network.buffers())
