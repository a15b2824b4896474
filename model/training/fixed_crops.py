"""One fixed crop of a photo with all its regions: what a run is judged by.

In training every region has its own crop, which alone would tell a network which region is meant. Here the regions of
a photo share a crop, an LQ photo and the noise: nothing but the text tells them apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from instructrestore.model.training.crops import (
    Crop,
    CropSettings,
    Window,
    choose_window,
    covered,
    cut_mask,
    cut_photo,
    scaled_runs,
    scaled_size,
)
from instructrestore.shards.order import sample_seed
from instructrestore.shards.reader import Fault, PhotoReader, Triplet
from instructrestore.shards.rle import Runs
from instructrestore.shards.triplets import Place

PURPOSE = "validation"


def fixed_crops(
    readers: Sequence[PhotoReader], photos: Sequence[tuple[int, int, int]], settings: CropSettings, seed: int
) -> tuple[list[Crop], list[str]]:
    """The crops of the photos' regions, all of a photo's one after the other, and what could not be read.

    photos: (data set, row, how many regions it has) each. Regions that cover less than `settings.least_share` of the
    crop are left out. The position of a photo's crops is its number in the list.
    """
    crops: list[Crop] = []
    faults: list[str] = []
    seed = sample_seed(seed, 0, PURPOSE)
    for number, (dataset, row, regions) in enumerate(photos):
        try:
            crops += _of_photo(readers[dataset], dataset, row, regions, number, settings, seed)
        except Fault as fault:
            faults.append(f"{fault.reason}: {readers[dataset].where(row)}")
    return crops, faults


def _of_photo(
    reader: PhotoReader, dataset: int, row: int, count: int, number: int, settings: CropSettings, seed: int
) -> list[Crop]:
    triplets = [
        Triplet(*reader.read(row, region), Place(dataset, row, region), number, seed) for region in range(count)
    ]
    if not any(Runs(triplet.region.mask).area for triplet in triplets):
        raise Fault("empty region")
    photo = triplets[0].photo
    scaled = scaled_size(photo.height, photo.width, settings)
    runs = [scaled_runs(triplet.region.mask, scaled) for triplet in triplets]
    window = _window(runs, settings, np.random.default_rng(triplets[0].seed_of("crop")))
    least = max(1, settings.least_share * settings.size**2)
    pixels = cut_photo(triplets[0], scaled, window, mirrored=False)
    return [
        Crop(
            photo=pixels,
            mask=cut_mask(own, window),
            caption=triplet.region.caption,
            subject=triplet.region.subject,
            bokeh=triplet.region.bokeh,
            position=number,
            seed=seed,
            key=photo.key,
            dataset=dataset,
            region=triplet.place.region,
            faults=(),
        )
        for triplet, own in zip(triplets, runs, strict=True)
        if covered(own, window) >= least
    ]


def _window(runs: Sequence[Runs], settings: CropSettings, rng: np.random.Generator) -> Window:
    """Of the windows that training could choose for the photo's regions, the one that shows the most of them."""
    least = max(1, settings.least_share * settings.size**2)

    def shown(window: Window) -> tuple[int, int]:
        areas = [covered(own, window) for own in runs]
        return sum(area >= least for area in areas), sum(areas)

    return max((choose_window(own, settings, rng) for own in runs if own.area), key=shown)
