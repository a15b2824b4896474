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

from model.checkpoint import load_pipeline
from model.instruction import Instruction, RegionScale
from model.pipeline import InstructRestorePipeline

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
    one = restore(pipe, photo(), DOG, masks=[[mask]])
    other = restore(pipe, photo(), "make the dog clear with 1 and keep other parts with 0.5", masks=[[1 - mask]])
    assert np.abs(one - other).max() < 1e-5


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
        together = restore(pipe, photos, instructions, masks=masks, generator=generators, **options)
        for place, own in enumerate(together):
            alone = restore(
                pipe,
                photos[place],
                instructions[place],
                masks=[masks[place]],
                generator=seeded(place),
                **options,
            )[0]
            assert np.abs(own - alone).max() < 1e-5, (options, place)


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
            assert np.isfinite(found).all()
            if start == "lq":
                assert np.abs(found - expected).mean() < 0.08
    finally:
        pipe.scheduler = own


# Masks and scales


def test_predicted_mask_is_that_of_the_first_step(pipe: InstructRestorePipeline) -> None:
    instruction = "make the cat clear with 0.7, make the sky clear with 1.2 and keep other parts clear with 0.9"
    options: dict[str, Any] = {"num_inference_steps": STEPS, "colour_fix": "none"}
    predicted = pipe.predict_mask(photo(), instruction, generator=seeded(), **options)
    restored = pipe(photo(), instruction, generator=seeded(), mask_steps=1, **options)
    assert predicted.masks[0].shape == (2, 64, 96)
    assert np.abs(predicted.masks[0] - restored.masks[0]).max() < 1e-4
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


def test_scale_map(pipe: InstructRestorePipeline) -> None:
    mask = torch.zeros(64, 96)
    mask[16:40, 32:64] = 1
    by_mask = restore(pipe, photo(), DOG, masks=[[mask]])
    by_map = restore(pipe, photo(), DOG, scale_maps=[0.5 * mask + 1 * (1 - mask)])
    assert np.abs(by_mask - by_map).max() < 1e-5
    grey = Image.fromarray((50 * mask + 100 * (1 - mask)).to(torch.uint8).numpy())
    assert np.abs(by_mask - restore(pipe, photo(), DOG, scale_maps=[grey])).max() < 1e-5
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
    """A photo that needs no padding is not changed by the way there."""
    assert restore(pipe, photo(96, 96)).shape == (1, 96, 96, 3)
    found = restore(pipe, photo(90, 83), "make the dog clear")
    assert found.shape == (1, 90, 83, 3)
    assert np.abs(found[0] - photo(90, 83).permute(1, 2, 0).numpy()).mean() < 0.2


# Settings


def test_steps_of_the_mask_and_kept_controls(pipe: InstructRestorePipeline) -> None:
    usual = restore(pipe, photo())
    assert np.array_equal(usual, restore(pipe, photo(), mask_steps=STEPS))
    assert not np.array_equal(usual, restore(pipe, photo(), mask_steps=1))
    assert np.array_equal(usual, restore(pipe, photo(), controlnet_every=1))
    assert not np.array_equal(usual, restore(pipe, photo(), controlnet_every=2))
    assert np.array_equal(restore(pipe, photo(), guidance_until=0), restore(pipe, photo(), guidance_scale=1))


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
    ],
)
def test_bad_input(pipe: InstructRestorePipeline, picture: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        pipe(picture, DOG, **options)
    assert "\n" not in str(caught.value)
