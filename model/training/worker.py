"""One of the equal processes of a training run: its share, its device, and sums over all of them."""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class TrainingWorker:
    """rank: 0 to ranks - 1. With more than one rank torch.distributed is initialised."""

    device: torch.device
    rank: int = 0
    ranks: int = 1

    @property
    def leads(self) -> bool:
        """Whether this worker writes the files and reports."""
        return self.rank == 0

    def joined(self, networks: nn.Module) -> nn.Module:
        """The networks with their gradients averaged over all workers."""
        if self.ranks == 1:
            return networks
        ids = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(networks, device_ids=ids, broadcast_buffers=False, gradient_as_bucket_view=True)

    def apart(self, networks: nn.Module, apart: bool) -> AbstractContextManager[None]:
        """While `apart`, gradients only add up here: they are averaged with the last micro-batch of a step."""
        if apart and isinstance(networks, DistributedDataParallel):
            return networks.no_sync()
        return nullcontext()

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all workers, of equal shares."""
        return self.sum(values) / self.ranks

    def added(self, counts: Counter[str]) -> Counter[str]:
        """The sums of all workers' counts."""
        if self.ranks == 1:
            return counts
        every: list[Any] = [None] * self.ranks
        dist.all_gather_object(every, counts)
        return sum(every, Counter())

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all workers."""
        if self.ranks > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values
