"""The pipeline as its users see it, with the tiny base: what it promises, and what it says to bad input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from instructrestore.model.instruction.instruction import Instruction, RegionScale
from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.model.restoring.settings import SamplingSettings, resolve
from tests import numerics

STEPS = 3
DOG = "make the dog clear with 0.5 and keep other parts clear with 1"


@pytest.fixture(scope="module")
def pipe(tiny_base: Path) -> InstructRestorePipeline:
    loaded = load_pipeline(str(tiny_base), device="cpu")
    loaded.set_progress_bar_config(disable=True)
    return loaded


def photo(height: int = 64, width: int = 96, seed: int = 0) -> Tensor:
    """A made-up photo: smooth colours with some texture."""
    generator = torch.Generator().manual_seed(seed)
    smooth = torch.nn.functional.interpolate(
        torch.rand(1, 3, 5, 5, generator=generator), (height, width), mode="bicubic"
    )
    return (smooth[0] + 0.05 * torch.randn(3, height, width, generator=generator)).clamp(0, 1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def restore(pipe: InstructRestorePipeline, picture: Any, instruction: Any = DOG, **options: Any) -> np.ndarray:
    """(B, H, W, 3) in [0, 1]."""
    settings = {"num_inference_steps": STEPS, "colour_fix": "none", "generator": seeded(), "output_type": "np"}
    images = pipe(picture, instruction, **{**settings, **options}).images
    assert isinstance(images, np.ndarray)
    return images


def restored(pipe: InstructRestorePipeline, *given: Any, **options: Any) -> tuple[np.ndarray, float]:
    """What `restore` gives, and how far the same computation in another order may lie from it."""
    generator = options.pop("generator", seeded())
    states = [each.get_state() for each in (generator if isinstance(generator, list) else [generator])]
    found = restore(pipe, *given, generator=generator, **options)
    for each, state in zip(generator if isinstance(generator, list) else [generator], states, strict=True):
        each.set_state(state)
    with numerics.nudged(pipe.text_encoder, pipe.vae, pipe.unet, pipe.controlnet):
        nudged = restore(pipe, *given, generator=generator, **options)
    return found, numerics.between(torch.from_numpy(found), torch.from_numpy(nudged))


@contextmanager
def mask_bias(pipe: InstructRestorePipeline, bias: float) -> Iterator[None]:
    """The mask decoder finding all (large) or nothing (small)."""
    parameter = pipe.controlnet.mask_decoder.final_conv.bias
    assert parameter is not None
    before = parameter.detach().clone()
    parameter.data.fill_(bias)
    try:
        yield
    finally:
        parameter.data.copy_(before)


# What restoring promises


def test_scales_of_one_change_nothing_exactly(pipe: InstructRestorePipeline) -> None:
    ones = restore(pipe, photo(), "make the dog clear")
    assert np.array_equal(ones, restore(pipe, photo(), DOG, modulate_from=STEPS))
    assert not np.array_equal(ones, restore(pipe, photo(), DOG))


def test_swapping_mask_and_scales(pipe: InstructRestorePipeline) -> None:
    mask = torch.rand(64, 96, generator=seeded(1))
    one, bound = restored(pipe, photo(), DOG, masks=[[mask]])
    other = restore(pipe, photo(), "make the dog clear with 1 and keep other parts with 0.5", masks=[[1 - mask]])
    assert np.abs(one - other).max() <= bound


def test_a_batch_equals_its_photos_alone(pipe: InstructRestorePipeline) -> None:
    photos = [photo(seed=seed) for seed in range(4)]
    instructions = [
        DOG,
        "make the cat clear with 0.7, make the sky clear with 1.2 and keep other parts clear with 0.9",
        "make the woman clear with 1.1 and keep other parts bokeh blur with 0.6",
        "make the hat clear, make the cup clear with 0.5, make the road clear with 0.4",
    ]
    masks = [None, None, [photo(seed=9)[0]], None]
    for options in ({}, {"posterior": "sample"}, {"start": "noise", "guidance_scale": 1}, {"mask": "hard"}):
        generators = [seeded(seed) for seed in range(4)]
        together, bound = restored(pipe, photos, instructions, masks=masks, generator=generators, **options)
        for place, own in enumerate(together):
            alone = restore(
                pipe,
                photos[place],
                instructions[place],
                masks=[masks[place]],
                generator=seeded(place),
                **options,
            )[0]
            assert np.abs(own - alone).max() <= bound, (options, place)


def test_same_seed_same_photo(pipe: InstructRestorePipeline) -> None:
    assert np.array_equal(restore(pipe, photo()), restore(pipe, photo()))
    assert not np.array_equal(restore(pipe, photo()), restore(pipe, photo(), generator=seeded(1)))


def test_half_precision_is_close(pipe: InstructRestorePipeline, tiny_base: Path) -> None:
    half = load_pipeline(str(tiny_base), dtype="bfloat16", device="cpu")
    half.set_progress_bar_config(disable=True)
    assert half.unet.dtype == half.controlnet.dtype == half.vae.dtype == torch.bfloat16
    for options in ({"num_inference_steps": 8}, {"num_inference_steps": 4, "start": "noise"}):
        assert np.abs(restore(pipe, photo(), **options) - restore(half, photo(), **options)).max() < 2e-2


def test_saved_and_loaded(pipe: InstructRestorePipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    assert not list(tmp_path.rglob("*.bin"))
    loaded = InstructRestorePipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert np.array_equal(restore(pipe, photo()), restore(loaded, photo()))


@pytest.mark.parametrize(
    "name",
    """DDIM DDPM PNDM LMSDiscrete EulerDiscrete EulerAncestralDiscrete HeunDiscrete DPMSolverMultistep
    DPMSolverSinglestep DEISMultistep UniPCMultistep""".split(),  # noqa: SIM905
)
def test_every_scheduler(pipe: InstructRestorePipeline, name: str) -> None:
    """Restored with enough steps, every scheduler comes to much the same photo as UniPC."""
    own = pipe.scheduler
    settings = {"num_inference_steps": 12, "guidance_scale": 1}
    expected = restore(pipe, photo(), **settings)
    pipe.scheduler = getattr(diffusers, f"{name}Scheduler").from_config(own.config)
    try:
        for start in ("lq", "noise"):
            found = restore(pipe, photo(), start=start, **settings)
            assert np.abs(found - expected).mean() < 0.08, start
    finally:
        pipe.scheduler = own


def test_steps_over_a_part_of_the_schedule(pipe: InstructRestorePipeline) -> None:
    """Evenly from the last timestep down, with the last one first."""
    own, seen = pipe.scheduler, []

    def note(_: Any, step: int, timestep: Tensor, __: Any) -> dict[str, Any]:
        seen.append(int(timestep))
        return {}

    try:
        for least, expected in ((800, [999, 949, 899, 849]), (1, [999, 750, 500, 250]), (996, [999, 998, 997, 996])):
            pipe.scheduler = diffusers.DPMSolverMultistepScheduler.from_config(own.config, solver_order=1)
            settings = {"num_inference_steps": 4, "guidance_scale": 1}
            restore(pipe, photo(), **settings, least_timestep=least, callback_on_step_end=note)
            assert seen == expected, least
            seen.clear()
        with pytest.raises(ValueError, match=r"^4 steps do not fit between timestep 999 and least_timestep=997$"):
            restore(pipe, photo(), **settings, least_timestep=997)
    finally:
        pipe.scheduler = own


def first_latents(pipe: InstructRestorePipeline, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    """What the networks saw in the first step, the LQ latents and the noise."""
    seen = []
    unet = pipe.unet.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        noise = torch.randn(1, 4, 8, 12, generator=seeded())
        restore(pipe, photo(), latents=noise, guidance_scale=1, **options)
    finally:
        unet.remove()
    with torch.no_grad():
        lq = pipe.vae.encode(photo()[None] * 2 - 1).latent_dist.mean * pipe.vae.config["scaling_factor"]
    return seen[0], lq, noise


@pytest.mark.parametrize(
    "name", ["DDIM", "PNDM", "EulerDiscrete", "LMSDiscrete", "DPMSolverMultistep", "UniPCMultistep"]
)
def test_the_first_step_sees_the_noise_of_its_timestep(pipe: InstructRestorePipeline, name: str) -> None:
    own = pipe.scheduler
    pipe.scheduler = getattr(diffusers, f"{name}Scheduler").from_config(own.config)
    try:
        seen, lq, noise = first_latents(pipe)
        signal = pipe.scheduler.alphas_cumprod[round(float(pipe.scheduler.timesteps[0]))]
        expected = signal.sqrt() * lq + (1 - signal).sqrt() * noise
        assert (seen - expected).abs().max() < 0.01
        seen, _, noise = first_latents(pipe, start="noise")
        assert (seen - noise).abs().max() < 0.01
    finally:
        pipe.scheduler = own


def test_noise_of_the_steps_comes_from_the_generator(pipe: InstructRestorePipeline) -> None:
    own = pipe.scheduler
    pipe.scheduler = diffusers.EulerAncestralDiscreteScheduler.from_config(own.config)
    try:
        photos = [photo(seed=seed) for seed in range(2)]
        together, bound = restored(pipe, photos, generator=[seeded(1), seeded(2)])
        for place in range(2):
            alone = restore(pipe, photos[place], generator=[seeded(place + 1)])[0]
            assert np.abs(together[place] - alone).max() <= bound
    finally:
        pipe.scheduler = own


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("FlowMatchEulerDiscrete", {}),
        ("LCM", {"start_timestep": 5000}),
        ("EulerDiscrete", {"start_timestep": 500}),
        ("DDIM", {"start_timestep": 5000}),
        ("DDIM", {"least_timestep": 500}),
    ],
)
def test_a_scheduler_that_cannot_serve_is_named(
    pipe: InstructRestorePipeline, name: str, settings: dict[str, Any]
) -> None:
    own = pipe.scheduler
    scheduler = getattr(diffusers, f"{name}Scheduler")
    pipe.scheduler = scheduler() if name.startswith("Flow") else scheduler.from_config(own.config)
    try:
        with pytest.raises(ValueError, match=name) as caught:
            restore(pipe, photo(), **settings)
        assert "\n" not in str(caught.value)
    finally:
        pipe.scheduler = own


# Masks and scales


def test_predicted_mask_is_that_of_the_first_step(pipe: InstructRestorePipeline) -> None:
    instruction = "make the cat clear with 0.7, make the sky clear with 1.2 and keep other parts clear with 0.9"
    options: dict[str, Any] = {"num_inference_steps": STEPS, "colour_fix": "none"}
    predicted = pipe.predict_mask(photo(), instruction, generator=seeded(), **options)
    output = pipe(photo(), instruction, generator=seeded(), mask_steps=1, **options)
    assert predicted.masks[0].shape == (2, 64, 96)
    with numerics.nudged(pipe.text_encoder, pipe.vae, pipe.controlnet):
        nudged = pipe.predict_mask(photo(), instruction, generator=seeded(), **options)
    bound = numerics.between(*(torch.from_numpy(each.masks[0]) for each in (predicted, nudged)))
    assert np.abs(predicted.masks[0] - output.masks[0]).max() <= bound
    later = pipe.predict_mask(photo(), instruction, generator=seeded(), timestep=10, **options)
    assert np.abs(later.masks[0] - predicted.masks[0]).max() > 1e-3


def test_given_masks_are_used_as_they_are(pipe: InstructRestorePipeline) -> None:
    mask = np.zeros((64, 96), np.uint8)
    mask[:32] = 255
    as_image = Image.fromarray(mask)
    output = pipe(photo(), DOG, masks=[[as_image]], num_inference_steps=1)
    assert output.masks[0].shape == (1, 64, 96)
    assert np.array_equal(output.masks[0][0][:24], np.ones((24, 96)))
    assert np.array_equal(output.masks[0][0][40:], np.zeros((24, 96)))
    forms = [mask, mask > 0, mask / np.float32(255), torch.from_numpy(mask), as_image.convert("1")]
    first = restore(pipe, photo(), masks=[[as_image]])
    for form in forms:
        assert np.array_equal(first, restore(pipe, photo(), masks=[[form]]))
    assert np.array_equal(first, restore(pipe, photo(), masks=[[mask]], mask="hard"))
    assert not np.array_equal(first, restore(pipe, photo(), masks=[[255 - mask]]))


def test_a_picture_that_is_no_mask_is_refused(pipe: InstructRestorePipeline) -> None:
    cut_out = Image.fromarray(np.dstack([np.zeros((64, 96, 3), np.uint8), np.eye(64, 96, dtype=np.uint8) * 255]))
    colours = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8))
    for masks, complaint in (([colours], "the colours of this one differ"), ([cut_out], "transparent in places")):
        for maps in ({"masks": [masks]}, {"scale_maps": masks}):
            with pytest.raises(ValueError, match=complaint):
                pipe(photo(), DOG, num_inference_steps=1, **maps)  # pyright: ignore[reportArgumentType]


def test_scale_map(pipe: InstructRestorePipeline) -> None:
    mask = torch.zeros(64, 96)
    mask[16:40, 32:64] = 1
    by_mask, bound = restored(pipe, photo(), DOG, masks=[[mask]])
    by_map = restore(pipe, photo(), DOG, scale_maps=[0.5 * mask + 1 * (1 - mask)])
    assert np.abs(by_mask - by_map).max() <= bound
    grey = Image.fromarray((50 * mask + 100 * (1 - mask)).to(torch.uint8).numpy())
    assert np.abs(by_mask - restore(pipe, photo(), DOG, scale_maps=[grey])).max() <= bound
    assert pipe(photo(), DOG, scale_maps=[grey], num_inference_steps=1).masks[0].shape[0] == 0


def test_a_region_that_is_not_found_is_reported(pipe: InstructRestorePipeline) -> None:
    for predict in (pipe, pipe.predict_mask):
        with mask_bias(pipe, -50.0):
            (reports,) = predict(photo(), DOG, num_inference_steps=1).reports
            assert reports == ["no region found for 'the dog'"]
        with mask_bias(pipe, 50.0):
            (reports,) = predict(photo(), DOG, num_inference_steps=1).reports
            assert reports == ["the region found for 'the dog' fills the whole photo"]
        assert predict(photo(), DOG, num_inference_steps=1).reports == [[]]
    with mask_bias(pipe, -50.0):  # not the caller's own mask
        assert pipe(photo(), DOG, masks=[[torch.zeros(64, 96)]], num_inference_steps=1).reports == [[]]


def test_a_caption_that_is_cut_is_reported(pipe: InstructRestorePipeline) -> None:
    long = Instruction((RegionScale("the dog " * 40 + "zebra"),))
    (reports,) = pipe(photo(), long, num_inference_steps=1).reports
    cut = [report for report in reports if "cut at 77" in report]
    assert len(cut) == 2  # for the ControlNet and for the UNet
    assert all("zebra" in report.replace(" ", "") for report in cut)


# Sizes


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (100, 300), (127, 64)])
@pytest.mark.parametrize("upscale", [1, 2.0])
def test_any_size(pipe: InstructRestorePipeline, size: tuple[int, int], upscale: float) -> None:
    output = pipe(photo(*size), DOG, num_inference_steps=1, upscale=upscale, output_type="np")
    assert output.images.shape == (1, round(size[0] * upscale), round(size[1] * upscale), 3)
    assert output.masks[0].shape == (1, *output.images.shape[1:3])


def test_padding_is_cut_away(pipe: InstructRestorePipeline) -> None:
    """The restored photo and its mask lie where the photo lay: what was added is on the right and below."""
    lq = torch.zeros(3, 90, 83)
    lq[:, :40, :30] = 1
    mask = torch.zeros(90, 83)
    mask[:40, :30] = 1
    output = pipe(lq, "make the dog clear", masks=[[mask]], num_inference_steps=8, output_type="np", generator=seeded())
    assert isinstance(output.images, np.ndarray)
    for found in (output.images[0].mean(-1), output.masks[0][0]):
        assert found.shape == (90, 83)
        assert found[8:32, 8:22].mean() > 0.75
        assert found[56:82, 46:75].mean() < 0.25


# Settings


def test_steps_of_the_mask_and_kept_controls(pipe: InstructRestorePipeline) -> None:
    usual = restore(pipe, photo())
    assert np.array_equal(usual, restore(pipe, photo(), mask_steps=STEPS))
    assert not np.array_equal(usual, restore(pipe, photo(), mask_steps=1))
    assert np.array_equal(usual, restore(pipe, photo(), controlnet_every=1))
    assert not np.array_equal(usual, restore(pipe, photo(), controlnet_every=2))
    late = {"modulate_from": 1, "controlnet_every": STEPS}  # the kept control is modulated as its step asks
    other = "make the dog clear with 2 and keep other parts with 0.1"
    assert not np.array_equal(restore(pipe, photo(), **late), restore(pipe, photo(), other, **late))
    never, bound = restored(pipe, photo(), guidance_scale=1)  # the texts are encoded one by one, or with the empty one
    assert np.abs(restore(pipe, photo(), guidance_until=0) - never).max() <= bound


def test_colour_fixes_bring_the_colours_back(pipe: InstructRestorePipeline) -> None:
    lq = photo()
    mean = lq.mean(dim=(1, 2)).numpy()
    for fix in ("wavelet", "adain"):
        assert np.abs(restore(pipe, lq, colour_fix=fix)[0].mean(axis=(0, 1)) - mean).max() < 0.02


def test_callback(pipe: InstructRestorePipeline) -> None:
    seen = []

    def halve(pipe: Any, step: int, timestep: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        seen.append((step, int(timestep), sorted(tensors)))
        return {"latents": tensors["latents"] / 2} if step == STEPS - 1 else {}

    changed = restore(pipe, photo(), callback_on_step_end=halve)
    assert [step for step, _, _ in seen] == list(range(STEPS))
    assert [timestep for _, timestep, _ in seen] == pipe.scheduler.timesteps.tolist()
    assert not np.array_equal(changed, restore(pipe, photo()))


def test_settings_by_name_over_settings(pipe: InstructRestorePipeline) -> None:
    official = SamplingSettings(compat="official", guidance_scale=2)
    assert (official.mask, official.modulate_from, official.start_timestep) == ("hard", 1, 999)
    assert resolve(official, {"mask": "soft"}) == SamplingSettings(compat="official", guidance_scale=2, mask="soft")
    assert resolve(official, {"compat": None}) == SamplingSettings(guidance_scale=2)


def test_bad_requests_for_masks(pipe: InstructRestorePipeline) -> None:
    with pytest.raises(ValueError, match="2 generators for 1"):
        pipe.predict_mask(photo(), DOG, generator=[seeded(), seeded()])
    for timestep in (10.5, -1, 1000):
        with pytest.raises(ValueError, match="timestep"):
            pipe.predict_mask(photo(), DOG, timestep=timestep)
    with pytest.raises(ValueError, match="an instruction is"):
        pipe.predict_mask(photo(), None)


def test_output_types(pipe: InstructRestorePipeline) -> None:
    options: dict[str, Any] = {"num_inference_steps": 1, "generator": None, "latents": torch.zeros(1, 4, 8, 12)}
    array = pipe(photo(), DOG, **options, output_type="np").images
    tensor = pipe(photo(), DOG, **options, output_type="pt").images
    (image,) = pipe(photo(), DOG, **options).images
    assert np.array_equal(array, tensor.permute(0, 2, 3, 1).numpy())
    assert np.array_equal(np.asarray(image), np.round(array[0] * 255).astype(np.uint8))
    as_pil = Image.fromarray((photo().permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
    assert np.array_equal(restore(pipe, as_pil), restore(pipe, np.asarray(as_pil)))


@pytest.mark.parametrize(
    ("picture", "options", "words"),
    [
        (photo(40, 96), {}, "at least 64"),
        (photo() * float("nan"), {}, "between 0 and 1"),
        (photo() * 255, {}, "between 0 and 1"),
        (photo()[0], {}, r"\(3, H, W\)"),
        (np.zeros((64, 64), np.uint8), {}, r"\(H, W, 3\) uint8"),
        ("photo.png", {}, "not str"),
        ([], {}, "no photo"),
        ([photo(), photo(96, 96)], {}, "one size"),
        (photo(), {"masks": [[torch.zeros(8, 8)]]}, "8x8 but its photo 96x64"),
        (photo(), {"masks": [[torch.zeros(64, 96), torch.zeros(64, 96)]]}, "names 1"),
        (photo(), {"masks": [[torch.full((64, 96), 2.0)]]}, "between 0 and 1"),
        (photo(), {"masks": [[torch.full((64, 96), float("nan"))]]}, "between 0 and 1"),
        (photo(), {"masks": [torch.zeros(64, 96)]}, "as a list"),
        (photo(), {"masks": []}, "list of masks"),
        (photo(), {"scale_maps": [torch.full((64, 96), 9.0)]}, "between 0 and 4"),
        (photo(), {"scale_maps": [torch.ones(64, 96)], "masks": [[torch.ones(64, 96)]]}, "not both"),
        (photo(), {"guidance_scale": 0.5}, "guidance_scale"),
        (photo(), {"guidance_scale": float("nan")}, "guidance_scale"),
        (photo(), {"steps": 5}, "steps"),
        (photo(), {"tile": 100}, "tile"),
        (photo(), {"overlap": 480}, "overlap"),
        (photo(), {"start": "middle"}, "start"),
        (photo(), {"output_type": "jpg"}, "output_type"),
        (photo(), {"generator": [seeded(), seeded()]}, "2 generators for 1"),
        (photo(), {"latents": torch.zeros(1, 4, 4, 4)}, "latents"),
        (torch.zeros(3, 0, 0), {}, "at least 64"),
        (Image.new("I;16", (64, 64)), {}, "more than 8 bits"),
        (photo(), {"upscale": 0.2}, "upscale"),
        (photo(), {"masks": 5}, "in a list"),
        (photo(), {"masks": [[np.array([["a"]])]]}, "real numbers"),
        (photo(), {"settings": {"tile": 256}}, "SamplingSettings"),
    ],
)
def test_bad_input(pipe: InstructRestorePipeline, picture: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        pipe(picture, DOG, **options)
    assert "\n" not in str(caught.value)


def test_damaged_weights_give_a_sentence_and_no_black_photo(tiny_base: Path) -> None:
    damaged = load_pipeline(str(tiny_base), device="cpu")
    torch.nn.init.constant_(damaged.unet.conv_out.weight, float("nan"))
    with pytest.raises(ValueError, match="pixels that are no numbers: its weights are damaged"):
        restore(damaged, photo())
