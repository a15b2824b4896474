"""The training objective (paper, equation 1) and the networks it is computed with: a batch in, losses out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from instructrestore.model.networks.autoencoder import pixels_a_cell
from instructrestore.model.networks.devices import DTYPES
from instructrestore.model.networks.model_folder import quiet
from instructrestore.model.networks.modulation import modulate
from instructrestore.model.networks.region_controlnet import RegionControl, RegionControlNet
from instructrestore.model.networks.text_mask_decoder import TextMaskDecoder
from instructrestore.model.restoring.checkpoint import BaseNetworks
from instructrestore.model.training.batch import TrainingBatch
from instructrestore.model.training.settings import MASK_WEIGHT, TrainingSettings


@dataclass(frozen=True)
class Losses:
    """Scalars: two parts and their weighted sum.

    noise: the mean squared error of what the base predicts: the noise for SD 2.1, else the latents or the velocity.
    mask: the mean binary cross-entropy of the mask.
    """

    noise: Tensor
    mask: Tensor
    total: Tensor


def losses(
    predicted: Tensor,
    target: Tensor,
    mask_logits: Tensor,
    mask: Tensor,
    mask_weight: float = MASK_WEIGHT,
    weights: Tensor | None = None,
) -> Losses:
    """Equation 1 for a batch, in float32.

    predicted, target: (B, C, h, w), the noise or what else the base predicts. mask_logits: (B, 1, h, w) from the mask
    decoder. mask: the same shape, in [0, 1], the region at latent size. mask_weight: lambda; 0.01 in the release.
    weights: (B,), of the samples' squared errors; None: 1 each, as in the paper.
    """
    of_noise = squared_error(predicted, target, weights)
    of_mask = F.binary_cross_entropy_with_logits(mask_logits.float(), mask.float())
    return Losses(of_noise, of_mask, of_noise + mask_weight * of_mask)


def squared_error(predicted: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
    """The mean squared error of (B, C, h, w) in float32, each sample's by its weight, (B,)."""
    if weights is None:
        return F.mse_loss(predicted.float(), target.float())
    return ((predicted.float() - target.float()).square().mean((1, 2, 3)) * weights).mean()


class TrainedNetworks(nn.Module):
    """The trained ControlNet with its mask decoder, in float32, before the UNet (paper section 3.2).

    The UNet is frozen, as in the paper, or learns too (`train_base`), in float32 then.

    One module, so that DistributedDataParallel and torch.compile see a step whole.
    """

    def __init__(self, controlnet: RegionControlNet, unet: UNet2DConditionModel, mask_weight: float) -> None:
        super().__init__()
        self.controlnet, self.unet, self.mask_weight = controlnet, unet, mask_weight

    def forward(self, batch: TrainingBatch) -> tuple[Losses, Tensor]:
        """Equation 1 for the batch, and the mask logits (B, 1, h, w); zeros where the masks have no weight."""
        control = self._control(batch, masks=self.mask_weight > 0)
        # A frozen UNet's way down knows nothing of the ControlNet, so autograd keeps none of its activations. It is all
        # in one precision: autocast would do its norms in float32, and keep what they need for their gradients.
        dtype, kind = self.unet.dtype, batch.noisy.device.type
        counts = [1] * len(batch.noisy)
        residuals = [modulate(residual, batch.control, counts, "area") for residual in control.residuals]
        learns = self.unet.conv_in.weight.requires_grad
        with torch.autocast(kind, enabled=learns and torch.is_autocast_enabled(kind)):
            predicted = self.unet(
                batch.noisy.to(dtype),
                batch.timesteps,
                batch.unet_states.to(dtype),
                down_block_additional_residuals=[residual.to(dtype) for residual in residuals[:-1]],
                mid_block_additional_residual=residuals[-1].to(dtype),
            ).sample
        if control.mask_logits is None:
            of_noise = squared_error(predicted, batch.target, batch.weights)
            return Losses(of_noise, torch.zeros_like(of_noise), of_noise), torch.zeros_like(batch.mask)
        found = losses(predicted, batch.target, control.mask_logits, batch.mask, self.mask_weight, batch.weights)
        return found, control.mask_logits

    def mask_logits(self, batch: TrainingBatch) -> Tensor:
        """The mask alone, (B, 1, h, w)."""
        logits = self._control(batch, masks=True).mask_logits
        assert logits is not None
        return logits

    def _control(self, batch: TrainingBatch, masks: bool) -> RegionControl:
        condition = self.controlnet.embed_condition(batch.lq)
        return self.controlnet(
            batch.noisy,
            batch.timesteps,
            batch.control_states,
            condition,
            mask_rows=len(batch.noisy) if masks else 0,
            seen=self.controlnet.see(batch.lq) if masks else None,
        )


def begin_controlnet(base: BaseNetworks, settings: TrainingSettings) -> RegionControlNet:
    """The UNet's own weights, zero convolutions, and a new mask decoder from the run's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)
        cell = pixels_a_cell(base.vae)
        return RegionControlNet.from_unet(base.unet, mask_channels=settings.mask_channels, pixels_a_cell=cell)


def identity(network: nn.Module) -> str:
    """Hex digits that change with a network's weights: a hash of the first values of each of them."""
    known = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        known.update(f"{name} {tuple(tensor.shape)}".encode())
        known.update(tensor.flatten()[:64].float().cpu().numpy().tobytes())
    return known.hexdigest()


def freeze(base: BaseNetworks, settings: TrainingSettings) -> None:
    """The base's networks without gradients, in the precision that they compute in; the UNet learns if it is to."""
    with quiet():  # diffusers warns of casts
        for network in (base.vae, base.text_encoder, base.unet):
            network.requires_grad_(False).eval().to(DTYPES[settings.dtype])  # pyright: ignore[reportArgumentType]
    if settings.changes_base:
        base.unet.float().requires_grad_(settings.train_base).train()
    if settings.gradient_checkpointing:
        base.unet.enable_gradient_checkpointing()


def trained(controlnet: RegionControlNet, settings: TrainingSettings) -> RegionControlNet:
    """The ControlNet ready to learn: float32, with gradients where it learns. A `mask_weight` of 0 leaves its mask
    decoder as it is."""
    model: Any = controlnet.float().requires_grad_(settings.learns != "mask_decoder").train()
    decoder = model.mask_decoder
    decoder.requires_grad_(settings.learns == "mask_decoder" or settings.mask_weight > 0)
    if isinstance(decoder, TextMaskDecoder):
        decoder.backbone.requires_grad_(False)
    if settings.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    return model
