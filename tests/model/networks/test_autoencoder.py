"""The tiled VAE against the untiled one, and what tiling leaves behind: nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.hooks import ModelHook
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from instructrestore.model.networks.autoencoder import decode, encode
from instructrestore.model.networks.tiling import Blend, plan_tiles, seam_strength
from tests import real_photos

TILE, OVERLAP = 192, 48


@pytest.fixture
def vae(tiny_base: Path) -> AutoencoderKL:
    return AutoencoderKL.from_pretrained(tiny_base, subfolder="vae").eval().requires_grad_(False)


@pytest.fixture(scope="module")
def photos(data_folder: Path) -> list[Tensor]:
    """Two real photos (1, 3, 384, 320) in [-1, 1]."""
    crops = []
    for path in real_photos.present(data_folder, ["kodak/1.png", "kodak/13.png"]):
        with Image.open(path) as file:
            pixels = np.array(file.convert("RGB").crop((0, 0, 320, 384)))
        crops.append(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1)
    return crops


def _difference(one: Tensor, other: Tensor) -> float:
    """Root mean square, relative to the deviation of `other`."""
    return float((one.float() - other).square().mean().sqrt() / other.std())


def _plain_tiles(run: Callable[[Tensor], Tensor], photo: Tensor) -> Tensor:
    """Feathered tiles (1, C, 48, 40) of latents whose GroupNorms see their own tile alone."""
    blend = Blend((1, 4, photo.shape[2] // 8, photo.shape[3] // 8), OVERLAP // 8)
    for tile in plan_tiles(photo.shape[2] // 8, photo.shape[3] // 8, TILE // 8, OVERLAP // 8):
        blend.add(tile, run(tile.times(8).crop(photo)))
    return blend.result()


def test_what_fits_in_a_tile_is_untouched(reference_folder: Path) -> None:
    folder = reference_folder / "official_model" / "base_model" / "vae"
    vae = AutoencoderKL.from_pretrained(folder).eval().requires_grad_(False)
    photo = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    posterior = encode(vae, photo, 96, 32)
    assert torch.equal(posterior.parameters, vae.encode(photo).latent_dist.parameters)
    assert torch.equal(decode(vae, posterior.mean, 96, 32), vae.decode(posterior.mean).sample)


def test_tiled_is_close_to_untiled(vae: AutoencoderKL, photos: list[Tensor]) -> None:
    tiles = [tile.times(8) for tile in plan_tiles(48, 40, TILE // 8, OVERLAP // 8)]
    assert len(tiles) > 4
    for photo in photos:
        posterior, whole = encode(vae, photo, TILE, OVERLAP), vae.encode(photo).latent_dist
        assert posterior.mean.shape == whole.mean.shape
        assert _difference(posterior.mean, whole.mean) < 0.02
        torch.testing.assert_close(posterior.std, whole.std, rtol=0.1, atol=0)

        tiled, untiled = decode(vae, whole.mean, TILE, OVERLAP), vae.decode(whole.mean).sample
        assert _difference(tiled, untiled) < 0.02
        assert abs(seam_strength(tiled[0], tiles) - seam_strength(untiled[0], tiles)) < 0.1
        # The metric would have told: without an overlap the borders show.
        cut = decode(vae, whole.mean, TILE, 0)
        cuts = [tile.times(8) for tile in plan_tiles(48, 40, TILE // 8, 0)]
        assert seam_strength(cut[0], cuts) > seam_strength(untiled[0], cuts) + 0.5


def test_shared_statistics_bring_tiles_closer_to_the_whole(vae: AutoencoderKL, photos: list[Tensor]) -> None:
    for photo in photos:
        whole = vae.encode(photo).latent_dist.mean
        plain = _plain_tiles(lambda tile: vae.encode(tile).latent_dist.mean, photo)
        assert _difference(encode(vae, photo, TILE, OVERLAP).mean, whole) < 0.8 * _difference(plain, whole)


def test_batch_equals_singles(vae: AutoencoderKL, photos: list[Tensor]) -> None:
    batch = torch.cat(photos)[..., :256, :192]
    posterior = encode(vae, batch, 128, 32)
    decoded = decode(vae, posterior.mean, 128, 32)
    for i in range(len(batch)):
        assert torch.equal(encode(vae, batch[i : i + 1], 128, 32).parameters, posterior.parameters[i : i + 1])
        assert torch.equal(decode(vae, posterior.mean[i : i + 1], 128, 32), decoded[i : i + 1])


def test_nothing_larger_than_a_tile_goes_through_the_networks(vae: AutoencoderKL) -> None:
    sizes = []
    for network, scale in ((vae.encoder, 1), (vae.decoder, 8)):
        network.register_forward_pre_hook(lambda _, inputs, scale=scale: sizes.append(max(inputs[0].shape[2:]) * scale))
    photo = torch.rand(1, 3, 72, 1000, generator=torch.Generator().manual_seed(0)) * 2 - 1
    decode(vae, encode(vae, photo, 128, 32).mean, 128, 32)
    assert len(sizes) > 18 and max(sizes) <= 128


def test_half_precision(vae: AutoencoderKL, photos: list[Tensor]) -> None:
    photo = photos[0][..., :256, :192]
    latents = encode(vae, photo, 128, 32).mean
    decoded = decode(vae, latents, 128, 32)
    half = vae.bfloat16()
    posterior = encode(half, photo.bfloat16(), 128, 32)
    assert posterior.mean.dtype == torch.bfloat16
    assert _difference(posterior.mean, latents) < 0.02
    assert _difference(decode(half, latents.bfloat16(), 128, 32), decoded) < 0.02


@pytest.mark.parametrize("failing_call", [1, 3])
def test_an_error_leaves_the_vae_as_it_was(vae: AutoencoderKL, photos: list[Tensor], failing_call: int) -> None:
    latents = encode(vae, photos[0], TILE, OVERLAP).mean
    before = vae.decode(latents).sample
    calls = []

    def fail(*_: Any) -> None:
        calls.append(1)
        if len(calls) == failing_call:
            raise RuntimeError("out of memory")

    handle = vae.decoder.conv_out.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        decode(vae, latents, TILE, OVERLAP)
    handle.remove()
    assert torch.equal(vae.decode(latents).sample, before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in vae.modules())


def test_offload_hooks_run(vae: AutoencoderKL, photos: list[Tensor]) -> None:
    class Counter(ModelHook):
        calls = 0

        def pre_forward(self, module: torch.nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
            self.calls += 1
            return args, kwargs

    counter = Counter()
    vae._hf_hook = counter  # where accelerate keeps it, and where diffusers' encode and decode look for it
    decode(vae, encode(vae, photos[0], TILE, OVERLAP).mean, TILE, OVERLAP)
    tiles = len(plan_tiles(48, 40, TILE // 8, OVERLAP // 8))
    assert counter.calls == 2 * (tiles + 1)


def test_untiled_on_the_meta_device(vae: AutoencoderKL) -> None:
    empty = vae.to("meta")
    posterior = encode(empty, torch.empty(1, 3, 512, 512, device="meta"), 512, 128)
    assert posterior.mean.shape == (1, 4, 64, 64)
    assert decode(empty, posterior.mean, 512, 128).shape == (1, 3, 512, 512)
