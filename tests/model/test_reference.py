"""The arrays that the official code computed, reproduced from its checkpoint (rules: the reference's README).

How close: as close as float32 rounding leaves two implementations, which tests/numerics.py measures for every
computation. The reference's README has what its second implementation reached on the processor that made the arrays;
on another one both are off by other last bits.
"""

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
from tests import numerics

SCHEDULERS = {"unipc": UniPCMultistepScheduler, "ddim": DDIMScheduler}


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

    def encode(encoder: Any) -> dict[str, Tensor]:
        states = TextStates(pipeline.tokenizer, encoder, "cpu")(prompts)
        return {"states": torch.stack([states[prompt] for prompt in prompts])}

    with torch.no_grad():
        numerics.check(encode, pipeline.text_encoder, expected={"states": expected["last_hidden_state"]})


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


def decode_mask(decoder: MaskDecoder, features: list[Tensor]) -> dict[str, Tensor]:
    logits = decoder(features)
    return {"mask_logits": logits, "mask": logits.sigmoid()}


@torch.no_grad()
def check_mask(decoder: MaskDecoder, expected: dict[str, Tensor], terms: int = numerics.TERMS) -> None:
    wanted = {name: expected[name] for name in ("mask_logits", "mask")}
    numerics.check(decode_mask, decoder, [expected[f"feature_{n}"] for n in range(3)], expected=wanted, terms=terms)


def test_mask_decoder(official: Path, pipeline: InstructRestorePipeline) -> None:
    for path in at_least_one(sorted(official.glob("mask_decoder_*x*.npz"))):
        check_mask(pipeline.controlnet.mask_decoder, load(path))


def test_mask_decoder_of_full_width(official: Path) -> None:
    """Weights of sines cancel: the reference itself is 1.1e-4 from the exact logits, where the others are 5e-6."""
    expected = load(official / "mask_decoder_512_formula.npz")
    widths = [expected[f"feature_{level}"].shape[1] for level in range(3)]
    decoder = MaskDecoder(widths, 512)
    parameters = dict(decoder.named_parameters())
    order = json.loads((official / "mask_decoder_512_param_order.json").read_text())
    weights = {name: torch.from_numpy(formula(index, name, shape)) for index, name, shape in numbered(order)}
    assert weights.keys() == parameters.keys()
    decoder.load_state_dict(weights)
    check_mask(decoder, expected, terms=9 * (512 + max(widths[1:])))


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


def forward(
    controlnet: Any, unet: Any, sample: Tensor, timestep: Tensor, photo: Tensor, control_texts: Tensor, texts: Tensor
) -> dict[str, Tensor]:
    condition = controlnet.embed_condition(photo)
    control = controlnet(sample, timestep, control_texts, condition, mask_rows=len(sample))
    noise = unet(sample, timestep, texts, **as_residuals(control.residuals)).sample
    names = [f"down_{place}" for place in range(len(control.residuals) - 1)] + ["mid"]
    masks = {"mask_logits": control.mask_logits, "mask": control.mask_logits.sigmoid()}
    residuals = dict(zip(names, control.residuals, strict=True))
    return residuals | masks | {"cond_embedding": condition, "unet_out": noise}


@torch.no_grad()
def test_forward(official: Path, pipeline: InstructRestorePipeline) -> None:
    names = ("sample", "timestep", "control_image", "control_text_embeds", "main_text_embeds")
    others = {"unet_out_without_residuals", "unet_out_main_scale_half"}
    for path in at_least_one(sorted(official.glob("forward_*.npz"))):
        expected = load(path)
        inputs = [expected[name] for name in names]
        wanted = {name: array for name, array in expected.items() if name not in {*names, *others}}
        found = numerics.check(forward, pipeline.controlnet, pipeline.unet, *inputs, expected=wanted)
        assert found.values.keys() == wanted.keys()


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
            assert torch.equal(modulated[place], expected[f"out_{place}"])  # one product each, on any processor
        if "unet_out" in expected:
            ordered = [modulated[f"down_{n}"] for n in range(len(places) - 1)] + [modulated["mid"]]
            inputs = (expected["sample"], expected["timestep"], expected["main_text_embeds"], ordered)
            with torch.no_grad():
                numerics.check(predict, pipeline.unet, *inputs, expected={"unet_out": expected["unet_out"]})


def predict(unet: Any, sample: Tensor, timestep: Tensor, texts: Tensor, residuals: list[Tensor]) -> dict[str, Tensor]:
    return {"unet_out": unet(sample, timestep, texts, **as_residuals(residuals)).sample}


def test_colour_fixes(official: Path) -> None:
    expected = load(official / "colorfix.npz")
    for number in range(sum(name.startswith("target_") for name in expected)):
        target, source = (expected[f"{name}_{number}"].permute(2, 0, 1)[None] / 255 for name in ("target", "source"))
        for name, fix in (("adain", adain_fix), ("wavelet", wavelet_fix)):
            fixed = fix(target, source)
            wanted = {"fixed": expected[f"{name}_float_{number}"][None]}
            numerics.check(
                lambda one, other, fix=fix: {"fixed": fix(one, other)},
                target,
                source,
                expected=wanted,
                terms=target[0, 0].numel(),
            )
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
    options: dict[str, Any] = {
        "settings": settings,
        "latents": expected["initial_noise"],
        "posterior_noise": expected.get("vae_eps"),
    }
    steps, elsewhere = (Steps(pipeline, run, expected, settings) for _ in range(2))
    output = pipeline(photo, run["instruction"], callback_on_step_end=steps.keep, **options)
    with numerics.nudged(pipeline.text_encoder, pipeline.vae, pipeline.unet, pipeline.controlnet):
        pipeline(photo, run["instruction"], callback_on_step_end=elsewhere.keep, **options)

    assert pipeline.scheduler.timesteps.tolist() == expected["timesteps"].tolist()
    assert len(steps.kept) == run["steps"]
    for step, (found, nudged) in enumerate(zip(steps.kept, elsewhere.kept, strict=True)):
        for name, value in found.items():
            wanted = expected[name][step].reshape(value.shape)
            bound = numerics.between(value, nudged[name])
            assert (value.double() - wanted).abs().max() <= bound, (name, step)
    assert torch.equal(expected["final_latents"], expected["latent_after_step"][-1])
    assert_levels(np.asarray(output.images[0]), expected["output_image"], 1)
    if "decoded" in expected:
        scaled = expected["final_latents"] / pipeline.vae.config.scaling_factor
        with torch.no_grad():
            numerics.check(
                lambda vae, latents: {"decoded": vae.decode(latents).sample},
                pipeline.vae,
                scaled,
                expected={"decoded": expected["decoded"]},
            )
    source, target = (expected[each].permute(2, 0, 1)[None] / 255 for each in ("input_image", "output_image"))
    contrast = (source.std(dim=(2, 3)) / target.std(dim=(2, 3))).max()  # AdaIN multiplies a level's difference by it
    for name, fix, gain in (("adain", adain_fix, max(1.0, float(contrast))), ("wavelet", wavelet_fix, 1.0)):
        assert_levels(to_uint8(fix(target, source), truncate=True)[0], expected[f"output_{name}"], 1)
        fixed = pipeline(photo, run["instruction"], **options, colour_fix=name).images[0]
        assert_levels(np.asarray(fixed), expected[f"output_{name}"], 1 + gain)


def base_scheduler(official: Path) -> dict[str, Any]:
    return json.loads((official / "base_model/scheduler/scheduler_config.json").read_text())


class Steps:
    """What every step of a run gives, through the pipeline's callback, by the names of the reference's arrays."""

    def __init__(self, pipe: Any, run: dict[str, Any], expected: dict[str, Tensor], settings: SamplingSettings) -> None:
        self.pipe, self.run, self.expected, self.settings = pipe, run, expected, settings
        self.before = expected["first_latent_in"]
        self.kept: list[dict[str, Tensor]] = []

    def keep(self, pipe: Any, step: int, timestep: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        found = {"guided_noise_pred": tensors["noise"], "latent_after_step": tensors["latents"]}
        self.kept.append(found | self.control(step, timestep))
        self.before = tensors["latents"]
        return {}

    def control(self, step: int, timestep: Tensor) -> dict[str, Tensor]:
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
        if "residual_stats_before" not in self.expected:
            return {"mask": masks}
        maps = scale_maps(
            (masks[1:] > 0.5).float(),
            torch.full((1, 1, 1, 1), self.run["s1"]),
            torch.full((1, 1, 1, 1), self.run["s2"]),
            [1],
        )
        used = maps if step >= self.settings.modulate_from else None
        after = [modulate(residual, used, [1], "nearest", empty=1) for residual in control.residuals]
        return {
            "mask": masks,
            "residual_stats_before": torch.stack([statistics(residual) for residual in control.residuals]),
            "residual_stats_after": torch.stack([statistics(residual) for residual in after]),
        }


def statistics(residual: Tensor) -> Tensor:
    values = residual.double()
    return torch.stack([values.mean(), values.std(), values.norm()])


def test_lq_latents(official: Path, pipeline: InstructRestorePipeline) -> None:
    checked = 0
    for path in sorted((official / "runs").glob("*.npz")):
        expected = load(path)
        if "vae_mean" not in expected:
            continue
        photo = expected["input_image"].permute(2, 0, 1)[None] / 255

        def encode(vae: Any, pixels: Tensor, noise: Tensor) -> dict[str, Tensor]:
            posterior = vae.encode(pixels).latent_dist
            sample = posterior.mean + posterior.std * noise
            return {"vae_mean": posterior.mean, "vae_logvar": posterior.logvar, "vae_sample_unscaled": sample}

        wanted = {name: expected[name] for name in ("vae_mean", "vae_logvar", "vae_sample_unscaled")}
        with torch.no_grad():
            numerics.check(encode, pipeline.vae, photo * 2 - 1, expected["vae_eps"], expected=wanted)
        checked += 1
    assert checked


def test_training_step(official: Path) -> None:
    """Losses, every parameter's gradient norm, and the parameters after one step of AdamW."""
    expected, facts = load(official / "train_step.npz"), json.loads((official / "train_step.json").read_text())
    pipe = InstructRestorePipeline.from_pretrained(
        official / "base_model", controlnet=RegionControlNet.from_pretrained(official / "controlnet")
    )
    pipe.unet.requires_grad_(False)
    noising = DDPMScheduler.from_config(base_scheduler(official))
    timesteps, clip = expected["timesteps"], facts["max_grad_norm"]
    norms = facts["grad_norm_before_clip_per_parameter"]
    assert norms.keys() == dict(pipe.controlnet.named_parameters()).keys()

    def train(controlnet: Any, unet: Any, given: dict[str, Tensor]) -> dict[str, Tensor]:
        optimizer = torch.optim.AdamW(controlnet.parameters(), lr=5e-5, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8)
        noisy = noising.add_noise(given["latents"], given["noise"], timesteps)
        condition = controlnet.embed_condition(given["control_image"])
        control = controlnet(noisy, timesteps, given["control_text_embeds"], condition, mask_rows=len(noisy))
        residuals = as_residuals(control.residuals)
        predicted = unet(noisy, timesteps, given["main_text_embeds"], **residuals).sample
        result = losses(predicted, given["noise"], control.mask_logits, expected["mask_gt"])
        optimizer.zero_grad()
        result.total.backward()
        parameters = dict(controlnet.named_parameters())
        of_parameters = torch.stack([parameters[name].grad.norm() / norm for name, norm in norms.items()])
        total = torch.nn.utils.clip_grad_norm_(controlnet.parameters(), clip)
        outputs = {
            "noisy_latents": noisy,
            "model_pred": predicted,
            "mask_output": control.mask_logits.sigmoid(),
            "mse": result.noise,
            "bce": result.mask,
            "total": result.total,
            "norms to the reference's": of_parameters,
            "global norm": total,
        }
        kept = [name for name in expected if name.startswith("clipped_grad__")]
        outputs |= {name: parameters[name.removeprefix("clipped_grad__")].grad.clone() for name in kept}
        optimizer.step()
        for name in kept:
            plain = name.removeprefix("clipped_grad__")
            outputs[f"after_step__{plain}"] = parameters[plain].detach().clone()
        return outputs

    given = {name: expected[name] for name in ("latents", "noise", "control_image")}
    given |= {name: expected[name] for name in ("control_text_embeds", "main_text_embeds")}
    wanted = {name: array for name, array in expected.items() if name.startswith(("clipped_grad__", "after_step__"))}
    wanted |= {name: expected[name] for name in ("noisy_latents", "model_pred", "mask_output")}
    wanted |= {name: torch.tensor(facts[name]) for name in ("mse", "bce", "total")}
    wanted["norms to the reference's"] = torch.ones(len(norms))
    wanted["global norm"] = torch.tensor(facts["global_grad_norm_before_clip"])
    numerics.check(train, pipe.controlnet.train(), pipe.unet, given, expected=wanted)


def test_reduced_mask(official: Path) -> None:
    expected = load(official / "train_step.npz")
    reduced = expected["mask_full_size_reduced"]
    assert torch.equal(resize_map(expected["mask_full_size"], tuple(reduced.shape[-2:]), "nearest"), reduced)
