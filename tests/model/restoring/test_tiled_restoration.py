"""Photos larger than a tile: no seams, one mask for all tiles, texts where they belong, memory bounded by the tile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from instructrestore.model.instruction.parser import parse
from instructrestore.model.networks.texts import Texts
from instructrestore.model.networks.tiling import plan_tiles
from instructrestore.model.restoring.checkpoint import load_pipeline
from instructrestore.model.restoring.pipeline import InstructRestorePipeline
from instructrestore.model.restoring.views import Views, maps_of_masks, plan_views
from tests import numerics
from tests.model.seams import seam_strength

TILE, OVERLAP = 128, 64
DOG = "make the dog clear with 0.5 and keep other parts clear with 1"


@pytest.fixture(scope="module")
def pipe(tiny_base: Path) -> InstructRestorePipeline:
    loaded = load_pipeline(str(tiny_base), device="cpu")
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.fixture(scope="module")
def photo() -> Tensor:
    from skimage.data import astronaut

    return torch.from_numpy(astronaut()).permute(2, 0, 1)[:, 0:256, 96:352] / 255


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def restored(pipe: InstructRestorePipeline, photo: Tensor, tile: int, overlap: int = OVERLAP) -> Tensor:
    mask = torch.zeros(photo.shape[-2:])
    mask[60:200, 40:170] = 1
    noise = torch.randn(1, 4, photo.shape[-2] // 8, photo.shape[-1] // 8, generator=torch.Generator().manual_seed(0))
    images = pipe(
        photo, DOG, masks=[[mask]], latents=noise, num_inference_steps=6, tile=tile, overlap=overlap, output_type="pt"
    ).images
    assert isinstance(images, Tensor)
    return images[0]


def test_tiled_is_as_untiled(pipe: InstructRestorePipeline, photo: Tensor) -> None:
    whole, tiled = restored(pipe, photo, 512, 128), restored(pipe, photo, TILE)
    inner = (slice(None), slice(16, -16), slice(16, -16))
    assert (whole - tiled)[inner].abs().mean() < 0.02
    tiles = [tile.times(8) for tile in plan_tiles(32, 32, TILE // 8, OVERLAP // 8, step=4)]
    assert len(tiles) > 4
    assert seam_strength(tiled, tiles) < seam_strength(whole, tiles) + 0.1
    # The measure sees seams: the same photo put together from tiles without a common border.
    cut = torch.cat(
        [torch.cat([restored(pipe, part, 512, 128) for part in row.chunk(2, 2)], 2) for row in photo.chunk(2, 1)], 1
    )
    halves = plan_tiles(256, 256, 128, 0)
    assert seam_strength(cut, halves) > seam_strength(whole, halves) + 0.2


def test_one_mask_for_all_tiles(pipe: InstructRestorePipeline, photo: Tensor) -> None:
    """The mask of a tiled photo is that of a pass over the whole photo scaled down."""
    options = {"tile": TILE, "overlap": OVERLAP, "num_inference_steps": 1}
    predicted = pipe.predict_mask(photo, DOG, generator=seeded(3), **options).masks[0]
    used = pipe(photo, DOG, generator=seeded(3), **options).masks[0]
    assert predicted.shape == used.shape == (1, 256, 256)
    assert np.corrcoef(predicted.ravel(), used.ravel())[0, 1] > 0.9  # not equal: enlarged once, or by way of the latent
    assert np.abs(predicted - used).mean() < 0.05


def test_a_batch_of_tiled_photos_equals_each_alone(pipe: InstructRestorePipeline, photo: Tensor) -> None:
    photos = [photo[:, :128, :192], photo.flip(2)[:, :128, :192]]
    mask = torch.zeros(128, 192)
    mask[:, 40:90] = 1
    options: dict[str, Any] = {"tile": TILE, "overlap": OVERLAP, "num_inference_steps": 2, "output_type": "pt"}
    for masks in ([None, None], [[mask], None]):
        both = [seeded(1), seeded(2)]
        together = pipe(photos, DOG, masks=masks, generator=both, **options, tile_batch=3).images
        with numerics.nudged(pipe.text_encoder, pipe.vae, pipe.unet, pipe.controlnet):
            both = [seeded(1), seeded(2)]
            nudged = pipe(photos, DOG, masks=masks, generator=both, **options, tile_batch=3).images
        bound = numerics.between(together, nudged)
        for place in range(2):
            own = {"masks": [masks[place]], "generator": [seeded(place + 1)]}
            alone = pipe(photos[place], DOG, **own, **options).images
            assert (together[place] - alone[0]).abs().max() <= bound


INSTRUCTION = parse("make the dog clear with 0.5, make the cat clear with 0.7 and keep other parts clear with 1.1")


def views_of(masks: Tensor) -> dict[int, tuple[Views, int]]:
    """The views of a latent of 16x32 in three tiles of 16x16, by their left edge, each with its place in its group."""
    tiles = plan_tiles(16, 32, 16, 8, step=4)
    assert [tile.left for tile in tiles] == [0, 8, 16]
    groups = plan_views(
        [Texts(INSTRUCTION, "{caption}")],
        tiles,
        [maps_of_masks(masks, INSTRUCTION, hard=False)],
        True,
        None,
        lambda _, tile: torch.zeros(1, 2, 16, 16),
        lambda texts: {text: torch.full((77, 4), float(len(text))) for text in texts},
    )
    return {tile.left: (views, place) for views in groups for place, (_, tile) in enumerate(views.places)}


def test_a_tile_away_from_the_region_does_not_get_its_caption() -> None:
    """And costs one pass, for its text is empty anyway."""
    masks = torch.zeros(2, 1, 16, 32)
    masks[0, :, :, :12] = 1  # the dog, left; the cat, in the middle: a tile on the right sees neither
    masks[1, :, 4:12, 12:16] = 1
    views = views_of(masks)
    assert {left: own.counts[place] for left, (own, place) in views.items()} == {0: 2, 8: 2, 16: 1}
    assert views[0][0].guided
    assert views[8][0].guided
    empty, _ = views[16]
    assert not empty.guided
    assert torch.equal(empty.unet_texts, torch.zeros(1, 77, 4))
    assert torch.equal(empty.maps, torch.full((1, 1, 16, 16), 1.1))


@pytest.mark.parametrize("cells", [1, 2, 6])
def test_scales_hold_in_tiles_that_do_not_get_the_caption(cells: int) -> None:
    """Summed over a tile's rows the maps are those of the whole photo, however little of a region is in the tile."""
    masks = torch.rand(2, 1, 16, 32, generator=torch.Generator().manual_seed(0)) * 0.4
    masks[0, :, 8, 16 - cells : 17] = 1
    whole = maps_of_masks(masks, INSTRUCTION, hard=False).maps.sum(0)
    views = views_of(masks)
    counts = {left: own.counts[place] for left, (own, place) in views.items()}
    assert counts[8] == 1  # the dog's caption where most of the small region is; the cat is found nowhere
    for left, (own, place) in views.items():
        rows = own.maps.split(own.counts)[place]
        torch.testing.assert_close(rows.sum(0), whole[..., left : left + 16])


def test_a_small_region_of_a_tiled_photo_is_restored(pipe: InstructRestorePipeline) -> None:
    photo = torch.rand(3, 192, 320, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(192, 320)
    mask[80:96, 60:76] = 1
    options: dict[str, Any] = {"tile": TILE, "overlap": OVERLAP, "num_inference_steps": 2, "output_type": "pt"}
    one, other = (
        pipe(photo, f"make the dog clear with {s1}", masks=[[mask]], **options, generator=seeded(0)).images[0]
        for s1 in (0.3, 2)
    )
    changed = (one - other).abs().sum(0)
    assert changed[80:96, 60:76].mean() > 10 * changed[:, 200:].mean()


def test_tiled_scale_map(pipe: InstructRestorePipeline) -> None:
    """Each tile takes its own part of the map."""
    photo = torch.rand(3, 128, 320, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(128, 320)
    mask[:, 200:] = 1
    options: dict[str, Any] = {"tile": TILE, "overlap": OVERLAP, "num_inference_steps": 2, "output_type": "pt"}
    by_map = pipe(photo, DOG, scale_maps=[0.5 * mask + (1 - mask)], **options, generator=seeded(0)).images
    plain = pipe(photo, DOG, scale_maps=[torch.ones(128, 320)], **options, generator=seeded(0)).images
    changed = (by_map - plain).abs().sum(dim=(0, 1))
    assert changed[:, 220:].mean() > 10 * changed[:, :100].mean()


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width"), [(64, 4000), (1800, 2400)])
def test_memory_is_bounded_by_the_tile(tiny_base: Path, tmp_path: Path, height: int, width: int) -> None:
    """In a process of its own: what a large photo takes above a one-tile photo is little more than its own pixels."""
    program = (
        "import sys, resource, torch; from instructrestore.model.restoring.checkpoint import load_pipeline;"
        "pipe = load_pipeline(sys.argv[1], device='cpu'); height, width = int(sys.argv[2]), int(sys.argv[3]);"
        "photo = torch.rand(3, height, width);"
        f"images = pipe(photo, {DOG!r}, num_inference_steps=1, generator=torch.Generator().manual_seed(0)).images;"
        "assert images[0].size == (width, height);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    kilobytes = [
        int(
            subprocess.run(
                [sys.executable, "-c", program, str(tiny_base), *map(str, size)], check=True, capture_output=True
            ).stdout
        )
        for size in ((512, 512), (height, width))
    ]
    pixels = 3 * 4 * height * width  # one copy in float32
    assert (kilobytes[1] - kilobytes[0]) * 1024 < 12 * pixels + (200 << 20)
