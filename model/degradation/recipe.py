"""The random choices for one photo, drawn from its seed alone.

The release draws sizes, modes, kinds of noise, the second blur and the order once for a whole batch; here every photo
has its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from instructrestore.model.degradation.kernels import CANVAS, FAMILIES, Kernel
from instructrestore.model.degradation.resizing import MODES, Mode
from instructrestore.model.degradation.settings import DegradationSettings, Range, StageSettings

Choice = TypeVar("Choice")

KERNEL_SIZES = tuple(range(7, CANVAS + 1, 2))
SINC_SIZE = 13  # from this size on a sinc's cutoff may be lower: pi / 5 in place of pi / 3


@dataclass(frozen=True)
class Resize:
    """factor: of the photo's side in the first stage, of a quarter of it in the second."""

    kind: Literal["up", "down", "keep"]
    factor: float
    mode: Mode


@dataclass(frozen=True)
class Noise:
    """strength: of Gaussian noise the deviation, of 255; of Poisson noise the scale. grey: the same in all channels."""

    kind: Literal["gaussian", "poisson"]
    strength: float
    grey: bool


@dataclass(frozen=True)
class Stage:
    """blur: None for no blur. quality: of the JPEG."""

    blur: Kernel | None
    resize: Resize
    noise: Noise
    quality: float


@dataclass(frozen=True)
class Recipe:
    """All that happens to one photo.

    last_mode, last_filter: how it is brought to a quarter of its size at the end, and the sinc filter (or None) that
    follows. jpeg_last: whether that comes before the second JPEG. noise_seed: of the noise's pixels.
    """

    first: Stage
    second: Stage
    last_mode: Mode
    last_filter: Kernel | None
    jpeg_last: bool
    noise_seed: int


def draw_recipe(settings: DegradationSettings, seed: int) -> Recipe:
    """The choices for one photo. seed: any integer; its lower 64 bits count."""
    rng = np.random.Generator(np.random.PCG64(seed % 2**64))
    first = _stage(settings.first, settings.family_probabilities, rng)
    second = _stage(settings.second, settings.family_probabilities, rng)
    last_mode = _pick(MODES, rng)
    filtered = rng.random() < settings.last_sinc_probability
    return Recipe(
        first=first,
        second=second,
        last_mode=last_mode,
        last_filter=_sinc(_pick(KERNEL_SIZES, rng), (math.pi / 3, math.pi), rng) if filtered else None,
        jpeg_last=rng.random() < settings.jpeg_last_probability,
        noise_seed=int(rng.integers(2**63)),
    )


def _stage(settings: StageSettings, families: Sequence[float], rng: np.random.Generator) -> Stage:
    blur = _blur(settings, families, rng) if rng.random() < settings.blur_probability else None
    kind = _pick(("up", "down", "keep"), rng, settings.resize_probabilities)
    low, high = settings.resize_range
    factor = {"up": _uniform((1, high), rng), "down": _uniform((low, 1), rng), "keep": 1.0}[kind]
    resize = Resize(kind, factor, _pick(MODES, rng))
    is_gaussian = rng.random() < settings.gaussian_probability
    strength = _uniform(settings.gaussian_sigma if is_gaussian else settings.poisson_scale, rng)
    noise = Noise("gaussian" if is_gaussian else "poisson", strength, rng.random() < settings.grey_probability)
    return Stage(blur, resize, noise, _uniform(settings.jpeg_quality, rng))


def _blur(settings: StageSettings, families: Sequence[float], rng: np.random.Generator) -> Kernel:
    size = _pick(KERNEL_SIZES, rng)
    if rng.random() < settings.sinc_probability:
        return _sinc(size, (math.pi / (3 if size < SINC_SIZE else 5), math.pi), rng)
    family = _pick(FAMILIES, rng, families)
    sigma_x = _uniform(settings.sigma, rng)
    aniso = family.endswith("aniso")
    sigma_y, theta = (_uniform(settings.sigma, rng), _uniform((-math.pi, math.pi), rng)) if aniso else (sigma_x, 0.0)
    beta = 1.0
    if family.startswith("generalised"):
        beta = _around_one(settings.generalised_beta, rng)
    elif family.startswith("plateau"):
        beta = _around_one(settings.plateau_beta, rng)
    return Kernel(family, size, sigma_x=sigma_x, sigma_y=sigma_y, theta=theta, beta=beta)


def _sinc(size: int, cutoff: Range, rng: np.random.Generator) -> Kernel:
    return Kernel("sinc", size, omega=_uniform(cutoff, rng))


def _around_one(bounds: Range, rng: np.random.Generator) -> float:
    """Half the draws below 1 and half above: with a lower end of 1, half of them are exactly 1."""
    return _uniform((bounds[0], 1) if rng.random() < 0.5 else (1, bounds[1]), rng)


def _uniform(bounds: tuple[float, float], rng: np.random.Generator) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * rng.random()


def _pick(options: Sequence[Choice], rng: np.random.Generator, probabilities: Sequence[float] | None = None) -> Choice:
    draw = rng.random()
    if probabilities is None:
        return options[int(draw * len(options))]
    for option, probability in zip(options, probabilities, strict=True):
        draw -= probability
        if draw < 0:
            return option
    return options[-1]
