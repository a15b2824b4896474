"""Checkpoints with a UNet of their own, bases with a wavelet, and a model's own sampling settings: what loads."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from diffusers import UNet2DConditionModel

from instructrestore.model.networks.wavelet_autoencoder import WaveletAutoencoder
from instructrestore.model.restoring.checkpoint import load_base, load_pipeline, model_sampling
from instructrestore.pipelines.inference.weights import fingerprint_of

MARK = 0.25  # the bias that tells the checkpoint's UNet from the base's


@pytest.fixture
def checkpoint(tiny_base: Path, tmp_path: Path) -> Path:
    """The tiny base's ControlNet, and a UNet that is not the base's."""
    folder = tmp_path / "step-1"
    shutil.copytree(tiny_base / "controlnet", folder / "controlnet", copy_function=os.link)
    unet = UNet2DConditionModel.from_pretrained(tiny_base / "unet")
    with torch.no_grad():
        unet.conv_in.bias.fill_(MARK)
    unet.save_pretrained(folder / "unet")
    return folder


def edit(path: Path, **values: Any) -> None:
    content = json.dumps({**json.loads(path.read_text()), **values})
    path.unlink()  # it may be a link
    path.write_text(content)


@pytest.mark.parametrize("named", ["", "controlnet"])
def test_a_checkpoints_unet_takes_the_place_of_the_bases(tiny_base: Path, checkpoint: Path, named: str) -> None:
    place = str(checkpoint / named)
    for unet in (
        load_pipeline(tiny_base, place, device="cpu").unet,
        load_base(str(tiny_base), checkpoint=place, device="cpu").unet,
    ):
        assert bool((unet.conv_in.bias == MARK).all())
    known = fingerprint_of(str(tiny_base), place)
    shutil.rmtree(checkpoint / "unet")
    assert fingerprint_of(str(tiny_base), place) != known
    assert not bool((load_pipeline(tiny_base, place, device="cpu").unet.conv_in.bias == MARK).any())


def test_so_does_that_of_a_whole_pipeline(tiny_base: Path, checkpoint: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(tiny_base, tmp_path / "other", copy_function=os.link))
    shutil.rmtree(other / "unet")
    shutil.copytree(checkpoint / "unet", other / "unet")
    unet = load_pipeline(tiny_base, other, device="cpu").unet
    assert bool((unet.conv_in.bias == MARK).all())
    base = str(tiny_base)
    assert fingerprint_of(base, str(tiny_base / "controlnet")) != fingerprint_of(base, str(other / "controlnet"))


def test_and_that_of_a_checkpoint_on_the_hub(
    tiny_base: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline, with the hub's own cache as it would lie after a download."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "models--someone--trained"
    shutil.copytree(checkpoint, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for unet in (
        load_pipeline(tiny_base, "someone/trained", device="cpu").unet,
        load_base(str(tiny_base), checkpoint="someone/trained", device="cpu").unet,
    ):
        assert bool((unet.conv_in.bias == MARK).all())


def test_a_checkpoints_unet_that_does_not_fit_the_base_is_one_sentence(tiny_base: Path, checkpoint: Path) -> None:
    for values, message in (
        ({"cross_attention_dim": 1024}, "gives 64 numbers a token where the unet takes 1024"),
        ({"in_channels": 9}, "the unet in .*step-1.* is of another architecture"),
    ):
        shutil.copy(tiny_base / "unet/config.json", checkpoint / "unet/config.json")
        edit(checkpoint / "unet/config.json", **values)
        for load in (load_pipeline, load_base):
            with pytest.raises(ValueError, match=message) as raised:
                load(str(tiny_base), checkpoint=str(checkpoint), device="cpu")
            assert "\n" not in str(raised.value)


@pytest.fixture
def base(tiny_base: Path, tmp_path: Path) -> Path:
    """The tiny base, to be changed: files are links, so whatever changes one must replace it."""
    return Path(shutil.copytree(tiny_base, tmp_path / "base", copy_function=os.link))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"levels": 0}, "has 0 levels: a wavelet has 1 to 4"),
        ({"levels": 40}, "has 40 levels"),
        ({"levels": "2"}, "has '2' levels"),
        ({"levels": True}, "has True levels"),
        ({"levels": None}, "has None levels"),
        ({"scaling_factor": 0}, "has a scaling_factor of 0: it is a number above 0"),
        ({"scaling_factor": "2"}, "has a scaling_factor of '2'"),
    ],
)
def test_a_wavelet_that_cannot_be_is_one_sentence(base: Path, values: dict[str, Any], message: str) -> None:
    shutil.rmtree(base / "vae")
    WaveletAutoencoder(levels=1).save_pretrained(base / "vae")
    edit(base / "vae/config.json", **values)
    with pytest.raises(ValueError, match=message) as raised:
        load_pipeline(base, device="cpu")
    assert "\n" not in str(raised.value)


def test_a_models_own_sampling_is_known_without_its_weights(base: Path) -> None:
    shutil.rmtree(base / "unet")
    assert model_sampling(str(base)) is None
    edit(base / "model_index.json", sampling={"num_inference_steps": 3})
    assert model_sampling(str(base)) == {"num_inference_steps": 3}


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ([3], "holds no settings by name"),
        ({"num_inference_steps": 0}, "is unusable: num_inference_steps: input should be greater"),
        ({"magic": 1}, "is unusable: magic: this name is not known"),
    ],
)
def test_sampling_that_cannot_be_is_one_sentence(base: Path, sampling: Any, message: str) -> None:
    edit(base / "model_index.json", sampling=sampling)
    for load in (load_pipeline, load_base, model_sampling):
        with pytest.raises(ValueError, match=message) as raised:
            load(str(base))
        assert "\n" not in str(raised.value)
