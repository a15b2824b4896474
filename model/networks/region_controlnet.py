"""The trained part of the model: a ControlNet that also predicts where the region named by its text is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.modeling_utils import ModelMixin  # noqa: F401 (diffusers' loading looks for it in this module)
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.utils.accelerate_utils import apply_forward_hook
from safetensors import safe_open
from torch import Tensor, nn

from instructrestore.model.instruction.instruction import BOKEH_CONTROL_TEXT
from instructrestore.model.networks.mask_decoder import MaskDecoder
from instructrestore.model.networks.text_mask_decoder import SeenNames, TextMaskDecoder

WEIGHTS_NAME = "diffusion_pytorch_model.safetensors"
# Of the convolutions that embed the LQ photo: ControlNet's own, each after the first at half the resolution.
CONDITION_CHANNELS = (16, 32, 96, 256)
_CROSS_ATTENTION = "CrossAttnDownBlock2D"
_OWN_KEYS = {
    "mask_decoder_type",
    "mask_channels",
    "mask_names",
    "bokeh_control_text",
    "residual",
    "unshuffled",
    "sampling",
}


@dataclass
class RegionControl:
    """The output of the ControlNet for a batch of B rows, a row per text.

    residuals: to be added to the UNet's skips and, the last one, to its middle block; each (B, C, h, w), in the order
        conv_in, then layers and downsampler of every down block, then the middle block. SD 2.1: 12 + 1.
    mask_logits: (n, 1, h, w) at latent size for the last n rows; None where no mask was asked for.
    """

    residuals: tuple[Tensor, ...]
    mask_logits: Tensor | None


class UnshuffledCondition(nn.Module):
    """Photos (B, 3, cell h, cell w) in [0, 1] as features (B, channels, h, w)."""

    def __init__(self, cell: int, channels: int) -> None:
        super().__init__()
        self.cell = cell
        self.enter = nn.Conv2d(3 * cell * cell, channels, 3, padding=1)
        self.leave = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, photos: Tensor) -> Tensor:
        return self.leave(F.silu(self.enter(F.pixel_unshuffle(photos * 2 - 1, self.cell))))


class RegionControlNet(ControlNetModel):
    """diffusers' ControlNet with a mask decoder on its cross-attention down blocks (paper section 3.2).

    Takes ControlNetModel's arguments, by name, and

    mask_decoder_type: "MaskDecoder" is the paper's, on this network's features, and how the release marks it;
        "TextMaskDecoder" has features of its own, of a frozen image classifier.
    mask_channels: width of the mask decoder, a multiple of 32. mask_names: those that a TextMaskDecoder tells apart.
    bokeh_control_text: the text of bokeh instructions that these weights were trained with; holds `{caption}`.
    residual: the latents that the base and this ControlNet work on are what the HQ photo's differ by from the LQ
        photo's (residual prediction: SRDiff, section 3.2), so that learning begins at the LQ photo.
    unshuffled: the LQ photo's pixels are gathered into cells before any convolution: quicker than ControlNet's own
        convolutions at the photo's size, and learnt sooner.
    sampling: the SamplingSettings, by name, that these weights were distilled for and take the place of the base's.
    """

    def __init__(
        self,
        *,
        mask_decoder_type: str = "MaskDecoder",
        mask_channels: int = 512,
        mask_names: Sequence[str] = (),
        bokeh_control_text: str = BOKEH_CONTROL_TEXT,
        residual: bool = False,
        unshuffled: bool = False,
        sampling: dict[str, Any] | None = None,
        **controlnet: Any,
    ) -> None:
        super().__init__(**controlnet)
        self.register_to_config(
            mask_decoder_type=mask_decoder_type,
            mask_channels=mask_channels,
            mask_names=list(mask_names),
            bokeh_control_text=bokeh_control_text,
            residual=residual,
            unshuffled=unshuffled,
            sampling=sampling,
        )
        if unshuffled:
            cell = 2 ** (len(self.config["conditioning_embedding_out_channels"]) - 1)
            self.controlnet_cond_embedding = UnshuffledCondition(cell, self.config["block_out_channels"][0])
        layers, types = self.config["layers_per_block"], self.config["down_block_types"]
        attending = [level for level, kind in enumerate(types) if kind == _CROSS_ATTENTION]
        # Among the skips, after conv_in's, every block has its layers' outputs and its downsampler's: here the last
        # layer's (SD 2.1: the second) of each attending block, the deepest first.
        self._size_multiple = 2 ** attending[-1]
        self._feature_places = [level * (layers + 1) + layers for level in reversed(attending)]
        if mask_decoder_type == TextMaskDecoder.__name__:
            self.mask_decoder = TextMaskDecoder(self.config["cross_attention_dim"], len(mask_names), mask_channels)
        else:
            widths = [self.config["block_out_channels"][level] for level in reversed(attending)]
            self.mask_decoder = MaskDecoder(widths, mask_channels)

    @property
    def size_multiple(self) -> int:
        """A latent's height and width must be multiples of this, for the mask decoder to join its features."""
        return self._size_multiple

    @apply_forward_hook
    def embed_condition(self, photos: Tensor) -> Tensor:
        """LQ photos (B, 3, H, W) in [0, 1] as features (B, C, h, w) at latent size; the same in every step."""
        return self.controlnet_cond_embedding(photos)

    @apply_forward_hook
    def see(self, photos: Tensor) -> SeenNames | None:
        """What the mask decoder sees in whole LQ photos (B, 3, H, W) in [0, 1]; None: it reads features of here."""
        return self.mask_decoder.look(photos) if isinstance(self.mask_decoder, TextMaskDecoder) else None

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        condition: Tensor,
        mask_rows: int = 0,
        views: Tensor | None = None,
        seen: SeenNames | None = None,
    ) -> RegionControl:
        """The control for noisy latents, one row a text.

        sample: (B, C, h, w), latents (SD 2.1: C = 4). timestep: integer tensor of one value, or one a row.
        encoder_hidden_states: (B, T, D) of the control text (SD 2.1: T = 77). condition: (B, C, h, w) from
        `embed_condition`. mask_rows: for how many rows, counted from the last, the mask is decoded. views: (B,)
        integers, the latent of each text where several texts share one; sample, condition and the timesteps then have
        one entry per latent, and everything before the first attention is computed once per latent. seen: by `see`,
        one entry per latent, where masks are decoded.
        """
        time = self.time_proj(timestep.expand(sample.shape[0])).to(sample.dtype)
        time = self.time_embedding(time)
        hidden = self.conv_in(sample) + condition
        skips = (hidden,)
        blocks: list[Any] = list(self.down_blocks)
        if views is not None:
            while not getattr(blocks[0], "has_cross_attention", False):
                hidden, of_block = blocks.pop(0)(hidden, time)
                skips += of_block
            first = blocks.pop(0)
            once = first.resnets[0](hidden, time)
            time = time[views]
            hidden, of_block = _from_first_attention(first, once[views], time, encoder_hidden_states)
            skips = (*(skip[views] for skip in skips), *of_block)
        for block in blocks:
            if getattr(block, "has_cross_attention", False):
                hidden, of_block = block(hidden, time, encoder_hidden_states=encoder_hidden_states)
            else:
                hidden, of_block = block(hidden, time)
            skips += of_block
        middle = self.mid_block(hidden, time, encoder_hidden_states=encoder_hidden_states)

        residuals = tuple(zero(skip) for zero, skip in zip(self.controlnet_down_blocks, skips, strict=True))
        residuals += (self.controlnet_mid_block(middle),)
        if not mask_rows:
            return RegionControl(residuals, None)
        if isinstance(self.mask_decoder, TextMaskDecoder):
            assert seen is not None, "this mask decoder needs what `see` gives"
            rows = torch.arange(sample.shape[0], device=sample.device) if views is None else views
            logits = self.mask_decoder(seen.rows(rows[-mask_rows:]), encoder_hidden_states[-mask_rows:])
        else:
            logits = self.mask_decoder([skips[place][-mask_rows:] for place in self._feature_places])
        if logits.shape[-2:] != sample.shape[-2:]:
            logits = F.interpolate(logits, sample.shape[-2:], mode="bilinear")
        return RegionControl(residuals, logits)

    @classmethod
    def from_unet(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls,
        unet: UNet2DConditionModel,
        mask_channels: int = 512,
        bokeh_control_text: str = BOKEH_CONTROL_TEXT,
        pixels_a_cell: int = 8,
        residual: bool = False,
        unshuffled: bool = False,
    ) -> RegionControlNet:
        """A ControlNet with the UNet's weights, zero convolutions and a fresh mask decoder: where training begins.

        pixels_a_cell: width of a latent cell, by which the LQ photo is reduced. The rest: as for the class.
        """
        reducing = CONDITION_CHANNELS[: pixels_a_cell.bit_length()]
        plain = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=reducing)
        config = {key: value for key, value in plain.config.items() if key in cls._get_init_keys(cls)}
        own: dict[str, Any] = {"bokeh_control_text": bokeh_control_text, "residual": residual, "unshuffled": unshuffled}
        controlnet = cls(**config, mask_channels=mask_channels, **own)
        new = ("mask_decoder.", "controlnet_cond_embedding.") if unshuffled else ("mask_decoder.",)
        kept = {name: value for name, value in plain.state_dict().items() if not name.startswith(new)}
        missing, surplus = controlnet.load_state_dict(kept, strict=False)
        assert not surplus and all(name.startswith(new) for name in missing)
        return controlnet if controlnet.dtype == unet.dtype else controlnet.to(dtype=unet.dtype)  # pyright: ignore

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> RegionControlNet:
        """A saved RegionControlNet or a checkpoint of the release (safetensors only).

        The release's configuration does not hold the mask decoder's width: it is read from the weights of a folder;
        for a checkpoint on the hub it is taken for 512 (`model.restoring.checkpoint` fetches a folder first).
        """
        folder = Path(pretrained_model_name_or_path, options.get("subfolder") or "")
        if (weights := folder / WEIGHTS_NAME).is_file():
            with safe_open(weights, "pt") as file:
                if "mask_decoder.final_conv.weight" in file.keys():  # noqa: SIM118 (not a dictionary)
                    options["mask_channels"] = file.get_slice("mask_decoder.final_conv.weight").get_shape()[1]
        return super().from_pretrained(pretrained_model_name_or_path, **{**options, "use_safetensors": True})

    @staticmethod
    def _get_init_keys(input_class: type) -> set[str]:
        """What diffusers may pass on from a configuration: also what __init__ hands down unnamed."""
        return ControlNetModel._get_init_keys(ControlNetModel) | _OWN_KEYS


def _from_first_attention(block: Any, hidden: Tensor, time: Tensor, text: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A cross-attention down block without its first residual layer, which does not depend on the text."""
    skips = ()
    for layer, (resnet, attention) in enumerate(zip(block.resnets, block.attentions, strict=True)):
        hidden = resnet(hidden, time) if layer else hidden
        hidden = attention(hidden, encoder_hidden_states=text, return_dict=False)[0]
        skips += (hidden,)
    for downsample in block.downsamplers or ():
        hidden = downsample(hidden)
        skips += (hidden,)
    return hidden, skips
