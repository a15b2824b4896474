"""What the steps since the last look gave, kept on the device until somebody looks."""

from __future__ import annotations

import torch
from torch import Tensor

from instructrestore.model.training.objective import Losses
from instructrestore.model.training.workers import Worker

COLUMNS = ("loss", "noise", "mask", "iou", "gradient")


class History:
    """Losses of micro-batches, gathered into one row a step."""

    def __init__(self) -> None:
        self._parts: list[Tensor] = []
        self._steps: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, losses: Losses, iou: Tensor) -> None:
        """A micro-batch. iou: (B,)."""
        self._parts.append(torch.stack([losses.total, losses.noise, losses.mask, iou.mean()]).detach())

    def end_step(self, gradient: Tensor) -> None:
        """gradient: the norm of all gradients, the same in every worker."""
        self._steps.append(torch.cat([torch.stack(self._parts).mean(0), gradient.detach()[None]]))
        self._parts.clear()

    def take(self, worker: Worker) -> list[dict[str, float]]:
        """A row for each step since the last call, with COLUMNS over all workers' samples."""
        if not self._steps:
            return []
        rows = worker.mean(torch.stack(self._steps)).tolist()
        self._steps.clear()
        return [dict(zip(COLUMNS, row, strict=True)) for row in rows]
