"""The random choices: their probabilities, ranges, and that they are a photo's own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from pydantic import ValidationError

from instructrestore.model.degradation.kernels import FAMILIES, Kernel
from instructrestore.model.degradation.recipe import KERNEL_SIZES, Recipe, Stage, draw_recipe
from instructrestore.model.degradation.settings import REAL_ESRGAN, RELEASE, DegradationSettings, StageSettings

DRAWS = 6000
PRESETS = {"release": RELEASE, "real-esrgan": REAL_ESRGAN}


@pytest.fixture(scope="module", params=PRESETS, ids=list(PRESETS))
def drawn(request: pytest.FixtureRequest) -> tuple[DegradationSettings, list[Recipe]]:
    settings = PRESETS[request.param]
    return settings, [draw_recipe(settings, seed) for seed in range(DRAWS)]


def assert_share(hits: int, of: int, probability: float) -> None:
    """Within five standard deviations: a right implementation fails once in two million times."""
    assert abs(hits - of * probability) <= 5 * math.sqrt(of * probability * (1 - probability)) + 1e-9, (hits, of)


def assert_shares(values: list, probabilities: dict) -> None:
    counts = Counter(values)
    assert set(counts) <= set(probabilities)
    for value, probability in probabilities.items():
        assert_share(counts[value], len(values), probability)


def assert_uniform(values: list[float], low: float, high: float) -> None:
    """Inside the range, and no further from its distribution than Kolmogorov and Smirnov allow."""
    scaled = (np.sort(values) - low) / (high - low)
    assert scaled[0] >= 0 and scaled[-1] <= 1
    distance = np.abs(scaled - (np.arange(len(scaled)) + 0.5) / len(scaled)).max()
    assert distance < 2.5 / math.sqrt(len(scaled))


Pair = tuple[DegradationSettings, list[Recipe]]
STAGES: list[Callable[[Recipe], Stage]] = [lambda r: r.first, lambda r: r.second]


@pytest.mark.parametrize("number", [0, 1])
def test_a_stage(drawn: Pair, number: int) -> None:
    settings: StageSettings = (drawn[0].first, drawn[0].second)[number]
    stages = [STAGES[number](recipe) for recipe in drawn[1]]
    low, high = settings.resize_range
    assert_shares(
        [s.resize.kind for s in stages], dict(zip(("up", "down", "keep"), settings.resize_probabilities, strict=True))
    )
    assert_uniform([s.resize.factor for s in stages if s.resize.kind == "up"], 1, high)
    assert_uniform([s.resize.factor for s in stages if s.resize.kind == "down"], low, 1)
    assert {s.resize.factor for s in stages if s.resize.kind == "keep"} == {1.0}
    assert_shares([s.resize.mode for s in stages], dict.fromkeys(("area", "bilinear", "bicubic"), 1 / 3))
    assert_shares([s.noise.kind for s in stages], {"gaussian": 0.5, "poisson": 0.5})
    assert_uniform([s.noise.strength for s in stages if s.noise.kind == "gaussian"], *settings.gaussian_sigma)
    assert_uniform([s.noise.strength for s in stages if s.noise.kind == "poisson"], *settings.poisson_scale)
    assert_share(sum(s.noise.grey for s in stages), DRAWS, 0.4)
    assert_uniform([s.quality for s in stages], *settings.jpeg_quality)
    assert_share(sum(s.blur is not None for s in stages), DRAWS, (1.0, settings.blur_probability)[number])


@pytest.mark.parametrize("number", [0, 1])
def test_kernels(drawn: Pair, number: int) -> None:
    settings: StageSettings = (drawn[0].first, drawn[0].second)[number]
    kernels = [k for k in (STAGES[number](recipe).blur for recipe in drawn[1]) if k is not None]
    shares = dict(zip(FAMILIES, (0.45, 0.25, 0.12, 0.03, 0.12, 0.03), strict=True))
    assert_shares([k.family for k in kernels], {"sinc": 0.1, **{f: 0.9 * p for f, p in shares.items()}})
    assert_shares([k.size for k in kernels], dict.fromkeys(KERNEL_SIZES, 1 / 8))
    blurs = [k for k in kernels if k.family != "sinc"]
    assert_uniform([k.sigma_x for k in blurs], *settings.sigma)
    aniso = [k for k in blurs if k.family.endswith("aniso")]
    assert_uniform([k.sigma_y for k in aniso], *settings.sigma)
    assert_uniform([k.theta for k in aniso], -math.pi, math.pi)
    assert abs(np.corrcoef([k.sigma_x for k in aniso], [k.sigma_y for k in aniso])[0, 1]) < 5 / math.sqrt(len(aniso))
    for family, bounds in (("generalised", settings.generalised_beta), ("plateau", settings.plateau_beta)):
        betas = [k.beta for k in blurs if k.family.startswith(family)]
        below = [beta for beta in betas if beta < 1 or (bounds[0] == 1 and beta == 1)]
        assert_share(len(below), len(betas), 0.5)
        assert_uniform([beta for beta in betas if beta > 1], 1, bounds[1])
        if bounds[0] < 1:
            assert_uniform(below, bounds[0], 1)
    sincs = [k for k in kernels if k.family == "sinc"]
    assert_uniform([k.omega for k in sincs if k.size < 13], math.pi / 3, math.pi)
    assert_uniform([k.omega for k in sincs if k.size >= 13], math.pi / 5, math.pi)


def test_the_end(drawn: Pair) -> None:
    recipes = drawn[1]
    assert_share(sum(r.jpeg_last for r in recipes), DRAWS, 0.5)
    assert_shares([r.last_mode for r in recipes], dict.fromkeys(("area", "bilinear", "bicubic"), 1 / 3))
    filters: list[Kernel] = [r.last_filter for r in recipes if r.last_filter is not None]
    assert_share(len(filters), DRAWS, 0.8)
    assert {f.family for f in filters} == {"sinc"}
    assert_uniform([f.omega for f in filters], math.pi / 3, math.pi)
    assert_shares([f.size for f in filters], dict.fromkeys(KERNEL_SIZES, 1 / 8))
    assert len({r.noise_seed for r in recipes}) == DRAWS


def test_presets_differ_where_the_table_says() -> None:
    first, second = REAL_ESRGAN.first, REAL_ESRGAN.second
    assert (first.sigma, second.sigma) == ((0.2, 3), (0.2, 1.5))
    assert (first.generalised_beta, first.plateau_beta) == ((0.5, 4), (1, 2))
    assert (first.resize_range, second.resize_range) == ((0.15, 1.5), (0.3, 1.2))
    assert (first.gaussian_sigma, second.gaussian_sigma) == ((1, 30), (1, 25))
    assert (first.poisson_scale, second.poisson_scale) == ((0.05, 3), (0.05, 2.5))
    assert (first.jpeg_quality, second.jpeg_quality) == ((30, 95), (30, 95))
    assert (first.blur_probability, second.blur_probability) == (1, 0.8)
    assert (RELEASE.first.sigma, RELEASE.second.sigma) == ((0.2, 1.5), (0.2, 1))
    assert (RELEASE.first.generalised_beta, RELEASE.second.plateau_beta) == ((0.5, 2), (1, 1.5))


def test_a_seed_is_a_recipe() -> None:
    assert draw_recipe(RELEASE, 2**64 - 1) == draw_recipe(RELEASE, 2**64 - 1)
    assert draw_recipe(RELEASE, 1) != draw_recipe(RELEASE, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"sigma": (0, 1)},
        {"sigma": (2, 1)},
        {"resize_probabilities": (0.5, 0.5, 0.5)},
        {"resize_range": (0.05, 1.5)},
        {"resize_range": (1.1, 1.5)},
        {"jpeg_quality": (60, 101)},
        {"grey_probability": 1.5},
        {"nothing": 1},
    ],
)
def test_impossible_settings_are_refused(change: dict) -> None:
    with pytest.raises(ValidationError):
        StageSettings.model_validate({**RELEASE.first.model_dump(), **change})
