"""Equations 2-3 and their extension to several regions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from instructrestore.model.networks.modulation import modulate, region_weights, resize_map, scale_maps

SIZES = [(16, 24), (8, 12), (4, 6), (2, 3)]
scale = st.floats(0, 4, width=32)


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_masks(seed: int, rows: int) -> Tensor:
    return random(seed, rows, 1, *SIZES[0]).sigmoid()


def column(*values: float) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1)


def modulated(mask: Tensor, s1: float, s2: float, residual: Tensor, resize: str = "area") -> Tensor:
    maps = scale_maps(region_weights(mask, [1]), column(s1), column(s2), [1])
    return modulate(residual, maps, [1], resize)


@given(seed=st.integers(0, 2**31), resize=st.sampled_from(["area", "nearest"]), common=scale)
@settings(deadline=None)
def test_equal_scales_are_that_scale_exactly(seed: int, resize: str, common: float) -> None:
    for size in SIZES:
        residual = random(seed, 1, 5, *size)
        assert torch.equal(modulated(random_masks(seed, 1), 1.0, 1.0, residual, resize), residual)
        torch.testing.assert_close(
            modulated(random_masks(seed, 1), common, common, residual, resize), residual * common
        )


@given(seed=st.integers(0, 2**31), s1=scale, s2=scale, resize=st.sampled_from(["area", "nearest"]))
@settings(deadline=None)
def test_swapping_mask_and_scales_changes_nothing(seed: int, s1: float, s2: float, resize: str) -> None:
    mask = random_masks(seed, 1)
    for size in SIZES:
        residual = random(seed, 1, 5, *size)
        torch.testing.assert_close(
            modulated(mask, s1, s2, residual, resize), modulated(1 - mask, s2, s1, residual, resize)
        )


@given(seed=st.integers(0, 2**31), s1=scale, other_s1=scale, s2=scale)
@settings(deadline=None)
def test_the_scale_of_a_region_leaves_the_rest_alone(seed: int, s1: float, other_s1: float, s2: float) -> None:
    mask = torch.zeros(1, 1, *SIZES[0])
    mask[..., 3:9, 5:14] = 1
    for size in SIZES:
        residual = random(seed, 1, 5, *size)
        outside = (resize_map(mask, size, "area") == 0).expand_as(residual)
        assert outside.any()
        one, other = modulated(mask, s1, s2, residual), modulated(mask, other_s1, s2, residual)
        assert torch.equal(one[outside], other[outside])
        inside = (resize_map(mask, size, "area") == 1).expand_as(residual)
        torch.testing.assert_close(one[inside], residual[inside] * s1)


@given(seed=st.integers(0, 2**31), scales=st.lists(scale, min_size=1, max_size=4), s2=scale)
@settings(deadline=None)
def test_several_regions_as_written(seed: int, scales: list[float], s2: float) -> None:
    """features = sum of s_r w_r f_r + s2 (1 - sum of w) mean f, w_r = M_r / max(1, sum of M), computed plainly."""
    count = len(scales)
    masks, features = random_masks(seed, count), random(seed + 1, count, 5, *SIZES[0])
    weights = masks / masks.sum(0).clamp(min=1)
    expected = s2 * (1 - weights.sum(0)) * features.mean(0)
    for weight, own_scale, feature in zip(weights, scales, features, strict=True):
        expected = expected + own_scale * weight * feature
    maps = scale_maps(region_weights(masks, [count]), column(*scales), column(*[s2] * count), [count])
    found = modulate(features, maps, [count], "area")
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-4)


def test_photos_of_a_batch_do_not_mix() -> None:
    counts = [2, 1, 3]
    masks, features = random_masks(0, 6), random(1, 6, 5, *SIZES[0])
    scales, others = column(0.5, 0.7, 0.9, 1.1, 1.3, 1.5), column(1, 1, 0.2, 0.4, 0.4, 0.4)
    together = modulate(features, scale_maps(region_weights(masks, counts), scales, others, counts), counts, "area")
    start = 0
    for photo, count in enumerate(counts):
        own = slice(start, start + count)
        maps = scale_maps(region_weights(masks[own], [count]), scales[own], others[own], [count])
        torch.testing.assert_close(together[photo], modulate(features[own], maps, [count], "area")[0])
        start += count


def test_rows_of_empty_text_take_the_sum_of_the_maps() -> None:
    masks, features = random_masks(0, 2), random(1, 3, 5, *SIZES[0])
    maps = scale_maps(region_weights(masks, [2]), column(0.5, 1.5), column(0.8, 0.8), [2])
    found = modulate(features, maps, [2], "area", empty=1)
    torch.testing.assert_close(found[0], features[0] * maps.sum(0))
    torch.testing.assert_close(found[1], (features[1:] * maps).sum(0))


def test_unmodulated_is_the_mean_of_the_regions() -> None:
    features = random(0, 3, 5, 4, 4)
    torch.testing.assert_close(modulate(features, None, [2, 1], "area")[0], features[:2].mean(0))
    assert modulate(features, None, [1, 1, 1], "area") is features


@pytest.mark.parametrize("size", SIZES)
def test_resizing_by_area_keeps_the_mean(size: tuple[int, int]) -> None:
    mask = random_masks(5, 1)
    torch.testing.assert_close(resize_map(mask, size, "area").mean(), mask.mean())
