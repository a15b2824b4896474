"""Muon: like torch's for a matrix, like AdamW for what is none, a convolution the matrix it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from instructrestore.model.training.muon import Muon, is_matrix, orthogonal


@pytest.mark.parametrize("shape", [(32, 32), (64, 40), (48, 300)])
def test_steps_have_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1e-4
    found = orthogonal(matrix)
    values = torch.linalg.svdvals(found)
    assert found.shape == shape and values.min() > 0.3 and values.max() < 1.3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    assert torch.nn.functional.cosine_similarity(found.flatten(), (u @ v).flatten(), dim=0) > 0.95


def test_nothing_to_learn_moves_nothing() -> None:
    assert orthogonal(torch.zeros(32, 64)).abs().max() == 0


def _steps(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return parameter.detach()


def test_a_matrix_goes_as_with_torchs_own() -> None:
    begin = torch.randn(64, 48, generator=torch.Generator().manual_seed(0))
    ours, theirs = nn.Parameter(begin.clone()), nn.Parameter(begin.clone())
    settings: dict[str, Any] = {"lr": 1e-2, "weight_decay": 0.1}
    reference = torch.optim.Muon([theirs], momentum=0.95, nesterov=True, adjust_lr_fn="match_rms_adamw", **settings)
    moved = _steps(Muon([ours], **settings), ours, 5) - begin
    expected = _steps(reference, theirs, 5) - begin
    assert (moved - expected).norm() < 0.02 * expected.norm()  # torch's orthogonalises in bfloat16


@pytest.mark.parametrize("shape", [(64,), (16, 3, 3, 3), (1, 64)])
def test_what_is_no_matrix_goes_by_adamw(shape: tuple[int, ...]) -> None:
    begin = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    ours, theirs = nn.Parameter(begin.clone()), nn.Parameter(begin.clone())
    settings: dict[str, Any] = {"lr": 1e-2, "betas": (0.9, 0.99), "weight_decay": 0.1}
    assert not is_matrix(ours)
    reference = _steps(torch.optim.AdamW([theirs], **settings), theirs, 5)
    assert torch.allclose(_steps(Muon([ours], **settings), ours, 5), reference, atol=1e-6)


def test_a_convolution_is_the_matrix_of_its_outputs() -> None:
    begin = torch.randn(48, 32, 3, 3, generator=torch.Generator().manual_seed(0))
    convolution, matrix = nn.Parameter(begin.clone()), nn.Parameter(begin.flatten(1).clone())
    ours, flat = Muon([convolution], lr=1e-2), Muon([matrix], lr=1e-2)
    convolution.grad = torch.randn(begin.shape, generator=torch.Generator().manual_seed(1))
    matrix.grad = convolution.grad.flatten(1)
    ours.step()
    flat.step()
    assert torch.equal(convolution.flatten(1), matrix)
