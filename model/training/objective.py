"""The training objective (paper, equation 1): noise error plus lambda times the mask's cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

MASK_WEIGHT = 0.01


@dataclass(frozen=True)
class Losses:
    """Scalars: the mean squared error of the noise, the mean binary cross-entropy of the mask, their weighted sum."""

    noise: Tensor
    mask: Tensor
    total: Tensor


def losses(
    predicted_noise: Tensor, noise: Tensor, mask_logits: Tensor, mask: Tensor, mask_weight: float = MASK_WEIGHT
) -> Losses:
    """Equation 1 for a batch, in float32.

    predicted_noise, noise: (B, 4, h, w). mask_logits: (B, 1, h, w) from the mask decoder. mask: the same shape, in
    [0, 1], the region at latent size. mask_weight: lambda; 0.01 in the release.
    """
    of_noise = F.mse_loss(predicted_noise.float(), noise.float())
    of_mask = F.binary_cross_entropy_with_logits(mask_logits.float(), mask.float())
    return Losses(of_noise, of_mask, of_noise + mask_weight * of_mask)
