"""Stable Diffusion's x4 upscaler, tiny and with random weights, in diffusers' own classes: the published weights are
not at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_upscale import StableDiffusionUpscalePipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from numpy.typing import NDArray
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from instructrestore.pipelines.evaluation.methods.photos import shrunk
from instructrestore.pipelines.evaluation.methods.restorers import LoadedMethod, load_method
from instructrestore.pipelines.evaluation.methods.spec import MethodSpec, parse_method
from instructrestore.pipelines.evaluation.methods.x4_upscaler import X4Upscaler
from tests.pipelines.evaluation.small_photos import enlarged, levels_apart, small_photo

CPU = torch.device("cpu")
WIDTH = 16
VAE: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "block_out_channels": (8, 8, 16),
    "latent_channels": 4,
    "norm_num_groups": 4,
    "scaling_factor": 0.08333,
}


def upscaler_parts() -> dict[str, Any]:
    """The parts of a pipeline as stable-diffusion-x4-upscaler has them, but small, from random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=16,
            in_channels=7,
            out_channels=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(WIDTH, 2 * WIDTH),
            layers_per_block=1,
            norm_num_groups=4,
            cross_attention_dim=WIDTH,
            attention_head_dim=8,
            num_class_embeds=1000,
        )
        vae = AutoencoderKL(**VAE)
        words = {"!": 0, "<|startoftext|>": 1, "<|endoftext|>": 2}
        text = CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=WIDTH,
            intermediate_size=WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            bos_token_id=1,
            eos_token_id=2,
        )
        return {
            "unet": unet,
            "vae": vae,
            "text_encoder": CLIPTextModel(text),
            "tokenizer": CLIPTokenizer(vocab=words, merges=[], pad_token="!", model_max_length=77),  # pyright: ignore[reportArgumentType]
            "scheduler": DDIMScheduler(beta_start=0.0001, beta_end=0.02, prediction_type="v_prediction"),
            "low_res_scheduler": DDPMScheduler(beta_start=0.0001, beta_end=0.02, beta_schedule="scaled_linear"),
        }


@pytest.fixture(scope="module")
def upscaler_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("upscaler")
    StableDiffusionUpscalePipeline(**upscaler_parts()).save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="module")
def upscaler(upscaler_folder: Path) -> X4Upscaler:
    return X4Upscaler(str(upscaler_folder), None, CPU, steps=4)


def test_the_upscaler_gives_what_the_pipeline_gives(upscaler: X4Upscaler) -> None:
    small = small_photo(16, 24)
    photo = enlarged(small)
    (result,) = upscaler([photo], [5])
    assert result.dtype == np.uint8 and result.shape == photo.shape == (64, 96, 3)
    pipeline = StableDiffusionUpscalePipeline(**upscaler_parts())
    pipeline.set_progress_bar_config(disable=True)

    def plainly(seed: int, guidance: float) -> NDArray[np.uint8]:
        output: Any = pipeline(
            prompt="",
            image=shrunk(photo, 4),
            num_inference_steps=4,
            guidance_scale=guidance,
            noise_level=20,
            generator=torch.Generator().manual_seed(seed),
            output_type="np",
        )
        return (output.images[0] * 255).round().astype(np.uint8)

    assert np.array_equal(result, plainly(5, 1.0))
    assert levels_apart(result, plainly(5, 9.0)) <= 1  # guidance between two empty prompts does nothing
    assert levels_apart(result, plainly(6, 1.0)) > 1


def test_upscaled_photos_depend_on_their_seeds_and_on_no_other_photo(upscaler: X4Upscaler) -> None:
    photos = [enlarged(small_photo(16, 16, seed)) for seed in range(3)]
    together = upscaler(photos, [1, 2, 3])
    for photo, seed, result in zip(photos, (1, 2, 3), together, strict=True):
        assert np.array_equal(upscaler([photo], [seed])[0], result)
    assert not np.array_equal(upscaler(photos[:1], [4])[0], together[0])
    with pytest.raises(ValueError, match="zip"):
        upscaler(photos, [1])


def test_an_upscaled_photo_has_its_size_whatever_the_networks_halve(upscaler: X4Upscaler) -> None:
    photo = enlarged(small_photo(17, 21))
    assert upscaler([photo], [0])[0].shape == (68, 84, 3)
    with pytest.raises(ValueError, match="66x64 cannot be shrunk"):
        upscaler([np.zeros((64, 66, 3), np.uint8)], [0])


def test_a_loaded_upscaler_is_asked_for_by_name(upscaler_folder: Path) -> None:
    run = parse_method(f"x4-upscaler={upscaler_folder}")
    runner: LoadedMethod = load_method(run, "cpu")
    photo = enlarged(small_photo(8, 8))
    assert runner([photo], [0])[0].shape == photo.shape


def broken(folder: Path, source: Path, part: str, change: dict[str, Any] | None, config: str = "config.json") -> str:
    """A copy of the pipeline with a part's configuration changed, or without its weights."""
    for file in source.rglob("*"):
        if file.is_file() and not (change is None and file.suffix == ".safetensors" and file.parent.name == part):
            place = folder / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())
    if change is not None:
        path = folder / part / config
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    return str(folder)


@pytest.mark.parametrize(
    ("part", "change", "config", "expected"),
    [
        ("unet", None, "", "there are no weights in .*unet"),
        (".", {"_class_name": "StableDiffusionPipeline"}, "model_index.json", "is a StableDiffusionPipeline, not a"),
        ("scheduler", {"_class_name": "os"}, "scheduler_config.json", "wants the scheduler os"),
        ("unet", {"block_out_channels": [16, 64]}, "config.json", "not of one piece|belong to another"),
        ("text_encoder", {"vocab_size": 9}, "config.json", "not of one piece|belong to another"),
    ],
)
def test_pipelines_that_are_not_whole_are_one_sentence(
    tmp_path: Path, upscaler_folder: Path, part: str, change: dict[str, Any] | None, config: str, expected: str
) -> None:
    with pytest.raises(ValueError, match=expected) as caught:
        load_method(
            MethodSpec("x4-upscaler", broken(tmp_path / "broken", upscaler_folder, part, change, config)), "cpu"
        )
    assert "\n" not in str(caught.value)


def test_a_pipeline_with_cut_or_pickled_weights_is_one_sentence(tmp_path: Path, upscaler_folder: Path) -> None:
    folder = Path(broken(tmp_path / "broken", upscaler_folder, "unet", {}))
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match="truncated or corrupt"):
        load_method(MethodSpec("x4-upscaler", str(folder)), "cpu")
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ValueError, match=r"as a pickle .* can run code"):
        load_method(MethodSpec("x4-upscaler", str(folder)), "cpu")


def test_an_upscaler_without_its_tokenizer_is_one_sentence(tmp_path: Path, upscaler_folder: Path) -> None:
    folder = Path(broken(tmp_path / "broken", upscaler_folder, "tokenizer", {}, "tokenizer_config.json"))
    for file in (folder / "tokenizer").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match="token"):
        load_method(MethodSpec("x4-upscaler", str(folder)), "cpu")


def test_places_that_are_no_pipeline_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no folder"):
        load_method(MethodSpec("x4-upscaler", str(tmp_path / "nowhere" / "at all")))
    with pytest.raises(ValueError, match="is not a saved pipeline: there is no"):
        load_method(MethodSpec("x4-upscaler", str(tmp_path)))
    with pytest.raises(ValueError, match="a folder, which has no revision"):
        load_method(MethodSpec("x4-upscaler", str(tmp_path), "main"))
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        load_method(MethodSpec("x4-upscaler", str(tmp_path)), "gpu")
