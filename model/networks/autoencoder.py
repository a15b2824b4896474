"""A base's autoencoder, and the VAE on photos larger than a tile: memory bounded by the tile, and one tone.

A VAE's GroupNorms see a tile only: left alone, each tile gets statistics of its own, and with them a tone and contrast
of its own, which feathering smooths but does not remove. Here all tiles share the statistics of one more forward, over
a mosaic of the whole photo that is as large as a tile. Shared statistics for a tiled VAE are those of
multidiffusion-upscaler's "fast mode" (pkuliyi2015), which takes them from a photo scaled down; a mosaic keeps the
photo's texture at its own scale, and came closer to the untiled VAE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor
from torch.nn import GroupNorm

from instructrestore.model.networks.tiling import Blend, plan_tiles
from instructrestore.model.networks.wavelet_autoencoder import WaveletAutoencoder

Autoencoder = AutoencoderKL | WaveletAutoencoder

# Side of a mosaic's patches in latent cells. Smaller patches lose the texture, larger ones leave more of the photo out.
PATCH = 2


def encode(vae: Autoencoder, photos: Tensor, tile: int, overlap: int) -> DiagonalGaussianDistribution:
    """photos (B, 3, H, W) in [-1, 1], of the VAE's dtype -> posterior of the unscaled latents (B, C, h, w).

    h, w: a cell of `pixels_a_cell` pixels each. SD 2.1: C = 4, cells of 8. `tile` and `overlap` are in pixels. A photo
    that fits in a tile gives exactly `vae.encode(photos).latent_dist`; a larger one must have sides that are multiples
    of a cell, and goes tile by tile, photo by photo, but for a wavelet, whose cells know nothing of each other.
    """

    def posterior(batch: Tensor) -> DiagonalGaussianDistribution:
        output = vae.encode(batch)
        assert isinstance(output, AutoencoderKLOutput)
        return output.latent_dist

    def parameters(photo: Tensor) -> Tensor:
        return posterior(photo).parameters

    if max(photos.shape[-2:]) <= tile or isinstance(vae, WaveletAutoencoder):
        return posterior(photos)
    cell = pixels_a_cell(vae)
    assert photos.shape[-2] % cell == 0 and photos.shape[-1] % cell == 0, f"photo sides must be multiples of {cell}"
    tiled = [_tiled(vae, parameters, photo, cell, 1, tile // cell, overlap // cell) for photo in photos.split(1)]
    return DiagonalGaussianDistribution(torch.cat(tiled))


def decode(vae: Autoencoder, latents: Tensor, tile: int, overlap: int) -> Tensor:
    """latents (B, C, h, w), already divided by the scaling factor -> photos (B, 3, H, W), about [-1, 1].

    H, W: `pixels_a_cell` times h, w. `tile` and `overlap` are in pixels. A photo that fits in a tile is exactly
    `vae.decode(latents).sample`; a larger one goes tile by tile, photo by photo, but for a wavelet.
    """

    def photos(batch: Tensor) -> Tensor:
        output = vae.decode(batch)  # pyright: ignore[reportArgumentType]  # "FloatTensor" there means any float dtype
        assert isinstance(output, DecoderOutput)
        return output.sample

    cell = pixels_a_cell(vae)
    if max(latents.shape[-2:]) * cell <= tile or isinstance(vae, WaveletAutoencoder):
        return photos(latents)
    return torch.cat(
        [_tiled(vae, photos, latent, 1, cell, tile // cell, overlap // cell) for latent in latents.split(1)]
    )


def pixels_a_cell(vae: Autoencoder) -> int:
    """Width of a latent cell in the photo, in pixels."""
    if isinstance(vae, WaveletAutoencoder):
        return vae.pixels_a_cell
    return 2 ** (len(vae.config["block_out_channels"]) - 1)


def _tiled(
    vae: AutoencoderKL,
    run: Callable[[Tensor], Tensor],
    whole: Tensor,
    cell_in: int,
    cell_out: int,
    tile: int,
    overlap: int,
) -> Tensor:
    """`run` over tiles of `whole` (1, C, H, W); a latent cell is cell_in entries wide there, cell_out in the result."""
    height, width = whole.shape[-2] // cell_in, whole.shape[-1] // cell_in
    with _shared_statistics(vae, lambda: run(_mosaic(whole, cell_in, tile))):
        blend = None
        for part in plan_tiles(height, width, tile, overlap):
            values = run(part.times(cell_in).crop(whole))
            if blend is None:
                shape = (1, values.shape[1], height * cell_out, width * cell_out)
                blend = Blend(shape, overlap * cell_out, values.device)
            blend.add(part.times(cell_out), values)
    assert blend is not None
    return blend.result().to(whole.dtype)


def _mosaic(whole: Tensor, cell: int, tile: int) -> Tensor:
    """Patches of `whole` (1, C, H, W) from everywhere, side by side: at most tile x tile latent cells."""
    rows = _spread(whole.shape[-2] // cell, tile, cell).to(whole.device)
    columns = _spread(whole.shape[-1] // cell, tile, cell).to(whole.device)
    return whole.index_select(-2, rows).index_select(-1, columns)


def _spread(side: int, tile: int, cell: int) -> Tensor:
    """Indices of the mosaic's rows: patches of PATCH cells, spread evenly over `side` cells."""
    patches = min(tile, side) // PATCH
    starts = torch.arange(patches) * (side - PATCH) // max(patches - 1, 1)
    return (starts[:, None] * cell + torch.arange(PATCH * cell)).flatten()


@contextmanager
def _shared_statistics(vae: AutoencoderKL, preview: Callable[[], Tensor]) -> Iterator[None]:
    """Inside, every GroupNorm that `preview` ran through normalises with the statistics it had there."""
    statistics: dict[GroupNorm, tuple[Tensor, Tensor]] = {}

    def record(norm: GroupNorm, inputs: tuple[Tensor], _: Tensor) -> None:
        groups = inputs[0].float().reshape(norm.num_groups, -1)
        variance, mean = torch.var_mean(groups, dim=1, correction=0)
        statistics[norm] = (variance + norm.eps).rsqrt(), mean

    def normalise(norm: GroupNorm, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        maps = inputs[0]  # (1, C, h, w), or (1, C, tokens) in attention
        inverse_deviation, mean = (s.repeat_interleave(maps.shape[1] // norm.num_groups) for s in statistics[norm])
        scale = norm.weight.float() * inverse_deviation
        shift = norm.bias.float() - mean * scale
        shape = (1, -1) + (1,) * (maps.ndim - 2)
        return torch.addcmul(shift.view(shape), maps.float(), scale.view(shape)).to(output.dtype)

    with _hooked(vae, record):
        preview()
    with _hooked(vae, normalise):
        yield


@contextmanager
def _hooked(vae: AutoencoderKL, hook: Callable[[GroupNorm, tuple[Tensor], Tensor], Tensor | None]) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module in vae.modules() if isinstance(module, GroupNorm)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
