"""How a micro-batch comes from a worker process: its arrays in one block of shared memory, the rest pickled beside it.

Through a pipe 32 crops of 512 take the process that trains five times as much of its time (docs/performance.md).
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

LEAST_BYTES = 2**18  # of arrays; less goes through the pipe


@dataclass(frozen=True)
class Parcel:
    """head: all but the arrays, pickled. sizes: of the arrays in bytes. block: (sum,) uint8, one after another."""

    head: bytes
    sizes: tuple[int, ...]
    block: torch.Tensor


def packed(samples: list[Any]) -> list[Any] | Parcel:
    """A worker's samples as a parcel, or as they are where they are small or shared memory is, as in a container."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(samples, protocol=5, buffer_callback=buffers.append)
    arrays = [buffer.raw() for buffer in buffers]
    sizes = tuple(array.nbytes for array in arrays)
    if sum(sizes) < LEAST_BYTES:
        return samples
    try:
        storage = torch.UntypedStorage._new_shared(sum(sizes))
    except RuntimeError:  # no room: torch reserves all of it first
        return samples
    block = torch.empty(0, dtype=torch.uint8).set_(storage)
    for place, array in zip(_places(sizes, block), arrays, strict=True):
        place[:] = array
    return Parcel(head, sizes, block)


def unpacked(samples: list[Any] | Parcel) -> list[Any]:
    """The samples; their arrays lie in the parcel's block, which stays as long as one of them does."""
    if not isinstance(samples, Parcel):
        return samples
    # From a process of our own, as all that comes out of its pipe.
    return pickle.loads(samples.head, buffers=_places(samples.sizes, samples.block))  # noqa: S301


def _places(sizes: Sequence[int], block: torch.Tensor) -> list[memoryview]:
    memory, places, end = block.numpy().data, [], 0
    for size in sizes:
        places.append(memory[end : end + size])
        end += size
    return places
