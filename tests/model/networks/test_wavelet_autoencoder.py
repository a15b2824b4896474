from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from instructrestore.model.networks.autoencoder import decode, encode, pixels_a_cell
from instructrestore.model.networks.wavelet_autoencoder import WaveletAutoencoder


@given(levels=st.integers(1, 3), height=st.integers(1, 4), width=st.integers(1, 4), seed=st.integers(0, 99))
def test_nothing_is_lost_and_errors_keep_their_size(levels: int, height: int, width: int, seed: int) -> None:
    autoencoder = WaveletAutoencoder(levels)
    cell = autoencoder.pixels_a_cell
    assert pixels_a_cell(autoencoder) == cell == 2**levels
    photos = torch.randn(2, 3, height * cell, width * cell, generator=torch.Generator().manual_seed(seed))
    posterior = encode(autoencoder, photos, tile=cell, overlap=0)
    latents = posterior.mean
    assert latents.shape == (2, autoencoder.latent_channels, height, width)
    assert torch.equal(posterior.sample(), latents)
    torch.testing.assert_close(decode(autoencoder, latents, tile=cell, overlap=0), photos, atol=1e-5, rtol=0)
    assert float(latents.square().sum()) == pytest.approx(float(photos.square().sum()), rel=1e-5)


def test_the_first_channel_is_the_mean_and_a_flat_photo_has_no_details() -> None:
    autoencoder = WaveletAutoencoder(2)
    photo = torch.tensor([0.1, -0.2, 0.3]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    latents = encode(autoencoder, photo, tile=512, overlap=0).mean.view(3, 16, 2, 2)
    torch.testing.assert_close(latents[:, 0, 0, 0], 4 * photo[0, :, 0, 0])
    assert float(latents[:, 1:].abs().max()) < 1e-6
