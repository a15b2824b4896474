"""The whole chain against the official function's recorded runs, and a photo's independence of its batch."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from instructrestore.model.degradation import noise
from instructrestore.model.degradation.chain import Degradation, degrade, drawn_noise, enlarged
from instructrestore.model.degradation.filtering import USM_SIZE, sharpen
from instructrestore.model.degradation.kernels import Kernel
from instructrestore.model.degradation.recipe import Noise, Recipe, Resize, Stage, draw_recipe
from instructrestore.model.degradation.settings import REAL_ESRGAN, RELEASE
from tests import numerics
from tests.model.degradation.test_operations import JPEG_TERMS, arrays, kernel_of

CASES = ("chain_caseA_128x128_batch1", "chain_caseB_64x64_batch2", "chain_caseC_64x96_batch1")


def photos(count: int, height: int, width: int) -> Tensor:
    """Smooth shapes with some texture, (count, 3, height, width)."""
    generator = torch.Generator().manual_seed(7)
    coarse = torch.rand(count, 3, height // 8, width // 8, generator=generator)
    fine = torch.rand(count, 3, height, width, generator=generator)
    return (torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic") * 0.9 + fine * 0.1).clamp(
        0, 1
    )


# What the official function did ----------------------------------------------------------------------------------


def recorded_recipes(record: dict[str, Any], number: int) -> list[Recipe]:
    """The recipes of one chain of the record, one per photo. All but kernels and strengths hold for the whole batch."""
    events = [(place, e) for place, e in enumerate(record["events"]) if e["chain"] == number]
    draws = record["python_random_draws"]
    batch = record["events"][0]["shape"][0]
    blurs = [(place, e["kernel"]) for place, e in events if e["op"] == "blur"]
    resizes = [(place, e) for place, e in events if e["op"] == "resize"]
    noises = [e for _, e in events if e["op"].endswith("noise_field")]
    jpegs = [(place, e) for place, e in events if e["op"] == "jpeg"]
    assert (len(resizes), len(noises), len(jpegs)) == (3, 2, 2)

    def kernel(name: str, photo: int) -> Kernel | None:
        entry = record["kernels"][name][photo]
        return None if entry["family"].startswith("pulse") else kernel_of(entry)

    def resize(place: int, event: dict[str, Any]) -> Resize:
        scales = [d["result"] for d in draws if d["after_event"] == place - 1 and d["function"] == "uniform"]
        factor = scales[0] if scales else 1.0
        return Resize("keep" if factor == 1 else "up" if factor > 1 else "down", factor, event["mode"])

    def stage(index: int, photo: int) -> Stage:
        blurred = next((kernel(name, photo) for _, name in blurs if name == f"kernel{index + 1}_{number}"), None)
        event = noises[index]
        kind = "gaussian" if event["op"].startswith("gaussian") else "poisson"
        strength = event["sigma" if kind == "gaussian" else "scale"][photo]
        return Stage(
            blurred,
            resize(*resizes[index]),
            Noise(kind, strength, bool(event["gray"][photo])),
            jpegs[index][1]["quality"][photo],
        )

    return [
        Recipe(
            first=stage(0, photo),
            second=stage(1, photo),
            last_mode=resizes[2][1]["mode"],
            last_filter=kernel(f"sinc_kernel_{number}", photo),
            jpeg_last=jpegs[1][0] > resizes[2][0],
            noise_seed=0,
        )
        for photo in range(batch)
    ]


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("case", CASES)
def test_a_recorded_chain(reference_folder: Path, case: str, number: int) -> None:
    folder = reference_folder / "degradation"
    record = json.loads((folder / f"{case}.json").read_text())
    a = arrays(folder / f"{case}.npz")
    recipes = recorded_recipes(record, number)
    fields = [a[e["array"]] for e in record["events"] if e["chain"] == number and e["op"].endswith("noise_field")]

    def replayed(sharp: Tensor, fields: list[Tensor]) -> Tensor:
        return degrade(sharp, recipes, lambda photo, stage, picture, wanted: fields[stage][photo])

    # In case A's second chain a coefficient lies 4e-7 of a step from where JPEG rounds the other way.
    bound = numerics.spread(replayed, a["s00_usm"], fields, terms=JPEG_TERMS)
    lq = replayed(a["s00_usm"], fields)
    assert ((lq - a[f"lq_{number}"]).abs() <= bound).all()
    bound = numerics.spread(lambda *given: enlarged(replayed(*given)), a["s00_usm"], fields, terms=JPEG_TERMS)
    enlarged_reference = a[f"sr_bicubic_{number}"].clamp(0, 1)
    assert ((enlarged(lq) - enlarged_reference).abs() <= bound).all()
    as_saved = (enlarged(lq) * 255).round().permute(0, 2, 3, 1)
    levels = (as_saved - a[f"sr_bicubic_{number}_as_saved_png"].float()).abs()
    assert (levels <= 1 + 255 * bound.permute(0, 2, 3, 1)).all()


@pytest.mark.parametrize("case", CASES)
def test_the_recorded_target_is_sharpened(reference_folder: Path, case: str) -> None:
    a = arrays(reference_folder / "degradation" / f"{case}.npz")
    bound = numerics.spread(sharpen, a["in_gt"], terms=2 * USM_SIZE)
    assert ((sharpen(a["in_gt"]) - a["gt_after_usm"]).abs() <= bound).all()


@pytest.mark.parametrize("case", CASES)
def test_the_presets_are_the_recorded_settings(reference_folder: Path, case: str) -> None:
    wanted = json.loads((reference_folder / "degradation" / f"{case}.json").read_text())["settings"]
    for stage, tail in ((RELEASE.first, ""), (RELEASE.second, "2")):
        assert list(stage.resize_probabilities) == wanted[f"resize_prob{tail}"]
        assert list(stage.resize_range) == wanted[f"resize_range{tail}"]
        assert stage.gaussian_probability == wanted[f"gaussian_noise_prob{tail}"]
        assert list(stage.gaussian_sigma) == wanted[f"noise_range{tail}"]
        assert list(stage.poisson_scale) == wanted[f"poisson_scale_range{tail}"]
        assert stage.grey_probability == wanted[f"gray_noise_prob{tail}"]
        assert list(stage.jpeg_quality) == wanted[f"jpeg_range{tail}"]
    assert RELEASE.second.blur_probability == wanted["second_blur_prob"]


# One photo and its batch -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", [RELEASE, REAL_ESRGAN], ids=["release", "real-esrgan"])
def test_a_photo_alone_is_the_same_as_in_a_batch(preset: Any) -> None:
    degradation = Degradation(preset)
    batch = photos(6, 64, 96)
    seeds = [11, 22, 33, 44, 55, 66]
    together = degradation(batch, seeds)
    assert together.shape == batch.shape and together.min() >= 0 and together.max() <= 1
    for photo, seed, result in zip(batch, seeds, together, strict=True):
        assert torch.equal(degradation(photo[None], [seed])[0], result)
    order = random.Random(0).sample(range(6), 6)
    assert torch.equal(degradation(batch[order], [seeds[i] for i in order]), together[order])


@given(seed=st.integers(0, 2**64 - 1), mates=st.lists(st.integers(0, 2**64 - 1), max_size=3), strong=st.booleans())
@settings(max_examples=25, deadline=None)
def test_seeds_decide(seed: int, mates: list[int], strong: bool) -> None:
    degradation = Degradation(REAL_ESRGAN if strong else RELEASE)
    batch = photos(1 + len(mates), 64, 64)
    result = degradation(batch, [*mates, seed])[-1]
    assert torch.isfinite(result).all() and result.min() >= 0 and result.max() <= 1
    assert torch.equal(result, degradation(batch[-1:], [seed])[0])
    assert not torch.equal(result, degradation(batch[-1:], [seed ^ 1])[0])


@pytest.mark.parametrize("preset", [RELEASE, REAL_ESRGAN], ids=["release", "real-esrgan"])
def test_the_batched_execution_is_the_same(preset: Any) -> None:
    """What a GPU does, here: all photos in one call, with every op of its own, within float rounding of one by one."""
    batch = photos(16, 64, 64)
    recipes = [draw_recipe(preset, seed) for seed in range(16)]
    assert len({r.first.resize.factor for r in recipes}) > 8 and len({r.jpeg_last for r in recipes}) == 2
    fields: dict[tuple[int, int], Tensor] = {}

    def alone(number: int) -> Tensor:
        draw = drawn_noise([recipes[number]], batch.device)

        def kept(photo: int, stage: int, picture: Tensor, wanted: Noise) -> Tensor:
            return fields.setdefault((number, stage), draw(photo, stage, picture, wanted))

        return degrade(batch[number : number + 1], [recipes[number]], kept)

    def together(photos: Tensor) -> Tensor:
        return degrade(photos, recipes, lambda photo, stage, picture, wanted: fields[photo, stage])

    each = torch.cat([alone(number) for number in range(16)])
    bound = numerics.spread(together, batch, terms=JPEG_TERMS)
    assert ((together(batch) - each).abs() <= bound).all()


def test_threads_do_not_matter() -> None:
    degradation, batch = Degradation(), photos(2, 128, 128)
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append((degradation(batch, [1, 2]), sharpen(batch)))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])


def test_nothing_waits_for_the_device() -> None:
    """On the meta device, where whatever reads a value back fails, the chain runs to its end."""
    recipes = [draw_recipe(REAL_ESRGAN, seed) for seed in range(16)]

    def field(photo: int, stage: int, picture: Tensor, wanted: Noise) -> Tensor:
        draw = noise.gaussian if wanted.kind == "gaussian" else noise.poisson
        return draw(picture, wanted.strength, wanted.grey, None)

    sharp = sharpen(torch.empty(16, 3, 128, 96, device="meta"))
    assert enlarged(degrade(sharp, recipes, field)).shape == sharp.shape


def test_autocast_and_gradients_do_not_matter() -> None:
    degradation, batch = Degradation(), photos(1, 64, 64)
    expected = degradation(batch, [3])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = degradation(batch.clone().requires_grad_(), [3])
    assert torch.equal(result, expected) and not result.requires_grad


def test_nothing_but_its_seed_is_random() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    Degradation()(photos(1, 64, 64), [9])
    assert torch.equal(torch.get_rng_state(), state)


def test_the_input_is_left_alone() -> None:
    batch = photos(3, 64, 64)
    before = batch.clone()
    Degradation()(batch, [1, 2, 3])
    sharpen(batch)
    assert torch.equal(batch, before)


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (68, 100), (132, 36)])
def test_sizes(size: tuple[int, int]) -> None:
    for preset in (RELEASE, REAL_ESRGAN):
        result = Degradation(preset)(photos(4, *size), [1, 2, 3, 4])
        assert result.shape == (4, 3, *size) and torch.isfinite(result).all()


def test_a_recipe_that_does_nothing_is_a_bicubic_reduction() -> None:
    """With the choices turned off one after the other, what is left is the resize alone."""
    batch = photos(1, 64, 64)
    keep, quiet = Resize("keep", 1.0, "area"), Noise("gaussian", 0.0, False)
    stage = Stage(None, keep, quiet, 100)
    recipe = Recipe(stage, stage, "area", None, True, 0)
    lq = degrade(batch.mean(1, keepdim=True).expand(-1, 3, -1, -1), [recipe], drawn_noise([recipe], batch.device))
    expected = torch.nn.functional.avg_pool2d(batch.mean(1, keepdim=True), 4)
    assert (lq - expected).abs().max() < 1e-3  # grey photos lose nothing to JPEG at 100
    noisy = replace(recipe, second=replace(stage, noise=Noise("gaussian", 12.0, False)))
    spread = degrade(batch, [noisy], drawn_noise([noisy], batch.device)) - degrade(
        batch, [recipe], drawn_noise([recipe], batch.device)
    )
    assert 0.4 * 12 / 255 < float(spread.std()) < 1.1 * 12 / 255


def test_a_later_jpeg_is_not_an_earlier_one() -> None:
    batch = photos(1, 64, 64)
    recipe = replace(draw_recipe(RELEASE, 5), last_filter=Kernel("sinc", 13, omega=1.2))
    both = [
        degrade(batch, [replace(recipe, jpeg_last=last)], drawn_noise([recipe], batch.device)) for last in (True, False)
    ]
    assert (both[0] - both[1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("hq", "seeds", "says"),
    [
        (torch.zeros(3, 64, 64), [1], "float32"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), [1], "float32"),
        (torch.zeros(1, 3, 66, 64), [1], "multiples of 4"),
        (torch.zeros(1, 3, 28, 64), [1], "from 32 px"),
        (torch.zeros(2, 3, 64, 64), [1], "a seed each"),
    ],
)
def test_a_wrong_layout_is_one_sentence(hq: Tensor, seeds: list[int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Degradation()(hq, seeds)


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    """With noise drawn elsewhere a GPU gives what the CPU gives but for rare roundings; and mates do not matter."""
    batch = photos(16, 128, 128)
    recipes = [draw_recipe(RELEASE, seed) for seed in range(16)]
    fields: dict[tuple[int, int], Tensor] = {}
    draw = drawn_noise(recipes, batch.device)

    def kept(photo: int, stage: int, picture: Tensor, wanted: Noise) -> Tensor:
        return fields.setdefault((photo, stage), draw(photo, stage, picture.cpu(), wanted)).to(picture.device)

    expected = degrade(batch, recipes, kept)
    found = degrade(batch.cuda(), recipes, lambda i, s, p, n: fields[i, s].to(p.device)).cpu()
    assert ((found - expected).abs() > 1e-3).float().mean() < 0.01
    degradation, seeds = Degradation(), list(range(16))
    together = degradation(batch.cuda(), seeds)
    alone = torch.cat([degradation(photo[None].cuda(), [seed]) for photo, seed in zip(batch, seeds, strict=True)])
    assert ((together - alone).abs() > 1e-5).float().mean() < 0.01
