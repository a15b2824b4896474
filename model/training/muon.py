"""Muon: every step of a weight matrix is made orthogonal, so that no direction of it learns much faster than another.

Jordan et al. 2024 (kellerjordan.github.io/posts/muon), with the step's size of Liu et al. 2025 (arXiv 2502.16982,
section 2.2), so that learning rates are AdamW's. torch's own takes matrices alone; here a convolution is the matrix
(out, in x k x k), and what is no matrix, or a narrow one, goes by AdamW. Beside it: docs/performance.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

LEAST_SIDE = 32  # of a matrix
MOMENTUM = 0.95
RMS = 0.2  # of an entry of AdamW's steps, which an orthogonal one is scaled to
# Newton-Schulz: x -> ax + bx^3 + cx^5 takes every singular value near 1 in five rounds.
QUINTIC = (3.4445, -4.7750, 2.0315)
ROUNDS = 5
EPSILON = 1e-8


class Muon(torch.optim.Optimizer):
    """Of all parameters of a model: matrices by Muon, the others by AdamW with the same learning rate.

    A parameter's state, all float32: "momentum" of a matrix, like it; "exp_avg", "exp_avg_sq" and "step" of another.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 1e-2,
    ) -> None:
        """betas: of what goes by AdamW."""
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                move = self._orthogonal_step if is_matrix(parameter) else self._adam_step
                change = move(parameter, group["betas"])
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(change, alpha=-group["lr"])

    def _orthogonal_step(self, parameter: Tensor, _: tuple[float, float]) -> Tensor:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        ahead = gradient.lerp(state["momentum"], MOMENTUM)  # Nesterov's
        matrix = orthogonal(ahead.flatten(1))
        return matrix.view_as(parameter) * (RMS * max(matrix.shape) ** 0.5)

    def _adam_step(self, parameter: Tensor, betas: tuple[float, float]) -> Tensor:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            state["step"] = torch.zeros(())
        state["step"] += 1
        first, second = (1 - beta ** float(state["step"]) for beta in betas)
        state["exp_avg"].lerp_(gradient, 1 - betas[0])
        state["exp_avg_sq"].lerp_(gradient.square(), 1 - betas[1])
        return (state["exp_avg"] / first) / ((state["exp_avg_sq"] / second).sqrt() + EPSILON)


def is_matrix(parameter: Tensor) -> bool:
    """Whether a parameter's steps are made orthogonal."""
    return parameter.ndim >= 2 and min(parameter.shape[0], parameter[0].numel()) >= LEAST_SIDE


def orthogonal(matrix: Tensor) -> Tensor:
    """(m, n) float32 with the same singular vectors, and singular values near 1 (0.7 to 1.2) where they were not 0."""
    a, b, c = QUINTIC
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / (wide.norm() + EPSILON)
    for _ in range(ROUNDS):
        squared = x @ x.T
        x = a * x + (b * squared + c * squared @ squared) @ x
    return x if wide is matrix else x.T
