"""What each kind of run learns with: how it prepares its batches, and the networks before their losses."""

from __future__ import annotations

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from instructrestore.model.networks.region_controlnet import RegionControlNet
from instructrestore.model.networks.text_mask_decoder import TextMaskDecoder
from instructrestore.model.restoring.checkpoint import BaseNetworks
from instructrestore.model.training.batch import Preparation
from instructrestore.model.training.distillation import DistillationPreparation, StudentNetworks
from instructrestore.model.training.masks import MaskNetworks, MaskPreparation
from instructrestore.model.training.objective import TrainedNetworks
from instructrestore.model.training.settings import TrainingSettings


def preparation_of(base: BaseNetworks, controlnet: RegionControlNet, settings: TrainingSettings) -> Preparation:
    """For a run that begins with these networks. Raises ValueError where they do not go with the settings."""
    if settings.learns == "student":
        return DistillationPreparation(base, settings, controlnet)
    prepares = MaskPreparation if settings.learns == "mask_decoder" else Preparation
    return prepares(base, settings, controlnet.config)


def networks_of(
    controlnet: RegionControlNet, unet: UNet2DConditionModel, prepare: Preparation
) -> TrainedNetworks | MaskNetworks | StudentNetworks:
    """What learns, before its losses. prepare: what makes its batches."""
    if isinstance(prepare, DistillationPreparation):
        return StudentNetworks(controlnet, unet, prepare)
    if prepare.settings.learns == "controlnet":
        return TrainedNetworks(controlnet, unet, prepare.settings.mask_weight)
    decoder = controlnet.mask_decoder
    assert isinstance(decoder, TextMaskDecoder)
    return MaskNetworks(decoder)
