"""The arrays that the official code computed, reproduced from its checkpoint (rules: the reference's README)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UniPCMultistepScheduler
from torch import Tensor

from instructrestore.model.instruction.instruction import control_text, unet_text
from instructrestore.model.instruction.parser import parse
from instructrestore.model.networks.mask_decoder import MaskDecoder
from instructrestore.model.networks.modulation import modulate, resize_map, scale_maps
from instructrestore.model.networks.region_controlnet import RegionControlNet
from instructrestore.model.networks.texts import TextStates
from instructrestore.model.restoring.colour import adain_fix, wavelet_fix
from instructrestore.model.restoring.photos import to_uint8
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.model.training.objective import losses

SCHEDULERS = {"unipc": UniPCMultistepScheduler, "ddim": DDIMScheduler}
CLOSE = 1e-4
LATENTS_CLOSE = 5e-4


@pytest.fixture(scope="module")
def official(reference_folder: Path) -> Path:
    return reference_folder / "official_model"


@pytest.fixture(scope="module")
def pipeline(official: Path) -> InstructRestorePipeline:
    controlnet = RegionControlNet.from_pretrained(official / "controlnet")
    pipe = InstructRestorePipeline.from_pretrained(official / "base_model", controlnet=controlnet)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def load(path: Path) -> dict[str, Tensor]:
    with np.load(path) as arrays:
        return {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays.files}


def assert_close(found: Tensor, expected: Tensor, tolerance: float = CLOSE) -> None:
    """Within `tolerance` of the expected array's largest magnitude."""
    assert found.shape == expected.shape
    error = float((found.double() - expected.double()).abs().max())
    assert error <= tolerance * float(expected.double().abs().max()), error


def assert_levels(found: np.ndarray, expected: Tensor, levels: float) -> None:
    """8-bit pictures no further apart than so many levels."""
    assert np.abs(found.astype(int) - expected.numpy()).max() <= levels


def at_least_one(paths: list[Path]) -> list[Path]:
    assert paths
    return paths


def test_texts(official: Path, pipeline: InstructRestorePipeline) -> None:
    prompts = json.loads((official / "text_prompts.json").read_text())
    expected = load(official / "text.npz")
    tokens = pipeline.tokenizer(prompts, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    assert torch.equal(tokens.input_ids, expected["input_ids"])
    with torch.no_grad():
        states = TextStates(pipeline.tokenizer, pipeline.text_encoder, "cpu")(prompts)
    assert_close(torch.stack([states[prompt] for prompt in prompts]), expected["last_hidden_state"])


def test_parser_of_the_release(official: Path) -> None:
    for row in json.loads((official / "parse_table.json").read_text()):
        nested = row["instruction"].count("keep other parts") > 1  # the release makes nonsense of two endings
        if not row["ok"] or nested:
            continue
        instruction = parse(row["instruction"])
        (region,) = instruction.regions
        assert (region.scale, instruction.others) == (row["s1_inner"], row["s2_outer"])
        assert unet_text(instruction.captions, instruction.bokeh) == row["main_prompt"]
        assert control_text(region.caption, instruction.bokeh) == row["parser_control_prompt"]


def test_mask_decoder(official: Path, pipeline: InstructRestorePipeline) -> None:
    for path in at_least_one(sorted(official.glob("mask_decoder_*x*.npz"))):
        expected = load(path)
        with torch.no_grad():
            logits = pipeline.controlnet.mask_decoder([expected[f"feature_{level}"] for level in range(3)])
        assert_close(logits, expected["mask_logits"])
        assert_close(logits.sigmoid(), expected["mask"])


def test_mask_decoder_of_full_width(official: Path) -> None:
    expected = load(official / "mask_decoder_512_formula.npz")
    features = [expected[f"feature_{level}"] for level in range(3)]
    decoder = MaskDecoder([feature.shape[1] for feature in features], 512)
    parameters = dict(decoder.named_parameters())
    order = json.loads((official / "mask_decoder_512_param_order.json").read_text())
    weights = {name: torch.from_numpy(formula(index, name, shape)) for index, name, shape in numbered(order)}
    assert weights.keys() == parameters.keys()
    decoder.load_state_dict(weights)
    with torch.no_grad():
        logits = decoder(features)
    assert_close(logits, expected["mask_logits"])
    assert_close(logits.sigmoid(), expected["mask"])


def numbered(order: Any) -> list[tuple[int, str, list[int]]]:
    rows = order if isinstance(order, list) else list(order.values())
    return [(index, *named(row)) for index, row in enumerate(rows)]


def named(row: Any) -> tuple[str, list[int]]:
    if isinstance(row, Mapping):
        return row["name"].removeprefix("mask_decoder."), row["shape"]
    *_, name, shape = row
    return name.removeprefix("mask_decoder."), shape


def formula(index: int, name: str, shape: list[int]) -> np.ndarray:
    k = np.arange(np.prod(shape), dtype=np.float64)
    if len(shape) == 4:
        values = 2 / np.sqrt(np.prod(shape[1:])) * np.sin(0.7310585 * k + 0.05 * np.sqrt(k) + index)
    else:
        values = (1 if "norm" in name and name.endswith("weight") else 0) + 0.1 * np.sin(0.37 * k + index)
    return values.reshape(shape).astype(np.float32)


def test_forward(official: Path, pipeline: InstructRestorePipeline) -> None:
    for path in at_least_one(sorted(official.glob("forward_*.npz"))):
        expected = load(path)
        sample, timestep, texts = expected["sample"], expected["timestep"], expected["main_text_embeds"]
        with torch.no_grad():
            condition = pipeline.controlnet.embed_condition(expected["control_image"])
            control = pipeline.controlnet(
                sample, timestep, expected["control_text_embeds"], condition, mask_rows=len(sample)
            )
            noise = pipeline.unet(sample, timestep, texts, **as_residuals(control.residuals)).sample
        assert_close(condition, expected["cond_embedding"])
        names = [f"down_{place}" for place in range(len(control.residuals) - 1)] + ["mid"]
        assert f"down_{len(names) - 1}" not in expected
        for name, residual in zip(names, control.residuals, strict=True):
            assert_close(residual, expected[name])
        assert_close(control.mask_logits, expected["mask_logits"])
        assert_close(control.mask_logits.sigmoid(), expected["mask"])
        assert_close(noise, expected["unet_out"])


def as_residuals(residuals: Any) -> dict[str, Any]:
    return {"down_block_additional_residuals": residuals[:-1], "mid_block_additional_residual": residuals[-1]}


def test_modulation(official: Path, pipeline: InstructRestorePipeline) -> None:
    for path in at_least_one(sorted(official.glob("modulation_*.npz"))):
        expected = load(path)
        mask = (expected["mask"][1:] > 0.5).float()
        scales, others = (expected[name].float().view(1, 1, 1, 1) for name in ("s1", "s2"))
        maps = scale_maps(mask, scales, others, [1])
        places = [name.removeprefix("in_") for name in expected if name.startswith("in_")]
        modulated = {}
        for place in places:
            modulated[place] = modulate(expected[f"in_{place}"], maps, [1], "nearest", empty=1)
            assert_close(modulated[place], expected[f"out_{place}"], 1e-6)
        if "unet_out" in expected:
            ordered = [modulated[f"down_{n}"] for n in range(len(places) - 1)] + [modulated["mid"]]
            with torch.no_grad():
                noise = pipeline.unet(
                    expected["sample"], expected["timestep"], expected["main_text_embeds"], **as_residuals(ordered)
                ).sample
            assert_close(noise, expected["unet_out"])


def test_colour_fixes(official: Path) -> None:
    expected = load(official / "colorfix.npz")
    for number in range(sum(name.startswith("target_") for name in expected)):
        target, source = (expected[f"{name}_{number}"].permute(2, 0, 1)[None] / 255 for name in ("target", "source"))
        for name, fix in (("adain", adain_fix), ("wavelet", wavelet_fix)):
            fixed = fix(target, source)
            assert_close(fixed[0], expected[f"{name}_float_{number}"])
            assert_levels(to_uint8(fixed, truncate=True)[0], expected[f"{name}_{number}"], 1)


def run_names() -> list[str]:
    from tests.conftest import reference_path

    runs = reference_path() / "official_model/runs/runs.json"
    return list(json.loads(runs.read_text())) if runs.is_file() else ["(no reference)"]


@pytest.mark.parametrize("name", run_names())
def test_run(official: Path, pipeline: InstructRestorePipeline, name: str) -> None:
    """A whole run: every step's masks and noise, the latents, the photo and both colour fixes."""
    run = json.loads((official / "runs/runs.json").read_text())[name]
    expected = load(official / "runs" / f"{name}.npz")
    pipeline.scheduler = SCHEDULERS[run["sampler"]].from_config(base_scheduler(official))
    settings = SamplingSettings(
        compat="official",
        num_inference_steps=run["steps"],
        guidance_scale=run["guidance_scale"],
        start={"lr": "lq", "noise": "noise"}[run["start_point"]],
        modulate_from=run["mask_init_step"] + 1,
        official_demo_prompt=run["control_prompt"] == f"make {run['main_prompt']} clear",
        colour_fix="none",
    )
    photo = expected["input_image"].numpy()
    steps = Steps(pipeline, run, expected, settings)
    options: dict[str, Any] = {
        "settings": settings,
        "latents": expected["initial_noise"],
        "posterior_noise": expected.get("vae_eps"),
    }
    output = pipeline(photo, run["instruction"], callback_on_step_end=steps.check, **options)

    assert pipeline.scheduler.timesteps.tolist() == expected["timesteps"].tolist()
    assert steps.seen == run["steps"]
    assert_close(steps.latents, expected["final_latents"], LATENTS_CLOSE)
    assert_levels(np.asarray(output.images[0]), expected["output_image"], 1)
    if "decoded" in expected:
        with torch.no_grad():
            decoded = pipeline.vae.decode(expected["final_latents"] / pipeline.vae.config.scaling_factor).sample
        assert_close(decoded, expected["decoded"])
    source, target = (expected[each].permute(2, 0, 1)[None] / 255 for each in ("input_image", "output_image"))
    contrast = (source.std(dim=(2, 3)) / target.std(dim=(2, 3))).max()  # AdaIN multiplies a level's difference by it
    for name, fix, gain in (("adain", adain_fix, max(1.0, float(contrast))), ("wavelet", wavelet_fix, 1.0)):
        assert_levels(to_uint8(fix(target, source), truncate=True)[0], expected[f"output_{name}"], 1)
        fixed = pipeline(photo, run["instruction"], **options, colour_fix=name).images[0]
        assert_levels(np.asarray(fixed), expected[f"output_{name}"], 1 + gain)


def base_scheduler(official: Path) -> dict[str, Any]:
    return json.loads((official / "base_model/scheduler/scheduler_config.json").read_text())


class Steps:
    """Compares every step of a run with the reference's, through the pipeline's callback."""

    def __init__(self, pipe: Any, run: dict[str, Any], expected: dict[str, Tensor], settings: SamplingSettings) -> None:
        self.pipe, self.run, self.expected, self.settings = pipe, run, expected, settings
        self.before = expected["first_latent_in"]
        self.latents = self.before
        self.seen = 0

    def check(self, pipe: Any, step: int, timestep: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        assert_close(tensors["noise"], self.expected["guided_noise_pred"][step])
        assert_close(tensors["latents"], self.expected["latent_after_step"][step], LATENTS_CLOSE)
        self.check_control(step, timestep)
        self.latents = self.before = tensors["latents"]
        self.seen += 1
        return {}

    def check_control(self, step: int, timestep: Tensor) -> None:
        """Both halves' masks, and the residuals before and after the rule."""
        prompts = ["", self.run["control_prompt"]]
        states = TextStates(self.pipe.tokenizer, self.pipe.text_encoder, "cpu")(prompts)
        photo = self.expected["input_image"].permute(2, 0, 1)[None] / 255
        condition = self.pipe.controlnet.embed_condition(photo)
        doubled = torch.cat([self.before, self.before])
        control = self.pipe.controlnet(
            doubled, timestep, torch.stack([states[prompt] for prompt in prompts]), condition, mask_rows=2
        )
        masks = control.mask_logits.sigmoid()
        assert_close(masks, self.expected["mask"][step])
        if "residual_stats_before" not in self.expected:
            return
        maps = scale_maps(
            (masks[1:] > 0.5).float(),
            torch.full((1, 1, 1, 1), self.run["s1"]),
            torch.full((1, 1, 1, 1), self.run["s2"]),
            [1],
        )
        modulated = step >= self.settings.modulate_from
        for place, residual in enumerate(control.residuals):
            assert_close(statistics(residual), self.expected["residual_stats_before"][step, place])
            after = modulate(residual, maps if modulated else None, [1], "nearest", empty=1)
            assert_close(statistics(after), self.expected["residual_stats_after"][step, place])


def statistics(residual: Tensor) -> Tensor:
    values = residual.double()
    return torch.stack([values.mean(), values.std(), values.norm()])


def test_lq_latents(official: Path, pipeline: InstructRestorePipeline) -> None:
    checked = 0
    for path in sorted((official / "runs").glob("*.npz")):
        expected = load(path)
        if "vae_mean" not in expected:
            continue
        with torch.no_grad():
            photo = expected["input_image"].permute(2, 0, 1)[None] / 255
            posterior = pipeline.vae.encode(photo * 2 - 1).latent_dist
        assert_close(posterior.mean, expected["vae_mean"])
        assert_close(posterior.logvar, expected["vae_logvar"])
        assert_close(posterior.mean + posterior.std * expected["vae_eps"], expected["vae_sample_unscaled"])
        checked += 1
    assert checked


def test_training_step(official: Path) -> None:
    """Losses, every parameter's gradient norm, and the parameters after one step of AdamW."""
    expected, facts = load(official / "train_step.npz"), json.loads((official / "train_step.json").read_text())
    pipe = InstructRestorePipeline.from_pretrained(
        official / "base_model", controlnet=RegionControlNet.from_pretrained(official / "controlnet")
    )
    controlnet = pipe.controlnet.train()
    pipe.unet.requires_grad_(False)
    noising = DDPMScheduler.from_config(base_scheduler(official))
    noisy = noising.add_noise(expected["latents"], expected["noise"], expected["timesteps"])
    assert_close(noisy, expected["noisy_latents"])

    optimizer = torch.optim.AdamW(controlnet.parameters(), lr=5e-5, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8)
    condition = controlnet.embed_condition(expected["control_image"])
    control = controlnet(noisy, expected["timesteps"], expected["control_text_embeds"], condition, mask_rows=len(noisy))
    predicted = pipe.unet(
        noisy, expected["timesteps"], expected["main_text_embeds"], **as_residuals(control.residuals)
    ).sample
    assert_close(predicted.detach(), expected["model_pred"])
    assert_close(control.mask_logits.detach().sigmoid(), expected["mask_output"])
    result = losses(predicted, expected["noise"], control.mask_logits, expected["mask_gt"])
    assert float(result.noise) == pytest.approx(facts["mse"], rel=CLOSE)
    assert float(result.mask) == pytest.approx(facts["bce"], rel=CLOSE)
    assert float(result.total) == pytest.approx(facts["total"], rel=CLOSE)

    result.total.backward()
    parameters = dict(controlnet.named_parameters())
    norms = facts["grad_norm_before_clip_per_parameter"]
    assert norms.keys() == parameters.keys()
    largest = max(norms.values())
    for name, norm in norms.items():
        assert float(parameters[name].grad.norm()) == pytest.approx(norm, rel=CLOSE, abs=1e-6 * largest), name
    total = torch.nn.utils.clip_grad_norm_(controlnet.parameters(), facts["max_grad_norm"])
    assert float(total) == pytest.approx(facts["global_grad_norm_before_clip"], rel=CLOSE)
    for name, array in expected.items():
        if name.startswith("clipped_grad__"):
            assert_close(parameters[name.removeprefix("clipped_grad__")].grad, array)
    optimizer.step()
    for name, array in expected.items():
        if name.startswith("after_step__"):
            assert_close(parameters[name.removeprefix("after_step__")].detach(), array)


def test_reduced_mask(official: Path) -> None:
    expected = load(official / "train_step.npz")
    reduced = expected["mask_full_size_reduced"]
    assert torch.equal(resize_map(expected["mask_full_size"], tuple(reduced.shape[-2:]), "nearest"), reduced)
