"""The rest exactly as it was: nothing outside the feathered regions changes, and no seam shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.model.restoring.keeping import lay_in, region_weight
from instructrestore.model.restoring.output import as_output, to_uint8
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.model.restoring.settings import OFFICIAL, SamplingSettings, resolve

DOG = "make the dog clear with 0.5 and keep other parts clear with 1"
TWO = "make the dog clear with 0.5, make the sky clear with 1.2 and keep other parts clear with 1"
QUICK = {"num_inference_steps": 1, "guidance_scale": 1}


@pytest.fixture(scope="module")
def pipe(tiny_base: Path) -> InstructRestorePipeline:
    loaded = load_pipeline(str(tiny_base), device="cpu")
    loaded.set_progress_bar_config(disable=True)
    return loaded


def keep(feather: int = 0, **others: Any) -> SamplingSettings:
    return SamplingSettings(rest="keep", feather=feather, **others)


def photo(seed: int, height: int = 64, width: int = 96) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def box(top: int, bottom: int, left: int, right: int, height: int = 64, width: int = 96) -> NDArray[np.uint8]:
    mask = np.zeros((height, width), np.uint8)
    mask[top:bottom, left:right] = 255
    return mask


def restored(pipe: InstructRestorePipeline, *asked: Any, **options: Any) -> Any:
    return pipe(*asked, generator=torch.Generator().manual_seed(0), **{**QUICK, **options})


def pixels(output: Any) -> NDArray[np.uint8]:
    (image,) = output.images
    return np.asarray(image)


# Weights


@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.sampled_from([0.0, 0.02, 0.5, 1.0]), st.integers(1, 3))
def test_a_weight_is_1_inside_falls_with_the_distance_and_ends_with_the_feather(
    seed: int, feather: int, share: float, regions: int
) -> None:
    random = np.random.default_rng(seed)
    inside = random.random((regions, 24, 17)) < share
    masks = np.where(inside, 0.51, 0.5).astype(np.float32)  # a half belongs to no region
    weight = region_weight(torch.from_numpy(masks)[:, None], False, keep(feather))[0].numpy()
    union = inside.any(0)
    assert (weight[union] == 1).all()
    if not union.any():
        assert not weight.any()
        return
    distance = distance_transform_edt(~union)
    assert not weight[distance > feather].any()
    near = distance <= feather
    assert np.allclose(weight[near], 1 - distance[near] / (feather + 1), atol=1e-6)
    assert (weight[near] > 0).all()


def test_greys_of_given_masks_are_the_weights_unless_something_else_is_asked() -> None:
    greys = torch.linspace(0, 1, 96).expand(2, 1, 8, 96).clone()
    greys[1] = greys[1].flip(-1)
    assert torch.equal(region_weight(greys, True, keep()), greys.amax(0))
    cut = (greys.amax(0) > 0.5).float()
    assert torch.equal(region_weight(greys, False, keep()), cut)
    assert torch.equal(region_weight(greys, True, keep(mask="hard")), cut)
    assert torch.equal(region_weight(greys, True, keep(5)), region_weight(cut[None], True, keep(5)))


# Laying in


@given(st.integers(0, 255), st.integers(0, 30))
def test_a_constant_photo_stays_constant_across_the_seam(level: int, feather: int) -> None:
    flat = torch.full((1, 3, 32, 64), level / 255)
    weight = region_weight(torch.from_numpy(box(8, 24, 20, 40, 32, 64) / 255)[None, None], False, keep(feather))
    assert (to_uint8(lay_in(flat, flat, weight[None])) == level).all()


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 24))
def test_a_step_is_spread_over_the_feather_without_overshoot(over: int, under: int, feather: int) -> None:
    restored, lq = torch.full((1, 3, 8, 64), over / 255), torch.full((1, 3, 8, 64), under / 255)
    inside = torch.zeros(1, 1, 8, 64)
    inside[..., :20] = 1
    line = to_uint8(lay_in(restored, lq, region_weight(inside, False, keep(feather))[None]))[0, 4, :, 0].astype(int)
    assert (line[:20] == over).all() and (line[20 + feather :] == under).all()
    steps = np.diff(line) * np.sign(under - over)
    assert (steps >= 0).all(), "monotone"
    # Light falls evenly; near black a little light is many levels, by at most the curve's 12.92.
    light = np.asarray(
        [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in line / 255]
    )
    even = abs(light[19] - light[20 + feather]) / (feather + 1)
    assert np.abs(np.abs(np.diff(light[19 : 21 + feather])) - even).max() < 0.01


def test_light_is_added_up_not_code_values() -> None:
    black, white = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    assert (to_uint8(lay_in(white, black, torch.full((1, 1, 1, 1), 0.5))) == 188).all()
    # What is over the range is cut before it is mixed: it can be seen no brighter.
    assert (to_uint8(lay_in(white * 3, black, torch.full((1, 1, 1, 1), 0.5))) == 188).all()


@given(st.integers(0, 2**32 - 1))
def test_outside_is_bit_for_bit_the_photo_and_inside_the_restored_one(seed: int) -> None:
    random = np.random.default_rng(seed)
    over, under = (torch.from_numpy(random.random((2, 3, 9, 7), np.float32)) * 1.2 - 0.1 for _ in range(2))
    weights = torch.from_numpy(random.choice([0, 0.3, 1], (2, 1, 9, 7)).astype(np.float32))
    laid = lay_in(over, under.clamp(0, 1), weights)
    for weight, source in ((0, under.clamp(0, 1)), (1, over)):
        here = (weights == weight).expand_as(laid)
        assert torch.equal(laid[here], source[here])


# The pipeline


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    feather=st.integers(0, 20),
    given_mask=st.booleans(),
    options=st.sampled_from([{}, OFFICIAL, {"compat": "official"}, {"colour_fix": "none"}, {"mask": "hard"}]),
)
def test_every_pixel_outside_is_the_photos_and_inside_the_results(
    pipe: InstructRestorePipeline, seed: int, feather: int, given_mask: bool, options: dict[str, Any]
) -> None:
    random = np.random.default_rng(seed)
    lq = photo(seed, *(int(side) for side in random.integers(64, 100, 2)))
    mask = np.zeros(lq.shape[:2], np.uint8)
    top, left = random.integers(0, 40, 2)
    mask[top : top + random.integers(1, 40), left : left + random.integers(1, 40)] = 255
    extra = {**options, "masks": [[mask]]} if given_mask else options
    output = restored(pipe, lq, DOG, rest="keep", feather=feather, **extra)
    region = mask > 127 if given_mask else output.masks[0][0] > 0.5
    distance = distance_transform_edt(~region) if region.any() else np.full(region.shape, np.inf)
    outside = distance > feather
    found = pixels(output)
    assert (found[outside] == lq[outside]).all()
    whole = pixels(restored(pipe, lq, DOG, **extra)).astype(int)
    truncated = options.get("compat") == "official"  # there the release's truncation is off by up to a level
    assert np.abs(found[region] - whole[region]).max(initial=0) <= truncated


def test_arrays_and_tensors_are_as_exact(pipe: InstructRestorePipeline) -> None:
    lq, mask = photo(1), box(10, 30, 20, 50)
    outside = distance_transform_edt(mask == 0) > 4
    for kind in ("np", "pt"):
        images = restored(pipe, lq, DOG, masks=[[mask]], rest="keep", feather=4, output_type=kind).images
        array = np.asarray(images if kind == "np" else images.permute(0, 2, 3, 1))
        assert (array[0][outside] == (lq / np.float32(255))[outside]).all()
        assert (np.round(array[0] * 255)[outside] == lq[outside]).all()
        # With 16 bits a channel too.
        assert (np.round(array[0] * 65535)[outside].astype(int) == lq[outside].astype(int) * 257).all()


def test_several_regions_are_one_and_photos_of_a_batch_are_apart(pipe: InstructRestorePipeline) -> None:
    one, two = box(5, 20, 5, 30), box(30, 60, 50, 90)
    lq = [photo(2), photo(3)]
    masks = [[one, two], [two, np.zeros_like(one)]]
    output = restored(pipe, lq, TWO, masks=masks, rest="keep", feather=3)
    for image, source, own in zip(output.images, lq, masks, strict=True):
        outside = distance_transform_edt((own[0] | own[1]) == 0) > 3
        changed = (np.asarray(image) != source).any(-1)
        assert not changed[outside].any()
        assert changed[own[0] > 0].mean() > 0.5, "the regions are restored"
    assert (np.asarray(output.images[0]) != lq[0]).any(-1)[two > 0].mean() > 0.5


def test_an_empty_region_gives_the_photo_back_and_a_full_one_the_result(pipe: InstructRestorePipeline) -> None:
    lq = photo(4)
    for feather in (0, 9):
        nothing, all_of_it = np.zeros((64, 96), np.uint8), np.full((64, 96), 255, np.uint8)
        assert (pixels(restored(pipe, lq, DOG, masks=[[nothing]], rest="keep", feather=feather)) == lq).all()
        whole = pixels(restored(pipe, lq, DOG, masks=[[all_of_it]]))
        assert (pixels(restored(pipe, lq, DOG, masks=[[all_of_it]], rest="keep", feather=feather)) == whole).all()


@pytest.mark.parametrize("given_mask", [True, False])
def test_a_photo_in_tiles(pipe: InstructRestorePipeline, given_mask: bool) -> None:
    lq, mask = photo(5, 64, 160), box(20, 50, 60, 130, 64, 160)
    options: dict[str, Any] = {"tile": 128, "overlap": 32, **({"masks": [[mask]]} if given_mask else {})}
    output = restored(pipe, lq, DOG, rest="keep", feather=6, **options)
    region = mask > 0 if given_mask else output.masks[0][0] > 0.5
    outside = distance_transform_edt(~region) > 6 if region.any() else np.ones_like(region)
    assert (pixels(output)[outside] == lq[outside]).all()
    assert (pixels(output)[region] == pixels(restored(pipe, lq, DOG, **options))[region]).all()


def test_a_tensors_own_values_stay_too(pipe: InstructRestorePipeline) -> None:
    lq: Tensor = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(6))
    mask = box(10, 30, 20, 50)
    images = restored(pipe, lq, DOG, masks=[[mask]], rest="keep", output_type="pt").images
    assert torch.equal(images[0][:, torch.from_numpy(mask == 0)], lq[:, torch.from_numpy(mask == 0)])


# What is asked


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scale_maps": [Image.new("L", (96, 64), 100)]}, "there is no rest to keep: give a mask"),
        ({"upscale": 2}, "rest=keep leaves the photo's own pixels as they are, and an upscale of 2 moves them"),
        ({"feather": -1}, "setting feather: input should be greater than or equal to 0"),
        ({"feather": 1001}, "setting feather: input should be less than or equal to 1000"),
        ({"feather": 2.5}, "setting feather: input should be a valid integer"),
        ({"rest": "blurred"}, "setting rest: input should be 'restored' or 'keep'"),
    ],
)
def test_what_does_not_go_together_is_said(pipe: InstructRestorePipeline, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        restored(pipe, photo(0), DOG, **{"rest": "keep", **options})


def test_bokeh_asks_for_another_rest(pipe: InstructRestorePipeline) -> None:
    with pytest.raises(ValueError, match="the instruction blurs the other parts, and rest=keep leaves them"):
        restored(pipe, photo(0), "make the dog clear and keep other parts bokeh blur with 0.6", rest="keep")


def test_settings_say_nothing_of_a_rest_that_is_restored() -> None:
    """What was recorded before there was a choice is the same as what is recorded now."""
    assert not {"rest", "feather"} & set(SamplingSettings().model_dump())
    assert not {"rest", "feather"} & set(SamplingSettings(rest="restored").model_dump(mode="json"))
    kept = keep(8)
    assert (kept.model_dump()["rest"], kept.model_dump()["feather"]) == ("keep", 8)
    assert SamplingSettings.model_validate(kept.model_dump(mode="json")) == kept
    # It can be asked for against a model that asks for the other.
    assert resolve(None, {}, {"rest": "keep"}).rest == "keep"
    assert resolve(SamplingSettings(rest="restored"), {}, {"rest": "keep"}).rest == "restored"
    assert resolve(keep(8), {"feather": 2}) == keep(2)


def test_the_default_is_what_it_was() -> None:
    picture = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    official = SamplingSettings(compat="official")
    (found,) = as_output(picture, official, "pil")
    assert (np.asarray(found) == (picture[0] * 255).floor().permute(1, 2, 0).numpy()).all()
