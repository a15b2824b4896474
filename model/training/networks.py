"""What is trained and what it is trained against, as one module: a batch in, equation 1's losses out."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from instructrestore.model.networks.region_controlnet import RegionControl, RegionControlNet
from instructrestore.model.networks.weight_files import quiet
from instructrestore.model.restoring.checkpoint import DTYPES, Base
from instructrestore.model.training.batch import Batch
from instructrestore.model.training.objective import Losses, losses
from instructrestore.model.training.settings import TrainingSettings


class TrainedNetworks(nn.Module):
    """The trained ControlNet with its mask decoder, in float32, before the frozen UNet (paper section 3.2).

    One module, so that DistributedDataParallel and torch.compile see a step whole.
    """

    def __init__(self, controlnet: RegionControlNet, unet: UNet2DConditionModel, mask_weight: float) -> None:
        super().__init__()
        self.controlnet, self.unet, self.mask_weight = controlnet, unet, mask_weight

    def forward(self, batch: Batch) -> tuple[Losses, Tensor]:
        """Equation 1 for the batch, and the mask logits (B, 1, h, w)."""
        control = self._control(batch)
        assert control.mask_logits is not None
        # The UNet's way down knows nothing of the ControlNet, so autograd keeps none of its activations. It is all in
        # one precision: autocast would do its norms in float32, and keep what they need for their gradients.
        dtype = self.unet.dtype
        with torch.autocast(batch.noisy.device.type, enabled=False):
            predicted = self.unet(
                batch.noisy.to(dtype),
                batch.timesteps,
                batch.unet_states.to(dtype),
                down_block_additional_residuals=[residual.to(dtype) for residual in control.residuals[:-1]],
                mid_block_additional_residual=control.residuals[-1].to(dtype),
            ).sample
        found = losses(predicted, batch.noise, control.mask_logits, batch.mask, self.mask_weight)
        return found, control.mask_logits

    def mask_logits(self, batch: Batch) -> Tensor:
        """The mask alone, (B, 1, h, w)."""
        logits = self._control(batch).mask_logits
        assert logits is not None
        return logits

    def _control(self, batch: Batch) -> RegionControl:
        condition = self.controlnet.embed_condition(batch.lq)
        return self.controlnet(
            batch.noisy, batch.timesteps, batch.control_states, condition, mask_rows=len(batch.noisy)
        )


def begin_controlnet(base: Base, settings: TrainingSettings) -> RegionControlNet:
    """The UNet's own weights, zero convolutions, and a new mask decoder from the run's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)
        return RegionControlNet.from_unet(base.unet, mask_channels=settings.mask_channels)


def identity(network: nn.Module) -> str:
    """Hex digits that change with a network's weights: a hash of the first values of each of them."""
    known = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        known.update(f"{name} {tuple(tensor.shape)}".encode())
        known.update(tensor.flatten()[:64].float().cpu().numpy().tobytes())
    return known.hexdigest()


def freeze(base: Base, settings: TrainingSettings) -> None:
    """The base's networks without gradients, in the precision that they compute in."""
    with quiet():  # diffusers warns of casts
        for network in (base.vae, base.text_encoder, base.unet):
            network.requires_grad_(False).eval().to(DTYPES[settings.dtype])  # pyright: ignore[reportArgumentType]
    if settings.gradient_checkpointing:
        base.unet.enable_gradient_checkpointing()


def trained(controlnet: RegionControlNet, settings: TrainingSettings) -> RegionControlNet:
    """The ControlNet ready to learn: float32, with gradients."""
    model: Any = controlnet.float().requires_grad_(True).train()
    if settings.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    return model
