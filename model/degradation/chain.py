"""The two-stage degradation of Real-ESRGAN (arXiv 2107.10833, section 3) with every photo's own random choices.

Choices (`recipe`) and their execution are apart: `degrade` does to a batch of photos what their recipes say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from instructrestore.model.degradation import kernels, noise
from instructrestore.model.degradation.filtering import blur
from instructrestore.model.degradation.jpeg import jpeg
from instructrestore.model.degradation.kernels import Kernel
from instructrestore.model.degradation.recipe import Noise, Recipe, draw_recipe
from instructrestore.model.degradation.resizing import resize_by, resize_to
from instructrestore.model.degradation.settings import RELEASE, DegradationSettings
from instructrestore.model.degradation.threads import photo_by_photo

SHRINK = 4  # the LQ photo has a quarter of the HQ photo's side before it is enlarged again
LEAST_SIDE = 32  # px
# (number of the photo in the batch, stage 0 or 1, picture (3, h, w), its noise) -> a field (3 or 1, h, w)
NoiseSource = Callable[[int, int, Tensor, Noise], Tensor]


class Degradation:
    """HQ photos to LQ photos.

    On a CPU each photo goes through one thread of its own, so that a result is the same bit for bit whatever else is
    in the batch and however many threads there are. On a GPU they go together, and other mates may change the last
    bits of a float; where such a bit decides a rounding (of JPEG, or of Poisson noise to 8 bits) a block or a pixel
    can differ by more. The noise's pixels come from the device's own generator: the same seed gives the same choices
    on every device, but not the same noise.
    """

    def __init__(self, settings: DegradationSettings = RELEASE) -> None:
        self.settings = settings

    @torch.no_grad()
    def __call__(self, hq: Tensor, seeds: Sequence[int]) -> Tensor:
        """The LQ photos at the size of the HQ photos, (B, 3, H, W) float32 in [0, 1], on the device of `hq`.

        hq: (B, 3, H, W) float32 in [0, 1], sharpened or not; H, W multiples of 4, at least 32. seeds: one each.
        Raises ValueError for another layout.
        """
        _check(hq, seeds)
        recipes = [draw_recipe(self.settings, seed) for seed in seeds]

        def low_quality(part: slice) -> Tensor:
            with torch.autocast(hq.device.type, enabled=False):
                return enlarged(degrade(hq[part], recipes[part], drawn_noise(recipes[part], hq.device)))

        with _without_tf32():
            if hq.device.type == "cpu":
                return photo_by_photo(lambda number: low_quality(slice(number, number + 1)), len(hq))
            return low_quality(slice(None))


def degrade(photos: Tensor, recipes: Sequence[Recipe], noise_source: NoiseSource, shrink: float = SHRINK) -> Tensor:
    """Photos (B, 3, H, W) in [0, 1] -> (B, 3, H / shrink, W / shrink) in [0, 1], each by its recipe."""
    small = int(photos.shape[-2] // shrink), int(photos.shape[-1] // shrink)
    first, second = [recipe.first for recipe in recipes], [recipe.second for recipe in recipes]
    every = range(len(recipes))
    last = [i for i in every if recipes[i].jpeg_last]
    not_last = [i for i in every if not recipes[i].jpeg_last]
    pictures = list(photos)

    _blur(pictures, [stage.blur for stage in first])
    pictures = [resize_by(p, s.resize.factor, s.resize.mode) for p, s in zip(pictures, first, strict=True)]
    pictures = [noise.add(p, noise_source(i, 0, p, first[i].noise)) for i, p in enumerate(pictures)]
    pictures = jpeg(pictures, [stage.quality for stage in first])

    _blur(pictures, [stage.blur for stage in second])
    for i, stage in enumerate(second):
        size = int(small[0] * stage.resize.factor), int(small[1] * stage.resize.factor)
        resized = resize_to(pictures[i], size, stage.resize.mode)
        pictures[i] = noise.add(resized, noise_source(i, 1, resized, stage.noise))
    _jpeg(pictures, [stage.quality for stage in second], not_last)
    pictures = [resize_to(p, small, recipe.last_mode) for p, recipe in zip(pictures, recipes, strict=True)]
    _blur(pictures, [recipe.last_filter for recipe in recipes])
    _jpeg(pictures, [stage.quality for stage in second], last)
    return torch.stack(pictures).clamp_(0, 1)


def enlarged(lq: Tensor) -> Tensor:
    """(B, 3, h, w) in [0, 1] -> (B, 3, 4 h, 4 w) in [0, 1], bicubically."""
    size = lq.shape[-2] * SHRINK, lq.shape[-1] * SHRINK
    return F.interpolate(lq, size=size, mode="bicubic").clamp_(0, 1)


def drawn_noise(recipes: Sequence[Recipe], device: torch.device) -> NoiseSource:
    """Noise from one generator per photo: both of its fields come from its own seed, in the order of the stages."""
    generators = [Generator(device).manual_seed(recipe.noise_seed) for recipe in recipes]

    def field(number: int, stage: int, picture: Tensor, wanted: Noise) -> Tensor:
        draw = noise.gaussian if wanted.kind == "gaussian" else noise.poisson
        return draw(picture, wanted.strength, wanted.grey, generators[number])

    return field


def _blur(pictures: list[Tensor], filters: Sequence[Kernel | None]) -> None:
    """Blurs, in place of the list's pictures, those that have a filter."""
    wanted = [(i, kernel) for i, kernel in enumerate(filters) if kernel is not None]
    if not wanted:
        return
    drawn = torch.from_numpy(kernels.draw([kernel for _, kernel in wanted])).float()
    blurred = blur([pictures[i] for i, _ in wanted], drawn.to(pictures[0].device, non_blocking=True))
    for (i, _), picture in zip(wanted, blurred, strict=True):
        pictures[i] = picture


def _jpeg(pictures: list[Tensor], qualities: Sequence[float], numbers: Sequence[int]) -> None:
    """JPEG, in place of the list's pictures, of those with the given numbers, clamped first."""
    if not numbers:
        return
    done = jpeg([pictures[i].clamp(0, 1) for i in numbers], [qualities[i] for i in numbers])
    for i, picture in zip(numbers, done, strict=True):
        pictures[i] = picture


def _check(hq: Tensor, seeds: Sequence[int]) -> None:
    if hq.ndim != 4 or hq.shape[1] != 3 or hq.dtype != torch.float32:
        raise ValueError(f"HQ photos are (B, 3, H, W) float32, not {tuple(hq.shape)} {hq.dtype}.")
    if any(side % SHRINK or side < LEAST_SIDE for side in hq.shape[-2:]):
        raise ValueError(
            f"The sides of HQ photos are multiples of {SHRINK} from {LEAST_SIDE} px on, not {tuple(hq.shape[-2:])}."
        )
    if len(seeds) != len(hq) or not seeds:
        raise ValueError(f"HQ photos come with a seed each, at least one: these are {len(hq)} with {len(seeds)}.")


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Keeps the reduced precision that a trainer may have chosen for its GPU away from cosine transforms."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
