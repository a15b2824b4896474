"""Masks united, cut, grown, inverted and feathered; pixels that must not change; scale maps in a range."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.model.restoring.request import scale_map_tensor, scales_of_greys
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.model.restoring.shaping import MaskEdits, feathered, grown, shaped

DOG = "make the dog clear with 0.5 and keep other parts clear with 1"
TWO = "make the dog clear with 0.5, make the sky clear with 1.2 and keep other parts clear with 1"
SEEDS, SHARES = st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.02, 0.5, 0.95, 1.0])
PURE = settings(max_examples=40, deadline=None)
DIAGONAL = 2**0.5  # px between neighbours that touch at a corner


@pytest.fixture(scope="module")
def pipe(tiny_base: Path) -> InstructRestorePipeline:
    loaded = load_pipeline(str(tiny_base), device="cpu")
    loaded.set_progress_bar_config(disable=True)
    return loaded


def some(seed: int, share: float) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((23, 31)) < share)


def grey(seed: int, count: int = 1) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((count, 1, 23, 31), np.float32))


def restored(pipe: InstructRestorePipeline, lq: Any, instruction: str = DOG, **options: Any) -> NDArray[Any]:
    quick = {"num_inference_steps": 1, "guidance_scale": 1, "output_type": "np"}
    return pipe(lq, instruction, generator=torch.Generator().manual_seed(0), **{**quick, **options}).images


def photo(seed: int, height: int = 64, width: int = 96) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def box(top: int, bottom: int, left: int, right: int) -> NDArray[np.uint8]:
    mask = np.zeros((64, 96), np.uint8)
    mask[top:bottom, left:right] = 255
    return mask


# Growing and feathering


@PURE
@given(SEEDS, SHARES, st.integers(0, 12))
def test_grown_is_every_pixel_within_the_distance(seed: int, share: float, pixels: int) -> None:
    inside = some(seed, share)
    outside = ~inside
    near = distance_transform_edt(outside) <= pixels if inside.any() else np.zeros(inside.shape, bool)
    assert (grown(inside, pixels).numpy() == near).all()
    deep = distance_transform_edt(inside) > pixels if outside.any() else np.ones(inside.shape, bool)
    assert (grown(inside, -pixels).numpy() == deep).all()


@PURE
@given(SEEDS, SHARES, st.integers(0, 8), st.integers(0, 8))
def test_growing_twice_is_nearly_growing_by_the_sum(seed: int, share: float, first: int, second: int) -> None:
    """Nothing of it lies farther, and what is missing lies within a pixel's diagonal of its edge."""
    inside = some(seed, share)
    twice, once = grown(grown(inside, first), second), grown(inside, first + second)
    assert not (twice & ~once).any()
    if inside.any():
        missing = (once & ~twice).numpy()
        assert (distance_transform_edt(~inside.numpy())[missing] > first + second - DIAGONAL).all()


@PURE
@given(SEEDS, SHARES, st.integers(0, 8))
def test_shrinking_is_growing_what_lies_outside(seed: int, share: float, pixels: int) -> None:
    inside = some(seed, share)
    assert torch.equal(grown(inside, -pixels), ~grown(~inside, pixels))
    assert not (inside & ~grown(grown(inside, pixels), -pixels)).any(), "closing loses nothing"
    assert not (grown(grown(inside, -pixels), pixels) & ~inside).any(), "opening adds nothing"


@PURE
@given(SEEDS, SHARES, st.integers(0, 8))
def test_a_feather_falls_evenly_from_the_edge(seed: int, share: float, pixels: int) -> None:
    inside = some(seed, share)
    weight = feathered(inside, pixels).numpy()
    if not inside.any():
        assert not weight.any()
        return
    distance = distance_transform_edt(~inside)
    expected = np.where(distance <= pixels, 1 - distance / (pixels + 1), 0)
    assert np.allclose(weight, expected, atol=1e-6) and (weight[inside] == 1).all()


# The algebra of sets


@PURE
@given(SEEDS, st.integers(1, 3))
def test_inverting_twice_is_nothing_and_masks_stay_masks(seed: int, regions: int) -> None:
    masks = (grey(seed, regions) * 255).round() / 255
    once = SamplingSettings(invert=True)
    twice = shaped(shaped(masks, MaskEdits(), once), MaskEdits(), once)
    assert torch.equal((twice * 255).round(), (masks * 255).round())
    hard = (masks > 0.5).float()
    assert torch.equal(shaped(shaped(hard, MaskEdits(), once), MaskEdits(), once), hard)


@PURE
@given(SEEDS, SEEDS, SEEDS)
def test_unite_intersect_and_subtract_are_those_of_sets(first: int, second: int, third: int) -> None:
    a, b, c = grey(first), grey(second), grey(third)[0]
    both = torch.cat([a, b])
    united, cut, left = MaskEdits(unite=c)(both), MaskEdits(intersect=c)(both), MaskEdits(subtract=c)(both)
    assert torch.equal(united[0], torch.maximum(a[0], c)) and torch.equal(cut[1], torch.minimum(b[0], c))
    assert torch.equal(left, MaskEdits(intersect=1 - c)(both)), "without c is within its complement"
    assert torch.allclose(1 - united, MaskEdits(subtract=c)(1 - both)), "De Morgan"
    for edits in (MaskEdits(unite=c), MaskEdits(intersect=c), MaskEdits(subtract=c)):
        assert torch.equal(edits(edits(both)), edits(both)), "once is enough"
    hard, other = (both > 0.5), (c > 0.5)
    assert torch.equal(MaskEdits(subtract=other.float())(hard.float()).bool(), hard & ~other)
    assert torch.equal(MaskEdits(unite=other.float())(hard.float()).bool(), hard | other)
    assert torch.equal(MaskEdits(intersect=other.float())(hard.float()).bool(), hard & other)
    # The parts that are cut off and left make the whole again.
    assert torch.equal(
        MaskEdits(intersect=other.float())(hard.float()) + MaskEdits(subtract=other.float())(hard.float()), hard.float()
    )


@PURE
@given(SEEDS, st.integers(-3, 3), st.booleans(), st.integers(0, 3))
def test_the_order_is_unite_intersect_subtract_grow_invert_feather(
    seed: int, grow: int, invert: bool, feather: int
) -> None:
    masks, (unite, intersect, subtract) = grey(seed), grey(seed + 1, 3)
    a, b, c, d = (each.numpy() for each in (masks[0, 0], unite[0], intersect[0], subtract[0]))
    by_hand = np.minimum(np.minimum(np.maximum(a, b), c), 1 - d)
    if grow:
        by_hand = grown(torch.from_numpy(by_hand) > 0.5, grow).numpy().astype(np.float32)
    by_hand = 1 - by_hand if invert else by_hand
    if feather:
        by_hand = feathered(torch.from_numpy(by_hand) > 0.5, feather).numpy()
    asked = SamplingSettings(grow=grow, invert=invert, feather=feather)
    assert np.allclose(shaped(masks, MaskEdits(unite, intersect, subtract), asked)[0, 0], by_hand, atol=1e-7)


# The pipeline


def test_shaped_masks_are_the_masks_that_are_given(pipe: InstructRestorePipeline) -> None:
    lq, mask, other = photo(1), box(10, 40, 20, 60), box(30, 60, 40, 90)
    by_hand = {
        "unite": mask | other,
        "intersect": mask & other,
        "subtract": mask & ~other,
    }
    for name, same in by_hand.items():
        assert (restored(pipe, lq, masks=[[mask]], **{name: [[other]]}) == restored(pipe, lq, masks=[[same]])).all()
    wider = (grown(torch.from_numpy(mask > 0), 5).numpy() * 255).astype(np.uint8)
    output = pipe(lq, DOG, masks=[[mask]], grow=5, num_inference_steps=1, guidance_scale=1)
    assert (output.masks[0][0] * 255 == wider).all(), "what is given back is what was used"
    found = restored(pipe, lq, masks=[[mask]], grow=5, invert=True)
    assert (found == restored(pipe, lq, masks=[[255 - wider]])).all()
    soft = feathered(torch.from_numpy(mask > 0), 6)
    assert (restored(pipe, lq, masks=[[mask]], feather=6) == restored(pipe, lq, masks=[[soft]])).all()
    assert (restored(pipe, lq, masks=[[mask]], feather=6) != restored(pipe, lq, masks=[[mask]])).any()


def test_a_predicted_mask_is_shaped_as_predict_mask_shows_it(pipe: InstructRestorePipeline) -> None:
    lq, cut = [photo(2), photo(3)], box(0, 64, 0, 50)
    asked: dict[str, Any] = {"grow": 3, "subtract": [[cut], None]}
    shown = pipe.predict_mask(lq, DOG, generator=[torch.Generator().manual_seed(0) for _ in lq], **asked).masks
    assert not shown[0][0][:, :40].any()
    whole = pipe.predict_mask(lq, DOG, generator=[torch.Generator().manual_seed(0) for _ in lq]).masks
    assert (shown[1][0] == grown(torch.from_numpy(whole[1][0] > 0.5), 3).numpy()).all()
    options: dict[str, Any] = {"num_inference_steps": 1, "guidance_scale": 1, "output_type": "np"}
    first = pipe(lq, DOG, generator=[torch.Generator().manual_seed(0) for _ in lq], **options, **asked)
    masks = [list(own) for own in shown]
    second = pipe(lq, DOG, generator=[torch.Generator().manual_seed(0) for _ in lq], **options, masks=masks)
    assert (first.images == second.images).all()
    # A photo beside one whose mask is changed is what it is alone.
    both = pipe(lq, DOG, generator=[torch.Generator().manual_seed(0) for _ in lq], **options, subtract=[[cut], None])
    alone = pipe(lq[1], DOG, generator=[torch.Generator().manual_seed(0)], **options)
    assert np.abs(both.images[1] - alone.images[0]).max() < 1e-4
    assert np.abs(both.masks[1] - alone.masks[0]).max() < 1e-4


@settings(max_examples=5, deadline=None)
@given(seed=SEEDS, feather=st.integers(0, 12), kind=st.sampled_from(["alone", "keep", "scale map", "official"]))
def test_protected_pixels_are_the_photos(pipe: InstructRestorePipeline, seed: int, feather: int, kind: str) -> None:
    random = np.random.default_rng(seed)
    lq, (top, left) = photo(seed), random.integers(0, 40, 2)
    stays = box(top, top + 20, left, left + 30)
    options: dict[str, Any] = {"masks": [[box(8, 56, 8, 80)]]}
    options |= {"rest": "keep", "feather": feather} if kind == "keep" else {}
    options = {"scale_maps": [Image.new("L", (96, 64), 90)]} if kind == "scale map" else options
    options |= {"compat": "official"} if kind == "official" else {}
    found = pipe(lq, DOG, protect=[[stays, np.zeros_like(stays)]], num_inference_steps=1, guidance_scale=1, **options)
    (image,) = found.images
    changed = (np.asarray(image) != lq).any(-1)
    assert not changed[stays > 0].any()
    assert changed[(stays == 0) & (box(8, 56, 8, 80) > 0)].any()


def test_a_transition_lies_around_what_is_protected(pipe: InstructRestorePipeline) -> None:
    lq, stays = torch.zeros(3, 64, 96), box(20, 40, 30, 60)
    whole = restored(pipe, lq, output_type="pt")[0]
    found = restored(
        pipe, lq, protect=[[stays]], rest="keep", masks=[[box(0, 64, 0, 96)]], feather=7, output_type="pt"
    )[0]
    distance = distance_transform_edt(stays == 0)
    assert not found[:, torch.from_numpy(distance == 0)].any()
    at_once = torch.from_numpy(distance > 7)
    inside = restored(pipe, lq, masks=[[box(0, 64, 0, 96)]], output_type="pt")[0]
    assert torch.equal(found[:, at_once], inside[:, at_once]) and whole.shape == found.shape


@pytest.mark.parametrize("scale", [0.5, 0.7, 1.1])
def test_a_constant_scale_map_is_the_one_scale(pipe: InstructRestorePipeline, scale: float) -> None:
    lq, everywhere = photo(4), np.ones((64, 96), np.float32)
    asked = f"make the dog clear with {scale} and keep other parts clear with {scale}"
    one = restored(pipe, lq, asked, masks=[[everywhere]])
    assert (restored(pipe, lq, asked, scale_maps=[everywhere * np.float32(scale)]) == one).all()
    for level in (0, 77, 255):
        flat = Image.new("L", (96, 64), level)
        assert (restored(pipe, lq, asked, scale_maps=[flat], scale_range=(scale, scale)) == one).all()


@PURE
@given(st.integers(0, 255), st.floats(0, 2), st.floats(0, 2))
def test_a_range_is_exact_at_its_ends_and_even_between(level: int, black: float, white: float) -> None:
    greys = torch.tensor([0, level, 255], dtype=torch.uint8).reshape(1, 3)
    low, found, high = scale_map_tensor(greys, (1, 3), (black, white))[0, 0]
    assert (low, high) == (torch.tensor(black), torch.tensor(white))
    assert float(found) == pytest.approx(black + (white - black) * level / 255, abs=1e-6)


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "two regions inverted": ({"instructions": TWO, "invert": True}, "invert is for one region, and the instruction"),
    "a grown scale map": (
        {"scale_maps": [Image.new("L", (96, 64), 90)], "grow": 2},
        "a scale map says the scale of every pixel, so there is no mask for grow",
    ),
    "a cut scale map": (
        {"scale_maps": [Image.new("L", (96, 64), 90)], "subtract": [[box(0, 9, 0, 9)]]},
        "so there is no mask to change: give a mask",
    ),
    "another size": ({"protect": [[box(0, 9, 0, 9)[:32]]]}, "the mask is 96x32 but its photo 96x64"),
    "not a list": ({"protect": [box(0, 9, 0, 9)]}, "the masks of a photo for protect come as a list"),
    "one list for two": ({"protect": [None, None]}, "there must be one list of masks for protect for each photo: 2"),
    "moved": ({"protect": [[box(0, 9, 0, 9)]], "upscale": 2}, "protected pixels stay as they are, and an upscale of 2"),
    "too far": ({"grow": 1001}, "setting grow: input should be less than or equal to 1000"),
    "a range alone": ({"scale_range": (0.5, 1)}, "a scale range says what black and white mean in a scale map: give"),
    "a range of three": (
        {"scale_maps": [Image.new("L", (96, 64), 90)], "scale_range": (0.5, 1, 2)},
        "a scale range is two numbers",
    ),
    "a range beyond": (
        {"scale_maps": [Image.new("L", (96, 64), 90)], "scale_range": (0.5, 11)},
        "a scale of the range must be from 0 to",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_does_not_go_together_is_said(name: str, pipe: InstructRestorePipeline) -> None:
    options, words = MISTAKES[name]
    with pytest.raises(ValueError, match=words):
        restored(pipe, photo(0), options.pop("instructions", DOG) if "instructions" in options else DOG, **options)


def test_settings_say_nothing_of_masks_that_stay_as_they_are() -> None:
    assert not {"grow", "invert", "feather"} & set(SamplingSettings(grow=0, invert=False).model_dump())
    asked = SamplingSettings(grow=-3, invert=True, feather=2)
    assert SamplingSettings.model_validate(asked.model_dump(mode="json")) == asked
    assert scales_of_greys(torch.zeros(1), (0.5, 1)).dtype == torch.float32
