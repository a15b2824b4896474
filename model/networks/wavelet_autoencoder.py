"""An autoencoder without weights or loss: a wavelet packet, whose latents are the photo itself, turned.

Each block of 2^levels x 2^levels pixels becomes one latent cell by an orthonormal Haar (Walsh-Hadamard) transform of
its rows and columns: channel 0 of a colour is the block's mean times 2^levels, the others are its details. Nothing is
lost, a squared error of latents is a squared error of pixels, and noise that is white there is white here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

COLOURS = 3
MOST_LEVELS = 4  # cells of 16 pixels with 768 channels
LOG_VARIANCE = -30.0  # of a posterior that is a point; the least that diffusers' distribution knows


class WaveletAutoencoder(ModelMixin, ConfigMixin):
    """With AutoencoderKL's calls: encode(photos).latent_dist, decode(latents).sample.

    levels: 1 to MOST_LEVELS; a latent cell is 2^levels pixels wide and has 3 * 4^levels channels. scaling_factor: what
    latents are multiplied by before the networks see them.
    """

    kernel: Tensor

    @register_to_config
    def __init__(self, levels: int = 2, scaling_factor: float = 1.0) -> None:
        assert 0 < levels <= MOST_LEVELS and scaling_factor > 0, (levels, scaling_factor)
        super().__init__()
        self.register_buffer("kernel", _kernel(levels))

    @property
    def pixels_a_cell(self) -> int:
        """Width of a latent cell in pixels."""
        return 2 ** int(self.config["levels"])

    @property
    def latent_channels(self) -> int:
        """Channels of a latent."""
        return channels_of(int(self.config["levels"]))

    def encode(self, photos: Tensor) -> AutoencoderKLOutput:
        """photos (B, 3, H, W), sides multiples of the cell -> a posterior (B, channels, h, w) that is a point."""
        latents = F.conv2d(photos, self.kernel, stride=self.pixels_a_cell, groups=COLOURS)
        spread = torch.full_like(latents, LOG_VARIANCE)
        return AutoencoderKLOutput(DiagonalGaussianDistribution(torch.cat([latents, spread], 1), deterministic=True))

    def decode(self, latents: Tensor) -> DecoderOutput:
        """latents (B, latent_channels, h, w) -> photos (B, 3, H, W)."""
        return DecoderOutput(F.conv_transpose2d(latents, self.kernel, stride=self.pixels_a_cell, groups=COLOURS))


def channels_of(levels: int) -> int:
    """Channels of the latents of a wavelet of so many levels."""
    return COLOURS * 4**levels


def _kernel(levels: int) -> Tensor:
    """(3 * 4^levels, 1, 2^levels, 2^levels): every channel's pattern, of unit length, for each colour."""
    one = torch.ones(1, 1)
    for _ in range(levels):
        one = torch.cat([torch.kron(one, torch.tensor([1.0, 1.0])), torch.kron(one, torch.tensor([1.0, -1.0]))])
    one = one / 2 ** (levels / 2)
    patterns = torch.einsum("ia,jb->ijab", one, one).reshape(-1, 1, *one.shape)
    return patterns.repeat(COLOURS, 1, 1, 1)
