"""Tiles cover the map evenly, blending is a weighted mean without borders, and the seam metric sees borders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from instructrestore.model.networks.tiling import Blend, Tile, feather, plan_tiles, seam_strength
from tests import numerics, real_photos


@st.composite
def plans(draw: st.DrawFn) -> tuple[int, int, int, int, int]:
    step = draw(st.sampled_from([1, 4, 8]))
    tile = draw(st.integers(2, 16))
    overlap = draw(st.integers(0, (tile - 1) * step))
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    return height * step, width * step, tile * step, overlap, step


@settings(deadline=None)
@given(plans())
def test_tiles_cover_the_map_with_enough_overlap_and_no_tile_to_spare(plan: tuple[int, int, int, int, int]) -> None:
    height, width, tile, overlap, step = plan
    tiles = plan_tiles(*plan)
    covered = torch.zeros(height, width)
    for one in tiles:
        assert (one.height, one.width) == (min(tile, height), min(tile, width))
        assert one.top % step == 0 and one.left % step == 0
        one.crop(covered).add_(1)
    assert covered.min() >= 1
    assert tiles == sorted(tiles, key=lambda one: (one.top, one.left))

    for side, starts in ((height, {one.top for one in tiles}), (width, {one.left for one in tiles})):
        gaps = np.diff(sorted(starts))
        if len(gaps) == 0:
            assert side <= tile
            continue
        assert gaps.max() <= tile - overlap
        assert gaps.max() - gaps.min() <= step
        # One tile less, as far apart as the overlap allows, does not reach the end.
        furthest = (tile - overlap) // step * step
        assert tile + (len(gaps) - 1) * furthest < side


def test_tiles_that_would_not_advance_are_refused() -> None:
    with pytest.raises(ValueError, match="do not advance"):
        plan_tiles(100, 100, 16, 16)
    with pytest.raises(ValueError, match="do not advance"):
        plan_tiles(128, 128, 16, 13, step=4)
    with pytest.raises(ValueError, match="cannot be tiled"):
        plan_tiles(0, 100, 16, 4)


def test_a_crop_is_a_view() -> None:
    maps = torch.zeros(2, 3, 8, 9)
    Tile(2, 3, 4, 5).crop(maps).fill_(1)
    assert maps.sum() == 2 * 3 * 4 * 5 and maps[0, 0, 2, 3] == 1 and maps[0, 0, 6, 3] == 0


def test_weights_fall_only_towards_neighbours() -> None:
    tiles = plan_tiles(40, 16, 16, 4)
    first, middle, last = (feather(tile, 40, 16, 4) for tile in tiles)
    for weights in (first, middle, last):
        assert weights.min() > 0 and weights.max() == 1
        assert torch.equal(weights, weights[:, :1].expand_as(weights))  # no neighbour on the left or right
    assert first[0, 0] == 1 and last[-1, 0] == 1
    assert (first[:12] == 1).all() and (first[-4:, 0].diff() < 0).all()
    assert torch.equal(middle, middle.flip(0)) and middle[0, 0] < 0.05


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(1, 50), st.integers(8, 20), st.integers(0, 7))
def test_blending_a_maps_own_crops_gives_the_map(height: int, width: int, tile: int, overlap: int) -> None:
    whole = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    tiles = plan_tiles(height, width, tile, overlap)
    blend = Blend(whole.shape, overlap)
    for one in tiles:
        blend.add(one, one.crop(whole))
    if len(tiles) == 1:
        assert torch.equal(blend.result(), whole)
    # Weights are above 0: a sum of n products, divided by one of n weights, is off by 2 n + 1 units at the worst.
    covering = 2 * (tile // max(1, tile - overlap) + 1) ** 2 + 1
    bound = covering * numerics.UNIT_ROUNDOFF * float(whole.abs().max())
    torch.testing.assert_close(blend.result(), whole, rtol=0, atol=bound)


def test_tiles_of_other_tones_blend_without_a_step() -> None:
    tiles = plan_tiles(96, 96, 48, 16)
    blend = Blend((1, 1, 96, 96), 16)
    for number, tile in enumerate(tiles):
        blend.add(tile, torch.full((1, 1, 48, 48), float(number % 2), dtype=torch.bfloat16))
    result = blend.result()
    assert result.dtype == torch.float32
    assert result.min() >= 0 and result.max() <= 1
    assert result.diff(dim=-1).abs().max() < 0.15


def test_seams_are_seen_where_they_are(data_folder: Path) -> None:
    with Image.open(real_photos.present(data_folder, ["kodak/1.png"])[0]) as file:
        photo = torch.from_numpy(np.array(file.convert("RGB").crop((0, 0, 512, 512)))).permute(2, 0, 1).float() / 255
    tones = torch.linspace(-0.3, 0.3, 16)[torch.randperm(16, generator=torch.Generator().manual_seed(0))]

    def of_other_tones(overlap: int) -> tuple[torch.Tensor, list[Tile]]:
        tiles, blend = plan_tiles(512, 512, 192, overlap), Blend((1, 3, 512, 512), overlap)
        for tile, tone in zip(tiles, tones, strict=False):
            blend.add(tile, tile.crop(photo)[None] + tone)
        return blend.result()[0], tiles

    cut, tiles = of_other_tones(0)
    assert abs(seam_strength(photo, tiles)) < 0.5
    assert seam_strength(cut, tiles) > seam_strength(photo, tiles) + 0.5
    feathered, overlapping = of_other_tones(48)
    assert abs(seam_strength(feathered, overlapping) - seam_strength(photo, overlapping)) < 0.02
    # A border line elsewhere is no border line.
    elsewhere = plan_tiles(512, 512, 256, 0)
    assert seam_strength(cut, elsewhere) == pytest.approx(seam_strength(photo, elsewhere), abs=1e-3)
    assert seam_strength(photo, plan_tiles(512, 512, 512, 0)) == 0
